from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from matplotlib.backends.backend_agg import FigureCanvasAgg

from experiments.paths import ROOT
from experiments.reporting import cells as cell_frames
from experiments.reporting import claims, plots, table, wandb_report
from experiments.reporting import statistics as statistics_module
from experiments.reporting.cell_files import PUBLISHED_ROWS
from experiments.reporting.cells import published_scores, read_cells, selected, spreads
from experiments.reporting.columns import PUBLISHED_METRICS, Metric
from experiments.reporting.grid_files import main, write_tables
from experiments.reporting.plots import draw_curves, draw_table
from experiments.reporting.table import print_table, render

REFERENCE = Path(cell_frames.__file__).with_name("published.csv")


def write_cell(out: Path, row: str, seed: int, shift: float = 0.0, **facts: object) -> None:
    """A finished cell with the published scores of its row and seed, shifted."""
    scores = published_scores()
    found = scores[(scores["row"] == row) & (scores["seed"] == seed)].iloc[0]
    published = {metric.name: float(found[metric.name]) + shift for metric in PUBLISHED_METRICS}
    honest = {name: published[name] - 20 for name in ("pitch", "instrument", "combine", "acc", "pm")}
    honest |= {"pitch_fid_recon": 9.0, "kid_recon": 0.123}
    content = {
        **{"row": row, "seed": seed, "data": "embedded notes", "data_hash": "abc123", "machine": "a machine"},
        **{"precision": "bf16-mixed", "epochs": 600 + seed, "wall_s": 1800.0, "versions": {"torch": "2"}, **facts},
        "best": {"epoch": 500, "published": published, "honest": honest},
        "last": {"epoch": 599, "published": {name: value + 1 for name, value in published.items()}, "honest": honest},
    }
    folder = out / row / f"seed_{seed}"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(content))


@pytest.fixture
def published_grid(tmp_path: Path) -> Path:
    """A grid whose every cell scored what the paper's did."""
    for row in PUBLISHED_ROWS:
        for seed in range(5):
            write_cell(tmp_path, row, seed)
    return tmp_path


def test_published_means_and_population_deviations() -> None:
    values: dict[tuple[str, str], list[float]] = {}
    with REFERENCE.open() as file:
        for line in csv.DictReader(file):
            for metric in PUBLISHED_METRICS:
                values.setdefault((line["row"], metric.name), []).append(float(line[metric.name]))
    found = spreads(published_scores(), PUBLISHED_METRICS)
    assert len(values) == 72
    for (label, name), expected in values.items():
        row = next(row for row, known in PUBLISHED_ROWS.items() if known == label)
        assert found[row][name].mean == pytest.approx(statistics.fmean(expected), abs=1e-9)
        assert found[row][name].std == pytest.approx(statistics.pstdev(expected), abs=1e-9)
        assert found[row][name].seeds == 5


def test_some_published_cells_by_hand() -> None:
    found = spreads(published_scores(), PUBLISHED_METRICS)
    assert found["m6"]["cds"].mean == pytest.approx((14.18 + 14.2102 + 14.1419 + 10.1997 + 14.609) / 5)
    assert found["m6"]["acc"].mean == pytest.approx(79.887, abs=1e-4)
    assert found["b"]["pitch"].mean == pytest.approx(8.81356, abs=1e-5)


def test_published_scores_agree_with_their_own_definitions() -> None:
    scores = published_scores()
    assert scores["combine"].to_numpy() == pytest.approx(
        ((scores["instrument"] + 100 - scores["pitch"]) / 2).to_numpy()
    )
    exponent = scores["marginal_entropy_nats"] - scores["mean_conditional_entropy_nats"]
    assert scores["cds"].to_numpy() == pytest.approx(exponent.map(math.exp).to_numpy(), rel=2e-3)


def test_one_line_a_cell_checkpoint_and_protocol(published_grid: Path) -> None:
    cells = read_cells(published_grid)
    assert len(cells) == 45 * 4
    assert set(cells["checkpoint"]) == {"best", "last"}
    chosen = cells[(cells["row"] == "m6") & (cells["seed"] == 0)].set_index(["checkpoint", "protocol"])
    assert chosen.loc[("best", "published"), "cds"] == 14.18
    assert chosen.loc[("last", "published"), "cds"] == 15.18
    assert chosen.loc[("best", "honest"), "acc"] == pytest.approx(61.9209)
    assert chosen.loc[("last", "honest"), "epoch"] == 599


