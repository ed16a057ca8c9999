"""Is a row better than another in a metric? Scores of seeds and outcomes of single notes, read and compared.

The spread of a difference has two sources, seeds and notes. Each is resampled with the other as it is, and the
variances are added:

* seeds, of the two rows apart: n - 1 of n seeds are drawn with replacement, which makes the bootstrap's variance of a
  mean the unbiased s^2 / n (McCarthy and Snowden 1985; n of n draws give 0.8 of it at five seeds);
* notes, of the two rows together, because all rows score the same notes: those of one recording (the note table's
  ``group``), or of one instrument and pitch where that is coarser, are drawn together, as their errors go together.

Such variances have a closed form, the limit of infinitely many draws: nothing is drawn, and nothing depends on a random
seed. What is particular to a seed and a note is counted twice (three times, if both were drawn at once: Owen 2007, "The
pigeonhole bootstrap"), so the interval is too wide rather than too narrow.

Interval and p value are those of Student's t with Satterthwaite's degrees of freedom; without notes, or where a score
is not one of single notes (FID, CDS), that is Welch's t test. Seeds need not be normal (some rows have good and bad
seeds): the runs of each fold are also exchanged between the two rows, and where that parts the rows as far in more than
2.5 % of the arrangements, its p value counts if it is the larger one. `experiments.reporting.rejection_rates` measures
how often all this finds a difference where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np
from scipy import stats

from experiments.reporting.cell_files import row_label
from experiments.reporting.columns import PERCENT, Metric
from experiments.reporting.row_scores import RowScores

LEVEL = 0.05
"""The level of every test, and 1 minus that of every interval."""

FEWEST_SEEDS = 5
"""Of either row: with fewer, a difference of three deviations is found in 1 to 15 % of cases, and nothing is said."""

MOST_ARRANGEMENTS = 20_000
"""Exchanges of runs between two rows that are tried; drawn where there are more."""


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
    if missing := [row_label(of.row) for of in (row, rival) if not has(of, metric)]:
        return replace(blank, remark=f"{metric.label} is not there for {' and '.join(missing)}")
    runs = [
        np.array([[of.scores[seed, fold].get(metric.name, np.nan) for fold in folds] for seed in found])
        for of, found in zip((row, rival), seeds, strict=True)
    ]
    blank = replace(blank, means=(float(runs[0].mean()), float(runs[1].mean())))
    if not all(np.isfinite(of).all() for of in runs):
        return replace(blank, remark=f"a score of {metric.label} is not finite")
    blank = replace(blank, effect=blank.means[0] - blank.means[1])
    if min(blank.seeds) < FEWEST_SEEDS:
        return replace(
            blank, remark=f"{min(blank.seeds)} seed(s) are too few for a verdict; {FEWEST_SEEDS} a row are needed"
        )
    if metric.unit == PERCENT and (nameless := [row_label(of.row) for of in (row, rival) if _nameless(of)]):
        return replace(
            blank,
            remark=f"the notes of {' and '.join(nameless)} have no group (the recording, file or take that they come "
            "from): fill the note table's column group and train again",
        )
    shares, remark = _joint_notes(row, rival, seeds, folds, metric)
    return _tested(replace(blank, remark=remark), runs, shares)


def _nameless(row: RowScores) -> bool:
    """Whether some notes of the row have no recording's name."""
    return any((notes.groups == "").any() for notes in row.notes.values())


def _seeds(row: RowScores, folds: list[int]) -> list[int]:
    """The seeds of a row that have all these folds."""
    every = sorted({seed for seed, _ in row.scores})
    return [seed for seed in every if folds and all((seed, fold) in row.scores for fold in folds)]


def has(row: RowScores, metric: Metric) -> bool:
    """Whether any cell of the row was measured in this metric."""
    return any(np.isfinite(scores.get(metric.name, np.nan)) for scores in row.scores.values())


@dataclass(frozen=True)
class Shares:
    """Notes that two rows have both scored.

    Attributes:
        row: (n, N) share of each note in [%], a line a seed.
        rival: (m, N) the same of the rival.
        groups: (N,) which notes are resampled together, counted from 0.
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
    kinds, groups = (
        np.unique(np.concatenate([getattr(row.notes[place], name) for place in cells[0][1]]), return_inverse=True)[1]
        for name in ("kinds", "groups")
    )
    units = min(groups, kinds, key=np.max)
    if units.max() == 0:
        return None, "all notes are of one recording, or of one instrument and pitch: seeds alone"
    return Shares(lines[: len(seeds[0])], lines[len(seeds[0]) :], units), ""


def _tested(blank: Comparison, runs: list[np.ndarray], shares: Shares | None) -> Comparison:
    """The comparison with interval and p values, from the score of each seed and fold and the shares of each note."""
    effect, means = blank.effect, [of.mean(axis=1) for of in runs]
    parts = [(float(of.var(ddof=1)) / len(of), len(of) - 1) for of in means]
    if shares is not None:
        parts.append(notes_variance(shares))
    variance = sum(part for part, _ in parts)
    found = replace(blank, g=hedges_g(*means))
    if variance <= 0:
        return replace(found, remark="no spread: every seed scored the same")
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    error = float(np.sqrt(variance))
    reach = float(stats.t.ppf(1 - LEVEL / 2, freedom)) * error
    by_t = (float(stats.t.sf(sign * effect / error, freedom)) for sign in (1, -1))
    above, below = (
        max(p, exchanged) if exchanged > LEVEL / 2 else p for p, exchanged in zip(by_t, exchange(*runs), strict=True)
    )
    better, worse = (above, below) if blank.metric.better == "max" else (below, above)
    notes = 0 if shares is None else len(shares.groups)
    return replace(found, low=effect - reach, high=effect + reach, p_better=better, p_worse=worse, notes=notes)


def exchange(row: np.ndarray, rival: np.ndarray) -> tuple[float, float]:
    """Permutation test of two rows whose runs are exchanged within each fold; whatever the shape of their spread.

    Args:
        row: (n, F) one score a seed and fold.
        rival: (m, F) the same of the rival.

    Returns:
        one-sided p values of "the row's mean is not above the rival's" and of "not below".
    """
    weights, together = _arrangements(len(row), len(rival)), np.concatenate([row, rival])
    differences = weights @ together  # (arrangements, folds)
    rng = np.random.default_rng(0)
    if row.shape[1] > 1:  # each fold is exchanged by itself
        drawn = rng.integers(0, len(weights), (MOST_ARRANGEMENTS, row.shape[1]))
        differences = np.concatenate([differences[:1], np.take_along_axis(differences, drawn, axis=0)])
    parted = differences.mean(axis=1)
    slack = 1e-9 * np.abs(together).max()
    return float(np.mean(parted >= parted[0] - slack)), float(np.mean(parted <= parted[0] + slack))


@lru_cache
def _arrangements(n: int, m: int) -> np.ndarray:
    """(A, n + m) weights whose product with the scores is a difference of means; the first are those as they are."""
    if comb(n + m, n) <= MOST_ARRANGEMENTS:
        chosen = np.zeros((comb(n + m, n), n + m), dtype=bool)
        for line, own in zip(chosen, combinations(range(n + m), n), strict=True):
            line[list(own)] = True
    else:
        first = np.arange(n + m) < n
        drawn = np.random.default_rng(0).permuted(np.tile(first, (MOST_ARRANGEMENTS, 1)), axis=1)
        chosen = np.concatenate([first[None], drawn])
    return np.where(chosen, 1 / n, -1 / m)


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
