"""Reading a checkpoint, and building the model that it describes, without running anything in it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import torch
from jsonargparse import ArgumentParser
from torch import Tensor

import lightning_modules

STATE_OF_DATA = {"pitch_range", "data_hash"}
"""What tells the state of a data module from those of others."""


def data_state(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What the data module left in a checkpoint, under the name of its class; empty where there is none."""
    states = (state for state in checkpoint.values() if isinstance(state, dict) and STATE_OF_DATA & state.keys())
    return next(states, {})


def read_file(file: str | Path) -> dict[str, Any]:
    """The tensors and plain values of a file that torch wrote.

    Neither its archive nor its tensors may be larger than the file: a compressed entry, or a tensor whose elements
    share memory, could ask for more than the machine has.

    Raises:
        ValueError: it is damaged, holds anything else, or is no ordinary file.
        FileNotFoundError: there is no such file.
    """
    try:
        size = Path(file).stat().st_size
        if not Path(file).is_file():
            raise IsADirectoryError  # or a fifo or a device, which could block for ever
        with zipfile.ZipFile(file) as archive:  # torch does not compare the checksums that it writes
            damaged = sum(entry.file_size for entry in archive.infolist()) > size or archive.testzip()
        if damaged:
            raise ValueError("damaged")
        content = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or sum(tensor.nbytes for tensor in _tensors(content)) > size:
            raise ValueError("more than the file holds")
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{file}: not a checkpoint of this project, or damaged ({type(error).__name__})") from error
    return content


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested values."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def build(description: dict[str, Any], base: type) -> Any:
    """The model of a checkpoint's description, with random weights that are not drawn from the global source.

    Args:
        description: ``class`` and ``arguments``; a class of another package is found if it was imported before.
        base: what the class must be derived from.
    """
    if odd := [text for text in _texts(description["class"], description["arguments"]) if not text.isidentifier()]:
        raise ValueError(f"{odd[0]!r} names no class")  # a dotted name would be imported
    for module in iter_modules(lightning_modules.__path__):
        import_module(f"lightning_modules.{module.name}")  # so that the classes are found by their names
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--model", type=base)
    spec = {"class_path": description["class"], "init_args": description["arguments"]}
    with torch.random.fork_rng(devices=[]):
        return parser.instantiate(parser.parse_object({"model": spec})).model


def _texts(*values: Any) -> list[str]:
    """All strings in nested plain values, but not the keys."""
    found: list[str] = []
    for value in values:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        found += [value] if isinstance(value, str) else _texts(*inner)
    return found
