from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VARIABLES = (
    "ROWS",
    "SEEDS",
    "EPOCHS",
    "JOBS",
    "DATA",
    "OUT",
    "ARGS",
    "SLOW",
    "PARTS",
    "RUNS",
    "SYNC",
    "PYTHON",
    "MAKEFLAGS",
)
TELLS_ITS_ARGUMENTS = """#!/bin/sh
printf '<%s>' "$@"
echo
"""
# Stands in for python3: it is recent enough, and "makes" a .venv whose python tells its arguments.
MAKES_VENV = """#!/bin/sh
if [ "$2" = venv ]; then
    mkdir -p "$3/bin"
    cp "$(dirname "$0")/tells" "$3/bin/python"
fi
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a path with a space, without a .venv."""
    folder = tmp_path / "my checkout"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    for name, content in (("tells", TELLS_ITS_ARGUMENTS), ("python", MAKES_VENV)):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    return folder


def make(folder: Path, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    # `make test` runs this test: its flags and level are not the inner make's.
    outer = {*VARIABLES, "MAKELEVEL"}
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(["make", *words], cwd=folder, env=environment, capture_output=True, text=True)


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def test_help_is_the_default_and_lists_every_target(checkout: Path) -> None:
    done = make(checkout, [])
    assert done.returncode == 0
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert listed >= targets() >= {"setup", "test", "lint", "smoke", "reproduce-table", "clean"}


def test_every_target_is_phony() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony is not None
    assert set(phony.group(1).split()) == targets()


def test_set_up_happens_once(checkout: Path) -> None:
    words = ["test", f"PYTHON='{checkout.parent}/python'"]
    first = make(checkout, words)
    assert first.returncode == 0, first.stderr
    assert "<-m><pip><install>" in first.stdout
    assert "<-c><constraints.txt><-e><.[train,dev]>" in first.stdout
    assert "<-m><pytest><-q>" in first.stdout
    second = make(checkout, words)
    assert "pip" not in second.stdout
    assert "<-m><pytest><-q>" in second.stdout
    newer = (checkout / ".venv" / ".ready").stat().st_mtime + 10
    os.utime(checkout / "constraints.txt", (newer, newer))
    assert "<-m><pip><install>" in make(checkout, words).stdout


@pytest.mark.parametrize("python", ["false", "no-such-python"])
def test_an_old_python_is_one_clear_line(python: str, checkout: Path) -> None:
    done = make(checkout, ["test", f"PYTHON={python}"])
    assert done.returncode != 0
    assert f"error: Python 3.11 or later is needed, and '{python}' is not" in done.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ([], "<--rows><b><sharp><m0><m1><m2><m3><m4><m5><m6><--seeds><5><--out><runs/table>"),
        (
            ["ROWS=m6 b", "SEEDS=2", "EPOCHS=3", "JOBS=4", "DATA=my data/x.yaml", "OUT=my runs/x", "ARGS=--a.b 1"],
            "<--rows><m6><b><--seeds><2><--epochs><3><--jobs><4><--data><my data/x.yaml><--out><my runs/x>"
            "<--><--a.b><1>",
        ),
    ],
)
def test_the_variables_reach_the_grid(words: list[str], arguments: str, checkout: Path) -> None:
    done = make(checkout, ["reproduce-table", f"PYTHON='{checkout.parent}/python'", *words])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"<-m><experiments><grid>{arguments}"


def test_the_bench_sets_its_libraries_up_once(checkout: Path) -> None:
    words = ["bench", f"PYTHON='{checkout.parent}/python'", "PARTS=pairs steps"]
    first = make(checkout, words)
    assert first.returncode == 0, first.stderr
    assert "<-c><constraints.txt><-e><.[bench]>" in first.stdout
    assert "<-c><constraints.txt><--no-deps><audiomentations>" in first.stdout
    second = make(checkout, words)
    assert second.stdout == "<-m><experiments><bench><--parts><pairs><steps><--out><runs/bench>\n"
    other = make(checkout, ["growth", "OUT=runs/x", "ARGS=--takes 1 10"])
    assert other.stdout == "<-m><experiments><growth><--out><runs/x><--takes><1><10>\n"


def test_the_dashboard_uploads_only_when_asked(checkout: Path) -> None:
    python = f"PYTHON='{checkout.parent}/python'"
    listed = make(checkout, ["dashboard", python])
    assert listed.stdout.splitlines()[-1] == "<-m><experiments><dashboard>"
    uploaded = make(checkout, ["dashboard", python, "RUNS=runs ~/x", "SYNC=1"])
    assert uploaded.stdout.splitlines()[-1].startswith("<-m><experiments><dashboard><--runs><runs><")
    assert uploaded.stdout.splitlines()[-1].endswith("/x><--sync>")


def test_a_failing_grid_fails_the_target(checkout: Path) -> None:
    make(checkout, ["setup", f"PYTHON='{checkout.parent}/python'"])
    (checkout / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    for target in ("reproduce-table", "test", "lint", "smoke"):
        assert make(checkout, [target]).returncode != 0


def test_clean_keeps_results_and_environment(checkout: Path) -> None:
    for folder in (".venv/lib/__pycache__", "runs/table", "metrics/__pycache__", ".ruff_cache"):
        (checkout / folder).mkdir(parents=True)
    assert make(checkout, ["clean"]).returncode == 0
    left = {str(folder.relative_to(checkout)) for folder in checkout.rglob("*") if folder.is_dir()}
    assert left == {".venv", ".venv/lib", ".venv/lib/__pycache__", "runs", "runs/table", "metrics"}


def test_continuous_integration_calls_the_same_targets() -> None:
    for file in (".ci/run", ".github/workflows/ci.yml"):
        called = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / file).read_text()))
        assert {"test", "lint", "smoke", "test-slow"} <= called <= targets()
