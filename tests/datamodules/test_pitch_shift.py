from __future__ import annotations

import librosa
import numpy as np
import pytest
import soxr
import torch

from datamodules.mel import FrameScale, MelSettings, log_mel, mel_filters
from datamodules.pitch_shift import context_reach, shifted_power
from datamodules.sources.embedded import render_note

RATE, N_FFT, CENTRE = 22050, 2048, 17 * 256


def context_of(samples: np.ndarray, highest: float) -> torch.Tensor:
    reach = context_reach(N_FFT, highest)
    return torch.from_numpy(samples[CENTRE - reach : CENTRE + reach + 1].astype(np.float32))[None]


def test_no_shift_is_librosas_frame() -> None:
    samples = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    expected = np.abs(librosa.stft(samples, n_fft=N_FFT, hop_length=256)[:, 17]) ** 2
    found = shifted_power(context_of(samples, 0), torch.zeros(1), N_FFT)[0]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-4 * expected.max())


@pytest.mark.parametrize("semitones", [-12.0, -2.0, -0.37, 1.0, 2.0, 7.25, 12.0])
def test_it_is_the_exact_spectrum_on_the_scaled_grid(semitones: float) -> None:
    """Against the definition, summed in float64."""
    samples = np.random.default_rng(1).standard_normal(2 * RATE)
    ratio, reach = 2 ** (semitones / 12), context_reach(N_FFT, 12)
    t, k = np.arange(-reach, reach + 1), np.arange(N_FFT // 2 + 1)
    window = np.where(np.abs(t) < N_FFT * ratio / 2, 0.5 + 0.5 * np.cos(2 * np.pi * t / (N_FFT * ratio)), 0)
    kernel = np.exp(-2j * np.pi * np.outer(k, t) / (N_FFT * ratio))
    context = context_of(samples, 12)
    expected = np.abs(kernel @ (window * context[0].double().numpy())) ** 2 / ratio**2
    expected[k > N_FFT * ratio / 2] = 0
    found = shifted_power(context, torch.tensor([semitones]), N_FFT)[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * expected.max())


@pytest.mark.parametrize("semitones", [-12, -5, -2, -1, 1, 2, 5, 12])
def test_partials_move_by_two_to_the_twelfth(semitones: int) -> None:
    """The peak of a tone lands within a cent of 2^(delta / 12), by the phase of nothing but its power."""
    hz = 2000.0
    tone = np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)
    power = shifted_power(context_of(tone, 12), torch.tensor([float(semitones)]), N_FFT)[0].double().numpy()
    peak = int(power.argmax())
    # The Hann window's main lobe is known, so two of its bins give the frequency between them exactly.
    right = np.sqrt(power[peak + 1]) > np.sqrt(power[peak - 1])
    lower = peak if right else peak - 1
    ratio = np.sqrt(power[lower + 1] / power[lower])
    found = (lower + (2 * ratio - 1) / (1 + ratio)) * RATE / N_FFT
    assert abs(1200 * np.log2(found / (hz * 2 ** (semitones / 12)))) < 1


@pytest.mark.parametrize("semitones", [-12, -7, -2, -1, 1, 2, 6, 12])
def test_it_agrees_with_resampling_the_whole_note(semitones: int) -> None:
    """Against soxr VHQ, on the [-1, 1] scale, below 0.9 of the band edge."""
    ratio, settings = 2 ** (semitones / 12), MelSettings()
    filters = mel_filters(settings, RATE)
    errors = []
    for instrument, midi in (("oboe", 70), ("cello", 48), ("trumpet", 62), ("piano", 55)):
        note = render_note(instrument, midi, "mf", 1.0)
        note = (note - note.mean()) / note.std()
        resampled = soxr.resample(note, RATE * ratio, RATE, quality="VHQ")
        centre = CENTRE / ratio
        # The same instant of the resampled note falls between samples: a phase ramp moves it onto one.
        start = round(centre) - N_FFT // 2
        frame = resampled[start : start + N_FFT] * librosa.filters.get_window("hann", N_FFT)
        expected = log_mel(filters.double() @ torch.from_numpy(np.abs(np.fft.rfft(frame)) ** 2))
        found = log_mel(shifted_power(context_of(note, 12), torch.tensor([float(semitones)]), N_FFT, filters))[0]
        scale = FrameScale(-26.0, 11.0)
        bands = librosa.mel_frequencies(n_mels=256, fmin=20, fmax=11000) < 0.9 * 11000 * min(1.0, ratio)
        errors.append((scale.normalise(expected) - scale.normalise(found)).abs().numpy()[bands])
    errors_below_the_edge = np.concatenate(errors)
    assert errors_below_the_edge.mean() < 0.001
    assert np.quantile(errors_below_the_edge, 0.999) < 0.03


def test_each_row_has_its_own_shift() -> None:
    samples = np.random.default_rng(2).standard_normal(RATE)
    context = context_of(samples, 2).repeat(3, 1)
    together = shifted_power(context, torch.tensor([-2.0, 0.0, 2.0]), N_FFT)
    for row, semitones in enumerate((-2.0, 0.0, 2.0)):
        alone = shifted_power(context[:1], torch.tensor([semitones]), N_FFT)
        torch.testing.assert_close(together[row], alone[0])


def test_what_lies_above_the_originals_nyquist_is_silent() -> None:
    samples = np.random.default_rng(3).standard_normal(RATE)
    power = shifted_power(context_of(samples, 0), torch.tensor([-12.0]), N_FFT)[0]
    assert (power[N_FFT // 4 + 1 :] == 0).all()
    assert (power[1 : N_FFT // 4] > 0).all()


def test_float32_even_under_autocast() -> None:
    context = context_of(np.random.default_rng(4).standard_normal(RATE), 2)
    plain = shifted_power(context, torch.ones(1), N_FFT)
    with torch.autocast("cpu", torch.bfloat16):
        cast = shifted_power(context, torch.ones(1), N_FFT)
    assert cast.dtype == torch.float32
    assert torch.equal(plain, cast)


def test_a_short_context_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a longer context"):
        shifted_power(torch.zeros(1, 2049), torch.tensor([2.0]), N_FFT)
