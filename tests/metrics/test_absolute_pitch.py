from __future__ import annotations

import numpy as np
import pytest
import torch

from metrics.absolute_pitch import is_octave_error, largest_instrument_offset, pitch_errors


def test_a_category_is_its_offset_and_its_number() -> None:
    midi = torch.arange(24, 106)
    assert not pitch_errors(midi - 24, 24.0, midi).any()
    np.testing.assert_array_equal(pitch_errors(midi - 24, 25.0, midi), np.ones(82))


def test_octaves_are_those_of_numpys_remainder() -> None:
    errors = np.arange(-40, 41)
    np.testing.assert_array_equal(errors[is_octave_error(errors)], [-36, -24, -12, 12, 24, 36])


def test_an_instrument_an_octave_off_is_found_among_good_ones() -> None:
    generator = np.random.default_rng(0)
    instruments = torch.arange(5).repeat_interleave(21)
    errors = generator.integers(-1, 2, len(instruments))
    assert abs(largest_instrument_offset(errors, instruments)) <= 1
    errors[instruments.numpy() == 3] -= 12
    assert largest_instrument_offset(errors, instruments) == np.median(errors[instruments.numpy() == 3])


@pytest.mark.parametrize(
    ("categories", "offset", "message"),
    [(torch.zeros(3), 24.0, "have shapes"), (torch.zeros(2), float("nan"), "calibrate the model first")],
)
def test_what_cannot_be_scored_is_refused(categories: torch.Tensor, offset: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pitch_errors(categories.long(), offset, torch.tensor([60, 61]))
