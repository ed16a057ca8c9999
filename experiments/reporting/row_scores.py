"""The scores of a table's rows, and what each checkpoint made of single notes: read from a grid, or published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from datamodules.atomic_files import regular_file
from experiments.reporting.cells import published_scores, selected
from experiments.reporting.columns import OTHER_JUDGES, PERCENT, PUBLISHED_METRICS, WHOLE_NOTE_MEASURES, Metric

HONEST_PITCH = Metric("honest_pitch", "Pitch (logistic)", "min", PERCENT)
HONEST_INSTRUMENT = Metric("honest_instrument", "Instrument (logistic)", "max", PERCENT)
HONEST_ACC = Metric("honest_acc", "honest ACC", "max", PERCENT)
HONEST = (HONEST_PITCH, HONEST_INSTRUMENT, HONEST_ACC, *OTHER_JUDGES)
MEASURES = (*PUBLISHED_METRICS, *HONEST, *WHOLE_NOTE_MEASURES)
"""What rows are compared in: the published metrics, and those with probes and mapping fitted on training notes."""

NO_FOLD = -1
TOLERANCE = 0.01
"""Percentage points by which the mean over notes may miss the score in ``metrics.json``."""

SeedAndFold = tuple[int, int]
"""Seed and fold; `NO_FOLD` for a cell of a grid without folds."""


@dataclass(frozen=True)
class Notes:
    """What a cell's checkpoint made of each scored note.

    Attributes:
        ids: (N,) ids of the notes, sorted.
        kinds: (N,) instrument and MIDI pitch.
        groups: (N,) names of the recordings; empty where they are not known.
        scores: metric -> (N,) the note's share in [%], whose mean over notes is the metric.
    """

    ids: np.ndarray
    kinds: np.ndarray
    groups: np.ndarray
    scores: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class RowScores:
    """All that is known of a row.

    Attributes:
        row: the row's name.
        scores: cell -> metric -> its value.
        notes: the cells whose single notes are known.
    """

    row: str
    scores: Mapping[SeedAndFold, Mapping[str, float]]
    notes: Mapping[SeedAndFold, Notes] = field(default_factory=dict)


def paper_rows() -> dict[str, RowScores]:
    """The published scores of each row: five seeds, no single notes."""
    return _by_row(published_scores().assign(fold=NO_FOLD))


def grid_rows(out: Path, cells: pd.DataFrame) -> dict[str, RowScores]:
    """The scores of each row of a grid at the best checkpoint, with the outcomes of single notes where they are kept.

    Args:
        out: the grid's folder; a cell's notes are in ``<row>/seed_<n>/notes.csv``, or ``seed_<n>_fold_<k>``.
        cells: its finished cells, as `experiments.reporting.cells.read_cells` gives them.
    """
    if cells.empty:
        return {}
    known = cells.assign(fold=cells["fold"].fillna(NO_FOLD).astype(int) if "fold" in cells else NO_FOLD)
    place, names = ["row", "seed", "fold"], {metric.name.removeprefix("honest_"): metric.name for metric in HONEST}
    names |= {metric.name: metric.name for metric in WHOLE_NOTE_MEASURES if metric.name in known}
    honest = selected(known, "honest", "best").reindex(columns=[*place, *names]).rename(columns=names)
    published = selected(known, "published", "best").drop(columns=list(names.values()), errors="ignore")
    merged = published.merge(honest, on=place)
    return {name: _with_notes(out / name, row) for name, row in _by_row(merged).items()}


def _by_row(scores: pd.DataFrame) -> dict[str, RowScores]:
    names = [metric.name for metric in MEASURES if metric.name in scores]
    rows: dict[str, dict[SeedAndFold, Mapping[str, float]]] = {}
    for line in scores.to_dict("records"):
        found = {name: float(line[name]) for name in names}
        rows.setdefault(str(line["row"]), {})[int(line["seed"]), int(line["fold"])] = found
    return {row: RowScores(row, cells) for row, cells in rows.items()}


def _with_notes(folder: Path, row: RowScores) -> RowScores:
    """The row with those of its cells' notes that can be read and agree with the cell's scores."""
    notes = {}
    for (seed, fold), scores in row.scores.items():
        name = f"seed_{seed}" + (f"_fold_{fold}" if fold != NO_FOLD else "")
        found = read_notes(folder / name / "notes.csv")
        if found is not None:
            kept = {k: v for k, v in found.scores.items() if abs(v.mean() - scores.get(k, np.nan)) <= TOLERANCE}
            notes[seed, fold] = replace(found, scores=kept)
    return replace(row, notes=notes)


def read_notes(file: Path) -> Notes | None:
    """The outcomes of single notes that a cell left; ``None`` where there are none or they cannot be read."""
    try:
        table = pd.read_csv(regular_file(file), dtype={"note_id": str}, keep_default_na=False).sort_values("note_id")
        kinds = table["instrument"].astype(str) + " " + table["midi"].astype(int).astype(str)
        groups = table["group"].astype(str) if "group" in table else pd.Series("", table.index)
        shares = _shares(table)
    except (OSError, ValueError, KeyError):
        return None
    scores = {name: share.to_numpy(float) for name, share in shares.items() if len(share) and share.notna().all()}
    return Notes(table["note_id"].to_numpy(str), kinds.to_numpy(str), groups.to_numpy(str), scores)


def _shares(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Metric -> each note's share in it, in [%], of the metrics whose columns are there."""
    columns = {name: f"published_{name}" for name in ("pitch", "instrument", "acc", "pm")}
    columns |= {metric.name: metric.name for metric in HONEST if metric.unit == PERCENT}
    columns |= {metric.name: f"honest_{metric.name}" for metric in WHOLE_NOTE_MEASURES}
    shares = {
        name: 100.0 * pd.to_numeric(table[column], errors="coerce")
        for name, column in columns.items()
        if column in table
    }
    if {"pitch", "instrument"} <= shares.keys():
        shares["combine"] = (shares["instrument"] + 100 - shares["pitch"]) / 2
    return shares
