from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from metrics.information import normalised_mutual_information, pitch_information_gap


def test_renamed_pitches_hold_all_information_and_constants_none() -> None:
    pitches = torch.arange(200) % 20
    assert normalised_mutual_information((pitches * 7 + 3) % 20, pitches) == pytest.approx(1)
    assert normalised_mutual_information(torch.zeros(200, dtype=torch.long), pitches) == pytest.approx(0)


def test_it_is_the_definition() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.integers(0, 4, 500), generator.integers(0, 3, 500)
    b[a == 2] = 1
    joint = np.histogram2d(a, b, bins=(4, 3))[0] / 500
    shared = entropy(joint.sum(0)) + entropy(joint.sum(1)) - entropy(joint.ravel())
    expected = shared / np.mean([entropy(joint.sum(0)), entropy(joint.sum(1))])
    assert normalised_mutual_information(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected)


def test_the_gap_is_wide_where_pitch_is_in_the_category_alone() -> None:
    torch.manual_seed(0)
    pitches = torch.arange(600) % 10
    elsewhere, there = torch.randn(600, 4), torch.randn(600, 4)
    there[:, 2] = pitches + 0.01 * torch.randn(600)
    random = torch.randint(10, (600,))
    assert pitch_information_gap(pitches, elsewhere, pitches) > 0.9
    assert abs(pitch_information_gap(pitches, there, pitches)) < 0.05
    assert pitch_information_gap(random, there, pitches) < -0.8


@pytest.mark.parametrize("pitches", [torch.arange(8), torch.full((8,), 3)])
def test_the_gap_needs_pitches_with_and_without_company(pitches: torch.Tensor) -> None:
    assert pitch_information_gap(torch.arange(8), torch.randn(8, 2), pitches) is None


def test_few_notes_of_a_pitch_are_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    assert pitch_information_gap(torch.arange(8) % 5, torch.randn(8, 2), torch.arange(8) % 6) is not None
    assert not recwarn.list
