"""Changes of a frame's colour that leave its pitch alone: what the axis of pitch must not depend on."""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor

RIPPLES = 8
RIPPLE, GAIN, FLOOR = 0.2, 0.1, 0.5
"""On the [-1, 1] scale: deviation of the slowest ripple and of the gain; how far the noise floor may rise."""


def recoloured(x: Tensor) -> Tensor:
    """Frames (B, F) in [-1, 1], each through a smooth random filter, at a random level, over a random noise floor.

    The filter is a sum of cosines over the bands whose deviations fall as the root of their number.
    """
    order = torch.arange(1, RIPPLES + 1, device=x.device, dtype=x.dtype)
    place = (torch.arange(x.shape[-1], device=x.device, dtype=x.dtype) + 0.5) / x.shape[-1]
    weights = torch.randn(len(x), RIPPLES, device=x.device) * RIPPLE / order.sqrt()
    ripples = weights @ torch.cos(pi * order.unsqueeze(1) * place)
    gain = GAIN * torch.randn(len(x), 1, device=x.device)
    floor = FLOOR * torch.rand(len(x), 1, device=x.device) - 1
    return (x + ripples + gain).maximum(floor).clamp(-1, 1)
