"""A picture of sounds, written as PNG with the standard library: an image library would double what is installed."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from pitch_timbre.audio import Samples

N_FFT, HOP = 1024, 64
HEIGHT, GAP = 240, 12
RANGE_DB = 80.0


def spectrograms(rows: list[list[Samples]], rate: int, highest_hz: float = 8000.0) -> bytes:
    """Spectrograms of sounds in rows of equally many, dark for loud, as the bytes of a grey PNG.

    Args:
        rows: (T,) each.
        rate: Hz.
        highest_hz: of the upper edge.
    """
    images = [[_spectrogram(sound, round(highest_hz * N_FFT / rate)) for sound in row] for row in rows]
    width = max(image.shape[1] for row in images for image in row)
    lines = [
        np.concatenate([np.pad(im, ((0, GAP), (0, GAP + width - im.shape[1])), constant_values=255) for im in row], 1)
        for row in images
    ]
    return _png(np.concatenate(lines))


def _spectrogram(sound: Samples, bins: int) -> np.ndarray:
    padded = np.pad(sound, (0, max(0, N_FFT - len(sound))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP] * np.hanning(N_FFT)
    level = 20 * np.log10(np.abs(np.fft.rfft(windows))[:, :bins] + 1e-9)
    grey = np.clip(1 + (level - level.max()) / RANGE_DB, 0, 1).T[::-1]
    rows = np.linspace(0, len(grey) - 1, HEIGHT).astype(int)
    return np.asarray(255 * (1 - grey[rows]), dtype=np.uint8)


def _png(grey: np.ndarray) -> bytes:
    height, width = grey.shape

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    lines = np.pad(grey, ((0, 0), (1, 0))).tobytes()  # each line after a 0: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines, 9)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
