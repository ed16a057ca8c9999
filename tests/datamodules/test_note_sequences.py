"""Whole notes as batches."""

from __future__ import annotations

import torch

from datamodules.sequence_batch import NoteSequenceBatch


def test_pairs_of_one_frame_take_the_same_instant_of_the_note_and_of_its_copy() -> None:
    x = torch.rand(3, 5, 4)
    labels = torch.tensor([7, 8, 9])
    batch = NoteSequenceBatch(
        x=x,
        mask=torch.ones(3, 5, dtype=torch.bool),
        other=x,
        other_mask=torch.ones(3, 5, dtype=torch.bool),
        x_shifted=x + 1,
        other_shifted=x + 1,
        semitones=torch.tensor([1, -1, 0]),
        pitch=labels,
        instrument=labels,
        note=labels,
        frame=torch.tensor([0, 4, 2]),
        x_pitch=x + 2,
    )
    pairs = batch.frame_pairs
    assert torch.equal(pairs.x, torch.stack([x[0, 0], x[1, 4], x[2, 2]]))
    assert torch.equal(pairs.x_shifted, pairs.x + 1)
    assert torch.equal(pairs.x_pitch, pairs.x + 2)
    assert pairs.x_pitch_shifted is None
    assert torch.equal(pairs.semitones, batch.semitones)
