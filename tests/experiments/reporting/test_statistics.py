"""Single comparisons of rows, against outside references."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from experiments.reporting import claims
from experiments.reporting.cell_files import PUBLISHED_ROWS
from experiments.reporting.claims import poster_claims, verdicts
from experiments.reporting.columns import PUBLISHED_METRICS
from experiments.reporting.rejection_rates import World, rejection_rates
from experiments.reporting.statistics import Shares, compare, exchange, hedges_g, holm, notes_variance
from tests.experiments.reporting.made_rows import ACC, CDS, PITCH, drawn, measured, noted, rejected, row_of


@pytest.mark.parametrize(("n", "m"), [(5, 5), (5, 8), (6, 5)])
def test_seeds_alone_are_welchs_test(n: int, m: int) -> None:
    rng = np.random.default_rng(n + m)
    first, second = rng.normal(12, 2, n), rng.normal(9, 1, m)
    found = compare(row_of("m6", first), row_of("m0", second), CDS)
    expected = stats.ttest_ind(first, second, equal_var=False)
    interval = expected.confidence_interval()
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p_better == pytest.approx(
        stats.ttest_ind(first, second, equal_var=False, alternative="greater").pvalue
    )
    assert found.p_better + found.p_worse >= 1 - 1e-9, "an exchange of runs may enlarge either"
    assert (found.effect, found.seeds, found.notes) == (pytest.approx(first.mean() - second.mean()), (n, m), 0)


def test_the_better_side_is_the_metrics() -> None:
    low, high = np.array([1.0, 1.2, 0.9, 1.1, 1.0]), np.array([5.0, 5.2, 4.9, 5.1, 5.0])
    assert compare(row_of("b", low, "pitch"), row_of("m0", high, "pitch"), PITCH).p_better < 1e-6
    assert compare(row_of("b", low), row_of("m0", high), CDS).p_worse < 1e-6


@pytest.mark.parametrize(("n", "m"), [(5, 5), (4, 6)])
def test_exchanging_runs_is_scipys_permutation_test(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    row, rival = rng.normal(1, 1, n), rng.normal(0, 1, m)
    for found, side in zip(exchange(row[:, None], rival[:, None]), ("greater", "less"), strict=True):
        expected = stats.permutation_test(
            (row, rival), lambda x, y: x.mean() - y.mean(), alternative=side, n_resamples=np.inf
        )
        assert found == pytest.approx(expected.pvalue)


def test_runs_are_exchanged_within_each_fold() -> None:
    """Folds that differ in hardness do not hide a difference, and 252 arrangements of each fold make many."""
    fold = np.array([[0.0, 50.0, 90.0]])
    rng = np.random.default_rng(0)
    row, rival = (fold + up + rng.normal(0, 0.5, (5, 3)) for up in (1.5, 0))
    above, below = exchange(row, rival)
    assert above < 1 / 252
    assert below > 0.99
    many = exchange(np.repeat(row, 3, axis=0), np.repeat(rival, 3, axis=0))
    assert many[0] <= above


def test_good_and_bad_seeds_are_exchanged() -> None:
    """Student's t alone would call a row without a bad seed better than one with two of five."""
    good = np.full(5, 99.0)
    found = compare(row_of("m7", good), row_of("b", np.where(np.arange(5) < 2, 70, good)), CDS)
    assert found.p == pytest.approx(
        2 * 56 / 252
    )  # both bad seeds fall to the rival in C(8, 5) of C(10, 5) arrangements


