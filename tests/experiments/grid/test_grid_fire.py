"""The grid under fire: what is killed, removed, changed or full costs time, and nothing else."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.grid import driver, keys, processes, workers
from experiments.grid.driver import run_grid
from experiments.grid.settings import GridSettings
from tests.experiments.grid.fake_drivers import (
    FAKE,
    FAKE_DRIVER,
    FAKES,
    PATH,
    PATIENCE_S,
    ROOT,
    SMALL,
    cells_running,
    fake_driver,
    lines,
    start,
    tables,
)


class Fire:
    """Drivers that are started again and again, and are killed, or their cells, at random moments.

    Args:
        start: starts a driver.
        drivers: how many run at a time.
        pause_s: the longest wait between two kills while cells run.
        seed: of the random numbers.
    """

    def __init__(self, start: Callable[[], subprocess.Popen[str]], drivers: int, pause_s: float, seed: int) -> None:
        self.start, self.random, self.pause_s = start, random.Random(seed), pause_s
        self.drivers = [start() for _ in range(drivers)]
        self.kills: Counter[str] = Counter()
        self.ended = time.monotonic() + PATIENCE_S

    def burn(self, kills: int) -> None:
        """Kill a driver, then a cell, then a driver, ..."""
        while self.kills.total() < kills:
            assert time.monotonic() < self.ended, "the grid ended before the kills"
            place = self.random.randrange(len(self.drivers))
            target = "cell" if self.kills.total() % 2 else "driver"
            cells = self._cells_of(place)
            time.sleep(self.random.uniform(0, self.pause_s))
            if self.drivers[place].poll() is not None or not cells:
                self._again(place)
                continue
            if target == "driver":
                self.drivers[place].kill()
                self._again(place)
            else:
                with suppress(ProcessLookupError):
                    os.kill(self.random.choice(cells), signal.SIGKILL)
            self.kills[target] += 1

    def _cells_of(self, place: int) -> list[int]:
        """Wait for a driver's cells; none if it has ended."""
        while not (cells := cells_running(self.drivers[place])) and self.drivers[place].poll() is None:
            assert time.monotonic() < self.ended, "no cell was started in time"
            time.sleep(0.02)
        return cells

    def _again(self, place: int) -> None:
        """Start a driver that has ended again."""
        if self.drivers[place].poll() is None and not self.drivers[place].returncode:
            self.drivers[place].wait(PATIENCE_S)
        self.drivers[place].stdout.close()  # type: ignore[union-attr]
        self.drivers[place] = self.start()

    def burn_down(self) -> str:
        """Let the last drivers, then one more, come to their end; what that one says."""
        for each in self.drivers:
            each.communicate(timeout=PATIENCE_S)
        last = self.start()
        said = last.communicate(timeout=PATIENCE_S)[0]
        assert last.returncode == 0, said
        return said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the cells' processes in /proc")
def test_the_table_survives_24_kills(tmp_path: Path) -> None:
    kills, seeds, epochs = 24, 4, 40
    whole, burnt = tmp_path / "whole", tmp_path / "burnt"
    assert run_grid(GridSettings(rows=("b", "m6"), seeds=seeds, epochs=epochs, jobs=2, out=whole), FAKE) == 0

    words = ("--seeds", str(seeds), "--epochs", str(epochs), "--jobs", "1")
    fire = Fire(lambda: fake_driver(burnt, *words, FAKE_S="0.15"), drivers=2, pause_s=0.6, seed=kills)
    fire.burn(kills)
    fire.burn_down()

    assert fire.kills["driver"] >= kills // 2
    assert fire.kills["cell"] >= kills // 2
    assert tables(burnt) == tables(whole)
    ended = Counter(lines(burnt / "ended.txt"))
    assert set(ended.values()) == {1}, "a cell was run twice to its end"
    assert lines(burnt / "overlaps.txt") == [], "two processes trained the same cell at a time"
    assert not list(burnt.glob("*/*/older"))
    print(f"{fire.kills} on {2 * seeds} cells, {len(lines(burnt / 'ran.txt'))} processes of cells, 0 differences")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the cells' processes in /proc")
