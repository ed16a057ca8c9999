"""What a cell depends on: its key, and the arguments of its fit."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from experiments.config_files import arranged, with_bases
from experiments.grid.cells import Cell
from experiments.grid.settings import BadInputError, GridSettings
from experiments.paths import CONFIGS, ROOT

CODE_THAT_MATTERS = (
    *("callbacks", "datamodules", "lightning_modules", "metrics"),
    *(f"experiments/{name}.py" for name in ("classifiers", "cli", "config_files", "lightning_cli", "scoring")),
)
"""What a cell's numbers depend on: a change here makes cells stale."""


def code_files() -> list[Path]:
    """The source files that a cell's numbers depend on."""
    found = [ROOT / name for name in CODE_THAT_MATTERS]
    return [file for place in found for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]


def check_rows(settings: GridSettings) -> None:
    """Refuse rows, data and arguments of fits that would fail, before any cell is started.

    Raises:
        BadInputError: it names the row and the setting, or the file.
    """
    try:
        for cell in list_cells(settings, data_hash="")[: len(settings.rows)]:
            try:
                arguments = arranged(fit_arguments(settings, cell)[1:])
            except ValueError as error:
                raise ValueError(f"row {cell.row}: {error}") from error
            axis, epochs = (_number(arguments, name) for name in ("model.axis.epochs", "trainer.max_epochs"))
            if epochs and axis >= epochs:
                raise ValueError(
                    f"row {cell.row}: model.axis.epochs is {axis:g} and trainer.max_epochs {epochs:g}: nothing but the "
                    "axis of pitch would be learned; raise --epochs, or train that row by itself with a shorter axis: "
                    "-- --model.axis.epochs N"
                )
    except SyntaxError as error:
        raise BadInputError(f"{error.filename}, line {error.lineno}: {error.msg}") from error
    except ValueError as error:
        raise BadInputError(str(error)) from error


def _number(arguments: Sequence[str], name: str) -> float:
    """The number that a setting of checked arguments has; 0 where it is not there or is no number."""
    found: Any = 0
    keys = name.split(".")
    for argument in arguments:
        if argument.startswith(f"--{name}="):
            found = yaml.safe_load(argument.partition("=")[2])
        elif not argument.startswith("--"):
            below: Any = yaml.safe_load(argument)
            for key in keys:
                below = below.get(key) if isinstance(below, dict) else None
                below = below["init_args"] if isinstance(below, dict) and "init_args" in below else below
            found = found if below is None else below
    return float(found) if isinstance(found, int | float) else 0.0


def list_cells(settings: GridSettings, data_hash: str) -> list[Cell]:
    """The cells in the order in which they run: seed 0 of every row first, so that a one-seed table stands early."""
    epochs = {row: settings.epochs or configured_epochs(settings.variant(row).of) for row in settings.rows}
    keys = {
        (row, fold): cell_key(row, settings, data_hash, fold) for row in settings.rows for fold in settings.each_fold
    }
    return [
        Cell(row, seed, settings.out / row / _folder(seed, fold), epochs[row], keys[row, fold], fold)
        for seed in range(settings.seeds)
        for fold in settings.each_fold
        for row in settings.rows
    ]


def _folder(seed: int, fold: int | None) -> str:
    return f"seed_{seed}" + ("" if fold is None else f"_fold_{fold}")


def cell_key(row: str, settings: GridSettings, data_hash: str, fold: int | None = None) -> str:
    """A hash of all that a cell's result depends on, except its seed."""
    variant = settings.variant(row)
    parts = {
        "row": with_bases(CONFIGS / f"{variant.of}.yaml"),
        "data": with_bases(settings.data) if settings.data else None,
        "notes": data_hash,
        "epochs": settings.epochs,
        "extra": (*variant.arguments, *fold_arguments(settings, fold), *settings.extra),
        "code": code_hash(),
    }
    return sha256(json.dumps(parts).encode()).hexdigest()


def code_hash() -> str:
    """A hash of the code that a cell's numbers depend on, without its comments and docstrings."""
    digest = sha256()
    for file in code_files():
        at = file.stat()
        digest.update(f"{file.relative_to(ROOT)}\n{_code(file, at.st_mtime_ns, at.st_size)}\n".encode())
    return digest.hexdigest()


@cache
def _code(file: Path, changed: int, size: int) -> str:
    """What a source file does; it is read again when it has changed."""
    tree = ast.parse(file.read_text(), str(file))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            del node.body[0]
    return ast.dump(tree)


def configured_epochs(row: str) -> int:
    """``trainer.max_epochs`` of a row, for the progress bar."""
    trainers = [(yaml.safe_load(text) or {}).get("trainer") or {} for text in with_bases(CONFIGS / f"{row}.yaml")]
    return max(1, next((trainer["max_epochs"] for trainer in reversed(trainers) if "max_epochs" in trainer), 1))


def fit_arguments(settings: GridSettings, cell: Cell) -> list[str]:
    """The command line that trains one cell."""
    epochs = [] if settings.epochs is None else ["--trainer.max_epochs", str(settings.epochs)]
    variant = settings.variant(cell.row)
    return [
        *("fit", "--config", str(CONFIGS / f"{variant.of}.yaml")),
        *data_arguments(settings),
        *fold_arguments(settings, cell.fold),
        *("--seed_everything", str(cell.seed), "--run_dir", str(cell.run_dir)),
        *epochs,
        *(("--row", cell.row, *variant.arguments) if cell.row in settings.variants else ()),
        *settings.extra,
    ]


def data_arguments(settings: GridSettings) -> list[str]:
    """The part of the command line that names the data."""
    return [] if settings.data is None else ["--config", str(settings.data)]


def base_arguments(settings: GridSettings) -> list[list[str]]:
    """For each data module that the rows read, the arguments that name it: of frames first, then of whole notes."""
    whole = {_reads_whole_notes(settings.variant(row).of) for row in settings.rows}
    return [["--config", str(CONFIGS / "whole_notes.yaml")] if of else [] for of in sorted(whole)]


def _reads_whole_notes(row: str) -> bool:
    data = [(yaml.safe_load(text) or {}).get("data") or {} for text in with_bases(CONFIGS / f"{row}.yaml")]
    return any(each.get("class_path") == "NoteSequences" for each in data)


def fold_arguments(settings: GridSettings, fold: int | None) -> list[str]:
    """The part of the command line that says which notes are scored."""
    return [] if fold is None else ["--data.split.folds", str(settings.folds), "--data.split.fold", str(fold)]
