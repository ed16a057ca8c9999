from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from callbacks import provenance
from callbacks.provenance import git_revision, machine, versions


def test_a_checkout_that_is_not_installed_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(name: str) -> str:
        if name == "pitch-timbre":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr("callbacks.provenance.version", found)
    assert versions()["pitch-timbre"] == "not installed"
    assert versions()["torch"] == "1.0"


def test_facts_of_the_machine_are_found() -> None:
    assert machine()
    assert git_revision() == "unknown" or len(git_revision().rstrip("+")) == 40


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.email=a@b", "-c", "user.name=n"]
    return subprocess.run(
        ["git", *identity, "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def revision_of(checkout: Path, **environment: str) -> str:
    code = "from callbacks.provenance import git_revision; print(git_revision())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_surrounding_repository_is_not_the_revision(tmp_path: Path) -> None:
    """A copy of the code inside another repository, and with the environment of another repository's hook."""
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "outer")
    copy = tmp_path / "vendored"
    (copy / "callbacks").mkdir(parents=True)
    shutil.copy(provenance.__file__, copy / "callbacks")
    (copy / "callbacks" / "__init__.py").touch()
    assert revision_of(copy) == "unknown"
    git(copy, "init", "-q")
    git(copy, "add", ".")
    git(copy, "commit", "-q", "-m", "inner")
    inner = git(copy, "rev-parse", "HEAD")
    assert revision_of(copy) == inner
    assert revision_of(copy, GIT_DIR=str(tmp_path / ".git")) == inner
    with (copy / "callbacks" / "__init__.py").open("a") as file:
        file.write("# changed\n")
    assert revision_of(copy) == f"{inner}+"


def test_what_two_sessions_do_not_compute_alike_is_named() -> None:
    session = provenance.computed_by()
    assert provenance.differences(session, {**session, "from": {"epoch": 3}}) == ""
    changed = {**session, "threads": -1, "versions": {**session["versions"], "torch": "0.1"}}
    found = provenance.differences(session, changed)
    assert "threads (-1, before" in found
    assert "torch (0.1, before" in found