def test_ours_equals_the_papers_where_the_scores_do(published_grid: Path) -> None:
    text = write_tables(published_grid)
    lines = [[field.strip() for field in line.strip("| ").split("|")] for line in text.splitlines() if "|" in line]
    first = lines[2 : 2 + 18]
    assert [line[0] for line in first[::2]] == list(PUBLISHED_ROWS.values())
    for ours, paper in zip(first[::2], first[1::2], strict=True):
        assert ours[1:3] == ["here", "5"]
        assert "paper" in paper
        assert ours[3:] == paper[-8:]
    assert text.count("**14.6 ± 1.2**") == 0
    assert "**13.47 ± 1.64**" not in text, "b has the best CDS"
    assert "**13.8 ± 1.1**" in text, "M6 has the best FID_recon"


def test_the_header_says_what_was_run(published_grid: Path) -> None:
    text = write_tables(published_grid)
    assert "- Data: embedded notes (abc123)\n" in text
    assert "Machine: a machine; precision: bf16-mixed" in text
    assert "45 cells of 600 to 604 epochs, 22.50 hours of run time in all (1800 s a cell)" in text
    assert "do not compare" not in text


def test_cells_of_different_data_are_pointed_out(published_grid: Path) -> None:
    (published_grid / "b/seed_0/metrics.json").unlink()
    (published_grid / "b/seed_0").rmdir()
    write_cell(published_grid, "b", 0, data_hash="other")
    assert "embedded notes (abc123); embedded notes (other)" in write_tables(published_grid)
    assert "do not compare" in write_tables(published_grid)


def test_cells_judged_by_different_classifiers_are_pointed_out(published_grid: Path) -> None:
    for row in ("b", "m0"):
        shutil.rmtree(published_grid / row / "seed_0")
        write_cell(published_grid, row, 0, evaluator_fingerprint="one")
    assert "different classifiers" not in write_tables(published_grid), "older cells do not say"
    shutil.rmtree(published_grid / "b" / "seed_0")
    write_cell(published_grid, "b", 0, evaluator_fingerprint="another")
    assert "judged by different classifiers" in write_tables(published_grid)


def test_an_unfinished_grid_shows_what_there_is(tmp_path: Path) -> None:
    write_cell(tmp_path, "m6", 0)
    (tmp_path / "m6" / "seed_1").mkdir()
    (tmp_path / "m6" / "seed_1" / "metrics.json").write_text('{"row":')
    text = write_tables(tmp_path)
    assert "| M6  | here  | 1 " in text
    assert "| M5  | here  | – " in text  # noqa: RUF001
    assert "No cell is finished yet." in render(pd.DataFrame())


def test_a_row_of_ones_own_stands_last_without_a_published_line(published_grid: Path) -> None:
    folder = published_grid / "m6" / "seed_0" / "metrics.json"
    content = {**json.loads(folder.read_text()), "row": "m9"}
    own = published_grid / "m9" / "seed_0"
    own.mkdir(parents=True)
    (own / "metrics.json").write_text(json.dumps(content))
    first = write_tables(published_grid).split("## Honest")[0].splitlines()
    assert first[-2].startswith("| m9")
    assert first[-3].split("|")[2].strip() == "paper"


