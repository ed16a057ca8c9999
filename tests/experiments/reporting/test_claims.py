from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.reporting import claims, claims_text
from experiments.reporting.cell_files import PUBLISHED_ROWS
from experiments.reporting.cells import read_cells
from experiments.reporting.claims import AllOf, AnyOf, Better, Claim, Verdict, judge, poster_claims, verdicts
from experiments.reporting.columns import PUBLISHED_METRICS
from experiments.reporting.grid_files import write_tables
from experiments.reporting.rejection_rates import World, rejection_rates
from experiments.reporting.row_scores import HONEST_ACC, NO_FOLD, Notes, RowScores, grid_rows, paper_rows, read_notes
from experiments.reporting.statistics import Comparison, Shares, compare, exchange, hedges_g, holm, notes_variance

CDS, PITCH, ACC = (claims.BY_NAME[name] for name in ("cds", "pitch", "acc"))
ALONE = ("published_acc", "published_pm", "published_pitch", "published_instrument", "honest_acc")
ALONE += ("honest_pitch", "honest_instrument")


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


# Single comparisons, against outside references


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


@pytest.fixture
def weighed() -> dict[Better, Comparison]:
    """Three comparisons with p values of one's own."""
    names = {"strong": 0.001, "weak": 0.2, "against": 0.996}
    return {
        Better(name, "x", "cds"): Comparison(name, "x", CDS, p_better=p, p_worse=1 - p, low=0, means=(1 - p, 0.5))
        for name, p in names.items()
    }


def test_all_and_any_are_conservative_and_mirror_images(weighed: dict[Better, Comparison]) -> None:
    strong, weak, against = weighed
    both = claims.weigh(AllOf((strong, weak)), weighed)
    assert (both.p_true, both.decides_true.row) == (0.2, "weak")
    assert both.p_false == 1, "twice the least of 0.999 and 0.8"
    three = claims.weigh(AllOf((strong, weak, against)), weighed)
    assert (three.p_true, three.p_false) == (0.996, pytest.approx(3 * 0.004))
    assert three.decides_false.row == "against"
    some = claims.weigh(AnyOf((strong, weak, against)), weighed)
    assert (some.p_true, some.p_false) == (pytest.approx(3 * 0.001), 0.999)
    nested = claims.weigh(AllOf((AnyOf((strong, weak)), AnyOf((strong, against)))), weighed)
    assert nested.p_true == pytest.approx(2 * 0.001)
    assert claims.means_agree(AllOf((strong, weak)), weighed)
    assert not claims.means_agree(AllOf((strong, against)), weighed)
    assert claims.means_agree(AnyOf((strong, against)), weighed)


def distinct_rows(order: dict[str, float]) -> dict[str, RowScores]:
    """Rows of far apart CDS, in the given places."""
    noise = np.array([-0.1, 0.1, 0.0, 0.05, -0.05])
    return {name: row_of(name, place + noise) for name, place in order.items()}


def test_the_three_verdicts_of_an_ordering() -> None:
    claim = [next(claim for claim in poster_claims() if claim.text.startswith("CDS"))]
    [holds] = verdicts_of(claim, distinct_rows({"b": 30, "m6": 20, "m0": 10, "sharp": 5}))
    assert (holds.word, holds.in_means) == (claims.HOLDS, True)
    [fails] = verdicts_of(claim, distinct_rows({"b": 30, "m6": 20, "m0": 10, "sharp": 15}))
    assert (fails.word, fails.in_means, fails.decisive.row) == (claims.FAILS, False, "m0")
    [open_] = verdicts_of(claim, distinct_rows({"b": 30, "m6": 20, "m0": 10, "sharp": 9.99}))
    assert (open_.headline, open_.in_means, open_.decisive.row) == ("undecided at n = 5", True, "m0")


def test_a_missing_row_speaks_neither_for_nor_against() -> None:
    claim = [next(claim for claim in poster_claims() if claim.text.startswith("CDS"))]
    [part] = verdicts_of(claim, distinct_rows({"b": 30, "m6": 20, "m0": 10}))
    assert part.word == claims.UNDECIDED
    [wrong] = verdicts_of(claim, distinct_rows({"b": 10, "m6": 20, "m0": 30}))
    assert wrong.word == claims.FAILS, "two of the pairs are the other way round, whatever # is"
    [none] = verdicts_of(claim, distinct_rows({"b": 10, "m5": 20}))
    assert none.word == claims.UNTESTED


