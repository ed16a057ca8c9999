"""Frames of pitch-shifted notes, without resampling the note.

Playing a note r = 2^(delta / 12) times as fast scales its frequencies by r. A frame of the shifted note at the same
instant is therefore the frame's own spectrum read on a grid that is r times as narrow, through a window that is r
times as long. The window is stretched exactly, for any real delta; the grid is read by a non-uniform FFT: one FFT of a
fast length, then a few of its neighbouring values for each frequency, weighted by a Kaiser-Bessel kernel whose shape
in time has been divided out of the window (Fessler and Sutton 2003, "Nonuniform fast Fourier transforms using min-max
interpolation", IEEE Trans. Signal Processing 51(2)).
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, pi, sqrt
from typing import NamedTuple

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from datamodules.mel import compressed_rows

TAPS = 8
"""Values of the FFT that one frequency is interpolated from."""
OVERSAMPLING = 1.5
"""Least length of the FFT in window lengths. With 8 taps the spectrum is right to 1e-6 of its peak."""


def context_reach(n_fft: int, highest_semitones: float) -> int:
    """Samples needed on each side of a frame's instant for shifts up to ``highest_semitones``."""
    return ceil(n_fft * 2 ** (max(highest_semitones, 0.0) / 12) / 2)


def shifted_power(context: Tensor, semitones: Tensor, n_fft: int, filters: Tensor | None = None) -> Tensor:
    """Power spectra of the frames at the middle of ``context``, each shifted by its own interval.

    Notes of the same interval are transformed together, so whole semitones are several times as fast as intervals that
    all differ.

    Args:
        context: (B, 2 R + 1) samples, the frame's instant in the middle; R at least
            ``context_reach(n_fft, max(semitones))``.
        semitones: (B,) shifts, any real numbers.
        n_fft: window length of the frame in samples.
        filters: (F, n_fft // 2 + 1) bands to sum the power in, dense or sparse; ``None``: no bands.

    Returns:
        (B, n_fft // 2 + 1) float32 power, at the frequencies of an ordinary ``n_fft`` frame, or (B, F) its sums; zero
        where the shifted note has no content because the original's lies above the Nyquist frequency.

    Raises:
        ValueError: the context is too short for the highest shift.
    """
    reach = context.shape[-1] // 2
    if reach < context_reach(n_fft, float(semitones.max())):
        raise ValueError(
            f"a shift of {float(semitones.max()):g} semitones needs a longer context than +-{reach} samples"
        )
    order = torch.argsort(semitones, stable=True)
    intervals, sizes = torch.unique_consecutive(semitones[order], return_counts=True)
    groups = context.index_select(0, order).split(sizes.tolist())
    with torch.autocast(context.device.type, enabled=False):
        powers = []
        for group, interval in zip(groups, intervals.double().tolist(), strict=True):
            power = _power(group, _transform(interval, n_fft, context.device))
            powers.append((power if filters is None else filters @ power).T)
        return torch.empty_like(together := torch.cat(powers)).index_copy_(0, order, together)


class _Transform(NamedTuple):
    """The transform of one interval: a window (2 R + 1,), the FFT's length, and (bins, length // 2 + 1) weights."""

    window: Tensor
    length: int
    real_weights: Tensor
    imaginary_weights: Tensor


def _power(context: Tensor, transform: _Transform) -> Tensor:
    """(bins, b) power of the frames of b contexts, all shifted by one interval."""
    reach, half = len(transform.window) // 2, transform.length // 2
    middle = context.shape[-1] // 2
    padded = context.new_zeros(len(context), transform.length, dtype=torch.float32)
    inner = padded[:, half - reach : half + reach + 1]
    torch.mul(context[:, middle - reach : middle + reach + 1], transform.window, out=inner)
    # The weights' products want a note a column.
    spectrum = torch.view_as_real(torch.fft.rfft(padded)).permute(2, 1, 0).contiguous()
    real, imaginary = transform.real_weights @ spectrum[0], transform.imaginary_weights @ spectrum[1]
    return real.square_().addcmul_(imaginary, imaginary)


@lru_cache(maxsize=64)
def _transform(interval: float, n_fft: int, device: torch.device) -> _Transform:
    """The window and the interpolation of an interval in semitones, computed in float64."""
    ratio = 2 ** (interval / 12)
    window_length = n_fft * ratio
    length = 2 * next_fast_len(ceil(OVERSAMPLING * window_length / 2))
    oversampling = length / window_length
    shape = pi * sqrt((TAPS / oversampling * (oversampling - 0.5)) ** 2 - 0.8)

    reach = ceil(window_length / 2)
    t = torch.arange(-reach, reach + 1, dtype=torch.float64)
    hann = torch.where(t.abs() < window_length / 2, 0.5 + 0.5 * torch.cos(2 * pi * t / window_length), 0.0)
    window = hann / _kernel_in_time(t / length, shape)

    frequency = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * length / window_length
    frequency = frequency[frequency <= length / 2]  # above, the shifted note is silent
    near = torch.ceil(frequency - TAPS / 2).long().unsqueeze(1) + torch.arange(TAPS)
    weights = _kernel(frequency.unsqueeze(1) - near, shape) / ratio
    weights = torch.where(near % 2 == 0, weights, -weights)  # the frame's instant is at half of the FFT's length
    # A real signal's spectrum is its own mirror image, conjugated, about 0 and about half of the FFT's length.
    mirrored = (near < 0) | (near > length // 2)
    near = torch.where(near > length // 2, length - near, near.abs())
    real, imaginary = (
        _rows_of_taps(part, near, (n_fft // 2 + 1, length // 2 + 1), device)
        for part in (weights, torch.where(mirrored, -weights, weights))
    )
    return _Transform(window.float().to(device), length, real, imaginary)


def _rows_of_taps(values: Tensor, columns: Tensor, size: tuple[int, int], device: torch.device) -> Tensor:
    """A matrix with ``values`` (rows, taps) at ``columns``, in the form whose product is quick on the device."""
    values = values.float()
    if device.type != "cpu":
        return torch.zeros(size).index_put_((torch.arange(len(columns)).unsqueeze(1), columns), values, True).to(device)
    ends = TAPS * torch.arange(size[0] + 1).clamp(max=len(columns))
    return compressed_rows(ends, columns.flatten(), values.flatten(), size)


def _kernel(offset: Tensor, shape: float) -> Tensor:
    """The Kaiser-Bessel kernel at an offset in values of the FFT; zero beyond half of the taps."""
    inside = 1 - (2 * offset / TAPS).square()
    return torch.where(inside >= 0, torch.special.i0(shape * inside.clamp(min=0).sqrt().float()), 0.0)


def _kernel_in_time(t: Tensor, shape: float) -> Tensor:
    """The kernel's Fourier transform, at times in lengths of the FFT."""
    root = (shape**2 - (pi * TAPS * t).square()).to(torch.complex128).sqrt()
    return TAPS * (torch.sinh(root) / root).real
