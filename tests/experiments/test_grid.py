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

from experiments import grid
from experiments.grid import Cell, GridSettings, cell_key, list_cells, parse, run_grid

FAKE_CELL = Path(__file__).with_name("fake_cell.py")
DRIVER = """
import signal, sys
from experiments.grid import parse, run_grid
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background inherit that it is ignored
fit = lambda settings, cell: [sys.executable, "-S", sys.argv[1], cell.row, str(cell.seed), str(cell.run_dir)]
sys.exit(run_grid(parse(sys.argv[2:]), fit, lambda settings: [sys.executable, "-S", "-c", ""]))
"""


def fake_fit(settings: GridSettings, cell: Cell) -> list[str]:
    return [sys.executable, "-S", str(FAKE_CELL), cell.row, str(cell.seed), str(cell.run_dir)]


def no_classifiers(settings: GridSettings) -> list[str]:
    return [sys.executable, "-S", "-c", ""]


def run(settings: GridSettings) -> int:
    return run_grid(settings, fake_fit, no_classifiers)


def drive(out: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    """A driver of its own, of rows b and m6."""
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(FAKE_CELL), "--rows", "b", "m6", "--out", str(out), *words],
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
    monkeypatch.setattr(grid, "draw_curves", lambda out: None)


@pytest.fixture
def settings(tmp_path: Path) -> GridSettings:
    return GridSettings(rows=("b", "m6"), seeds=2, out=tmp_path / "my runs", jobs=1)


def test_seed_0_of_every_row_runs_first(settings: GridSettings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(settings) == 0
    assert ran(settings.out) == [("b", 0), ("m6", 0), ("b", 1), ("m6", 1)]
    assert {file.name for file in settings.out.iterdir()} >= {"table.md", "table.csv"}
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
    def ends_early(settings: GridSettings, cell: Cell) -> list[str]:
        return no_classifiers(settings)

    assert run_grid(settings, ends_early, no_classifiers) == 1
    assert "ended without a metrics.json" in capsys.readouterr().out


def test_failed_classifiers_start_no_cell(settings: GridSettings, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(settings: GridSettings) -> list[str]:
        return [sys.executable, "-S", "-c", "import sys; sys.exit('no notes')"]

    assert run_grid(settings, fake_fit, broken) == 1
    assert ran(settings.out) == []
    assert "no notes" in capsys.readouterr().out


def test_index_runs_one_cell(settings: GridSettings) -> None:
    assert run(replace(settings, index=3)) == 0
    assert ran(settings.out) == [("m6", 1)]


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


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "GRACE_S", 0.3)
    stop = threading.Event()
    command = [sys.executable, "-S", str(FAKE_CELL), "b", "0", str(tmp_path / "b" / "seed_0")]

    def stop_when_it_runs() -> None:
        wait_until(lambda: len(ran(tmp_path)) == 1)
        stop.set()

    threading.Thread(target=stop_when_it_runs).start()
    environment = {**os.environ, "FAKE_STUBBORN": "1", "FAKE_S": "200"}
    assert grid.run_process(command, tmp_path / "log.txt", environment, stop) is None
    assert alive(tmp_path) == []


def test_the_commands_of_a_cell(tmp_path: Path) -> None:
    settings = parse(
        ["--rows", "m6", "--epochs", "7", "--data", "x y.yaml", "--out", str(tmp_path), "--", "--model.lr", "1"]
    )
    [cell] = list_cells(replace(settings, data=None, seeds=1))
    words = grid.fit_command(settings, cell)
    assert words[1:4] == ["-m", "experiments", "fit"]
    assert words[4:8] == ["--config", str(grid.CONFIGS / "m6.yaml"), "--config", "x y.yaml"]
    assert words[8:12] == ["--seed_everything", "0", "--run_dir", str(tmp_path / "m6" / "seed_0")]
    assert words[12:] == ["--trainer.max_epochs", "7", "--model.lr", "1"]
    assert grid.classifier_command(settings)[3:] == ["classifiers", "--config", "x y.yaml", "--model.lr", "1"]


def test_the_key_of_a_cell_follows_its_settings(tmp_path: Path) -> None:
    data = tmp_path / "data.yaml"
    data.write_text("data: {name: one}\n")
    plain = cell_key("m6", GridSettings(data=data))
    data.write_text("# a comment\ndata: {name: one}\n")
    assert cell_key("m6", GridSettings(data=data, jobs=9, seeds=1)) == plain
    others = [
        cell_key("m5", GridSettings(data=data)),
        cell_key("m6", GridSettings()),
        cell_key("m6", GridSettings(data=data, epochs=3)),
        cell_key("m6", GridSettings(data=data, extra=("--model.lr", "1"))),
    ]
    data.write_text("data: {name: two}\n")
    others.append(cell_key("m6", GridSettings(data=data)))
    assert len({plain, *others}) == 6


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


def test_the_default_grid_is_the_published_table() -> None:
    cells = list_cells(parse([]))
    assert len(cells) == 45
    assert [cell.row for cell in cells[:9]] == ["b", "sharp", "m0", "m1", "m2", "m3", "m4", "m5", "m6"]
    assert {cell.seed for cell in cells[:9]} == {0}
    assert all(cell.epochs > 100 for cell in cells)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rows", "m6", "m77", "smoke"], "unknown row m77, smoke; known rows: b sharp m0"),
        (["--rows", "../m6"], "unknown row ../m6"),
        (["--rows", "classifier_pitch"], "unknown row classifier_pitch"),
        (["--seeds", "two"], "--seeds: 'two' is not a whole number"),
        (["--jobs", "1.5"], "--jobs: '1.5' is not a whole number"),
        (["--epochs", "0"], "epochs is 0"),
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
    assert grid.main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("seconds", "said"), [(12.4, "12 s"), (250, "4 min 10 s"), (11_100, "3 h 05 min")])
def test_durations_in_words(seconds: float, said: str) -> None:
    assert grid.words(seconds) == said