def test_holm_counts_the_tested_claims_alone() -> None:
    rng = np.random.default_rng(6)
    rows = {"m6": row_of("m6", rng.normal(12, 1, 5)), "m5": row_of("m5", rng.normal(10, 1, 5))}
    one = Claim("one", Better("m6", "m5", "cds"))
    none = Claim("none", Better("m4", "m5", "cds"))
    alone, absent = verdicts_of([one, none], rows)
    assert alone.p_holm == pytest.approx(alone.p)
    assert np.isnan(absent.p_holm)
    assert verdicts_of([one, replace(one, text="again")], rows)[0].p_holm == pytest.approx(min(1, 2 * alone.p))


def test_holm_counts_the_claims_of_all_tables() -> None:
    rng = np.random.default_rng(6)
    rows = {"m6": row_of("m6", rng.normal(12, 1, 5)), "m5": row_of("m5", rng.normal(10, 1, 5))}
    one = Claim("one", Better("m6", "m5", "cds"))
    [[alone]] = verdicts([([one], rows)])
    [[first], [second], []] = verdicts([([one], rows), ([one], rows), ([], {})])
    assert first.p_holm == second.p_holm == pytest.approx(min(1, 2 * alone.p))


def test_our_rows_are_held_against_the_strongest_rival() -> None:
    rows = distinct_rows({"m7": 40, "b": 30, "b_two_stage": 38, "m6": 20, "sharp": 60})
    supervised, label_free = verdicts_of(claims.our_claims(rows), rows)
    assert supervised.claim.about == "m7 against every supervised row (b, b_two_stage)"
    assert (supervised.word, supervised.decisive.rival) == (claims.HOLDS, "b_two_stage")
    assert (label_free.word, label_free.decisive.rival) == (claims.HOLDS, "m6")
    worse = rows | distinct_rows({"b_cosine": 50})
    assert verdicts_of(claims.our_claims(worse), worse)[0].word == claims.FAILS


def test_no_loss_improves_everything_needs_each_to_be_worse_somewhere() -> None:
    [claim] = [claim for claim in poster_claims() if claim.text.startswith("No auxiliary")]
    noise = np.array([-0.1, 0.1, 0.0, 0.05, -0.05])
    lower = {metric.name for metric in PUBLISHED_METRICS if metric.better == "min"}

    def rows(worse_in: dict[str, str | None]) -> dict[str, RowScores]:
        """M0 at 10; M1 to M4 better everywhere but in one metric."""
        found = {}
        for name in ("m0", *worse_in):
            better = {m.name: 10 + noise + (name != "m0") * (-5 if m.name in lower else 5) for m in PUBLISHED_METRICS}
            if (metric := worse_in.get(name)) is not None:
                better[metric] = 10 + noise + (5 if metric in lower else -5)
            found[name] = measured(name, better)
        return found

    [holds] = verdicts_of([claim], rows({"m1": "cds", "m2": "pitch", "m3": "acc", "m4": "fid_rand"}))
    assert holds.word == claims.HOLDS
    [fails] = verdicts_of([claim], rows({"m1": "cds", "m2": None, "m3": "acc", "m4": "fid_rand"}))
    assert fails.word == claims.FAILS
    assert fails.decisive.rival == "m2"


# The paper's own seeds


def test_the_published_seeds() -> None:
    paper = paper_rows()
    assert set(paper) == set(PUBLISHED_ROWS)
    found = verdicts_of(poster_claims(), paper)
    scores = {row: [cell["pitch"] for cell in of.scores.values()] for row, of in paper.items()}
    shifting = next(v for v in found if "Pitch shifting" in v.claim.text)
    assert shifting.in_means
    assert shifting.comparisons[0].p == pytest.approx(
        stats.ttest_ind(scores["m0"], scores["sharp"], equal_var=False).pvalue
    )
    assert shifting.p == pytest.approx(max(comparison.p for comparison in shifting.comparisons))


