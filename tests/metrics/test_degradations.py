"""Degradations of tones whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from metrics import degradations as harder

RATE = 22_050
TONE = np.sin(2 * np.pi * 1_000 * np.arange(RATE) / RATE)[None]


def peak_hz(sound: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 8 * len(sound)))
    return float(np.argmax(power) * RATE / (8 * len(sound)))


@pytest.mark.parametrize("snr_db", [20.0, 10.0])
def test_pink_noise_has_its_level_and_its_slope(snr_db):
    noise = (harder.add_pink_noise(TONE, snr_db) - TONE)[0]
    assert 10 * np.log10(np.mean(TONE**2) / np.mean(noise**2)) == pytest.approx(snr_db)
    power = np.abs(np.fft.rfft(noise)) ** 2
    octaves = [power[low : 2 * low].sum() for low in (200, 400, 800, 1_600, 3_200)]
    assert np.max(octaves) / np.min(octaves) < 1.3  # the same power in each octave


def test_a_sound_is_degraded_the_same_way_in_every_batch():
    both = np.concatenate([TONE, 0.5 * TONE])
    assert (harder.add_pink_noise(both, 20.0)[:1] == harder.add_pink_noise(TONE, 20.0)).all()
    assert (harder.add_pink_noise(TONE, 20.0, seed=1) != harder.add_pink_noise(TONE, 20.0)).any()


def test_reverberation_falls_by_sixty_decibels_in_its_time():
    impulse = np.zeros((1, RATE))
    impulse[0, 0] = 1
    response = harder.add_reverberation(impulse, RATE, 0.8)[0]
    assert response[0] == pytest.approx(1)
    assert np.sum(response[1:] ** 2) == pytest.approx(1)
    level = [10 * np.log10(np.mean(response[at : at + 1_000] ** 2)) for at in (1_000, 1_000 + round(0.4 * RATE))]
    assert level[0] - level[1] == pytest.approx(30, abs=2)
    assert np.abs(response[round(0.8 * RATE) :]).max() < 1e-12


@pytest.mark.parametrize(("hz", "kept"), [(100, False), (1_000, True), (7_000, False)])
def test_a_telephone_passes_its_band(hz, kept):
    tone = np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)[None]
    power = np.mean(harder.limit_to_telephone(tone, RATE)[0, 2_000:] ** 2)
    assert (power > 0.45) if kept else (power < 0.005)


@pytest.mark.parametrize("cents", [-40, -20, 0, 20, 40])
def test_a_detuned_tone_has_its_frequency_and_its_length(cents):
    found = harder.detune(TONE, RATE, cents)
    assert found.shape == TONE.shape
    assert 1_200 * np.log2(peak_hz(found[0, :20_000]) / 1_000) == pytest.approx(cents, abs=1)


def test_the_frame_sees_another_instant():
    ramp = np.arange(RATE, dtype=float)[None]
    for instant in (0.05, 0.2, 0.7):
        moved = harder.move_instant(ramp, RATE, instant, 0.2)
        assert moved[0, round(0.2 * RATE)] == pytest.approx(instant * RATE, abs=1)
    assert not harder.move_instant(ramp, RATE, 5.0, 0.2).any()


def test_a_second_note_has_its_level():
    other = np.random.default_rng(0).normal(size=TONE.shape)
    added = harder.mix(TONE, other, -10) - TONE
    assert 10 * np.log10(np.mean(TONE**2) / np.mean(added**2)) == pytest.approx(10)
    assert (harder.mix(TONE, np.zeros_like(TONE), -10) == TONE).all()