def test_a_seed_counts_once_whatever_its_folds(tmp_path: Path) -> None:
    for seed in range(2):
        for fold in range(3):
            write_cell(
                tmp_path,
                "m6",
                seed,
                shift=fold,
                fold=fold,
                data_hash=f"cut {fold}",
                evaluator_fingerprint=f"fold {fold}",
            )
            (tmp_path / f"m6/seed_{seed}").rename(tmp_path / f"m6/seed_{seed}_fold_{fold}")
    write_cell(tmp_path, "m6", 2, shift=-40.0, fold=0, data_hash="cut 0", evaluator_fingerprint="fold 0")
    (tmp_path / "m6/seed_2").rename(tmp_path / "m6/seed_2_fold_0")
    cells = read_cells(tmp_path)
    found = spreads(selected(cells, "published", "best"), PUBLISHED_METRICS)["m6"]
    scores = published_scores()
    two = scores[(scores["row"] == "m6") & (scores["seed"] < 2)]
    for metric in PUBLISHED_METRICS:
        assert found[metric.name].mean == pytest.approx(two[metric.name].mean() + 1), "the third seed lacks two folds"
        assert found[metric.name].std == pytest.approx(two[metric.name].std(ddof=0))
        assert found[metric.name].seeds == 2
    text = write_tables(tmp_path)
    assert "7 cells of" in text
    assert "3 folds: " in text
    assert "do not compare" not in text, "folds differ in their notes and classifiers"
    assert len(draw_table(cells).axes) == 8
    (tmp_path / "m6/seed_0_fold_1").rename(tmp_path / "gone")
    write_cell(tmp_path, "m6", 0, fold=1, data_hash="another cut")
    (tmp_path / "m6/seed_0").rename(tmp_path / "m6/seed_0_fold_1")
    assert "do not compare" in write_tables(tmp_path)


def test_long_names_of_rows_are_drawn_whole(published_grid: Path) -> None:
    (published_grid / "m6").rename(published_grid / "m7_published_encoder")
    for file in published_grid.glob("m7_published_encoder/*/metrics.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "row": "m7_published_encoder"}))
    figure = draw_table(read_cells(published_grid))
    FigureCanvasAgg(figure).draw()
    labels = [label for axes in figure.axes for label in axes.get_yticklabels() if label.get_visible()]
    assert "m7_published_encoder" in {label.get_text() for label in labels}
    assert all(label.get_window_extent().x0 >= 0 for label in labels)


def test_csv_holds_every_mean(published_grid: Path) -> None:
    write_tables(published_grid)
    content = pd.read_csv(published_grid / "table.csv")
    assert list(content.columns) == ["source", "checkpoint", "protocol", "row", "metric", "mean", "std", "seeds"]
    both = content[(content["protocol"] == "published") & (content["checkpoint"] == "best")]
    wide = both.pivot_table(index=["row", "metric"], columns="source", values=["mean", "std"])
    assert len(wide) == 72
    assert wide["mean"]["here"].to_numpy() == pytest.approx(wide["mean"]["paper"].to_numpy())
    assert wide["std"]["here"].to_numpy() == pytest.approx(wide["std"]["paper"].to_numpy())
    assert not list(published_grid.glob(".table*")), "no temporary file is left"


def test_curves(tmp_path: Path) -> None:
    assert draw_curves(tmp_path) is None
    for row, seed in (("m6", 0), ("m6", 1), ("mine", 0)):
        folder = tmp_path / row / f"seed_{seed}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text("epoch,val/acc,train/loss/kl_c\n0,3.0,\n1,9.0,0.2\n2,,0.4\n")
    (tmp_path / "m6" / "seed_1" / "metrics.csv").write_text("")
    file = draw_curves(tmp_path)
    assert file is not None
    assert file.read_bytes().startswith(b"\x89PNG")
    assert [found.name for found in tmp_path.glob("*.png")] == ["curves.png"]


def test_the_command_prints_the_table_again(published_grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(published_grid)]) == 0
    printed = capsys.readouterr().out
    assert "13.8 ± 1.1" in printed, "as in table.md"
    assert max(map(len, printed.splitlines())) <= 160
    assert main([str(published_grid)]) == 0, "the folder may stand by itself"
    assert (published_grid / "table.md").exists()