@pytest.mark.parametrize(
    ("values", "remark"),
    [
        ([3.0] * 4, "4 seed(s) are too few for a verdict"),
        ([3.0] * 5, "no spread"),
        ([3.0, float("nan")], "not finite"),
    ],
)
def test_what_cannot_be_tested(values: list[float], remark: str) -> None:
    found = compare(row_of("m6", np.array(values)), row_of("m5", np.full(5, 2.0)), CDS)
    assert not found.tested
    assert found.p == 1
    assert remark in found.remark
    assert "is not there for M6" in compare(row_of("m6", np.ones(2)), row_of("m5", np.ones(2)), ACC).remark


# A grid's folder


def write_cell(out: Path, row: str, seed: int, outcomes: pd.DataFrame | None, fold: int | None = None) -> Path:
    """A finished cell whose accuracies are those of the outcomes of its notes."""
    rng = np.random.default_rng([seed, *map(ord, row)])
    notes = outcomes if outcomes is not None else pd.DataFrame(np.full((2, len(ALONE)), 0.5), columns=list(ALONE))
    score = {name.removeprefix("published_"): 100 * float(notes[name].mean()) for name in ALONE}
    published = {name: score[name] for name in ("acc", "pm", "pitch", "instrument")}
    published |= {"combine": (score["instrument"] + 100 - score["pitch"]) / 2, "cds": 10 + rng.normal()}
    published |= {"fid_recon": 20 + rng.normal(), "fid_rand": 30 + rng.normal()}
    scored = {
        "epoch": 3,
        "published": published,
        "honest": {n.removeprefix("honest_"): score[n] for n in ALONE if n.startswith("honest_")},
    }
    facts = {"row": row, "seed": seed, "data": "notes", "data_hash": "abc", "machine": "m", "precision": "32"}
    facts |= {"epochs": 4, "wall_s": 1.0} | ({} if fold is None else {"fold": fold})
    folder = out / row / (f"seed_{seed}" if fold is None else f"seed_{seed}_fold_{fold}")
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({**facts, "best": scored, "last": scored}))
    if outcomes is not None:
        outcomes.to_csv(folder / "notes.csv", index=False)
    return folder


def note_table(rng: np.random.Generator, right: float, first: int = 0, notes: int = 120) -> pd.DataFrame:
    """Outcomes of single notes; pitch is found in z as seldom as the category is wrong."""
    ids = [f"n{first + i}" for i in range(notes)]
    about = {"note_id": ids, "group": ids, "instrument": "Flute", "category": 1}
    columns = {name: (rng.random(notes) < (1 - right if "pitch" in name else right)).astype(int) for name in ALONE}
    midi = [60 + (first + i) % 40 for i in range(notes)]
    return pd.DataFrame({**about, "midi": midi, **columns}).sample(frac=1, random_state=int(100 * right))


