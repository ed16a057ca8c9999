from __future__ import annotations

import librosa
import numpy as np
import pytest

from datamodules.pitch_trackers import pyin_course
from datamodules.synthetic_tones import moving_tone, sum_of_partials, synthetic_tones

RATE = 22050


def test_the_partials_are_where_the_pitch_says() -> None:
    midi = np.array([40, 57, 69, 84])
    tones = synthetic_tones(midi, RATE, RATE, np.random.default_rng(0))
    for tone, hz in zip(tones, librosa.midi_to_hz(midi), strict=True):
        power = np.abs(np.fft.rfft(tone * np.hanning(RATE))) ** 2  # a bin a Hz
        near = np.zeros(len(power), dtype=bool)
        for n in range(1, int(RATE / 2 / hz) + 1):
            # Detuned by up to half a semitone and stretched by up to 0.5 n^2 B.
            low, high = (n * hz * 2 ** (cents / 1200) for cents in (-51, 51 + 0.26 * n**2))
            near[int(low) - 2 : int(high) + 3] = True
        assert power[near].sum() > 0.99 * power.sum()


def test_a_pitch_tracker_hears_the_pitch() -> None:
    midi = np.arange(48, 85, 4)
    tones = synthetic_tones(midi, RATE, RATE // 2, np.random.default_rng(1))
    heard = [np.median(librosa.yin(tone, fmin=60, fmax=2000, sr=RATE)) for tone in tones]
    error = librosa.hz_to_midi(np.array(heard)) - midi
    assert np.mean(np.abs(error) < 0.5) >= 0.9


def test_a_generator_decides_all_and_no_two_tones_are_alike() -> None:
    midi = np.array([60, 60])
    first, again = (synthetic_tones(midi, RATE, 4000, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (2, 4000)
    assert abs(np.corrcoef(first)[0, 1]) < 0.9


def test_high_tones_have_no_partial_beyond_the_band() -> None:
    tone = synthetic_tones(np.array([110]), RATE, RATE, np.random.default_rng(0))[0]
    power = np.abs(np.fft.rfft(tone * np.hanning(RATE))) ** 2
    assert power[4600:4800].sum() > 0.5 * power.sum()
    assert power[int(0.96 * RATE / 2) :].sum() < 1e-3 * power.sum()


@pytest.mark.parametrize("n_samples", [1, 2, 100, 7717])
def test_partials_are_summed_as_cosines(n_samples: int) -> None:
    rng = np.random.default_rng(3)
    frequency, amplitude, phase = rng.uniform(0, 0.5, 40), rng.uniform(0, 1, 40), rng.uniform(0, 2 * np.pi, 40)
    t = np.arange(n_samples)
    expected = amplitude @ np.cos(2 * np.pi * np.outer(frequency, t) + phase[:, None])
    assert sum_of_partials(frequency, amplitude, phase, n_samples) == pytest.approx(expected, abs=1e-9)


def test_a_moving_tone_has_the_pitch_that_is_asked_for() -> None:
    time = np.arange(RATE) / RATE
    course = 67 + 2 * time + 0.5 * np.sin(2 * np.pi * 1.5 * time)
    tone = moving_tone(course, RATE, np.random.default_rng(0))
    hop = 512
    heard = pyin_course(tone[None], RATE, hop)[0]
    expected = course[np.minimum(np.arange(len(heard)) * hop, RATE - 1)]
    inside = slice(8, -8)
    assert np.abs(heard - expected)[inside].max() < 0.25
    assert np.abs(tone).max() == pytest.approx(0.5)
