"""Random changes of a frame's timbre that keep its pitch: the axis of pitch must not depend on them."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import torch
from torch import Tensor, nn

from lightning_modules.pitch_axis import interpolation_matrix

RIPPLES = 8
RIPPLE, GAIN, FLOOR = 0.2, 0.1, 0.5
"""On the [-1, 1] scale: deviation of the slowest ripple and of the gain; how far the noise floor may rise."""

RESONANCES = (2, 3)
REMAINS = (0.3, 0.6)
"""A note that is overblown, to the second partial of a flute or the third of a clarinet, keeps weak partials of the
resonance below (Fletcher and Rossing, "The Physics of Musical Instruments"): so far below its own, on [-1, 1]."""


def random_filters(x: Tensor, deviation: float) -> Tensor:
    """A smooth random filter for each of x (B, ..., F), to be added to log-mel frames: (B, F).

    Args:
        x: what is filtered.
        deviation: of the slowest ripple; the others' fall as the root of their number.
    """
    order = torch.arange(1, RIPPLES + 1, device=x.device, dtype=x.dtype)
    place = (torch.arange(x.shape[-1], device=x.device, dtype=x.dtype) + 0.5) / x.shape[-1]
    weights = torch.randn(len(x), RIPPLES, device=x.device) * deviation / order.sqrt()
    return weights @ torch.cos(pi * order.unsqueeze(1) * place)


class SpectralAugmentation(nn.Module):
    """Frames through smooth random filters, at random levels, over random noise floors, some of them with subharmonics.

    The filter is a sum of cosines over the bands whose deviations fall as the root of their number.

    Args:
        mel_hz: (F,) centre frequencies of the mel bands, Hz.
        subharmonic_share: share of the frames that are given weak partials of a note an octave or a twelfth below.
    """

    def __init__(self, mel_hz: Sequence[float], subharmonic_share: float) -> None:
        super().__init__()
        self.subharmonic_share = subharmonic_share
        if subharmonic_share:
            self.below: Tensor
            centres = torch.tensor(mel_hz, dtype=torch.float64)
            below = torch.stack([interpolation_matrix(mel_hz, order * centres) for order in RESONANCES])
            self.register_buffer("below", below, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Frames (B, F) in [-1, 1] to frames of other timbres, (B, F)."""
        x = self._some_overblown(x)
        ripples = random_filters(x, RIPPLE)
        gain = GAIN * torch.randn(len(x), 1, device=x.device)
        floor = FLOOR * torch.rand(len(x), 1, device=x.device) - 1
        return (x + ripples + gain).maximum(floor).clamp(-1, 1)

    def _some_overblown(self, x: Tensor) -> Tensor:
        """The frames' own partials, moved to those of a note below and weakened, where they are above the frame."""
        if not self.subharmonic_share:
            return x
        which = torch.randint(len(RESONANCES), (len(x),), device=x.device)
        below = ((x + 1) @ self.below)[which, torch.arange(len(x), device=x.device)] - 1
        lowest, highest = REMAINS
        weaker = lowest + (highest - lowest) * torch.rand(len(x), 1, device=x.device)
        chosen = torch.rand(len(x), 1, device=x.device) < self.subharmonic_share
        return torch.where(chosen, x.maximum(below - weaker), x)
