from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from datamodules.mel import PUBLISHED_HIGH, PUBLISHED_LOW, FrameScale, MelSettings, log_mel, mel_filters

RATE = 22050


def test_log_mel_is_librosas() -> None:
    samples = np.random.default_rng(0).standard_normal(8192).astype(np.float32)
    settings = MelSettings()
    power = np.abs(librosa.stft(samples, n_fft=2048, hop_length=256)) ** 2
    expected = np.log(
        librosa.feature.melspectrogram(S=power, sr=RATE, n_mels=256, fmin=20, fmax=11000) + np.finfo(np.float64).eps
    )
    found = log_mel(mel_filters(settings, RATE) @ torch.from_numpy(power))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "samples"),
    [(MelSettings(), 17 * 256), (MelSettings(frame_index=200), 200 * 256), (MelSettings(frame_s=0.0), 0)],
)
def test_centre_lies_on_the_hop(settings: MelSettings, samples: int) -> None:
    assert settings.centre(RATE) == samples


def test_band_above_nyquist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fmax_hz is 11000 Hz, above the Nyquist frequency of 16000 Hz.*8000"):
        mel_filters(MelSettings(), 16000)


@pytest.mark.parametrize(
    "wrong",
    [{"n_mels": 0}, {"fmin_hz": 12000.0}, {"frame_s": -1.0}, {"floor_quantile": 1.0}, {"floor_db": 0.0}],
)
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        MelSettings(**wrong)


def test_fitted_scale_spans_the_training_frames() -> None:
    frames = torch.linspace(-20, 10, 10_000).view(100, 100)
    scale = FrameScale.fit(frames, MelSettings())
    assert scale.high == pytest.approx(10)
    assert scale.low == pytest.approx(np.quantile(frames.numpy(), 0.001), abs=1e-4)
    normalised = scale.normalise(frames)
    assert normalised.min() == -1
    assert normalised.max() == pytest.approx(1)
    assert (normalised == -1).float().mean() == pytest.approx(0.001, abs=2e-4)


def test_floor_in_db_lies_below_the_maximum() -> None:
    scale = FrameScale.fit(torch.tensor([[-50.0, 5.0]]), MelSettings(floor_db=80.0))
    # 10 dB of power are a factor of ten
    assert scale.high - scale.low == pytest.approx(8 * np.log(10))


def test_published_constants() -> None:
    scale = FrameScale.fit(torch.zeros(1, 4), MelSettings(constants="published"))
    assert (scale.low, scale.high) == (PUBLISHED_LOW, PUBLISHED_HIGH)
    assert pytest.approx(np.log(np.finfo(np.float64).eps), abs=1e-3) == PUBLISHED_LOW
