"""Recordings in and out: any file that libsndfile reads, as mono sound at the model's rate."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.float32]

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".opus", ".au", ".caf", ".w64"})
"""Of the files that are looked for in a folder."""
LONGEST_S = 60.0
"""What is read of a file: a note is shorter."""
SILENCE_PEAK = 2.0**-15
"""Below one step of 16-bit audio there is no sound."""
LARGEST_SAMPLE = 1e6
"""Above this a float file holds no sound."""
CANCELLED = 0.01
"""Channels whose mean has less than this share of their power cancel: one of them is read."""


@dataclass(frozen=True, eq=False)
class Sound:
    """Mono sound.

    Attributes:
        samples: (T,) float32, without a constant offset.
        rate: Hz.
        remark: what was done to the recording that its owner should know; empty for nothing.
    """

    samples: Samples
    rate: int
    remark: str = ""


def read(source: str | os.PathLike[str] | tuple[NDArray[np.floating], int], rate: int) -> Sound:
    """Read a file, or take samples, as mono sound at ``rate`` Hz.

    Args:
        source: a file; or samples, (T,) or (T, channels), and their rate in Hz.
        rate: wanted, Hz.

    Raises:
        OSError: there is no such file, or it may not be read.
        ValueError: it holds no sound.
    """
    remarks = []
    if isinstance(source, tuple):
        samples, own_rate = np.atleast_1d(np.asarray(source[0], dtype=np.float32)), int(source[1])
        if samples.ndim > 2 or own_rate <= 0:
            raise ValueError(
                f"samples of shape {samples.shape} at {own_rate} Hz; give (T,) or (T, channels) and a rate"
            )
        total = len(samples)
        samples = samples[: int(LONGEST_S * own_rate)]
    else:
        with Path(source).open("rb"):  # a missing or forbidden file is an OSError, with the system's words
            pass
        try:
            with soundfile.SoundFile(os.fsencode(source)) as file:
                own_rate, total = file.samplerate, file.frames
                samples = file.read(int(LONGEST_S * own_rate), dtype="float32")
        except (soundfile.LibsndfileError, RuntimeError) as error:
            reason = str(getattr(error, "error_string", error)).rstrip(".")
            raise ValueError(f"not a recording that libsndfile can read ({reason})") from None
    if total > len(samples) and total / own_rate > LONGEST_S:
        remarks.append(f"the first {LONGEST_S:g} s of {total / own_rate:.0f} s were read")
    mono = _mono(samples, remarks)
    if len(mono) and own_rate != rate:
        mono = np.asarray(soxr.resample(mono, own_rate, rate), dtype=np.float32)
    return Sound(mono, rate, "; ".join(remarks))


def _mono(samples: Samples, remarks: list[str]) -> Samples:
    """(T,) or (T, channels) to (T,), centred."""
    if not len(samples):
        return np.zeros(0, dtype=np.float32)
    wild = ~(np.abs(samples) < LARGEST_SAMPLE)  # true for NaN as well
    if wild.any():
        raise ValueError(f"holds {np.count_nonzero(wild)} NaN, infinite or absurdly large samples")
    centred = samples - samples.mean(0, dtype=np.float64)
    if centred.ndim == 1:
        return np.asarray(centred, dtype=np.float32)
    power = np.square(centred).mean(0)
    mono = centred.mean(1)
    if np.square(mono).mean() < CANCELLED * power.mean():
        loudest = int(power.argmax())
        remarks.append(f"its channels cancel: channel {loudest + 1} was read")
        mono = centred[:, loudest]
    return np.asarray(mono, dtype=np.float32)


def write(file: str | os.PathLike[str], samples: NDArray[np.floating], rate: int) -> None:
    """Write mono sound (T,) as the format that the file's suffix names: 16-bit WAV or FLAC, or another of libsndfile's.

    Raises:
        ValueError: the suffix names no format.
        OSError: it cannot be written.
    """
    path = Path(file)
    if path.suffix.lower().lstrip(".").upper() not in soundfile.available_formats():
        raise ValueError(f"{path}: its suffix names no sound format; use .wav or .flac")
    with path.open("wb") as opened:
        soundfile.write(opened, np.clip(samples, -1, 1), rate, format=path.suffix.lstrip(".").upper())


def files_in(paths: list[Path]) -> list[Path]:
    """The files named, and the recordings in the folders named, sorted."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and not file.is_dir())
        else:
            found.append(path)
    return found
