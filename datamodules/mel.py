"""Log-mel frames in [-1, 1]: the settings, the filter bank and the constants of the scale."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from math import inf, log
from typing import Literal

import librosa
import numpy as np
import torch
from torch import Tensor

CPU = torch.device("cpu")
EPSILON = float(np.finfo(np.float64).eps)
PUBLISHED_LOW, PUBLISHED_HIGH = -36.0437, 9.7666
"""The fixed natural-log bounds of the authors' research code; the lower one is ln of the float64 epsilon."""


@dataclass(frozen=True)
class MelSettings:
    """How one frame of a note is read, and how it is brought to [-1, 1].

    Attributes:
        n_fft: window length in samples (Hann).
        hop_length: samples between frames; a frame's instant is ``index * hop_length``.
        n_mels: mel bands, F.
        fmin_hz: lowest band edge, Hz.
        fmax_hz: highest band edge, Hz.
        frame_s: which frame, in seconds into the note (rounded down to the hop).
        frame_index: which frame, as an index; overrides ``frame_s``. 200 is the poster's wording (2.32 s).
        constants: ``fitted`` takes the bounds of the scale from the training frames, ``published`` the authors'.
        floor_quantile: the lower bound is this quantile of the training frames' values.
        floor_db: the lower bound as dB below the upper one; overrides ``floor_quantile``.
    """

    n_fft: int = 2048
    hop_length: int = 256
    n_mels: int = 256
    fmin_hz: float = 20.0
    fmax_hz: float = 11000.0
    frame_s: float = 0.2
    frame_index: int | None = None
    constants: Literal["fitted", "published"] = "fitted"
    floor_quantile: float = 0.001
    floor_db: float | None = None

    def __post_init__(self) -> None:
        """Refuse settings that cannot make a frame."""
        for name in ("n_fft", "hop_length", "n_mels"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.mel.{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.fmin_hz < self.fmax_hz:
            raise ValueError(f"data.mel: fmin_hz {self.fmin_hz} must lie below fmax_hz {self.fmax_hz}")
        if not 0 <= self.frame_s < inf or (self.frame_index is not None and self.frame_index < 0):
            raise ValueError(
                f"data.mel: frame_s {self.frame_s} and frame_index {self.frame_index} must not be negative"
            )
        if not 0 <= self.floor_quantile < 1:
            raise ValueError(f"data.mel.floor_quantile is {self.floor_quantile}; it must lie in [0, 1)")
        if self.floor_db is not None and not 0 < self.floor_db < inf:
            raise ValueError(f"data.mel.floor_db is {self.floor_db}; it must be positive (dB below the maximum)")

    def centre(self, sample_rate: int) -> int:
        """The frame's instant in samples."""
        index = int(self.frame_s * sample_rate / self.hop_length) if self.frame_index is None else self.frame_index
        return index * self.hop_length


@dataclass(frozen=True)
class LowBandSettings:
    """Low bands read through a longer window, which resolves the partials of low notes as the mel frame's does not.

    Attributes:
        n_fft: length of that window in samples (Hann); partials ``4 / n_fft`` of the sample rate apart are parted.
        below_hz: the bands whose centres lie below are read so, Hz; the others as in the mel frame.
    """

    n_fft: int = 4096
    below_hz: float = 300.0

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if self.n_fft < 1 or not self.below_hz > 0:
            raise ValueError(
                f"data.pitch_low_bands: n_fft {self.n_fft} must be at least 1 and below_hz {self.below_hz:g} positive"
            )


@lru_cache(maxsize=8)
def _filters(sample_rate: int, n_fft: int, n_mels: int, fmin_hz: float, fmax_hz: float, device: torch.device) -> Tensor:
    bank = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin_hz, fmax=fmax_hz)
    return quick_product(torch.from_numpy(bank), device)


def mel_filters(settings: MelSettings, sample_rate: int, device: torch.device = CPU) -> Tensor:
    """Return librosa's (Slaney) filter bank, (F, n_fft // 2 + 1), to be multiplied from the left.

    Raises:
        ValueError: the upper edge lies above the Nyquist frequency of ``sample_rate`` (Hz).
    """
    if settings.fmax_hz > sample_rate / 2:
        raise ValueError(
            f"data.mel.fmax_hz is {settings.fmax_hz:g} Hz, above the Nyquist frequency of {sample_rate} Hz audio; "
            f"set it to at most {sample_rate / 2:g}"
        )
    return _filters(sample_rate, settings.n_fft, settings.n_mels, settings.fmin_hz, settings.fmax_hz, device)


def mel_edges_hz(settings: MelSettings) -> tuple[float, ...]:
    """Return the edges of the bands, (F + 2,) Hz: band b rises from edge b to b + 1 and falls to b + 2."""
    edges = librosa.mel_frequencies(settings.n_mels + 2, fmin=settings.fmin_hz, fmax=settings.fmax_hz)
    return tuple(edges.tolist())


def mel_centres_hz(settings: MelSettings) -> tuple[float, ...]:
    """Return the centre frequencies of the bands, (F,) Hz."""
    return mel_edges_hz(settings)[1:-1]


def quick_product(matrix: Tensor, device: torch.device) -> Tensor:
    """Return a mostly empty matrix in the form whose product with a dense one is quick on a device.

    Compressed rows on a CPU. Dense elsewhere: not every accelerator has sparse products, and where there are some,
    dense ones of this size cost nothing.
    """
    if device.type != "cpu":
        return matrix.to(device)
    row, column = matrix.nonzero(as_tuple=True)
    ends = torch.searchsorted(row, torch.arange(len(matrix) + 1))
    return compressed_rows(ends, column, matrix[row, column], tuple(matrix.shape))


def compressed_rows(ends: Tensor, columns: Tensor, values: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return a sparse matrix in compressed rows, with the 32-bit indices that MKL else makes at each product."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(ends.int(), columns.int(), values, size, check_invariants=False)


def log_mel(mel_power: Tensor) -> Tensor:
    """Mel power of any shape to natural-log mel frames."""
    return torch.log(mel_power + EPSILON)


@dataclass(frozen=True)
class FrameScale:
    """The bounds (natural log of mel power) that are mapped to -1 and 1."""

    low: float
    high: float

    @classmethod
    def fit(cls, frames: Tensor, settings: MelSettings) -> FrameScale:
        """Take the bounds from the training frames.

        Args:
            frames: (N, F) natural-log mel frames of the training notes.
            settings: which bounds are wanted.
        """
        if settings.constants == "published":
            return cls(PUBLISHED_LOW, PUBLISHED_HIGH)
        high = float(frames.max())
        if settings.floor_db is not None:
            return cls(high - settings.floor_db * log(10) / 10, high)
        return cls(float(np.quantile(frames.double().cpu().numpy(), settings.floor_quantile)), high)

    def normalise(self, frames: Tensor) -> Tensor:
        """Natural-log mel frames to [-1, 1], clipped."""
        return ((frames - self.low) * (2 / (self.high - self.low)) - 1).clamp(-1, 1)
