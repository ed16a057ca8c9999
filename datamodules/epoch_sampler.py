"""Which notes and shifts make the batches of an epoch: a function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

Drawn = tuple[Tensor, Tensor]
"""(B,) rows of the note table and (B,) shifts in semitones."""


@dataclass(frozen=True)
class ShiftSettings:
    """Which pitch shifts make the second frame of a pair.

    Attributes:
        lowest: lowest shift in semitones.
        highest: highest shift in semitones, drawn too (the authors' code never draws its own +2).
        pairs: ``table`` computes the frames of all whole semitones once; ``on_the_fly`` computes each batch from the
            samples; ``none`` makes no pairs. The range always decides which notes are long enough, so that rows with
            and without pairs are trained and scored on the same notes.
        continuous: draw real intervals rather than whole semitones; needs ``pairs: on_the_fly``.
        zero: whether a whole shift of 0 is drawn, which makes two equal frames.
        memory_budget_mib: memory that the table may take, MiB; where it would take more, the pairs are made on the fly,
            from samples that are kept on the device if they fit in the budget and read from the disk's cache if not.
    """

    lowest: int = -2
    highest: int = 2
    pairs: Literal["table", "on_the_fly", "none"] = "table"
    continuous: bool = False
    zero: bool = True
    memory_budget_mib: float = 2048.0

    def __post_init__(self) -> None:
        """Refuse ranges that hold no shift, and budgets below zero."""
        if not self.memory_budget_mib >= 0:
            raise ValueError(f"data.shifts.memory_budget_mib is {self.memory_budget_mib:g}; it must not be negative")
        if self.lowest > self.highest:
            raise ValueError(f"data.shifts: lowest {self.lowest} lies above highest {self.highest}")
        if not self.lowest <= 0 <= self.highest:
            raise ValueError(f"data.shifts: {self.lowest}..{self.highest} must hold 0, the unshifted frame")
        if not self.zero and self.lowest == self.highest:
            raise ValueError("data.shifts: lowest and highest are 0, and zero is false: no shift is left")
        if self.continuous and self.pairs != "on_the_fly":
            raise ValueError(
                "data.shifts.continuous needs data.shifts.pairs: on_the_fly; a table holds whole semitones"
            )


class EpochSampler(Sampler):
    """Batches of (note indices, shifts), drawn again each epoch from (seed, epoch).

    Nothing but the epoch's number decides an epoch's batches, so that a resumed run reads what a run without a break
    reads.
    """

    def __init__(self, notes: Tensor, batch_size: int, shifts: ShiftSettings, seed: int, train: bool) -> None:
        self.notes, self.shifts, self.seed, self.train = notes, shifts, seed, train
        self.batch_size = min(batch_size, max(len(notes), 1))
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this at each epoch's start. Scored notes keep their order and shifts."""
        self.epoch = epoch if self.train else 0

    def __len__(self) -> int:
        # A last batch of one note would have no variance to normalise by.
        full, rest = divmod(len(self.notes), self.batch_size)
        return full + (rest > (1 if self.train and full else 0))

    def __iter__(self) -> Iterator[Drawn]:
        source = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) * 2 + self.train)
        order = torch.randperm(len(self.notes), generator=source) if self.train else torch.arange(len(self.notes))
        for batch in order.split(self.batch_size)[: len(self)]:
            if self.shifts.continuous:
                span = self.shifts.highest - self.shifts.lowest
                semitones = self.shifts.lowest + span * torch.rand(len(batch), generator=source)
            else:
                highest = self.shifts.highest + self.shifts.zero
                semitones = torch.randint(self.shifts.lowest, highest, (len(batch),), generator=source)
                if not self.shifts.zero:
                    semitones += semitones >= 0
            yield self.notes[batch], semitones


class _AsDrawn(Dataset):
    """What the sampler draws is the batch: frames are read on the device, after the transfer."""

    def __getitem__(self, drawn: Drawn) -> Drawn:
        return drawn


def loader_of(sampler: EpochSampler) -> DataLoader:
    """A loader whose batches are what the sampler draws."""
    return DataLoader(_AsDrawn(), batch_size=None, sampler=sampler)
