"""A trained model from its checkpoint: ``load("runs/m6/seed_0/checkpoints/best.ckpt")``."""

from __future__ import annotations

from pathlib import Path

from lightning_modules.note_module import NoteModule


def load(file: str | Path) -> NoteModule:
    """The model that a checkpoint holds; see :meth:`NoteModule.load_from_checkpoint`."""
    return NoteModule.load_from_checkpoint(file)
