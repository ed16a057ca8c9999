from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.grid import keys
from experiments.grid.keys import cell_key, fit_arguments, list_cells
from experiments.grid.settings import GridSettings, parse


def test_the_words_of_a_cell(tmp_path: Path) -> None:
    settings = parse(
        ["--rows", "m6", "--epochs", "7", "--data", "x y.yaml", "--out", str(tmp_path), "--", "--model.lr", "1"]
    )
    [cell] = list_cells(replace(settings, data=None, seeds=1), "")
    words = fit_arguments(settings, cell)
    assert words[:5] == ["fit", "--config", str(keys.CONFIGS / "m6.yaml"), "--config", "x y.yaml"]
    assert words[5:9] == ["--seed_everything", "0", "--run_dir", str(tmp_path / "m6" / "seed_0")]
    assert words[9:] == ["--trainer.max_epochs", "7", "--model.lr", "1"]


def test_the_key_of_a_cell_follows_its_settings(tmp_path: Path) -> None:
    data = tmp_path / "data.yaml"
    data.write_text("data: {name: one}\n")
    plain = cell_key("m6", GridSettings(data=data), "notes")
    data.write_text("# a comment\ndata: {name: one}\n")
    assert cell_key("m6", GridSettings(data=data, jobs=9, seeds=1), "notes") == plain
    others = [
        cell_key("m6", GridSettings(data=data), "other notes"),
        cell_key("m5", GridSettings(data=data), "notes"),
        cell_key("m6", GridSettings(), "notes"),
        cell_key("m6", GridSettings(data=data, epochs=3), "notes"),
        cell_key("m6", GridSettings(data=data, extra=("--model.lr", "1")), "notes"),
    ]
    data.write_text("data: {name: two}\n")
    others.append(cell_key("m6", GridSettings(data=data), "notes"))
    assert len({plain, *others}) == 7


def test_the_key_follows_the_code_but_not_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "metric.py"
    file.write_text("def mean(x):\n    return sum(x) / len(x)\n")
    monkeypatch.setattr(keys, "ROOT", tmp_path)
    monkeypatch.setattr(keys, "CODE_THAT_MATTERS", ("metric.py",))
    before = keys.code_hash()
    file.write_text('"""About it."""\n\n\ndef mean(x):\n    """The mean."""\n    return sum(x) / len(x)  # plain\n')
    assert keys.code_hash() == before
    file.write_text("def mean(x):\n    return sum(x) / (len(x) - 1)\n")
    assert keys.code_hash() != before


def test_the_code_that_matters_is_there() -> None:
    files = {str(file.relative_to(keys.ROOT)) for file in keys.code_files()}
    assert {"metrics/frechet.py", "callbacks/temperature.py", "experiments/cli.py"} <= files
    assert not files & {"experiments/grid.py", "experiments/table.py"}
    assert all(file.is_file() for file in keys.code_files())


def test_the_default_grid_is_the_published_table() -> None:
    cells = list_cells(parse([]), "")
    assert len(cells) == 45
    assert [cell.row for cell in cells[:9]] == ["b", "sharp", "m0", "m1", "m2", "m3", "m4", "m5", "m6"]
    assert {cell.seed for cell in cells[:9]} == {0}
    assert all(cell.epochs > 100 for cell in cells)
