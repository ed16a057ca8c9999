"""What a pass over the notes gave, gathered once for all callbacks that score or draw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor


class PitchCategories(NamedTuple):
    """What a mapping of categories to pitches is fitted on and scored with.

    Attributes:
        category: (N,) the notes' most probable categories.
        pitch: (N,) their true pitches, 0 for the lowest of the data.
    """

    category: Tensor
    pitch: Tensor


@dataclass(frozen=True)
class NoteOutputs:
    """What a model gave for N notes, and their labels, in the notes' order.

    Attributes:
        x: (N, F) the frames.
        mu: (N, L) posterior means of the timbre.
        category: (N,) the most probable categories.
        pitch: (N,) true pitches, 0 for the lowest of the data.
        instrument: (N,) instrument labels.
    """

    x: Tensor
    mu: Tensor
    category: Tensor
    pitch: Tensor
    instrument: Tensor

    @classmethod
    def joined(cls, parts: Sequence[NoteOutputs]) -> NoteOutputs:
        """Batches, one after the other."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def cpu(self) -> NoteOutputs:
        """The same on the CPU."""
        return NoteOutputs(*(getattr(self, field.name).cpu() for field in fields(self)))

    @property
    def categories(self) -> PitchCategories:
        """Category and pitch, on the CPU."""
        return PitchCategories(self.category.cpu(), self.pitch.cpu())


class NoteGatherer(L.Callback):
    """Keeps the outputs of a validation or a test until its end; the callbacks after it read them.

    Of the training notes a fit keeps the categories that the epoch's own steps gave, which costs nothing; a test, whose
    second loader holds them, encodes them all again.
    """

    def __init__(self) -> None:
        self._scored: list[NoteOutputs] = []
        self._training: list[NoteOutputs] = []
        self._categories: list[PitchCategories] = []

    @property
    def scored(self) -> NoteOutputs:
        """The scored notes."""
        return _join(self._scored)

    @property
    def training(self) -> NoteOutputs:
        """The training notes, of a test."""
        return _join(self._training)

    @property
    def training_categories(self) -> PitchCategories | None:
        """The training notes' categories of this epoch or test; ``None`` where there are none."""
        if self._training:
            return self.training.categories
        if not self._categories:
            return None
        return PitchCategories(*(torch.cat(parts).cpu() for parts in zip(*self._categories, strict=True)))

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin an epoch."""
        self._categories.clear()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the training notes' categories."""
        self._categories.append(PitchCategories(outputs["category"], batch.pitch))

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep a batch of scored notes."""
        self._scored.append(NoteOutputs(batch.x, outputs.mu, outputs.category, batch.pitch, batch.instrument))

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep a batch of the scored notes (loader 0) or of the training notes (loader 1)."""
        found = NoteOutputs(batch.x, outputs.mu, outputs.category, batch.pitch, batch.instrument)
        (self._training if dataloader_idx else self._scored).append(found)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Release the notes."""
        self._scored.clear()
        self._training.clear()

    on_test_end = on_validation_end


def _join(parts: list[NoteOutputs]) -> NoteOutputs:
    """All batches as one, which takes their place."""
    parts[:] = [NoteOutputs.joined(parts)]
    return parts[0]


def gathered_notes(trainer: L.Trainer) -> NoteGatherer:
    """The trainer's gatherer.

    Raises:
        ValueError: it has none.
    """
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        if isinstance(callback, NoteGatherer):
            return callback
    raise ValueError(
        "trainer.callbacks has no NoteGatherer, whose notes the metrics score; add it before them, as in base.yaml"
    )
