"""Whether two finished grids that differ in precision end at the same metrics, within the noise of their seeds."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import pandas as pd

from datamodules.atomic_files import read_json
from experiments.bench.measure import Figure, Measured, Spread

WITHIN_SE = 2.0
"""A difference of means within so many standard errors is the seeds' noise."""


def scores(folder: Path) -> pd.DataFrame:
    """The scores of a grid's finished cells: row, seed, precision, and one column for each published metric.

    Raises:
        ValueError: the folder holds no finished cell.
    """
    cells = [read_json(file) for file in sorted(folder.glob("*/seed_*/metrics.json"))]
    rows = [
        {"row": cell["row"], "seed": cell["seed"], "precision": cell["precision"], **cell["best"]["published"]}
        for cell in cells
        if cell
    ]
    if not rows:
        raise ValueError(f"{folder}: no finished cell (<row>/seed_<n>/metrics.json) in this folder")
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Difference:
    """A metric of a row in two grids: both means, the second less the first, and its standard error over the seeds."""

    row: str
    metric: str
    means: tuple[float, float]
    difference: float
    error: float
    seeds: int


def compare(first: pd.DataFrame, second: pd.DataFrame) -> list[Difference]:
    """The differences of all metrics of the rows that two grids have in common, with Welch's standard errors.

    Raises:
        ValueError: the two have no row with two seeds in common.
    """
    found = []
    for row in sorted(set(first.row) & set(second.row)):
        a, b = first[first.row == row], second[second.row == row]
        if min(len(a), len(b)) < 2:
            continue
        for metric in first.columns.drop(["row", "seed", "precision"]):
            error = sqrt(a[metric].var() / len(a) + b[metric].var() / len(b))
            means = float(a[metric].mean()), float(b[metric].mean())
            found.append(Difference(row, metric, means, means[1] - means[0], error, min(len(a), len(b))))
    if not found:
        raise ValueError("precision: the two grids have no row of at least two seeds in common")
    return found


def measure(folders: tuple[Path, Path]) -> Measured:
    """The differences between two grids' published metrics."""
    first, second = (scores(folder) for folder in folders)
    names = ["/".join(sorted(set(grid.precision))) for grid in (first, second)]
    figures = []
    for each in compare(first, second):
        within = abs(each.difference) <= WITHIN_SE * each.error
        check = f"{'within' if within else 'BEYOND'} {WITHIN_SE:g} standard errors of {each.error:.2g}"
        note = f"{each.means[0]:.4g} and {each.means[1]:.4g}, {each.seeds} seeds"
        what = f"{each.row}: {names[1]} less {names[0]}"
        figures.append(Figure("precision", what, each.metric, "ours", Spread.of([each.difference]), None, check, note))
    return Measured(figures, [], {"folders": [str(folder) for folder in folders]})