def test_a_folder_without_cells_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_terminal_shows_the_rows_that_were_asked_for(
    published_grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(1, 5):
        shutil.rmtree(published_grid / "m6" / f"seed_{seed}")
    print_table(read_cells(published_grid), ["b", "m6"])
    printed = capsys.readouterr().out
    rows = [line.split()[0] for line in printed.splitlines() if " here " in line]
    assert rows == ["b", "M6"] * 2, "in both protocols"
    [ours, *_] = [line for line in printed.splitlines() if line.strip().startswith("M6") and "here" in line]
    assert "±" not in ours, "a single seed has no deviation"
    assert "14.18" in ours


def test_a_ninth_published_column_breaks_nothing(published_grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ninth = (*PUBLISHED_METRICS, Metric("purity", "Purity", "max", "[%]"))
    for module in (claims, plots, statistics_module, table, wandb_report):
        if hasattr(module, "PUBLISHED_METRICS"):
            monkeypatch.setattr(module, "PUBLISHED_METRICS", ninth)
    for file in published_grid.glob("m6/*/metrics.json"):
        content = json.loads(file.read_text())
        content["best"]["published"]["purity"] = 61.5
        file.write_text(json.dumps(content))
    text = write_tables(published_grid)
    assert "Purity ↑" in text
    assert "61.5 ± 0.0" in text
    titles = [axes.get_title() for axes in draw_table(read_cells(published_grid)).axes]
    assert "Purity ↑" in titles


MARKS = ["Trumpet [/b]", "Guitar $20_{x", "a|b", "<b>bold</b>", "two\nlines", "NA", "nan", "*star*", "`code`"]


@pytest.mark.parametrize("name", MARKS)
def test_names_from_the_data_stand_as_they_are(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cell(tmp_path, "m6", 0, data=name)
    notes = pd.DataFrame({"note_id": ["NA", "y"], "instrument": [name, "b"], "midi": [60, 61], "honest_acc": [1, 0]})
    file = tmp_path / "m6/seed_0/metrics.json"
    content = json.loads(file.read_text())
    content["best"]["honest"]["acc"] = 50.0
    file.write_text(json.dumps(content))
    notes.to_csv(tmp_path / "m6/seed_0/notes.csv", index=False)
    text = write_tables(tmp_path)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    html = MarkdownIt().enable("table").render(text)
    assert html.count("<table>") == text.count("\n\n| "), "each table is one"
    assert {name.replace("\n", " "), "b"} <= {unescape(cell) for cell in re.findall(r"<td.*?>(.*?)</td>", html)}
    assert tables
    print_table(read_cells(tmp_path), ["m6"])
    draw_table(read_cells(tmp_path))
    capsys.readouterr()


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "null",
        "{",
        '{"row": "m6", "seed": true, "best": {"honest": {}}, "last": {"honest": {}}}',
        '{"row": 3, "seed": 0, "best": {"honest": {}}, "last": {"honest": {}}}',
        '{"row": "../m6", "seed": 0, "best": {"honest": {}}, "last": {"honest": {}}}',
        '{"row": "m6", "seed": 0, "best": 3, "last": null}',
        '{"row": "m6", "seed": 0, "fold": "x", "best": {"honest": {}}, "last": {"honest": {}}}',
        "[" * 100_000,
    ],
)
def test_odd_metrics_are_left_out(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cell(tmp_path, "m5", 0)
    folder = tmp_path / "m6" / "seed_0"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(content)
    assert set(read_cells(tmp_path)["row"]) == {"m5"}
    assert str(folder) in capsys.readouterr().err


def test_odd_values_in_metrics_are_left_out(tmp_path: Path) -> None:
    write_cell(tmp_path, "m6", 0, epochs="many", wall_s=None, data=["a"])
    file = tmp_path / "m6/seed_0/metrics.json"
    content = json.loads(file.read_text())
    content["best"]["published"] |= {"acc": "79", "pm": None, "cds": float("nan"), "pitch": [1], "combine": 10**400}
    file.write_text(json.dumps(content))
    text = write_tables(tmp_path)
    assert "FID_recon" in text
    found = spreads(selected(read_cells(tmp_path), "published", "best"), PUBLISHED_METRICS)["m6"]
    assert set(found) == {"instrument", "fid_recon", "fid_rand"}


def test_only_ordinary_files_are_opened(tmp_path: Path) -> None:
    write_cell(tmp_path, "m6", 0)
    for name in ("notes.csv", "metrics.csv"):
        os.mkfifo(tmp_path / "m6/seed_0" / name)
    (tmp_path / "m5/seed_0").mkdir(parents=True)
    os.mkfifo(tmp_path / "m5/seed_0/metrics.json")
    assert set(read_cells(tmp_path)["row"]) == {"m6"}
    assert "M6" in write_tables(tmp_path)
    assert draw_curves(tmp_path) is None


def test_a_terminal_of_ascii_shows_the_table(published_grid: Path) -> None:
    command = [sys.executable, "-m", "experiments", "table", str(published_grid)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONIOENCODING": "ascii"}, cwd=ROOT, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert b"13.8 ? 1.1" in done.stdout
