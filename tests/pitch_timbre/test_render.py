"""What is rendered has the pitch, the loudness and the spectrum that were asked for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import pitch_timbre as pt
from pitch_timbre import render
from tests.pitch_timbre.notes import RATE, tone


@pytest.fixture(scope="module")
def model() -> pt.Model:
    return pt.load()


def power(bands: render.MelBands, samples: np.ndarray) -> np.ndarray:
    """(T, F) mel power at each hop."""
    frames = 1 + len(samples) * render.HOP_SHARE // bands.n_fft
    return np.square(np.abs(render._spectra(bands, samples.astype(np.float32), frames))) @ bands.filters.T


@pytest.mark.parametrize("midi", [40, 60, 84])
def test_a_tone_is_made_again_from_its_mel_power(model: pt.Model, midi: int) -> None:
    bands, original = model.bands, tone(midi) / 0.1
    wanted = power(bands, original)
    hz = render.hertz(midi)
    made = render.sound(bands, render.fit(bands, wanted.astype(np.float32), hz), hz)
    found = power(bands, made)[: len(wanted)]
    floor = wanted.max() * 1e-6
    error = [10 * np.log10(np.maximum(p[2:-3], floor)) for p in (wanted[: len(found)], found)]
    assert np.abs(error[0] - error[1]).mean() < 2
    reading = model.analyse((made, RATE))
    assert abs(100 * (reading.pitch - midi)) < 5


@pytest.mark.parametrize(("instrument", "pitch"), [("flute", 76), ("cello", 43), ("trumpet", 67.4), ("cello", "E3")])
def test_rendered_pitch(model: pt.Model, instrument: str, pitch: str | float) -> None:
    if instrument not in model.card.instruments:
        instrument = sorted(model.card.instruments)[-1]
    samples, rate = model.render(pitch, instrument)
    reading = model.analyse((samples, rate))
    assert abs(reading.pitch - pt.model.midi_pitch(pitch)) < 0.1
    assert len(samples) == round(1.5 * rate)


def test_course_of_loudness_is_the_donors_and_ends_are_faded(model: pt.Model) -> None:
    donor = model.analyse((tone(60, 1.2), RATE))
    samples, rate = model.render("A4", "flute", like=donor)
    made = model.analyse((samples, rate))
    assert made.midi == 69
    assert made.duration_s == pytest.approx(donor.duration_s, abs=0.05)
    middle = slice(10, 100)
    assert np.abs(20 * np.log10(made.loudness[middle] / donor.loudness[middle])).mean() < 1
    assert np.abs(samples[[0, -1]]).max() < 1e-3
    steps = np.abs(np.diff(samples))
    assert max(steps[:20].max(), steps[-20:].max()) <= steps[20:-20].max()


def test_swapped_tones_keep_their_pitches(model: pt.Model) -> None:
    notes = [model.analyse((tone(midi, fall=fall), RATE)) for midi, fall in ((52, 0.5), (71.3, 2.0))]
    for (own, other), mode in itertools.product(itertools.permutations(notes), ("hold", "follow")):
        samples, rate = model.render(own.pitch, other, like=own, mode=mode)  # type: ignore[arg-type]
        assert abs(model.analyse((samples, rate)).pitch - own.pitch) < 0.1


def test_the_same_twice(model: pt.Model) -> None:
    first, second = (model.render("C4", "oboe")[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("pitch", ["H4", "", 200, -1, float("nan"), "C0"])
def test_pitches_that_cannot_be_made_are_refused(model: pt.Model, pitch: str | float) -> None:
    with pytest.raises(ValueError, match="pitch"):
        model.render(pitch, "flute")


@pytest.mark.parametrize("timbre", [np.zeros(3), np.full(8, np.nan)])
def test_timbres_that_are_none_are_refused(model: pt.Model, timbre: np.ndarray) -> None:
    with pytest.raises(ValueError, match="timbre"):
        model.render("C4", timbre)


def test_silence_has_no_timbre(model: pt.Model) -> None:
    with pytest.raises(ValueError, match="silent"):
        model.render("C4", (np.zeros(RATE), RATE))


def test_durations_that_are_none_are_refused(model: pt.Model) -> None:
    with pytest.raises(ValueError, match="duration_s"):
        model.render("C4", "flute", duration_s=0)
