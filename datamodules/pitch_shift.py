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
from math import ceil, pi, sinh, sqrt
from typing import NamedTuple

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from datamodules.mel import compressed_rows

TAPS = 8
"""Values of the FFT that one frequency is interpolated from."""
OVERSAMPLING = 1.5
"""Least length of the FFT in window lengths. With 8 taps the spectrum is right to 1e-6 of its peak."""
SHAPE = pi * sqrt((TAPS / OVERSAMPLING * (OVERSAMPLING - 0.5)) ** 2 - 0.8)
"""The kernel's, the best at that oversampling (Beatty et al. 2005, IEEE Trans. Medical Imaging 24(6), eq. 5)."""
DEGREE = 13
"""Of the polynomials that the kernel's values are taken from where each note has an interval of its own."""


def context_reach(n_fft: int, highest_semitones: float) -> int:
    """Samples needed on each side of a frame's instant for shifts up to ``highest_semitones``."""
    return ceil(n_fft * 2 ** (max(highest_semitones, 0.0) / 12) / 2)


def shifted_power(context: Tensor, semitones: Tensor, n_fft: int, filters: Tensor | None = None) -> Tensor:
    """Power spectra of the frames at the middle of ``context``, each shifted by its own interval.

    Notes of the same whole interval are transformed together, so whole semitones are several times as fast as real
    intervals.

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
    exact = semitones.cpu().double()
    # Real intervals are odd: they share the FFT of the whole one above them.
    kind = 2 * exact.ceil() - (exact != exact.ceil()).double()
    order = torch.argsort(kind, stable=True)
    kinds, sizes = torch.unique_consecutive(kind[order], return_counts=True)
    n_bands = n_fft // 2 + 1 if filters is None else len(filters)
    found = torch.empty(len(context), n_bands, device=context.device)
    with torch.autocast(context.device.type, enabled=False):
        for some, rows in zip(kinds.tolist(), order.split(sizes.tolist()), strict=True):
            power_of = _power_of_each if some % 2 else _power_of_one
            power = power_of(context, rows.to(context.device), exact[rows], n_fft)
            found[rows] = (power if filters is None else filters @ power).T
    return found


class _Transform(NamedTuple):
    """The transform of one interval: a window (2 R + 1,), the FFT's length, and (bins, length // 2 + 1) weights."""

    window: Tensor
    length: int
    real_weights: Tensor
    imaginary_weights: Tensor


def _power_of_one(context: Tensor, rows: Tensor, semitones: Tensor, n_fft: int) -> Tensor:
    """(bins, b) power of the frames of the contexts at b ``rows``, all shifted by one whole interval."""
    transform = _transform(float(semitones[0]), n_fft, context.device)
    spectrum = _spectra(context, rows, transform.window, transform.length)
    # The weights' products want a note a column.
    spectrum = torch.view_as_real(spectrum).permute(2, 1, 0).contiguous()
    real, imaginary = transform.real_weights @ spectrum[0], transform.imaginary_weights @ spectrum[1]
    return real.square_().addcmul_(imaginary, imaginary)


