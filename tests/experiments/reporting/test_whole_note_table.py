"""Grids of rows of whole notes, alone and beside rows of frames: each row has its own columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.reporting.cells import parted, published_scores, read_cells
from experiments.reporting.claims import our_claims, verdicts
from experiments.reporting.columns import (
    HONEST_GENERATION,
    HONEST_METRICS,
    OF_WHOLE_NOTES,
    PUBLISHED_METRICS,
    WHOLE_NOTE_MEASURES,
    WHOLE_NOTE_METRICS,
)
from experiments.reporting.grid_files import main
from experiments.reporting.plots import draw_table
from experiments.reporting.row_scores import grid_rows
from experiments.reporting.table import print_table


def write_cell(out: Path, row: str, seed: int, published: dict[str, float], honest: dict[str, float]) -> None:
    facts = {"data": "embedded notes", "data_hash": row, "machine": "a machine", "precision": "32-true"}
    scores = {"epoch": 3, "published": published, "honest": honest}
    content = {"row": row, "seed": seed, "epochs": 9, "wall_s": 60.0, **facts, "best": scores, "last": scores}
    folder = out / row / f"seed_{seed}"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(content))


def write_whole_note_cells(out: Path, row: str, shift: float = 0.0) -> None:
    names = [metric.name for metric in WHOLE_NOTE_METRICS if "articulation" not in metric.name]
    for seed in range(2):
        write_cell(out, row, seed, {}, {name: 40.0 + place + shift + seed for place, name in enumerate(names)})


def lines_of(text: str, row: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(f"| {row} ")]


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    write_whole_note_cells(tmp_path, "m8")
    write_whole_note_cells(tmp_path, "ts_dsae", 10.0)
    return tmp_path


def test_no_column_is_of_both_kinds() -> None:
    whole = [metric.name for metric in WHOLE_NOTE_METRICS]
    assert len(set(whole)) == len(whole)
    assert not set(whole) & {metric.name for metric in (*PUBLISHED_METRICS, *HONEST_METRICS, *HONEST_GENERATION)}
    assert OF_WHOLE_NOTES in whole
    assert all(metric.better != "neither" for metric in WHOLE_NOTE_MEASURES)


def test_a_grid_of_whole_notes_shows_their_columns_and_no_others(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(whole)]) == 0
    text, printed = (whole / "table.md").read_text(), capsys.readouterr().out
    assert len(lines_of(text, "m8")) == 6, "three tables at either checkpoint"
    assert "40.5 ± 0.5" in lines_of(text, "m8")[0]
    for absent in ("FID_rand", "M6", "articulation"):
        assert absent not in text.partition("## Claims")[0]
    assert "Swap: instrument" in text
    assert "ts_dsae" in printed
    assert (whole / "table.csv").read_text().count("here,best,honest,m8,") == len(WHOLE_NOTE_METRICS) - 3
    assert {axes.get_title() for axes in draw_table(read_cells(whole)).axes} >= {"g: instrument ↑", "Frame error ↓"}


def test_rows_of_both_kinds_in_one_grid_have_their_own_columns(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = published_scores()
    found = scores[(scores["row"] == "m6") & (scores["seed"] == 0)].iloc[0]
    published = {metric.name: float(found[metric.name]) for metric in PUBLISHED_METRICS}
    write_cell(whole, "m6", 0, published, {name: published[name] for name in ("acc", "pm")})
    cells = read_cells(whole)
    frames, notes = parted(cells)
    assert (set(frames["row"]), set(notes["row"])) == ({"m6"}, {"m8", "ts_dsae"})
    assert main([str(whole)]) == 0
    text = (whole / "table.md").read_text()
    above, _, below = text.partition("## Whole notes")
    assert lines_of(above, "M6")
    assert not lines_of(above, "m8")
    assert lines_of(below, "m8")
    assert not lines_of(below.partition("## Claims")[0], "M6")
    assert "different data" not in above.partition("## Published")[0], "rows of either kind have data of their own"
    capsys.readouterr()
    print_table(cells, ["m6", "m8"])
    printed = capsys.readouterr().out
    assert "What is decoded" in printed
    assert "Published protocol" in printed


def test_rows_of_frames_alone_are_parted_from_nothing(tmp_path: Path) -> None:
    write_cell(tmp_path, "m6", 0, {"acc": 80.0}, {"acc": 70.0})
    frames, notes = parted(read_cells(tmp_path))
    assert len(frames) == 4
    assert notes.empty


def test_claims_of_whole_notes_are_of_their_own_measures(tmp_path: Path) -> None:
    for row, shift in (("m8", 30.0), ("ts_dsae", 0.0)):
        for seed in range(5):
            names = [metric.name for metric in WHOLE_NOTE_MEASURES]
            write_cell(tmp_path, row, seed, {}, dict.fromkeys(names, 40.0 + shift + 0.1 * seed))
    cells = read_cells(tmp_path)
    rows = grid_rows(tmp_path, cells)
    claims = our_claims(rows)
    assert {claim.text for claim in claims} == {
        f"m8 is better in {metric.label} than every rival of whole notes" for metric in WHOLE_NOTE_MEASURES
    }
    found = verdicts([(claims, rows)])[0]
    for metric, verdict in zip(WHOLE_NOTE_MEASURES, found, strict=True):
        assert verdict.word == ("holds" if metric.better == "max" else "does not hold"), metric.name