@pytest.fixture(scope="module")
def whole_grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nine rows, m7 and two rivals, five seeds each, with notes; m7 is the best in everything that notes tell."""
    out = tmp_path_factory.mktemp("grid")
    rng = np.random.default_rng(7)
    for row in (*PUBLISHED_ROWS, "m7", "b_cosine"):
        for seed in range(5):
            write_cell(out, row, seed, note_table(rng, 0.97 if row == "m7" else 0.7))
    write_tables(out)
    return out


def test_claims_stand_beside_the_table(whole_grid: Path) -> None:
    text = (whole_grid / "claims.md").read_text()
    start = text.split("## The poster's claims")[0]
    assert "- The poster's claims, on the paper's own five seeds: 1 holds, 8 are undecided." in start
    better = "Pitch (logistic), Instrument (logistic), honest ACC; undecided in FID_recon"
    for rivals in ("every supervised row (b, b_cosine)", "every other row without labels (M6)"):
        assert f"- m7 against {rivals}: better in {better}" in start
    assert "m6_cosine" not in text, "rows that are not there are no claims of ours"
    assert "| 120 | **holds** |" in text
    assert "## Not tested" not in text, "every row is there, with its notes"
    for line in text.splitlines():
        assert line.count("|") in (0, 4, 11, 13), line
    table = (whole_grid / "table.md").read_text()
    assert all(line in table for line in start.splitlines() if line.startswith("- m7 against"))


def test_csv_holds_every_claim_and_comparison(whole_grid: Path) -> None:
    found = pd.read_csv(whole_grid / "claims.csv")
    whole = found[found["row"].isna()]
    assert whole.groupby(["family", "source"]).size().to_dict() == {
        ("poster", "paper"): 9,
        ("poster", "here"): 9,
        ("ours", "here"): 12,
    }
    parts = found[found["row"].notna()]
    ours = parts[parts["family"] == "ours"].set_index(["rival", "metric"])
    assert ours.loc[("b", "honest_acc"), "effect"] == pytest.approx(
        ours.loc[("b", "honest_acc"), "mean"] - ours.loc[("b", "honest_acc"), "rival_mean"]
    )
    assert ours.loc[("b", "honest_acc"), "notes"] == 120
    assert ours.loc[("b", "cds"), "notes"] == 0
    p = whole[whole["family"] == "ours"]
    assert p["p_holm"].to_numpy() == pytest.approx(holm(p["p"]))


def test_the_same_cells_make_the_same_claims(whole_grid: Path) -> None:
    before = [(whole_grid / name).read_bytes() for name in ("claims.md", "claims.csv")]
    write_tables(whole_grid)
    assert before == [(whole_grid / name).read_bytes() for name in ("claims.md", "claims.csv")]


def test_folds_are_pooled(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    for row, right in (("m7", 0.97), ("b", 0.8)):
        for seed in range(5):
            for fold in range(2):
                write_cell(tmp_path, row, seed, note_table(rng, right, first=1000 * fold), fold)
    write_cell(tmp_path, "b", 5, note_table(rng, 0.8), 0)
    rows = grid_rows(tmp_path, read_cells(tmp_path))
    found = compare(rows["m7"], rows["b"], HONEST_ACC)
    assert (found.seeds, found.notes, found.remark) == ((5, 5), 240, ""), "b's sixth seed lacks a fold"
    folded = [pd.read_csv(tmp_path / f"m7/seed_{s}_fold_{f}/notes.csv")["honest_acc"] for s in range(5) for f in (0, 1)]
    assert found.means[0] == pytest.approx(100 * pd.concat(folded).mean())


@pytest.mark.parametrize("damage", ["missing", "empty", "other notes", "other outcomes", "no column", "words"])
def test_notes_that_cannot_be_used_leave_the_seeds(tmp_path: Path, damage: str) -> None:
    rng = np.random.default_rng(9)
    for row, right in (("m7", 0.97), ("b", 0.8)):
        for seed in range(5):
            write_cell(tmp_path, row, seed, note_table(rng, right))
    file = tmp_path / "b/seed_1/notes.csv"
    notes = pd.read_csv(file)
    if damage == "missing":
        file.unlink()
    elif damage == "empty":
        file.write_text("")
    else:
        changed = {
            "other notes": notes.assign(note_id=notes["note_id"] + "x"),
            "other outcomes": notes.assign(honest_acc=0),
            "no column": notes.drop(columns="honest_acc"),
            "words": notes.assign(honest_acc="right"),
        }
        changed[damage].to_csv(file, index=False)
    rows = grid_rows(tmp_path, read_cells(tmp_path))
    found = compare(rows["m7"], rows["b"], HONEST_ACC)
    assert found.tested
    assert found.notes == 0
    assert "seeds alone" in found.remark
    write_tables(tmp_path)
    assert found.remark in (tmp_path / "claims.md").read_text()


def test_notes_are_in_the_order_of_their_ids(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    folder = write_cell(tmp_path, "b", 0, note_table(rng, 0.8))
    notes = read_notes(folder / "notes.csv")
    assert notes is not None
    table = pd.read_csv(folder / "notes.csv").set_index("note_id").loc[notes.ids]
    assert list(notes.ids) == sorted(notes.ids)
    assert (notes.scores["combine"] == 50 * (table["published_instrument"] + 1 - table["published_pitch"])).all()


def test_an_empty_grid_still_tests_the_paper() -> None:
    [found] = judge(paper_rows(), [{}])
    text = claims_text.render(found, ["No cell is finished yet."])
    assert "on the cells here: 9 are not tested" in text
    assert "no finished cell of b, #, M0, M1, M2, M3, M4, M5, M6" in text
