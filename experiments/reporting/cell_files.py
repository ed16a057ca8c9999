"""The rows of the published table, and the scores that a cell leaves: read without pandas."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datamodules.atomic_files import read_json
from experiments.config_files import ROW

NUMBERS = ("epochs", "wall_s", "train_s")
"""Facts of a cell that are numbers; all others are texts."""
LARGEST = 1e300

PUBLISHED_ROWS = {"b": "b", "sharp": "#", **{f"m{i}": f"M{i}" for i in range(7)}}
"""The rows of the published table in its order: configuration name -> label."""


def row_label(row: str) -> str:
    """A row's name in the table."""
    return PUBLISHED_ROWS.get(row, row)


def row_order(rows: Iterable[str]) -> list[str]:
    """The published rows in their order, whether they are among ``rows`` or not, then all others by name."""
    return [*PUBLISHED_ROWS, *sorted(set(rows) - set(PUBLISHED_ROWS))]


def read_metrics(file: Path) -> dict[str, Any] | None:
    """The content of a cell's ``metrics.json``; ``None`` where there is none or it is not a cell's.

    What is of another type than it should be is left out: the file may be damaged, or another program's.
    """
    found = read_json(file)
    row, seed, fold = found.get("row"), found.get("seed"), found.get("fold")
    at = {name: _scores(found.get(name)) for name in ("best", "last")}
    if not (isinstance(row, str) and ROW.fullmatch(row) and _is_whole(seed) and (fold is None or _is_whole(fold))):
        return None
    if not all(at.values()):
        return None
    facts = {name: found[name] for name in NUMBERS if is_number(found.get(name))}
    texts = {name: value for name, value in found.items() if name not in NUMBERS and isinstance(value, str)}
    return {**texts, **facts, "row": row, "seed": seed, **({} if fold is None else {"fold": fold}), **at}


def _scores(found: Any) -> dict[str, Any]:
    """The scores of a checkpoint, those that are numbers; empty where there are none."""
    if not isinstance(found, dict):
        return {}
    protocols = {name: found[name] for name in ("published", "honest") if isinstance(found.get(name), dict)}
    epoch = found.get("epoch")
    scores = {name: {k: float(v) for k, v in of.items() if is_number(v)} for name, of in protocols.items()}
    return {"epoch": epoch if is_number(epoch) else None, **scores} if scores else {}


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a number that a float can hold; true and false are not."""
    return isinstance(value, float) or (_is_whole(value) and abs(value) < LARGEST)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
