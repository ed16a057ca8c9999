"""Batches of whole notes for the tests of their models: random frames, or tones whose pitch a model can find."""

from __future__ import annotations

from typing import Any

import torch

from datamodules.sequence_batch import NoteSequenceBatch
from lightning_modules.axis_stage import AxisStage

MEL_HZ = torch.logspace(1.8, 3.8, 64).tolist()
SIZES: dict[str, Any] = {"n_pitches": 20, "n_mels": 64, "width": 24, "mel_hz": MEL_HZ, "lowest_midi": 50}
STAGE = AxisStage(epochs=1)


def batch(n: int = 6, frames: int = 9, others: int = 7, seed: int = 1) -> NoteSequenceBatch:
    """Notes of different lengths, the first as long as the batch."""
    source = torch.Generator().manual_seed(seed)

    def random_frames(t: int) -> torch.Tensor:
        return torch.rand(n, t, 64, generator=source) * 1.8 - 0.9

    lengths = torch.arange(n) % (frames - 2)
    mask = torch.arange(frames) < (frames - lengths)[:, None]
    other_mask = torch.arange(others) < (others - lengths.clamp(max=others - 1))[:, None]
    return NoteSequenceBatch(
        x=random_frames(frames),
        mask=mask,
        other=random_frames(others),
        other_mask=other_mask,
        x_shifted=random_frames(frames),
        other_shifted=random_frames(others),
        semitones=torch.randint(1, 4, (n,), generator=source),
        pitch=torch.arange(n) % 20,
        instrument=torch.arange(n) % 3,
        note=torch.arange(n),
        frame=torch.zeros(n, dtype=torch.long),
    )


def padded_otherwise(notes: NoteSequenceBatch, padding: float = 0.7) -> NoteSequenceBatch:
    """The same notes with other values, and more frames, where they have none."""
    changed = {}
    for name in ("x", "x_shifted", "other", "other_shifted"):
        frames = getattr(notes, name)
        mask = notes.other_mask if name.startswith("other") else notes.mask
        longer = torch.full((len(frames), 3, frames.shape[-1]), padding)
        changed[name] = torch.cat([frames.where(mask.unsqueeze(-1), padding), longer], 1)
    more = torch.zeros(len(notes.x), 3, dtype=torch.bool)
    masks = {"mask": torch.cat([notes.mask, more], 1), "other_mask": torch.cat([notes.other_mask, more], 1)}
    return notes._replace(**changed, **masks)