def test_real_training_survives_5_kills_and_a_damaged_checkpoint(tmp_path: Path) -> None:
    def driver(out: Path) -> subprocess.Popen[str]:
        words = ["--rows", "b", "m6", "--seeds", "2", "--epochs", "60", "--jobs", "2", "--out", str(out)]
        extra = [*SMALL, "--classifier_dir", str(tmp_path / "classifiers"), "--data.cache_dir", str(tmp_path / "cache")]
        command = [sys.executable, "-m", "experiments", "grid", *words, "--", *extra]
        return start(command, WANDB_MODE="offline")

    whole, burnt = tmp_path / "whole", tmp_path / "burnt"
    undisturbed = driver(whole)
    said = undisturbed.communicate(timeout=PATIENCE_S)[0]
    assert undisturbed.returncode == 0, said
    assert re.search(r"\d+ % of the time of 2 workers \(.*\) was training", said)

    fire = Fire(lambda: driver(burnt), drivers=1, pause_s=8.0, seed=0)
    fire.burn(4)
    end = time.monotonic() + PATIENCE_S
    while not (checkpoints := sorted(burnt.glob("*/*/checkpoints/last.ckpt"))):  # kills may have come before the first
        assert time.monotonic() < end, "no checkpoint was written in time"
        time.sleep(0.1)
    fire.drivers[0].kill()
    fire.kills["driver"] += 1
    unfinished = [file for file in checkpoints if not (file.parents[1] / "metrics.json").exists()]
    for file in unfinished[:1]:
        time.sleep(processes.GRACE_S)  # until the killed driver's cells have ended too
        file.write_bytes(b"junk")
    said = fire.burn_down()
    assert tables(burnt) == tables(whole)
    for file in unfinished[:1]:
        assert "set aside" in (file.parents[1] / "log.txt").read_text()
        assert file.with_name("last.ckpt.damaged").read_bytes() == b"junk"
    print(f"{fire.kills} on 4 cells, damaged checkpoints: {len(unfinished[:1])}, 0 differences\n{said}")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="cells are forked on Linux alone")
def test_a_warm_cell_has_the_bits_of_a_cold_one(tmp_path: Path) -> None:
    words = ["fit", "--config", str(ROOT / "configs" / "smoke.yaml"), "--classifier_dir", str(tmp_path / "classifiers")]
    script = """
import json, sys, threading
from pathlib import Path
from experiments.grid.driver import PROGRAM
from experiments.grid.processes import run_process
from experiments.grid.workers import cell_environment
out, words = Path(sys.argv[1]), sys.argv[2:]
def call(function, words):
    environment = cell_environment("key", "-1")
    return run_process(function, words, out / "log.txt", environment, threading.Event(), preload=PROGRAM.preload)
if __name__ == "__main__":
    ended = call(PROGRAM.fit, words)
    print(json.dumps({"status": ended.status, "server": call("fake_cell:server", []).result}))
"""
    cold = start(
        [sys.executable, "-m", "experiments", *words, "--run_dir", str(tmp_path / "cold")],
        **workers.cell_environment("key", "-1"),
    )
    said = cold.communicate(timeout=PATIENCE_S)[0]
    assert cold.returncode == 0, said
    warm = start([sys.executable, "-c", script, str(tmp_path), *words, "--run_dir", str(tmp_path / "warm")])
    said = warm.communicate(timeout=PATIENCE_S)[0]
    told = json.loads(said.splitlines()[-1])
    assert told["status"] == 0, (tmp_path / "log.txt").read_text()
    assert told["server"] == {
        **{"threads": 1, "torch_threads": 1, "preloaded": True, "cuda": False, "gpu": "-1"},
        "wandb": False,  # its temporary folder would be one for all cells, and go with the first that ends
    }
    assert (tmp_path / "warm" / "metrics.csv").read_text() == (tmp_path / "cold" / "metrics.csv").read_text()
    scores = [json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("warm", "cold")]
    assert [scores[0][at] for at in ("best", "last")] == [scores[1][at] for at in ("best", "last")]


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cells' processes find fake_cell where this one does, and no figure is drawn: test_table does."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(FAKES)])
    monkeypatch.setattr(driver, "draw_figures", lambda out: None)
    monkeypatch.setenv("FAKE_CHAINED", "1")


