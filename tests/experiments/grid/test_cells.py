from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.grid import progress
from experiments.grid.cells import Cell, Outcome, kept_outcome


def test_the_epoch_of_a_running_cell(tmp_path: Path) -> None:
    cell = Cell("m6", 0, tmp_path, epochs=10, key="")
    assert cell.epoch() == 0
    log = tmp_path / "metrics.csv"
    log.write_text("val/acc,epoch\n")
    assert cell.epoch() == 0
    log.write_text("val/acc,epoch\n" + "".join(f"{'1' * 100},{epoch}\n" for epoch in range(200)))
    assert cell.epoch() == 10
    log.write_text("val/acc,epoch\n1.0,0\n,3\n")
    assert cell.epoch() == 4


@pytest.mark.parametrize(
    "content", ["[]", "null", "{", '{"state": 3}', '{"state": "lost", "wall_s": NaN}', '{"state": "lost", "odd": 1}']
)
def test_an_odd_outcome_is_none(content: str, tmp_path: Path) -> None:
    cell = Cell("m6", 0, tmp_path, epochs=10, key="")
    cell.outcome_file.write_text(content)
    assert kept_outcome(cell) is None
    assert kept_outcome(replace(cell, run_dir=tmp_path / "nowhere")) is None
    assert Outcome(cell, "lost", 3.0, reason="why").keep() == kept_outcome(cell)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe,epoch\n1,2\n", b"epoch\nnan\n", b"epoch\ninf\n", b"epoch\n-9\n", b"a\n1\n"]
)
def test_an_odd_log_shows_no_epoch(content: bytes, tmp_path: Path) -> None:
    cell = Cell("m6", 0, tmp_path, epochs=10, key="key")
    (tmp_path / "metrics.csv").write_bytes(content)
    assert cell.epoch() == 0


def test_fifos_in_a_cells_folder_are_not_opened(tmp_path: Path) -> None:
    cell = Cell("m6", 0, tmp_path, epochs=10, key="key")
    for name in ("metrics.json", "metrics.csv", "outcome.json", "grid_key", "log.txt"):
        os.mkfifo(tmp_path / name)
    assert not cell.finished()
    assert cell.epoch() == 0
    assert kept_outcome(cell) is None
    assert len(cell.left_by_others()) == 5
    assert "log.txt" in progress.tail(cell.log)


def test_a_claim_killed_while_it_wrote_its_key_leaves_nothing_to_set_aside(tmp_path: Path) -> None:
    cell = Cell("m6", 0, tmp_path, epochs=10, key="key")
    (tmp_path / ".grid_key.123.tmp").write_text("ke")
    cell.set_aside()
    assert not (tmp_path / "older").exists()
    assert (tmp_path / "grid_key").read_text() == "key"
