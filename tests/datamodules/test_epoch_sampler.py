"""The batches and shifts of an epoch."""

from __future__ import annotations

import pytest
import torch

from datamodules.epoch_sampler import EpochSampler, ShiftSettings


def test_epochs_differ_and_are_a_function_of_seed_and_epoch() -> None:
    def drawn(seed: int, epoch: int) -> torch.Tensor:
        sampler = EpochSampler(torch.arange(100), 32, ShiftSettings(), seed, train=True)
        sampler.set_epoch(epoch)
        return torch.cat([torch.stack(batch) for batch in sampler], dim=1)

    assert torch.equal(drawn(0, 3), drawn(0, 3))
    assert not torch.equal(drawn(0, 3), drawn(0, 4))
    assert not torch.equal(drawn(0, 3), drawn(1, 3))
    notes, semitones = drawn(0, 3)
    assert sorted(notes.tolist()) == list(range(100))
    assert set(semitones.tolist()) == {-2, -1, 0, 1, 2}


def test_a_shift_of_zero_can_be_left_out() -> None:
    shifts = ShiftSettings(-2, 3, zero=False)
    sampler = EpochSampler(torch.arange(300), 300, shifts, 0, train=True)
    drawn = next(iter(sampler))[1]
    assert sorted(set(drawn.tolist())) == [-2, -1, 1, 2, 3]
    assert all(40 <= int((drawn == shift).sum()) <= 80 for shift in (-2, -1, 1, 2, 3))


def test_scored_notes_keep_their_order_and_shifts() -> None:
    sampler = EpochSampler(torch.arange(50), 32, ShiftSettings(), 0, train=False)
    first = [torch.stack(batch) for batch in sampler]
    sampler.set_epoch(9)
    assert all(torch.equal(a, torch.stack(b)) for a, b in zip(first, sampler, strict=True))


def test_a_last_training_batch_of_one_note_is_left_out() -> None:
    assert [len(n) for n, _ in EpochSampler(torch.arange(33), 16, ShiftSettings(), 0, train=True)] == [16, 16]
    assert [len(n) for n, _ in EpochSampler(torch.arange(33), 16, ShiftSettings(), 0, train=False)] == [16, 16, 1]


@pytest.mark.parametrize(
    "wrong",
    [{"lowest": 1, "highest": -1}, {"lowest": 1, "highest": 2}, {"continuous": True}, {"memory_budget_mib": -1.0}],
)
def test_impossible_shifts_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"data\.shifts"):
        ShiftSettings(**wrong)


def test_a_batch_of_any_size_holds_the_notes_at_most() -> None:
    for size in (50, 51, 2**70):
        for train in (True, False):
            (batch,) = EpochSampler(torch.arange(50), size, ShiftSettings(), 0, train)
            assert sorted(batch[0].tolist()) == list(range(50))
