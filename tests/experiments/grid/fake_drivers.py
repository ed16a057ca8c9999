"""Drivers of grids whose cells are fake, and what their processes leave."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from experiments.grid.processes import Program

ROOT = Path(__file__).parents[3]
FAKES = Path(__file__).parent
FAKE = Program("fake_cell:fit", "fake_cell:prepare")
FAKE_DRIVER = """
import sys
from experiments.grid import driver
from experiments.grid.driver import run_grid
from experiments.grid.processes import Program
from experiments.grid.settings import parse
driver.draw_figures = lambda out: None  # seconds; test_table draws them
if __name__ == "__main__":
    sys.exit(run_grid(parse(sys.argv[1:]), Program("fake_cell:fit", "fake_cell:prepare")))
"""
SMALL = ("--data.max_notes", "96", "--data.batch_size", "32", "--data.split.validation_share", "0.25")
PATH = os.pathsep.join([str(FAKES), str(ROOT), os.environ.get("PYTHONPATH", "")])
"""Where the drivers, and Ray's workers, find fake_cell and this checkout."""
PATIENCE_S = 300.0


def fake_driver(out: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    return start([sys.executable, "-c", FAKE_DRIVER, "--rows", "b", "m6", "--out", str(out), *words], **environment)


def start(command: list[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "FAKE_CHAINED": "1", "PYTHONPATH": PATH, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def tables(out: Path) -> tuple[str, str]:
    """table.md without the lines that tell the time that it took, and table.csv."""
    kept = [line for line in (out / "table.md").read_text().splitlines() if "run time" not in line]
    return "\n".join(kept), (out / "table.csv").read_text()


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def cells_running(driver: subprocess.Popen[str]) -> list[int]:
    """The processes of a driver's cells: the children of the server that it started; those of W&B are theirs."""
    servers = [pid for pid in children(driver.pid) if "forkserver" in command_line(pid)]
    return [pid for server in servers for pid in children(server)]


def children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""
