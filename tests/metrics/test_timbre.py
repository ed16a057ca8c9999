"""The timbre measures against scikit-learn and scipy, and at their limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsRegressor

from metrics.timbre import far_neighbour_agreement, rank_agreement, register_r2, triplet_agreement


def test_the_register_is_a_regression_on_the_nearest_other_notes():
    """Each pitch occurs once, so that leaving the note out leaves its pitch out."""
    random = np.random.default_rng(0)
    codes, midi = random.normal(size=(40, 3)), np.arange(40, 80)
    predicted = [
        KNeighborsRegressor(5).fit(np.delete(codes, i, 0), np.delete(midi, i)).predict(codes[i : i + 1])[0]
        for i in range(40)
    ]
    assert register_r2(codes, midi, ["x"] * 40) == pytest.approx(r2_score(midi, predicted))


def test_the_register_of_a_code_of_pitch_and_of_a_code_of_timbre():
    midi, instruments = np.tile(np.arange(48, 72), 2), np.repeat(["a", "b"], 24)
    assert register_r2(midi[:, None], midi, instruments) > 0.95
    instrument_only = np.random.default_rng(0).normal(0, 0.01, (48, 2)) + (instruments == "a")[:, None]
    assert register_r2(instrument_only, midi, instruments) < 0.1


def test_notes_of_the_same_pitch_do_not_tell_a_pitch():
    codes = np.array([[0.0], [0.0], [1.0], [1.0]])
    assert register_r2(codes, [60, 60, 61, 61], ["x"] * 4, neighbours=1) < 0


def test_far_neighbours_by_hand():
    codes = np.array([[0.0], [0.1], [0.5], [0.11]])
    midi, instruments = [48, 60, 60, 72], ["a", "a", "b", "b"]
    # 48 a: nearest far is 60 a (right); 60 a: 48 a at 0.1 and 72 b at 0.01 (wrong); 60 b: 72 b at 0.39, 48 a at 0.5
    # (right); 72 b: 60 a at 0.01 (wrong)
    assert far_neighbour_agreement(codes, midi, instruments) == 0.5
    with pytest.raises(ValueError, match="24 semitones"):
        far_neighbour_agreement(codes, midi, instruments, 24)


def test_ratings_that_the_distances_give_are_agreed_with():
    points = np.random.default_rng(1).normal(size=(8, 2))
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    assert rank_agreement(distances, distances**2) == pytest.approx(1)
    assert triplet_agreement(distances, distances**2) == 1
    assert rank_agreement(distances, -distances) == pytest.approx(-1)
    assert triplet_agreement(distances, -distances) == 0


def test_the_rank_agreement_is_scipys_for_each_anchor():
    random = np.random.default_rng(2)
    a, b = (matrix + matrix.T for matrix in random.random((2, 7, 7)))
    each = [spearmanr(np.delete(a[i], i), np.delete(b[i], i)).statistic for i in range(7)]
    assert rank_agreement(a, b) == pytest.approx(np.mean(each))


@pytest.mark.parametrize(
    "call",
    [
        lambda: register_r2([[0.0], [1.0]], [60, 60], ["a", "a"]),
        lambda: register_r2([0.0, 1.0], [60, 61], ["a", "a"]),
        lambda: register_r2([[np.nan], [1.0]], [60, 61], ["a", "a"]),
        lambda: rank_agreement(np.zeros((3, 3)), np.zeros((4, 4))),
        lambda: triplet_agreement(np.zeros((4, 4)), np.zeros((4, 4))),
    ],
)
def test_what_cannot_be_measured_is_refused(call):
    with pytest.raises(ValueError, match=r"give|compared|drop"):
        call()
