"""Is a row better than another in a metric? Scores of seeds and outcomes of single notes, read and compared.

The spread of a difference has two sources, seeds and notes. Each is resampled with the other as it is, and the
variances are added:

* seeds, of the two rows apart: n - 1 of n seeds are drawn with replacement, which makes the bootstrap's variance of a
  mean the unbiased s^2 / n (McCarthy and Snowden 1985; n of n draws give 0.8 of it at five seeds);
* notes, of the two rows together, because all rows score the same notes: those of one instrument and pitch, which are
  nearly copies, are drawn together.

Such variances have a closed form, the limit of infinitely many draws: nothing is drawn, and nothing depends on a random
seed. What is particular to a seed and a note is counted twice (three times, if both were drawn at once: Owen 2007, "The
pigeonhole bootstrap"), so the interval is too wide rather than too narrow.

Interval and p value are those of Student's t with Satterthwaite's degrees of freedom; without notes, or where a score
is not one of single notes (FID, CDS), that is Welch's t test. At five seeds a percentile interval would be too narrow;
the least p value of a permutation of two times five, 2 / 252, is lost to the correction for seven claims, and that of
five pairs, 2 / 32, is above 0.05.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from datamodules.atomic_files import regular_file
from experiments.reporting.cell_files import row_label
from experiments.reporting.cells import published_scores, selected
from experiments.reporting.columns import PERCENT, PUBLISHED_METRICS, Metric

LEVEL = 0.05
"""The level of every test, and 1 minus that of every interval."""

HONEST_ACC = Metric("honest_acc", "honest ACC", "max", PERCENT)
MEASURES = (*PUBLISHED_METRICS, HONEST_ACC)
"""What rows are compared in: the published metrics, and ACC with its mapping fitted on training notes."""

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
        groups: (N,) instrument and MIDI pitch: notes that are resampled together.
        scores: metric -> (N,) the note's share in [%], whose mean over notes is the metric.
    """

    ids: np.ndarray
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


@dataclass(frozen=True)
class Comparison:
    """A row against a rival in one metric.

    Attributes:
        row, rival, metric: what is compared.
        means: the two means over seeds; nan where the metric is not there.
        effect: the row's mean minus the rival's, in the metric's unit.
        low, high: its 95 % interval.
        g: Hedges' g, the effect in pooled deviations of the seeds, corrected for their small number.
        p_better: one-sided p value of "the row is not better"; 1 where nothing can be tested.
        p_worse: one-sided p value of "the row is not worse"; 1 where nothing can be tested.
        seeds: seeds of the row and of the rival.
        notes: notes that were resampled; 0 where seeds alone were.
        remark: why notes were not resampled although the metric is one of notes, or why nothing was tested.
        absent: those of the two rows that have no finished cell.
    """

    row: str
    rival: str
    metric: Metric
    means: tuple[float, float] = (np.nan, np.nan)
    effect: float = np.nan
    low: float = np.nan
    high: float = np.nan
    g: float = np.nan
    p_better: float = 1.0
    p_worse: float = 1.0
    seeds: tuple[int, int] = (0, 0)
    notes: int = 0
    remark: str = ""
    absent: tuple[str, ...] = ()

    @property
    def p(self) -> float:
        """The two-sided p value; 1 where nothing was tested."""
        return min(1.0, 2 * min(self.p_better, self.p_worse))

    @property
    def tested(self) -> bool:
        """Whether there was something to test."""
        return bool(np.isfinite(self.low))


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
    honest = selected(known, "honest", "best").reindex(columns=["row", "seed", "fold", "acc"])
    published = selected(known, "published", "best").drop(columns="honest_acc", errors="ignore")
    merged = published.merge(honest.rename(columns={"acc": "honest_acc"}), on=["row", "seed", "fold"])
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
        groups = table["instrument"].astype(str) + " " + table["midi"].astype(int).astype(str)
        shares = _shares(table)
    except (OSError, ValueError, KeyError):
        return None
    scores = {name: share.to_numpy(float) for name, share in shares.items() if len(share) and share.notna().all()}
    return Notes(table["note_id"].to_numpy(str), groups.to_numpy(str), scores)


