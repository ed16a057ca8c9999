from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.grid import capacity
from experiments.grid.keys import fit_arguments, list_cells
from experiments.grid.settings import BadInputError, check


def test_the_points_are_cells_of_a_grid(tmp_path: Path) -> None:
    settings = capacity.settings_of(["--out", str(tmp_path), "--epochs", "40", "--seeds", "2"])
    check(settings)
    cells = list_cells(settings, "notes")
    assert len(cells) == 2 * (2 * len(capacity.CATEGORY_COUNTS) + 2 * len(capacity.PAIR_WEIGHTS))
    assert len({cell.key for cell in cells}) == len(cells) / 2, "a key a point, whatever the seed"
    words = fit_arguments(settings, next(cell for cell in cells if cell.row == "m7+k41"))
    assert words[2].endswith("m7.yaml")
    assert words[-6:] == ["--row", "m7+k41", "--model.n_categories", "41", "--model.axis.epochs", "10"]


def test_rows_are_refused() -> None:
    with pytest.raises(BadInputError, match="leave --rows out"):
        capacity.settings_of(["--rows", "m7"])


def finished(out: Path, row: str, seed: int, acc: float) -> None:
    folder = out / row / f"seed_{seed}"
    folder.mkdir(parents=True)
    scores = {"epoch": 1, "honest": {"acc": acc, "pitch": 5.0}, "published": {"cds": acc / 2}}
    content = {"row": row, "seed": seed, "best": scores, "last": scores}
    (folder / "metrics.json").write_text(json.dumps(content))


def test_finished_points_are_drawn_and_printed(tmp_path: Path) -> None:
    for row, first in (
        ("m6+k123", 40.0),
        ("m6+k41", 40.0),
        ("m7+k41", 48.0),
        ("m7+k82", 98.0),
        ("m0+published+0.1", 70.0),
        ("m7", 1.0),
    ):
        for seed in (0, 1):
            finished(tmp_path, row, seed, first + seed)
    found = capacity.results(tmp_path)
    assert len(found) == 10, "m7 itself is no point"
    text = capacity.write_study(tmp_path)
    assert "98.5" in text
    assert (tmp_path / "capacity.png").stat().st_size > 10_000
    values = [line.split("|")[3].strip() for line in text.splitlines() if "published" in line and "K" in line]
    assert values == ["41", "123"], "in the order of K, not of its digits"
    top = capacity.draw(found).axes[0]
    curves = {line.get_label(): line for line in top.lines}
    assert list(curves["equivariant encoder"].get_xdata()) == [41, 82]
    assert list(curves["equivariant encoder"].get_ydata()) == [48.5, 98.5]
