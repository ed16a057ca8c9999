from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.grid import driver, processes, progress, workers
from experiments.grid.driver import run_grid
from experiments.grid.keys import fit_arguments, list_cells
from experiments.grid.processes import Program
from experiments.grid.settings import BadInputError, GridSettings

FAKES = Path(__file__).parent


FAKE = Program("fake_cell:fit", "fake_cell:prepare")


DRIVER = """
import signal, sys
sys.path.append(sys.argv[1])
from experiments.grid import driver
from experiments.grid.driver import run_grid
from experiments.grid.processes import Program
from experiments.grid.settings import parse
driver.draw_figures = lambda out: None  # seconds; test_table draws them
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background inherit that it is ignored
sys.exit(run_grid(parse(sys.argv[2:]), Program("fake_cell:fit", "fake_cell:prepare")))
"""


def run(settings: GridSettings) -> int:
    return run_grid(settings, FAKE)


def drive(out: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    """A driver of its own, of rows b and m6."""
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(FAKES), "--rows", "b", "m6", "--out", str(out), *words],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def ran(out: Path) -> list[tuple[str, int]]:
    """The cells whose process was started, in their order."""
    lines = (out / "ran.txt").read_text().splitlines() if (out / "ran.txt").exists() else []
    return [(line.split()[0], int(line.split()[1])) for line in lines]


