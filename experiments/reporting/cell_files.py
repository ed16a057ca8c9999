"""The rows of the published table, and the scores that a cell leaves: read without pandas."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datamodules.atomic_files import read_json

PUBLISHED_ROWS = {"b": "b", "sharp": "#", **{f"m{i}": f"M{i}" for i in range(7)}}
"""The rows of the published table in its order: configuration name -> label."""


def row_label(row: str) -> str:
    """A row's name in the table."""
    return PUBLISHED_ROWS.get(row, row)


def row_order(rows: Iterable[str]) -> list[str]:
    """The published rows in their order, whether they are among ``rows`` or not, then all others by name."""
    return [*PUBLISHED_ROWS, *sorted(set(rows) - set(PUBLISHED_ROWS))]


def read_metrics(file: Path) -> dict[str, Any] | None:
    """The content of a cell's ``metrics.json``; ``None`` where there is none or it is not a cell's."""
    content = read_json(file)
    return content if {"row", "seed", "best", "last"} <= content.keys() else None
