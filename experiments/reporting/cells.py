"""The finished cells of a grid and the published scores, as data frames."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.reporting.cell_files import PUBLISHED_ROWS, read_metrics
from experiments.reporting.columns import OF_WHOLE_NOTES, Metric, Spread, Spreads

PUBLISHED_FILE = Path(__file__).with_name("published.csv")


def read_cells(out: Path) -> pd.DataFrame:
    """The finished cells of a grid.

    Args:
        out: the grid's folder; a cell is ``<row>/seed_<n>/metrics.json`` in it, or ``seed_<n>_fold_<k>``.

    Returns:
        One row for each cell, checkpoint (best, last) and protocol (published, honest): what the run was (row, seed,
        fold if there are folds, data, data_hash, machine, precision, epochs, wall_s), the checkpoint's epoch, and one
        column a metric.
    """
    records: list[dict[str, Any]] = []
    for file in sorted(out.glob("*/seed_*/metrics.json")):
        content = read_metrics(file)
        if content is None:
            print(f"{file}: not a finished cell's metrics; it is left out of the table", file=sys.stderr)
            continue
        facts = {key: value for key, value in content.items() if not isinstance(value, dict)}
        for checkpoint in ("best", "last"):
            scores = content[checkpoint]
            for protocol in ("published", "honest"):
                place = {"checkpoint": checkpoint, "protocol": protocol, "epoch": scores.get("epoch")}
                records.append({**facts, **place, **scores.get(protocol, {})})
    return pd.DataFrame.from_records(records)


def published_scores() -> pd.DataFrame:
    """The published score of each row and seed, rows by their configuration's name."""
    scores = pd.read_csv(PUBLISHED_FILE)
    return scores.assign(row=scores["row"].map({label: row for row, label in PUBLISHED_ROWS.items()}))


def spreads(scores: pd.DataFrame, metrics: Sequence[Metric]) -> Spreads:
    """Mean and deviation over seeds of the rows and metrics that ``scores`` holds: one row a seed, or seed and fold."""
    if scores.empty:
        return {}
    scores = over_folds(scores)
    names = [metric.name for metric in metrics if metric.name in scores]
    found = {
        str(row): {name: Spread.of(cells[name]) for name in names if cells[name].notna().all()}
        for row, cells in scores.groupby("row", sort=False)
    }
    return {row: of for row, of in found.items() if of}


def over_folds(scores: pd.DataFrame) -> pd.DataFrame:
    """One row a row and seed: the means over the seed's folds, where there are any.

    Seeds of which a fold is missing are left out, as soon as any has them all: means are over the same notes.
    """
    if "fold" not in scores or scores["fold"].isna().all():
        return scores
    done = scores.groupby(["row", "seed"])["fold"].transform("nunique")
    whole = scores[done == done.max()]
    return whole.groupby(["row", "seed"], sort=False).mean(numeric_only=True).reset_index()


def parted(cells: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cells of rows of frames, and those of rows of whole notes, whose columns are others."""
    if OF_WHOLE_NOTES not in cells:
        return cells, cells.iloc[:0]
    whole = cells["row"].isin(set(cells.loc[cells[OF_WHOLE_NOTES].notna(), "row"]))
    return cells[~whole], cells[whole]


def selected(cells: pd.DataFrame, protocol: str, checkpoint: str) -> pd.DataFrame:
    """The cells' scores of one protocol at one checkpoint."""
    if cells.empty:
        return cells
    return cells[(cells["protocol"] == protocol) & (cells["checkpoint"] == checkpoint)]