def wait_until(true: Callable[[], bool], timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def alive(out: Path) -> list[int]:
    """The started cells whose process still runs."""
    found = []
    for line in (out / "ran.txt").read_text().splitlines():
        pid = int(line.split()[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        stat = Path(f"/proc/{pid}/stat")
        if not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"):
            found.append(pid)
    return found


@pytest.fixture(autouse=True)
def _no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure takes half a second, and test_table draws it."""
    monkeypatch.setattr(driver, "draw_figures", lambda out: None)


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cells' processes find fake_cell where this one does."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(FAKES)])


@pytest.fixture
def settings(tmp_path: Path) -> GridSettings:
    return GridSettings(rows=("b", "m6"), seeds=2, out=tmp_path / "my runs", jobs=1)


def test_seed_0_of_every_row_runs_first(settings: GridSettings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(settings) == 0
    assert ran(settings.out) == [("b", 0), ("m6", 0), ("b", 1), ("m6", 1)]
    assert {file.name for file in settings.out.iterdir()} >= {"table.md", "table.csv", "claims.md", "claims.csv"}
    printed = capsys.readouterr().out
    assert "[4/4] m6 seed 1: finished in" in printed
    assert "50.5 ± 0.5" in printed, "the table is printed at the end"
    folder = settings.out / "m6" / "seed_1"
    assert json.loads((folder / "metrics.json").read_text())["threads"] == "1"
    assert "line 29 of m6" in (folder / "log.txt").read_text()


def test_finished_cells_are_skipped(settings: GridSettings, capsys: pytest.CaptureFixture[str]) -> None:
    run(settings)
    (settings.out / "b" / "seed_1" / "metrics.json").write_text("{")
    assert run(settings) == 0
    assert ran(settings.out)[4:] == [("b", 1)], "a broken file is no finished cell"
    assert run(settings) == 0
    assert len(ran(settings.out)) == 5
    assert "4 cells, 4 of them finished before" in capsys.readouterr().out


def test_other_settings_run_again_and_the_old_is_kept(settings: GridSettings) -> None:
    run(settings)
    other = replace(settings, epochs=2, seeds=1)
    assert run(other) == 0
    assert ran(settings.out)[4:] == [("b", 0), ("m6", 0)]
    assert (settings.out / "b/seed_0/older/0/metrics.json").exists()
    assert not list(settings.out.glob("b/seed_1/older"))


def test_a_failed_cell_is_named_and_the_others_run(
    settings: GridSettings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAIL", "m6:0")
    assert run(settings) == 1
    assert len(ran(settings.out)) == 4
    printed = capsys.readouterr().out
    assert f"error: m6 seed 0 failed: exit status 1; log: {settings.out / 'm6/seed_0/log.txt'}" in printed
    assert "it went wrong" in printed.splitlines()[-1]
    assert "line 20 of m6" in printed
    assert "line 10 of m6" not in printed, "only the end of the log is shown"
    assert "± " in (settings.out / "table.md").read_text()
    monkeypatch.delenv("FAKE_FAIL")
    assert run(settings) == 0
    assert ran(settings.out)[4:] == [("m6", 0)]


def test_a_cell_that_writes_no_metrics_has_failed(settings: GridSettings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_grid(settings, Program("fake_cell:prepare", "fake_cell:prepare")) == 1
    assert "ended without a metrics.json" in capsys.readouterr().out


def test_a_killed_cell_is_run_again(
    settings: GridSettings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOOK_S", 0.02)
    monkeypatch.setenv("FAKE_LOSE", "m6:0")
    assert run(settings) == 0
    assert ran(settings.out) == [("b", 0), ("m6", 0), ("b", 1), ("m6", 1), ("m6", 0)]
    assert "m6 seed 0: lost (ended by SIGKILL) in" in capsys.readouterr().out


def test_failed_classifiers_start_no_cell(
    settings: GridSettings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_BROKEN", "1")
    assert run(settings) == 1
    assert ran(settings.out) == []
    assert "no notes" in capsys.readouterr().out


def test_code_that_cannot_be_imported_is_named(settings: GridSettings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_grid(settings, Program("fake_cell:fit", "no_such_module:prepare")) == 1
    assert "No module named 'no_such_module'" in capsys.readouterr().out


def test_index_runs_one_cell(settings: GridSettings) -> None:
    assert run(replace(settings, index=3)) == 0
    assert ran(settings.out) == [("m6", 1)]


def test_folds_are_cells(settings: GridSettings, capsys: pytest.CaptureFixture[str]) -> None:
    folded = replace(settings, folds=3)
    assert run(folded) == 0
    cells = list_cells(folded, "no notes0 no notes1 no notes2")
    assert [cell.name for cell in cells[:4]] == [
        "b seed 0 fold 0",
        "m6 seed 0 fold 0",
        "b seed 0 fold 1",
        "m6 seed 0 fold 1",
    ]
    assert len({cell.run_dir for cell in cells}) == len(cells) == len(ran(settings.out)) == 12
    assert len({cell.key for cell in cells}) == 6, "a key a row and fold"
    assert all(cell.finished() for cell in cells)
    words = fit_arguments(folded, cells[2])
    assert words[words.index("--data.split.folds") :][:4] == ["--data.split.folds", "3", "--data.split.fold", "1"]
    assert words[words.index("--run_dir") + 1].endswith("b/seed_0_fold_1")
    printed = capsys.readouterr().out
    assert "[12/12] m6 seed 1 fold 2: finished" in printed
    assert "3 folds: a seed's score is the mean over them" in printed
    assert run(folded) == 0
    assert len(ran(settings.out)) == 12, "finished folds are not run again"
    assert run(replace(folded, index=5)) == 0
    assert cells[5].name == "m6 seed 0 fold 2"


def test_folds_that_score_the_same_notes_are_refused(
    settings: GridSettings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ONE_SPLIT", "1")
    assert run(replace(settings, folds=2)) == 1
    assert "several folds score the same notes" in capsys.readouterr().out
    assert ran(settings.out) == []


@pytest.mark.parametrize(("first", "then"), [(None, 2), (2, None), (3, 2)])
def test_a_folder_holds_one_kind_of_folds(settings: GridSettings, first: int | None, then: int | None) -> None:
    small = replace(settings, rows=("b",), seeds=1, folds=first)
    assert run(small) == 0
    with pytest.raises(BadInputError, match="give another folder"):
        run(replace(small, folds=then))


def test_each_job_has_its_gpu(settings: GridSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setenv("FAKE_S", "0.1")
    assert run(replace(settings, jobs=None)) == 0
    devices = [line.split()[3] for line in (settings.out / "ran.txt").read_text().splitlines()]
    assert sorted(devices[:2]) == ["4", "7"]


def test_two_drivers_share_the_cells(tmp_path: Path) -> None:
    drivers = [drive(tmp_path, "--seeds", "3", "--jobs", "2", FAKE_S="0.1") for _ in range(2)]
    assert [driver.wait(120) for driver in drivers] == [0, 0]
    assert sorted(ran(tmp_path)) == [(row, seed) for row in ("b", "m6") for seed in range(3)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_grid_leaves_no_process_and_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    driver = drive(tmp_path, "--seeds", "2", "--jobs", "2", FAKE_S="200")
    wait_until(lambda: len(ran(tmp_path)) == 2)
    driver.send_signal(number)
    assert driver.wait(60) == 128 + number
    assert driver.stdout is not None
    assert "0 of 4 cells are finished; the same command goes on" in driver.stdout.read()
    assert alive(tmp_path) == []
    assert run(GridSettings(rows=("b", "m6"), seeds=2, out=tmp_path, jobs=2)) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_no_cell_outlives_a_killed_driver(tmp_path: Path) -> None:
    driver = drive(tmp_path, "--seeds", "1", "--jobs", "2", FAKE_S="200")
    wait_until(lambda: len(ran(tmp_path)) == 2)
    driver.kill()
    driver.wait()
    wait_until(lambda: alive(tmp_path) == [])
    assert alive(tmp_path) == []


def test_a_cell_that_ignores_sigterm_is_killed(settings: GridSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 0.3)
    monkeypatch.setenv("FAKE_STUBBORN", "1")
    monkeypatch.setenv("FAKE_S", "200")
    stop = threading.Event()

    def stop_when_it_runs() -> None:
        wait_until(lambda: len(ran(settings.out)) == 1)
        stop.set()

    threading.Thread(target=stop_when_it_runs).start()
    [cell, *_] = list_cells(settings, "no notes")
    shared = workers.Shared(stop, workers.one_of(None))
    assert workers.run_cell(settings, cell, "no notes", FAKE, False, shared).state == "stopped"
    assert alive(settings.out) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rows", "m6", "m77", "smoke"], "unknown row 'm77', 'smoke'; did you mean m7?; known rows: b sharp m0"),
        (["--rows", "../m6"], "unknown row '../m6'"),
        (["--rows", "classifier_pitch"], "unknown row 'classifier_pitch'"),
        (["--rows", "1e3"], "unknown row '1e3'"),
        (["--rows", "m7_com"], "did you mean m7_comb?"),
        (["--rows", "b", "m7", "--epochs", "20"], "row m7: model.axis.epochs is 60 and trainer.max_epochs 20"),
        (["--rows", "b", "--", "--model.learning_rat", "1"], "row b: "),
        (["--seeds", "two"], "--seeds: 'two' is not a whole number"),
        (["--jobs", "1.5"], "--jobs: '1.5' is not a whole number"),
        (["--jobs", "0"], "jobs is 0"),
        (["--epochs", "0"], "epochs is 0"),
        (["--folds", "1"], "folds is 1; it must be at least 2"),
        (["--folds", "5", "--", "--data.split.fold", "2"], "--data.split.fold: the grid sets it"),
        (["--folds", "2", "--index", "90"], "cells 0 to 89"),
        (["--data", "nowhere.yaml"], "nowhere.yaml: there is no such data configuration"),
        (["--out", f"{__file__}/below"], "below: cannot be written"),
        (["--index", "45"], "cells 0 to 44"),
        (["--sedes", "3"], "unrecognized arguments: --sedes 3"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert driver.main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
