from __future__ import annotations

import pytest

from lightning_modules.schedules import Constant, ParameterGroup, WarmupCosine


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(0, 1 / 5), (3, 4 / 5), (4, 1.0), (4 + 48, 0.5 * (1 + 0.02)), (100, 0.02), (500, 0.02)],
)
def test_the_learning_rate_warms_up_and_falls_as_a_cosine(steps: int, expected: float) -> None:
    schedule = WarmupCosine(warmup_steps=4, final_share=0.02)
    assert schedule.share(steps, 100) == pytest.approx(expected, abs=1e-6)


def test_a_group_has_its_share_of_the_epochs() -> None:
    first = ParameterGroup([], 1.0, WarmupCosine(), last_epoch=2).share_of(steps=50, epochs=5)
    second = ParameterGroup([], 1.0, first_epoch=2).share_of(steps=50, epochs=5)
    assert [first(0), first(20), first(50)] == pytest.approx([1, 0.02, 0.02])
    assert [second(19), second(20), second(49)] == [0, 1, 1]
    assert Constant().share(3, 5) == 1


def test_shares_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="final_share 2"):
        WarmupCosine(final_share=2)
