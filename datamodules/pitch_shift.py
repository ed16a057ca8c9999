"""Frames of pitch-shifted notes, without resampling the note.

Playing a note r = 2^(delta / 12) times as fast scales its frequencies by r. A frame of the shifted note at the same
instant is therefore the frame's own spectrum read on a grid that is r times as narrow, through a window that is r
times as long. Both are done exactly, for any real delta, by one chirp-z transform (Bluestein 1970; Rabiner, Schafer
and Rader 1969), batched over notes that each have their own shift.
"""

from __future__ import annotations

from math import ceil, pi

import torch
from scipy.fft import next_fast_len
from torch import Tensor


def context_reach(n_fft: int, highest_semitones: float) -> int:
    """Samples needed on each side of a frame's instant for shifts up to ``highest_semitones``."""
    return ceil(n_fft * 2 ** (max(highest_semitones, 0.0) / 12) / 2)


def shifted_power(context: Tensor, semitones: Tensor, n_fft: int) -> Tensor:
    """Power spectra of the frames at the middle of ``context``, each shifted by its own interval.

    Args:
        context: (B, 2 R + 1) samples, the frame's instant in the middle; R at least
            ``context_reach(n_fft, max(semitones))``.
        semitones: (B,) shifts, any real numbers.
        n_fft: window length of the frame in samples.

    Returns:
        (B, n_fft // 2 + 1) float32 power, at the frequencies of an ordinary ``n_fft`` frame; zero where the shifted
        note has no content because the original's lies above the Nyquist frequency.

    Raises:
        ValueError: the context is too short for the highest shift.
    """
    reach, bins = context.shape[-1] // 2, n_fft // 2 + 1
    if reach < context_reach(n_fft, float(semitones.max())):
        raise ValueError(
            f"a shift of {float(semitones.max()):g} semitones needs a longer context than +-{reach} samples"
        )
    with torch.autocast(context.device.type, enabled=False):
        intervals, which = torch.unique(semitones.double().cpu(), return_inverse=True)
        which = which.to(context.device)
        window, chirp_in, kernel, audible, ratio = _transforms(intervals, reach, n_fft)
        size = kernel.shape[-1]
        device = context.device
        tapered = context.float() * window.to(device)[which]
        spectrum = torch.fft.fft(tapered * chirp_in.to(device)[which], n=size)
        convolved = torch.fft.ifft(spectrum * kernel.to(device)[which])[:, 2 * reach : 2 * reach + bins]
        power = convolved.real.square() + convolved.imag.square()
        return power * (audible / ratio.square().unsqueeze(1)).float().to(device)[which]


def _transforms(intervals: Tensor, reach: int, n_fft: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The window, chirps and masks of each distinct interval, computed in float64 because the phases are large."""
    ratio = torch.exp2(intervals / 12)
    length = (n_fft * ratio).unsqueeze(1)
    t = torch.arange(-reach, reach + 1, dtype=torch.float64)
    window = torch.where(t.abs() < length / 2, 0.5 + 0.5 * torch.cos(2 * pi * t / length), 0.0)

    bins = n_fft // 2 + 1
    n = torch.arange(2 * reach + 1, dtype=torch.float64)
    k = torch.arange(bins, dtype=torch.float64)
    lag = torch.arange(-2 * reach, bins, dtype=torch.float64)
    chirp_in = torch.polar(torch.ones_like(window), -_phase(n, length))
    kernel = torch.polar(torch.ones(len(intervals), len(lag), dtype=torch.float64), _phase(lag, length))
    kernel = torch.fft.fft(kernel, n=next_fast_len(len(lag)))
    audible = k <= length / 2
    return window.float(), chirp_in.to(torch.complex64), kernel.to(torch.complex64), audible, ratio


def _phase(n: Tensor, length: Tensor) -> Tensor:
    """The phase pi n^2 / length, reduced to one turn before the float32 rounding."""
    return torch.remainder(pi * n.square() / length, 2 * pi)
