"""What the scoring and the evaluation classifiers need of a run, whichever command line makes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, TypeVar

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

from datamodules.note_data import NoteData

C = TypeVar("C", bound=L.Callback)


class Run(Protocol):
    """The instantiated modules of some arguments; of `fit`, the trained ones.

    Attributes:
        model: the model.
        datamodule: its notes.
        trainer: the Trainer, with the run's callbacks and loggers.
    """

    model: Any
    datamodule: NoteData
    trainer: L.Trainer

    def __init__(self, args: list[str], run: bool = True) -> None: ...

    @property
    def settings(self) -> Any:
        """The parsed settings."""

    @property
    def plain_settings(self) -> dict[str, Any]:
        """All settings as plain YAML values."""

    @property
    def tested(self) -> Path:
        """The checkpoint that `validate`, `test` and `predict` read."""

    @property
    def best_checkpoint(self) -> ModelCheckpoint:
        """What keeps the weights of the best epoch."""

    @property
    def of_notes(self) -> bool:
        """Whether the data is of notes."""

    def callback(self, kind: type[C]) -> C:
        """The run's callback of a kind."""
