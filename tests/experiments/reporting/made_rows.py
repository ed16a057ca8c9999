"""Rows of a table with made scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from experiments.reporting import claims
from experiments.reporting.claims import Claim, Verdict, verdicts
from experiments.reporting.row_scores import NO_FOLD, Notes, RowScores

CDS, PITCH, ACC = (claims.BY_NAME[name] for name in ("cds", "pitch", "acc"))


def row_of(name: str, values: np.ndarray, metric: str = "cds") -> RowScores:
    """A row with one value a seed."""
    return RowScores(name, {(seed, NO_FOLD): {metric: float(value)} for seed, value in enumerate(values)})


def measured(name: str, values: Mapping[str, np.ndarray]) -> RowScores:
    """A row with one value a seed of several metrics."""
    lines = pd.DataFrame(values).to_dict("records")
    return RowScores(name, {(seed, NO_FOLD): {str(k): v for k, v in line.items()} for seed, line in enumerate(lines)})


def noted(name: str, outcomes: np.ndarray, groups: np.ndarray | None = None, metric: str = "acc") -> RowScores:
    """A row with the outcome, 0 or 1, of each seed (line) and note (column)."""
    row = row_of(name, 100 * outcomes.mean(axis=1), metric)
    ids = np.array([f"note {i:04d}" for i in range(outcomes.shape[1])])
    groups = ids if groups is None else groups
    notes = {(seed, NO_FOLD): Notes(ids, ids, groups, {metric: 100 * line}) for seed, line in enumerate(outcomes)}
    return replace(row, notes=notes)


def drawn(rng: np.random.Generator, notes: np.ndarray, seeds: int, seed_spread: float, own_spread: float) -> np.ndarray:
    """Outcomes of a row: notes are as hard as ``notes`` says, for this row a little harder or easier, seeds differ."""
    own = rng.normal(0, own_spread, len(notes))
    latent = 1.5 + notes + own + rng.normal(0, seed_spread, (seeds, 1))
    return (rng.random((seeds, len(notes))) < 1 / (1 + np.exp(-latent))).astype(float)


def rejected(p_values: list[float]) -> float:
    return float(np.mean(np.array(p_values) < 0.05))


def verdicts_of(family: Sequence[Claim], rows: Mapping[str, RowScores]) -> list[Verdict]:
    """The verdicts of a family on one table."""
    return verdicts([(family, rows)])[0]
