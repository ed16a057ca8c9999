"""The grid on Ray's machines, and as an array of Slurm's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from experiments.grid import driver, keys
from experiments.grid import settings as grid_settings
from experiments.grid.settings import GridSettings
from tests.experiments.grid.fake_drivers import FAKES, PATH, PATIENCE_S, ROOT, command_line, fake_driver, lines, tables


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is an extra: pip install 'pitch-timbre[ray]'")
@pytest.mark.skipif(sys.platform != "linux", reason="finds Ray's workers in /proc")
def test_the_table_of_two_ray_nodes_survives_a_killed_worker(tmp_path: Path) -> None:
    words = ("--seeds", "2", "--epochs", "10")
    whole = tmp_path / "whole"
    assert fake_driver(whole, *words, "--jobs", "2").wait(PATIENCE_S) == 0
    # The nodes' workers have the nodes' environment.
    environment = {"FAKE_CHAINED": "1", "FAKE_S": "0.3", "PYTHONPATH": PATH, "PYTHONFAULTHANDLER": "1"}
    nodes = subprocess.Popen(
        [sys.executable, str(FAKES / "ray_cluster.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert nodes.stdout is not None
        at = json.loads(nodes.stdout.readline())
        for jobs, address in (("ray", {"RAY_ADDRESS": at["address"]}), (at["client"], {})):
            out = tmp_path / jobs.partition(":")[0] / ("client" if not address else "address")
            driver = fake_driver(out, *words, "--jobs", jobs, **address, **environment)
            end = time.monotonic() + PATIENCE_S
            while len(lines(out / "ran.txt")) < 2:
                assert driver.poll() is None, driver.communicate()[0]
                if time.monotonic() > end:
                    driver.send_signal(signal.SIGABRT)
                    pytest.fail(f"no cells were started in time: {driver.communicate()[0]}")
                time.sleep(0.05)
            server = int(lines(out / "ran.txt")[-1].split()[-1])
            worker = int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])
            assert "ray::" in command_line(worker)
            os.kill(worker, signal.SIGKILL)
            said = driver.communicate(timeout=300)[0]
            assert driver.returncode == 0, said
            assert "of Ray's machines" in said
            assert tables(out) == tables(whole)
            assert set(Counter(lines(out / "ended.txt")).values()) == {1}
            assert lines(out / "overlaps.txt") == []
            assert len(lines(out / "ran.txt")) == 5, "the cell of the killed worker was run again"
    finally:
        nodes.communicate(timeout=60)


def test_ray_without_ray_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(grid_settings, "find_spec", lambda name: None)
    assert driver.main(["--jobs", "ray://head:10001"]) == 2
    error = capsys.readouterr().err
    assert error == "error: jobs is ray://head:10001: it needs Ray: pip install 'pitch-timbre[ray]'\n"


@pytest.mark.parametrize(("task", "status"), [("3", 0), ("4", 2), ("x", 2)])
def test_the_slurm_array_runs_one_cell_a_task(task: str, status: int, tmp_path: Path) -> None:
    python = tmp_path / "python"  # Slurm's task calls `$PYTHON -m experiments grid ...`
    python.write_text(f'#!/bin/sh\nshift 3\nexec {sys.executable} {tmp_path / "driver.py"} "$@"\n')
    python.chmod(0o755)
    driver = (
        "from experiments.grid import driver\nfrom experiments.grid.processes import Program\n"
        "run, driver.draw_figures = driver.run_grid, lambda out: None\n"
        'driver.run_grid = lambda settings: run(settings, Program("fake_cell:fit", "fake_cell:prepare"))\n'
        'if __name__ == "__main__":\n    raise SystemExit(driver.main())\n'
    )
    (tmp_path / "driver.py").write_text(driver)
    done = subprocess.run(
        ["bash", str(ROOT / "scripts" / "table.sbatch")],
        cwd=tmp_path,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("SLURM_")},
            **{"SLURM_ARRAY_TASK_ID": task, "PYTHON": str(python), "ROWS": "b m6", "SEEDS": "2", "OUT": "my runs"},
            "PYTHONPATH": PATH,
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    if status:
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
    else:
        assert lines(tmp_path / "my runs" / "ended.txt") == ["m6 1"]


def test_the_array_has_a_task_for_each_cell() -> None:
    script = (ROOT / "scripts" / "table.sbatch").read_text()
    assert f"#SBATCH --array=0-{len(keys.list_cells(GridSettings(), '')) - 1}\n" in script
