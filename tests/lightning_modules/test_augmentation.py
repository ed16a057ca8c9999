from __future__ import annotations

import numpy as np
import pytest
import torch

from datamodules.mel import MelSettings, mel_centres_hz
from lightning_modules.augmentation import REMAINS, SpectralAugmentation

MEL_HZ = mel_centres_hz(MelSettings())


def test_recolouring_keeps_the_scale_and_the_peaks() -> None:
    torch.manual_seed(0)
    x = torch.full((50, 256), -0.9)
    x[:, 40::20] = 0.6
    y = SpectralAugmentation(MEL_HZ, 0.0)(x)
    assert y.shape == x.shape
    assert y.abs().max() <= 1
    assert not torch.equal(y[0], y[1])
    inner = slice(1, -1)
    peaks = (y[:, inner] > y[:, :-2]) & (y[:, inner] > y[:, 2:])
    assert peaks[:, 39::20].float().mean() > 0.95
    assert peaks[:, 49::20].float().mean() < 0.05


def test_recolouring_differs_a_view() -> None:
    torch.manual_seed(0)
    augmentation, x = SpectralAugmentation(MEL_HZ, 0.5), torch.rand(20, 256) - 0.5
    assert (augmentation(x) - augmentation(x)).abs().mean() > 0.05


def test_overblown_frames_gain_weak_partials_an_octave_or_a_twelfth_below() -> None:
    """A frame of partials of 1200 Hz: new ones at multiples of 600 or 400 Hz, weaker by REMAINS."""
    torch.manual_seed(0)
    hz = np.array(MEL_HZ)
    partials = np.arange(1, 9) * 1200.0
    frame = (-1 + 1.5 * np.exp(-0.5 * ((hz[:, None] - partials) / 60) ** 2).sum(1)).astype(np.float32)
    x = torch.from_numpy(frame).expand(400, -1)
    y = SpectralAugmentation(MEL_HZ, 0.5)._some_overblown(x)
    assert (y >= x).all()
    new = (y - x > 0.05).numpy()
    assert new.any(1).mean() == pytest.approx(0.5, abs=0.08)
    seen = set()
    for row in np.flatnonzero(new.any(1)):
        at = [hz[new[row]] / lower for lower in (600.0, 400.0)]
        fits = [bool((np.abs(each - each.round()) < 0.25).all()) for each in at]
        assert any(fits)
        seen.add(fits.index(True))
        strength = float(y[row, (hz < 1000)].max()) - float(frame.max())
        assert -REMAINS[1] - 0.12 <= strength <= -REMAINS[0] + 0.02
    assert seen == {0, 1}
    assert torch.equal(SpectralAugmentation(MEL_HZ, 0.0)._some_overblown(x), x)
    assert y[:, hz > 9700].equal(x[:, hz > 9700]), "what would come from above the bands is silence"