def _power_of_each(context: Tensor, rows: Tensor, semitones: Tensor, n_fft: int) -> Tensor:
    """(bins, b) power of the frames of the contexts at b ``rows``, each shifted by an interval of its own.

    One FFT length serves them all; each has its window, and its weights by polynomials in where a frequency lies
    between two values of the FFT.
    """
    device, (length, reach) = context.device, _length_and_reach(float(semitones.max().ceil()), n_fft)
    ratio = torch.exp2(semitones / 12).unsqueeze(1)
    reach = min(reach, context.shape[-1] // 2)
    window = _window(torch.arange(-reach, reach + 1, device=device), (n_fft * ratio).float().to(device), length)
    spectrum = _spectra(context, rows, window, length)
    spectrum[:, 1::2].neg_()  # the frame's instant is at half of the FFT's length

    frequency = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (length / n_fft / ratio)
    first, offset, audible = _taps(frequency, length)
    x = (2 * offset - 1).float().to(device)
    weights = (_polynomials().to(device) @ torch.linalg.vander(x.flatten(), N=DEGREE + 1).T).unflatten(1, x.shape)
    # A real signal's spectrum is its own mirror image, conjugated, about 0 and about half of the FFT's length.
    below, above = spectrum[:, 1 : TAPS // 2 + 1], spectrum[:, -TAPS // 2 - 1 : -1]
    mirrored = torch.cat([below.flip(1).conj(), spectrum, above.flip(1).conj()], 1)
    first = first + TAPS // 2 + mirrored.shape[1] * torch.arange(len(rows)).unsqueeze(1)
    near = (first + torch.arange(TAPS).view(-1, 1, 1)).to(device)
    real, imaginary = (
        (part.flatten().index_select(0, near.flatten()).view_as(near) * weights).sum(0)
        for part in (mirrored.real, mirrored.imag)
    )
    power = real.square_().addcmul_(imaginary, imaginary) * (audible / ratio.square()).float().to(device)
    return power.T


def _spectra(context: Tensor, rows: Tensor, window: Tensor, length: int) -> Tensor:
    """(b, length // 2 + 1) FFTs of the windowed middles of the contexts at b ``rows``, their instant at half of it."""
    reach, middle, half = window.shape[-1] // 2, context.shape[-1] // 2, length // 2
    padded = torch.zeros(len(rows), length, device=context.device)
    chosen = context[:, middle - reach : middle + reach + 1].index_select(0, rows)
    torch.mul(chosen, window, out=padded[:, half - reach : half + reach + 1])
    return torch.fft.rfft(padded)


def _length_and_reach(interval: float, n_fft: int) -> tuple[int, int]:
    """The FFT's length of an interval in semitones, and the samples that its window has on each side."""
    window_length = n_fft * 2 ** (interval / 12)
    return 2 * next_fast_len(ceil(OVERSAMPLING * window_length / 2)), ceil(window_length / 2)


def _window(t: Tensor, window_length: Tensor, length: int) -> Tensor:
    """The Hann window at whole times t, with the kernel's shape in time divided out."""
    phase = t / window_length
    return torch.where(phase.abs() < 0.5, 0.5 + 0.5 * torch.cos(2 * pi * phase), 0.0) / _kernel_in_time(t / length)


def _taps(frequency: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """The first value of the FFT that each frequency is interpolated from, its offset in (0, 1], and what is audible.

    Args:
        frequency: (..., bins) float64, in values of the FFT.
        length: of the FFT; above half of it, the shifted note is silent.
    """
    audible = frequency <= length / 2
    frequency = frequency.where(audible, 0.0)
    first = torch.ceil(frequency - TAPS / 2).long()
    return first, frequency - first - (TAPS / 2 - 1), audible


@lru_cache(maxsize=64)
def _transform(interval: float, n_fft: int, device: torch.device) -> _Transform:
    """The window and the interpolation of an interval in semitones, computed in float64."""
    ratio = 2 ** (interval / 12)
    length, reach = _length_and_reach(interval, n_fft)
    t = torch.arange(-reach, reach + 1, dtype=torch.float64)
    window = _window(t, torch.tensor(n_fft * ratio, dtype=torch.float64), length)

    frequency = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (length / n_fft / ratio)
    first, offset, _ = (part[: int((frequency <= length / 2).sum())] for part in _taps(frequency, length))
    near = first.unsqueeze(1) + torch.arange(TAPS)
    weights = _kernel(offset.unsqueeze(1) + (TAPS / 2 - 1) - torch.arange(TAPS)) / ratio
    weights = torch.where(near % 2 == 0, weights, -weights)  # as for the instant at half of the FFT's length
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


def _kernel(offset: Tensor) -> Tensor:
    """The Kaiser-Bessel kernel at offsets up to half of the taps, in values of the FFT; its sum is about 1."""
    inside = 1 - (2 * offset / TAPS).square()
    return torch.special.i0(SHAPE * inside.clamp(min=0).sqrt()) * (SHAPE / sinh(SHAPE) / TAPS)


@lru_cache(maxsize=1)
def _polynomials() -> Tensor:
    """The kernel at the taps of an offset in (0, 1], as (TAPS, DEGREE + 1) coefficients, the lowest power first."""
    nodes = torch.from_numpy(np.polynomial.chebyshev.chebpts1(4 * DEGREE))
    values = _kernel((nodes.unsqueeze(1) + 1) / 2 + (TAPS / 2 - 1) - torch.arange(TAPS))
    return torch.linalg.lstsq(torch.linalg.vander(nodes, N=DEGREE + 1), values).solution.T.float()


def _kernel_in_time(t: Tensor) -> Tensor:
    """The kernel's Fourier transform at times in lengths of the FFT, at most 1 / (2 OVERSAMPLING)."""
    square = (pi * TAPS * t).square()
    root = (SHAPE**2 - square).sqrt()
    # sinh(root) / sinh(SHAPE), both far from 0, without the rounding of large exponents.
    return SHAPE / root * torch.exp(-square / (SHAPE + root))
