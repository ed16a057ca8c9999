"""The measures of whole notes against scipy, scikit-learn, librosa and numpy, and at their limits."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import mean_absolute_error

from metrics.whole_notes import (
    LAGS,
    PARTS,
    centroid_course,
    course_correlation,
    course_summary,
    frame_errors_db,
    levels_db,
    loudness_course,
    pitch_errors,
    swap_pairs,
)

RANDOM = np.random.default_rng(0)
COURSES, OTHERS = RANDOM.normal(size=(2, 5, 40))
LENGTHS = np.array([40, 33, 17, 8, 40])
MASK = np.arange(40) < LENGTHS[:, None]


def test_swapped_notes_differ_in_instrument_and_not_in_range():
    midi, instruments = RANDOM.integers(40, 80, 60), RANDOM.integers(0, 4, 60)
    timbre, pitch = swap_pairs(midi, instruments, 150)
    assert (instruments[timbre] != instruments[pitch]).all()
    assert np.abs(midi[timbre] - midi[pitch]).max() <= 3
    assert np.ptp(np.bincount(pitch, minlength=60)) <= 1, "every note gives its pitch equally often"
    assert (swap_pairs(midi, instruments, 150) == [timbre, pitch]).all()
    assert (swap_pairs(midi, instruments, 150, seed=1) != [timbre, pitch]).any()


def test_a_note_without_a_partner_takes_no_part():
    timbre, pitch = swap_pairs([60, 62, 90], ["a", "b", "b"], 4)
    assert set(pitch.tolist()) == {0, 1}
    assert sorted(zip(timbre, pitch, strict=True)) == [(0, 1), (0, 1), (1, 0), (1, 0)]
    with pytest.raises(ValueError, match="3 semitones"):
        swap_pairs([60, 90, 60], ["a", "b", "a"], 4)


def test_levels_are_linear_in_db():
    assert levels_db([1, 0, -1], 80).tolist() == [0, -40, -80]
    assert float(loudness_course([0.0, 0.0])) == pytest.approx(0)
    assert float(loudness_course([0.0, -300.0])) == pytest.approx(10 * np.log10(0.5))


def test_the_centroid_is_librosas():
    levels, hz = RANDOM.uniform(-60, 0, (9, 30)), np.geomspace(50, 9000, 30)
    expected = librosa.feature.spectral_centroid(S=10 ** (levels.T / 10), freq=hz[:, None])[0]
    assert 2 ** centroid_course(levels, hz) == pytest.approx(expected)


def test_the_correlation_is_scipys_over_a_notes_own_frames():
    expected = [pearsonr(a[:n], b[:n]).statistic for a, b, n in zip(COURSES, OTHERS, LENGTHS, strict=True)]
    assert course_correlation(COURSES, OTHERS, MASK) == pytest.approx(expected)
    assert course_correlation(COURSES, np.ones_like(COURSES), MASK).tolist() == [0] * 5


def test_the_error_of_frames_is_scikit_learns_in_db():
    x, y = RANDOM.uniform(-1, 1, (2, 5, 40, 6))
    expected = [mean_absolute_error(levels_db(x[i, :n], 90), levels_db(y[i, :n], 90)) for i, n in enumerate(LENGTHS)]
    assert frame_errors_db(x, y, MASK, 90) == pytest.approx(expected)


def test_a_summary_reads_a_notes_own_frames_alone():
    courses = np.stack([COURSES, OTHERS], -1)
    found = course_summary(courses, MASK)
    assert found.shape == (5, 2 * (PARTS + 1 + len(LAGS)))
    beyond = np.where(MASK[..., None], courses, 99)
    assert course_summary(beyond, MASK) == pytest.approx(found)
    for note, n in enumerate(LENGTHS):
        own = COURSES[note, :n]
        fine = np.repeat(own, PARTS).reshape(PARTS, n).mean(1)  # each frame cut into as many pieces as there are parts
        assert found[note, : 2 * PARTS : 2] == pytest.approx(fine)
        assert found[note, 2 * PARTS] == pytest.approx(own.std())
        centred = own - own.mean()
        acf = np.correlate(centred, centred, "full")[n - 1 :] / (centred @ centred)
        assert found[note, 2 * PARTS + 2 :: 2] == pytest.approx([acf[lag] if lag < n else 0 for lag in LAGS])


def test_a_course_that_does_not_move_has_a_finite_summary():
    found = course_summary(np.ones((1, 12, 1)), np.arange(12)[None] < 3)
    assert found[0].tolist() == pytest.approx([1] * PARTS + [0] * (1 + len(LAGS)))


def test_errors_of_pitch_by_hand():
    found = pitch_errors([60.0, 60.3, 61.0, np.nan, 7.0], [60.1, 60.0, 60.0, 60.0, np.nan])
    assert (found.frames, found.within_50, found.within_20) == (4, 50, 25)
    assert found.median_cents == pytest.approx(65)
    with pytest.raises(ValueError, match="no frame"):
        pitch_errors([60.0], [np.nan])
