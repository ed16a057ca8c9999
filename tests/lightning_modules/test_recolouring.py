from __future__ import annotations

import torch

from lightning_modules.recolouring import recoloured


def test_recolouring_keeps_the_scale_and_the_peaks() -> None:
    torch.manual_seed(0)
    x = torch.full((50, 256), -0.9)
    x[:, 40::20] = 0.6
    y = recoloured(x)
    assert y.shape == x.shape
    assert y.abs().max() <= 1
    assert not torch.equal(y[0], y[1])
    inner = slice(1, -1)
    peaks = (y[:, inner] > y[:, :-2]) & (y[:, inner] > y[:, 2:])
    assert peaks[:, 39::20].float().mean() > 0.95
    assert peaks[:, 49::20].float().mean() < 0.05


def test_recolouring_differs_a_view() -> None:
    torch.manual_seed(0)
    x = torch.rand(20, 256) - 0.5
    assert (recoloured(x) - recoloured(x)).abs().mean() > 0.05
