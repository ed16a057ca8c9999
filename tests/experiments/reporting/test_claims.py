"""Claims and their verdicts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.reporting import claims, claims_text
from experiments.reporting.cell_files import PUBLISHED_ROWS
from experiments.reporting.cells import read_cells
from experiments.reporting.claims import AllOf, AnyOf, Better, Claim, judge, poster_claims, verdicts
from experiments.reporting.columns import PUBLISHED_METRICS
from experiments.reporting.grid_files import write_tables
from experiments.reporting.row_scores import HONEST_ACC, RowScores, grid_rows, paper_rows, read_notes
from experiments.reporting.statistics import Comparison, compare, holm
from tests.experiments.reporting.made_rows import ACC, CDS, measured, row_of, verdicts_of

ALONE = ("published_acc", "published_pm", "published_pitch", "published_instrument", "honest_acc")
ALONE += ("honest_pitch", "honest_instrument")


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
