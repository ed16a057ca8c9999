from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix
from torch import Tensor

from metrics.category_mapping import best_matching, mapped_accuracy, matched_accuracy, matched_correctly

LOWEST, K = 24, 82

# lowest pitch, highest pitch, dynamics of each of the table's twelve instruments: 1,885 notes
INSTRUMENTS = [
    (52, 81, 4),
    (34, 77, 4),
    (40, 74, 4),
    (54, 84, 4),
    (24, 105, 3),
    (55, 100, 4),
    (36, 81, 4),
    (49, 80, 4),
    (34, 75, 4),
    (50, 91, 4),
    (60, 96, 3),
    (58, 91, 4),
]


def random_labels(n: int, k: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(k, (n,), generator=generator), torch.randint(k, (n,), generator=generator) + LOWEST


@pytest.mark.parametrize("seed", range(5))
def test_matched_accuracy_is_the_best_of_all_permutations(seed: int) -> None:
    categories, pitches = random_labels(40, 5, seed)
    best = max(
        float((torch.tensor(order)[categories] + LOWEST == pitches).double().mean()) for order in permutations(range(5))
    )
    assert matched_accuracy(categories, pitches) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(3))
def test_accuracies_are_those_of_scikit_learns_contingency_matrix(seed: int) -> None:
    categories, pitches = random_labels(177, K, seed)
    table = contingency_matrix(categories.numpy(), pitches.numpy())
    matched = table[linear_sum_assignment(table, maximize=True)].sum() / 177
    assert matched_accuracy(categories, pitches) == pytest.approx(matched)
    assert mapped_accuracy(categories, pitches) == pytest.approx(table.max(1).sum() / 177)  # purity


def test_a_permutation_of_the_pitches_is_right_in_every_form() -> None:
    _, pitches = random_labels(300, K, 0)
    names = torch.randperm(K, generator=torch.Generator().manual_seed(1)) * 17 - 500  # sparse and negative names
    categories = names[pitches - LOWEST]
    for accuracy in (matched_accuracy, mapped_accuracy):
        assert accuracy(categories, pitches) == 1
        assert accuracy(categories[:20], pitches[:20], categories, pitches) == 1


def test_two_categories_of_one_pitch_count_for_mapping_but_not_for_matching() -> None:
    categories, pitches = torch.tensor([0, 0, 1, 1]), torch.tensor([60, 60, 60, 60])
    assert mapped_accuracy(categories, pitches) == 1
    assert matched_accuracy(categories, pitches) == 0.5


def test_the_mapping_is_taken_from_the_fit_notes() -> None:
    fit_categories, fit_pitches = torch.tensor([5, 5, 5, 9, 9, 2]), torch.tensor([60, 60, 61, 60, 61, 60])
    categories, pitches = torch.tensor([5, 5, 9, 9, 2, 1, 10, 7]), torch.tensor([60, 61, 60, 61, 60, 60, 60, 61])
    # one to one: 5 -> 60, 9 -> 61, 2 left over; 1, 7 and 10 unseen
    assert matched_accuracy(categories, pitches, fit_categories, fit_pitches) == 2 / 8
    # many to one: 5 -> 60, 9 -> 60 (the lower of two equally frequent), 2 -> 60
    assert mapped_accuracy(categories, pitches, fit_categories, fit_pitches) == 3 / 8


def test_a_match_that_no_fit_note_supports_does_not_count() -> None:
    """Category 1 shares pitch 60 with category 0; pitch 61, which is left over, is not its match."""
    fit_categories, fit_pitches = torch.tensor([0, 0, 1, 0]), torch.tensor([60, 60, 60, 61])
    found = matched_accuracy(torch.tensor([1, 0]), torch.tensor([61, 60]), fit_categories, fit_pitches)
    assert found == 0.5


def test_equally_frequent_pitches_map_to_the_lowest_in_any_order() -> None:
    pitches = torch.tensor([64, 60, 62])
    for order in permutations(range(3)):
        found = mapped_accuracy(torch.tensor([0]), torch.tensor([60]), torch.zeros(3).long(), pitches[list(order)])
        assert found == 1


def test_fitting_on_the_scored_notes_is_the_published_form() -> None:
    categories, pitches = random_labels(177, K, 3)
    for accuracy in (matched_accuracy, mapped_accuracy):
        assert accuracy(categories, pitches) == accuracy(categories, pitches, categories, pitches)


def test_random_categories_score_far_above_chance_as_published_and_at_chance_when_honest() -> None:
    published: list[tuple[float, float]] = []
    honest: list[tuple[float, float]] = []
    notes = [pitch for low, high, dynamics in INSTRUMENTS for pitch in range(low, high + 1) for _ in range(dynamics)]
    assert len(notes) == 1885
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        pitches = torch.tensor(notes)[torch.randperm(1885, generator=generator)]
        categories = torch.randint(K, (1885,), generator=generator)
        scored, fit = (categories[:177], pitches[:177]), (categories[177:], pitches[177:])
        published.append((matched_accuracy(*scored), mapped_accuracy(*scored)))
        honest.append((matched_accuracy(*scored, *fit), mapped_accuracy(*scored, *fit)))
    assert np.mean(published, axis=0) == pytest.approx([0.35, 0.43], abs=0.02)
    assert np.mean(honest, axis=0) == pytest.approx([1 / K, 1 / K], abs=0.015)


@pytest.mark.parametrize("accuracy", [matched_accuracy, mapped_accuracy])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((torch.zeros(3), torch.zeros(3).long()), "categories has type torch.float32; give integers"),
        ((torch.zeros(3).long(), torch.zeros(3).bool()), "pitches has type torch.bool"),
        ((torch.zeros(3).long(), torch.zeros(4).long()), "lengths 3 and 4"),
        ((torch.zeros(0).long(), torch.zeros(0).long()), r"categories has shape \(0,\)"),
        ((torch.zeros(2, 2).long(), torch.zeros(2).long()), r"categories has shape \(2, 2\)"),
        ((torch.zeros(2).long(), torch.zeros(2).long(), torch.zeros(2).long()), "fit_pitches is None"),
        ((torch.zeros(2).long(), torch.zeros(2).long(), None, torch.zeros(2).long()), "fit_categories is None"),
    ],
)
def test_unusable_labels_are_refused(accuracy, labels, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        accuracy(*labels)


def test_the_best_matching_is_the_one_that_is_scored() -> None:
    fit, scored = random_labels(300, 10, 5), random_labels(60, 10, 4)
    pitch_of = best_matching(*fit)
    assert len(set(pitch_of.values())) == len(pitch_of)
    right = [pitch_of.get(c) == p for c, p in zip(*(labels.tolist() for labels in scored), strict=True)]
    assert matched_correctly(*scored, *fit).tolist() == right
