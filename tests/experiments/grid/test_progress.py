from __future__ import annotations

from pathlib import Path

import pytest

from experiments.grid import progress
from experiments.grid.cells import Cell, Outcome


@pytest.mark.parametrize(("seconds", "said"), [(12.4, "12 s"), (250, "4 min 10 s"), (11_100, "3 h 05 min")])
def test_durations_in_words(seconds: float, said: str) -> None:
    assert progress.in_words(seconds) == said


def test_the_share_of_training_is_told() -> None:
    cell = Cell("m6", 0, Path("nowhere"), epochs=10, key="")
    outcomes = [Outcome(cell, "finished", 100.0, 95.0), Outcome(cell, "finished", 95.0, 85.0)]
    assert progress.training_share(outcomes, 2, 100.0) == "90 % of the time of 2 workers (1 min 40 s) was training"


def test_the_time_left_counts_the_scoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [Cell("m6", seed, tmp_path / str(seed), epochs=10, key="") for seed in range(2)]
    shown = progress.GridProgress(cells, "1 at a time", tmp_path)
    shown._started = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: 100.0)
    shown._tell(Outcome(cells[0], "finished", 100.0, 50.0))
    assert "about 1 min 40 s left" in shown._times()
    cells[1].run_dir.mkdir()
    (cells[1].run_dir / "metrics.csv").write_text("epoch\n9\n")
    monkeypatch.setattr(progress.time, "monotonic", lambda: 150.0)
    assert "about 50 s left" in shown._times(), "all epochs are trained, half of the time is still to come"