@pytest.fixture
def settings(tmp_path: Path) -> GridSettings:
    return GridSettings(rows=("b", "m6"), seeds=2, out=tmp_path / "runs", jobs=2)


def test_a_removed_file_is_made_again(settings: GridSettings) -> None:
    run_grid(settings, FAKE)
    before = tables(settings.out)
    (settings.out / "m6" / "seed_1" / "metrics.json").unlink()
    (settings.out / "b" / "seed_0" / "checkpoint.json").unlink()
    assert run_grid(settings, FAKE) == 0
    assert tables(settings.out) == before
    assert lines(settings.out / "ended.txt")[4:] == ["m6 1"]


def test_changed_notes_make_every_cell_stale(
    settings: GridSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = tmp_path / "notes"
    notes.write_text("hash-1")
    monkeypatch.setenv("FAKE_NOTES", str(notes))
    run_grid(settings, FAKE)
    notes.write_text("hash-2")
    assert run_grid(replace(settings, index=0), FAKE) == 0
    assert "4 cells were made with other settings, notes or code" in capsys.readouterr().out
    table = (settings.out / "table.md").read_text()
    assert "notes (hash-2)" in table
    assert "hash-1" not in table, "the others are not of these notes"
    assert run_grid(settings, FAKE) == 0
    assert len(lines(settings.out / "ended.txt")) == 8
    assert len(list(settings.out.glob("*/seed_*/older/0/metrics.json"))) == 4


def test_changed_code_makes_every_cell_stale(settings: GridSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    run_grid(settings, FAKE)
    monkeypatch.setattr(keys, "code_hash", lambda: "other code")
    assert run_grid(settings, FAKE) == 0
    assert len(lines(settings.out / "ended.txt")) == 8
    assert len(list(settings.out.glob("*/seed_*/older/0/metrics.json"))) == 4


def test_code_that_changes_under_a_grid_stops_it(
    settings: GridSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rest is not mixed in."""
    versions: Iterator[str] = iter(["one"] * 6)  # two looks, two rows each, and the first two cells
    monkeypatch.setattr(keys, "code_hash", lambda: next(versions, "two"))
    assert run_grid(replace(settings, jobs=1), FAKE) == 1
    assert lines(settings.out / "ended.txt") == ["b 0", "m6 0"]
    assert "b seed 1 failed: the code or its configuration has changed" in capsys.readouterr().out


def test_a_half_written_claim_costs_the_cell_alone(settings: GridSettings) -> None:
    run_grid(settings, FAKE)
    before = tables(settings.out)
    (settings.out / "b" / "seed_0" / "grid_key").write_text("")
    assert run_grid(settings, FAKE) == 0
    assert tables(settings.out) == before
    assert lines(settings.out / "ended.txt")[4:] == ["b 0"]


def test_a_full_disk_is_told_and_costs_no_finished_cell(tmp_path: Path) -> None:
    whole = GridSettings(rows=("b", "m6"), seeds=1, epochs=12, jobs=1, out=tmp_path / "whole")
    settings = replace(whole, out=tmp_path / "runs")
    assert run_grid(whole, FAKE) == 0
    assert run_grid(replace(settings, index=1), FAKE) == 0

    def fill_the_disk() -> None:
        """No file grows beyond a log's first lines; the system answers an error, as it does on a full disk."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))

    words = ("--seeds", "1", "--epochs", "12", "--jobs", "1")
    full = subprocess.run(
        [sys.executable, "-c", FAKE_DRIVER, "--rows", "b", "m6", *words, "--out", str(settings.out)],
        env={**os.environ, "PYTHONPATH": PATH},
        preexec_fn=fill_the_disk,
        capture_output=True,
        text=True,
    )
    assert full.returncode == 1
    assert "Traceback" not in full.stderr
    assert "error: b seed 0 failed" in full.stdout
    assert "m6 seed 0 failed" not in full.stdout
    assert run_grid(settings, FAKE) == 0
    assert tables(settings.out) == tables(whole.out)
    assert sorted(lines(settings.out / "ended.txt")) == ["b 0", "m6 0"]