def _shares(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Metric -> each note's share in it, in [%], of the metrics whose columns are there."""
    columns = {name: f"published_{name}" for name in ("pitch", "instrument", "acc", "pm")}
    columns[HONEST_ACC.name] = "honest_acc"
    shares = {
        name: 100.0 * pd.to_numeric(table[column], errors="coerce")
        for name, column in columns.items()
        if column in table
    }
    if {"pitch", "instrument"} <= shares.keys():
        shares["combine"] = (shares["instrument"] + 100 - shares["pitch"]) / 2
    return shares


def compare(row: RowScores, rival: RowScores, metric: Metric) -> Comparison:
    """Test whether a row is better or worse than another in a metric.

    Folds are pooled: a seed counts once, with the mean over its folds, if it has every fold that both rows have.

    Args:
        row: the scores of the row.
        rival: the scores of the row that it is compared with.
        metric: one that has a better side.
    """
    blank = Comparison(row.row, rival.row, metric)
    folds = sorted({fold for _, fold in row.scores} & {fold for _, fold in rival.scores})
    seeds = [_seeds(of, folds) for of in (row, rival)]
    blank = replace(blank, seeds=(len(seeds[0]), len(seeds[1])))
    if not all(seeds):
        return replace(blank, remark=f"{row_label(row.row)} and {row_label(rival.row)} have no fold in common")
    if missing := [row_label(of.row) for of in (row, rival) if not _has(of, metric)]:
        return replace(blank, remark=f"{metric.label} is not there for {' and '.join(missing)}")
    means = [
        np.array([[of.scores[seed, fold].get(metric.name, np.nan) for fold in folds] for seed in found]).mean(axis=1)
        for of, found in zip((row, rival), seeds, strict=True)
    ]
    blank = replace(blank, means=(float(means[0].mean()), float(means[1].mean())))
    if not all(np.isfinite(of).all() for of in means):
        return replace(blank, remark=f"a score of {metric.label} is not finite")
    if min(blank.seeds) < 2:
        return replace(blank, effect=blank.means[0] - blank.means[1], remark="one seed has no spread")
    shares, remark = _joint_notes(row, rival, seeds, folds, metric)
    return _tested(replace(blank, remark=remark), means, shares)


def _seeds(row: RowScores, folds: list[int]) -> list[int]:
    """The seeds of a row that have all these folds."""
    every = sorted({seed for seed, _ in row.scores})
    return [seed for seed in every if folds and all((seed, fold) in row.scores for fold in folds)]


def _has(row: RowScores, metric: Metric) -> bool:
    """Whether any cell of the row was measured in this metric."""
    return any(np.isfinite(scores.get(metric.name, np.nan)) for scores in row.scores.values())


@dataclass(frozen=True)
class Shares:
    """Notes that two rows have both scored.

    Attributes:
        row: (n, N) share of each note in [%], a line a seed.
        rival: (m, N) the same of the rival.
        groups: (N,) the group of each note, counted from 0.
    """

    row: np.ndarray
    rival: np.ndarray
    groups: np.ndarray


def _joint_notes(
    row: RowScores, rival: RowScores, seeds: list[list[int]], folds: list[int], metric: Metric
) -> tuple[Shares | None, str]:
    """The two rows' outcomes of the same notes, or why there are none to resample."""
    if metric.unit != PERCENT:
        return None, ""
    cells = [
        (of, [(seed, fold) for fold in folds]) for of, found in zip((row, rival), seeds, strict=True) for seed in found
    ]
    for of, places in cells:
        if not all(place in of.notes and metric.name in of.notes[place].scores for place in places):
            return (
                None,
                f"not every seed of {row_label(of.row)} has a notes.csv that agrees with its scores: seeds alone",
            )
    ids = [np.concatenate([of.notes[place].ids for place in places]) for of, places in cells]
    if not all(np.array_equal(ids[0], other) for other in ids[1:]):
        return None, f"{row_label(row.row)} and {row_label(rival.row)} were scored on different notes: seeds alone"
    lines = np.array([np.concatenate([of.notes[at].scores[metric.name] for at in places]) for of, places in cells])
    groups = np.concatenate([row.notes[place].groups for place in cells[0][1]])
    numbers = np.unique(groups, return_inverse=True)[1]
    if numbers.max() == 0:
        return None, "all notes are of one instrument and pitch: seeds alone"
    return Shares(lines[: len(seeds[0])], lines[len(seeds[0]) :], numbers), ""


def _tested(blank: Comparison, means: list[np.ndarray], shares: Shares | None) -> Comparison:
    """The comparison with effect, interval and p values, from the mean of each seed and the shares of each note."""
    effect = float(means[0].mean() - means[1].mean())
    parts = [(float(of.var(ddof=1)) / len(of), len(of) - 1) for of in means]
    if shares is not None:
        parts.append(notes_variance(shares))
    variance = sum(part for part, _ in parts)
    found = replace(blank, effect=effect, g=hedges_g(*means))
    if variance <= 0:
        return replace(found, remark="no spread: every seed scored the same")
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    error = float(np.sqrt(variance))
    reach = float(stats.t.ppf(1 - LEVEL / 2, freedom)) * error
    above, below = (float(stats.t.sf(sign * effect / error, freedom)) for sign in (1, -1))
    better, worse = (above, below) if blank.metric.better == "max" else (below, above)
    notes = 0 if shares is None else len(shares.groups)
    return replace(found, low=effect - reach, high=effect + reach, p_better=better, p_worse=worse, notes=notes)


def notes_variance(shares: Shares) -> tuple[float, int]:
    """Variance of the difference of two rows when the groups of notes are resampled, and its degrees of freedom.

    The mean over notes is a ratio, sum of shares over number of notes, because groups differ in size; its variance is
    the linearised one (Cochran 1977, Sampling Techniques, 9A).
    """
    differences = shares.row.mean(axis=0) - shares.rival.mean(axis=0)
    sizes = np.bincount(shares.groups)
    residuals = np.bincount(shares.groups, weights=differences - differences.mean())
    groups = len(sizes)
    return float(groups / (groups - 1) * (residuals**2).sum() / sizes.sum() ** 2), groups - 1


def hedges_g(row: np.ndarray, rival: np.ndarray) -> float:
    """Hedges' g: the difference of two means in pooled deviations, corrected for small samples (Hedges 1981).

    Args:
        row: (n,) one value a seed.
        rival: (m,) the same of the rival.

    Returns:
        g; nan where nothing varies.
    """
    freedom = len(row) + len(rival) - 2
    pooled = np.sqrt(((len(row) - 1) * row.var(ddof=1) + (len(rival) - 1) * rival.var(ddof=1)) / freedom)
    correction = 1 - 3 / (4 * freedom - 1)
    return float(correction * (row.mean() - rival.mean()) / pooled) if pooled > 0 else float("nan")


def holm(p_values: Iterable[float]) -> np.ndarray:
    """Holm's correction for several tests (Holm 1979): p values to hold against the level of all of them together.

    Args:
        p_values: (m,) p values.

    Returns:
        (m,) corrected p values, never above 1, in the order of ``p_values``.
    """
    given = np.asarray(list(p_values), dtype=np.float64)
    order = np.argsort(given, kind="stable")
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(1, np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1)))
    return corrected