def test_hedges_g_by_hand() -> None:
    # Two groups of deviation 1, two apart: d = 2, corrected by 1 - 3 / (4 * 4 - 1).
    assert hedges_g(np.array([3.0, 4.0, 5.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(2 * 0.8)
    assert np.isnan(hedges_g(np.ones(3), np.zeros(3)))


def test_holm_by_hand() -> None:
    # Least first: 3 * 0.01, 2 * 0.02, 1 * 0.03 which may not fall below the one before it.
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.7, 0.6]) == pytest.approx([1.0, 1.0])
    assert len(holm([])) == 0


def test_the_closed_form_is_the_variance_of_drawing_groups_of_notes() -> None:
    rng = np.random.default_rng(0)
    groups = np.sort(rng.integers(0, 60, 150))
    groups = np.unique(groups, return_inverse=True)[1]
    hard = rng.normal(0, 2, groups.max() + 1)[groups]
    row, rival = (100 * drawn(rng, hard, 5, 0.3, 0.5) for _ in range(2))
    variance, freedom = notes_variance(Shares(row, rival, groups))
    differences = row.mean(axis=0) - rival.mean(axis=0)
    members = [np.flatnonzero(groups == group) for group in range(groups.max() + 1)]
    means = []
    for _ in range(4000):
        taken = np.concatenate([members[group] for group in rng.integers(0, len(members), len(members))])
        means.append(differences[taken].mean())
    assert freedom == len(members) - 1
    assert variance == pytest.approx(np.var(means), rel=0.1)
    alone = notes_variance(Shares(row, rival, np.arange(150)))[0]
    assert alone == pytest.approx(np.var(differences, ddof=1) / 150)
    copies = notes_variance(
        Shares(np.repeat(row, 3, axis=1), np.repeat(rival, 3, axis=1), np.repeat(np.arange(150), 3))
    )
    assert copies[0] == pytest.approx(alone), "copies of a note are no more notes"


def test_notes_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    hard = rng.normal(0, 1.5, 180)
    first, second = (noted(name, drawn(rng, hard, 5, 0.05, 0.8)) for name in ("m6", "m0"))
    both = compare(first, second, ACC)
    alone = compare(replace(first, notes={}), second, ACC)
    assert (both.notes, alone.notes) == (180, 0)
    assert both.effect == pytest.approx(alone.effect)
    assert both.high - both.low > alone.high - alone.low
    assert "m6 has a notes.csv" in alone.remark.replace("M6", "m6")


# How often is a difference found where there is none?


@pytest.mark.parametrize("spreads", [(1.0, 1.0), (1.0, 4.0)])
def test_false_positives_of_five_seeds(spreads: tuple[float, float]) -> None:
    rng = np.random.default_rng(2)
    pairs = [[rng.normal(10, spread, 5) for spread in spreads] for _ in range(1200)]
    assert rejected([compare(row_of("a", x), row_of("b", y), CDS).p for x, y in pairs]) < 0.07
    draws = rng.integers(0, 5, (2, 1000, 5))
    means = [[of[draw].mean(axis=1) for of, draw in zip(pair, draws, strict=True)] for pair in pairs]
    percentile = [2 * min((x > y).mean(), (x < y).mean()) for x, y in means]
    assert rejected(percentile) > 0.08, "the percentile bootstrap, which is why it is not used"


@pytest.mark.parametrize("seed_spread", [0.05, 0.4])
def test_false_positives_of_seeds_and_notes(seed_spread: float) -> None:
    """Rows that differ on single notes but not on those of the population of notes."""
    rng = np.random.default_rng(3)
    p_values, seeds_only = [], []
    for _ in range(800):
        hard = rng.normal(0, 1.5, 150)
        first, second = (noted(name, drawn(rng, hard, 5, seed_spread, 1.2)) for name in ("m6", "m0"))
        p_values.append(compare(first, second, ACC).p)
        seeds_only.append(compare(replace(first, notes={}), second, ACC).p)
    assert rejected(p_values) < 0.065
    if seed_spread < 0.1:
        assert rejected(seeds_only) > 0.1, "seeds alone take these notes for all notes"


@pytest.mark.parametrize("folds", [1, 2])
def test_notes_of_one_recording_are_one_unit(folds: int) -> None:
    """Rows that differ on single recordings: resampled by note, they would be told apart too often."""
    world = World("w", folds=folds, recordings=24 * folds, seed_spread=0.1, notes=8)
    rates = rejection_rates(world, 300)
    assert rates["recording"][0] < 0.08
    assert rates["note"][0] > 0.15


@pytest.mark.slow
@pytest.mark.parametrize("bad_seeds", [0.0, 0.3])
def test_a_true_null_is_rejected_at_the_nominal_rate(bad_seeds: float) -> None:
    rates = rejection_rates(World("w", folds=5, bad_seeds=bad_seeds), 4_000)
    assert rates["recording"][0] < 0.06
    assert rates["recording"][1] < 0.003


def test_notes_without_a_recording_are_no_evidence() -> None:
    rng = np.random.default_rng(1)
    first, second = (noted(name, drawn(rng, np.zeros(60), 5, 0.1, 0.8), np.full(60, "")) for name in ("m7", "b"))
    found = compare(first, second, ACC)
    assert not found.tested
    assert "the notes of m7 and b have no group" in found.remark


def test_the_coarser_unit_is_resampled() -> None:
    """Copies of a pitch are one unit though each is a file of its own."""
    rng = np.random.default_rng(2)
    rows = [noted(name, drawn(rng, np.zeros(60), 5, 0.1, 0.8)) for name in ("m7", "b")]
    fine = compare(rows[0], rows[1], ACC)
    pitch = np.array([f"flute {i // 10}" for i in range(60)])
    coarse = [replace(r, notes={at: replace(of, kinds=pitch) for at, of in r.notes.items()}) for r in rows]
    named = [replace(r, notes={at: replace(of, groups=pitch) for at, of in r.notes.items()}) for r in rows]
    assert compare(*coarse, ACC) == compare(*named, ACC)
    assert compare(*coarse, ACC).p != fine.p


def test_a_real_difference_is_found() -> None:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(100):
        hard = rng.normal(0, 1.5, 180)
        first, second = (noted(name, drawn(rng, hard + up, 5, 0.2, 0.8)) for name, up in (("m7", 1.5), ("m6", 0)))
        found.append(compare(first, second, ACC).p)
    assert rejected(found) > 0.9


def test_false_verdicts_of_a_whole_family() -> None:
    """Nine equal rows: in how many grids does any claim get a verdict?"""
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(100):
        names = [metric.name for metric in PUBLISHED_METRICS]
        rows = {row: measured(row, {name: rng.normal(10, 1, 5) for name in names}) for row in PUBLISHED_ROWS}
        wrong += any(verdict.word in (claims.HOLDS, claims.FAILS) for verdict in verdicts([(poster_claims(), rows)])[0])
    assert wrong <= 9, "5 of 100, and less than two deviations more"


# Claims of several comparisons
