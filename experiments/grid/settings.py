"""What a grid runs, and the arguments that say it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from experiments.known_settings import nearest
from experiments.paths import CONFIGS
from experiments.reporting.cell_files import PUBLISHED_ROWS


class BadInputError(ValueError):
    """What the user asked for cannot be run; the message is one line."""


@dataclass(frozen=True)
class Variant:
    """A row that is another one with some settings changed.

    Attributes:
        of: the row configuration that it is made from.
        arguments: arguments of its fits.
    """

    of: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class GridSettings:
    """What a grid runs.

    Attributes:
        rows: names of row configurations.
        seeds: seeds a row, from 0.
        folds: score every note once, in so many folds of `datamodules.splits.split_notes`, each a cell of its own;
            ``None``: the one split that the configuration says.
        out: the grid's folder.
        epochs: epochs of each cell; ``None``: as its configuration says.
        jobs: cells at a time; ``None``: one a GPU, or one a core; ``ray`` or ``ray://host:port``: what Ray's machines
            have.
        data: a data configuration that replaces the default notes.
        extra: more arguments for every cell's ``fit``.
        index: run only this cell of the list.
        variants: rows that have no configuration of their own, by name.
    """

    rows: tuple[str, ...] = tuple(PUBLISHED_ROWS)
    seeds: int = 5
    folds: int | None = None
    out: Path = Path("runs/table")
    epochs: int | None = None
    jobs: int | str | None = None
    data: Path | None = None
    extra: tuple[str, ...] = ()
    index: int | None = None
    variants: Mapping[str, Variant] = field(default_factory=dict)

    def variant(self, row: str) -> Variant:
        """What a row is made from; its own configuration, if it is no variant."""
        return self.variants.get(row, Variant(row))

    @property
    def each_fold(self) -> Sequence[int | None]:
        """The folds that are scored."""
        return [None] if self.folds is None else range(self.folds)


def known_rows() -> list[str]:
    """The rows that configs/ holds: the published ones in their order, then others by name."""
    found = [file.stem for file in CONFIGS.glob("*.yaml") if _is_row(file)]
    return [*(row for row in PUBLISHED_ROWS if row in found), *sorted(set(found) - set(PUBLISHED_ROWS))]


def _is_row(file: Path) -> bool:
    """A row builds on a base; the classifiers, the smoke test and the base of whole notes do too, and are none."""
    has_base = any(line.startswith("base:") for line in file.read_text().splitlines())
    return has_base and file.stem not in ("smoke", "whole_notes") and not file.stem.startswith("classifier")


def check(settings: GridSettings) -> None:
    """Refuse what cannot be run, before anything is started.

    Raises:
        BadInputError: an unknown row, no row, no seed, no data file, a folder that cannot be written, ...
    """
    known = known_rows()
    unknown = [row for row in settings.rows if settings.variant(row).of not in known]
    if unknown or not settings.rows:
        close = nearest(unknown[0], known) if unknown else ""
        raise BadInputError(
            f"unknown row {', '.join(map(repr, unknown)) or '(none given)'}{close}; known rows: {' '.join(known)}"
        )
    least = {"seeds": 1, "folds": 2, "epochs": 1, "jobs": 1}
    for name, number in ((name, getattr(settings, name)) for name in least):
        if isinstance(number, int) and number < least[name]:
            raise BadInputError(f"{name} is {number}; it must be at least {least[name]}")
    if settings.folds and (given := [name for name in settings.extra if name.startswith("--data.split.fold")]):
        raise BadInputError(f"{given[0]}: the grid sets it, as folds is {settings.folds}; leave one of the two out")
    if isinstance(settings.jobs, str) and find_spec("ray") is None:
        raise BadInputError(f"jobs is {settings.jobs}: it needs Ray: pip install 'pitch-timbre[ray]'")
    if settings.data is not None and not settings.data.is_file():
        raise BadInputError(f"{settings.data}: there is no such data configuration")
    n_cells = settings.seeds * len(settings.each_fold) * len(settings.rows)
    if settings.index is not None and not 0 <= settings.index < n_cells:
        raise BadInputError(f"index is {settings.index}; these rows, seeds and folds make cells 0 to {n_cells - 1}")
    if odd := _of_other_folds(settings):
        raise BadInputError(f"{odd}: not of {settings.folds or 'no'} folds; give another folder (--out), or remove it")
    probe = settings.out / f".writable.{os.getpid()}"
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BadInputError(f"{settings.out}: cannot be written: {error.strerror}") from error


def _of_other_folds(settings: GridSettings) -> Path | None:
    """A cell of the grid's folder that other folds were cut for: what it scored cannot stand in this table."""
    for folder in sorted(settings.out.glob("*/seed_*")):
        fold = folder.name.partition("_fold_")[2]
        if (int(fold) if fold.isdecimal() else None) not in settings.each_fold:
            return folder
    return None


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Raises:
            BadInputError: always.
        """
        raise BadInputError(f"{message} (--help lists the arguments)")


def whole_number(text: str) -> int:
    """An argument that is a whole number.

    Raises:
        argparse.ArgumentTypeError: it is not.
    """
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def jobs(text: str) -> int | str:
    """An argument that says who runs cells: a whole number, ``ray`` or ``ray://host:port``."""
    return text if text == "ray" or text.startswith("ray://") else whole_number(text)


def parse(argv: Sequence[str]) -> GridSettings:
    """The settings of a command line; what follows ``--`` goes to every cell's fit.

    Raises:
        BadInputError: an argument is not known or not a whole number.
    """
    default = GridSettings()
    parser = OneLineParser(prog="python -m experiments grid", description=GridSettings.__doc__)
    parser.add_argument("--rows", nargs="+", default=list(default.rows), metavar="ROW", help="default: all nine")
    parser.add_argument("--seeds", type=whole_number, default=default.seeds, help="seeds a row")
    parser.add_argument("--folds", type=whole_number, help="score every note once, in so many folds a seed")
    parser.add_argument("--epochs", type=whole_number, help="default: as the configuration says")
    parser.add_argument(
        "--jobs",
        type=jobs,
        help="cells at a time; default: one a GPU, or one a core; ray or ray://host:port: many machines",
    )
    parser.add_argument("--data", type=Path, help="a data configuration, such as those in configs/data")
    parser.add_argument("--out", type=Path, default=default.out, help="the grid's folder")
    parser.add_argument("--index", type=whole_number, help="run only this cell of the list (a Slurm array)")
    own, extra = list(argv), []
    if "--" in own:
        place = own.index("--")
        own, extra = own[:place], own[place + 1 :]
    parsed: dict[str, Any] = vars(parser.parse_args(own))
    rows = tuple(dict.fromkeys(parsed.pop("rows")))
    return GridSettings(rows=rows, extra=tuple(extra), **parsed)
