"""A trained model from its checkpoint: ``load("runs/m6/seed_0/checkpoints/best.ckpt")``."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import torch
from jsonargparse import ArgumentParser

import lightning_modules
from lightning_modules.checkpoint_file import read_file
from lightning_modules.note_module import NoteModule


def load(file: str | Path) -> NoteModule:
    """The model that a checkpoint holds, in evaluation mode, without gradients; no pickle of the file runs.

    A class that is not this project's is found if its module was imported before.

    Raises:
        ValueError: the file is damaged, is no checkpoint of this project, or its weights are not those of its model.
        FileNotFoundError: there is no such file.
    """
    checkpoint = read_file(file)
    try:
        model = _built(checkpoint["model"])
        model.check_weights(checkpoint["state_dict"])
        model.load_state_dict(checkpoint["state_dict"])
    except Exception as error:
        raise ValueError(f"{file}: not a checkpoint of this project: {' '.join(str(error).split())[:300]}") from error
    model.origin, model.data_settings = checkpoint["model"]["origin"], checkpoint.get("NotePairs", {})
    return model.eval().requires_grad_(False)


def _built(description: dict[str, Any]) -> NoteModule:
    """The model of :meth:`NoteModule.description`, with random weights that are not drawn from the global source."""
    if odd := [text for text in _texts(description["class"], description["arguments"]) if not text.isidentifier()]:
        raise ValueError(f"{odd[0]!r} names no class")  # a dotted name would be imported
    for module in iter_modules(lightning_modules.__path__):
        import_module(f"lightning_modules.{module.name}")  # so that the classes are found by their names
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--model", type=NoteModule)
    spec = {"class_path": description["class"], "init_args": description["arguments"]}
    with torch.random.fork_rng(devices=[]):
        model: NoteModule = parser.instantiate(parser.parse_object({"model": spec})).model
    return model


def _texts(*values: Any) -> list[str]:
    """All strings in nested plain values, but not the keys."""
    found: list[str] = []
    for value in values:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        found += [value] if isinstance(value, str) else _texts(*inner)
    return found
