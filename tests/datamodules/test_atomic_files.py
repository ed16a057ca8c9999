"""Every writer of the project leaves the old file where it fails or is killed."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from callbacks.checkpoints import write_checkpoint
from callbacks.epoch_log import EpochLog
from callbacks.run_record import write_json
from datamodules.atomic_files import remove_leftovers, replacing
from datamodules.splits import write_split


def write_log(file: Path) -> None:
    log = EpochLog(file.parent)
    log.log_metrics({"epoch": 0, "val/acc": 1.0})
    log.finalize("success")


def write_notes(file: Path) -> None:
    write_split(pd.DataFrame({"note_id": ["a", "b"]}), np.array([True, False]), file)


WRITERS: dict[str, Callable[[Path], object]] = {
    "run.json": lambda file: write_json(file, {"a": 1}),
    "metrics.csv": write_log,
    "split.csv": write_notes,
    "last.ckpt": lambda file: write_checkpoint({"x": torch.zeros(1000)}, file),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "run" / name
    file.parent.mkdir()
    file.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            WRITERS[name](file)
    assert file.read_text() == "old"
    assert list(file.parent.iterdir()) == [file]
    WRITERS[name](file)
    assert file.read_bytes() != b"old"
    assert list(file.parent.iterdir()) == [file]


def test_a_killed_write_leaves_the_old_file_and_what_is_removed_later(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    file.write_text("old")
    dies = (
        "import os, pathlib, sys\n"
        "from datamodules.atomic_files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", dies, str(file)], check=False).returncode == -9
    assert file.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_is_made(tmp_path: Path) -> None:
    with replacing(tmp_path / "a" / "b") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a" / "b").read_text() == "new"


def test_a_checkpoint_that_the_system_cuts_short_names_the_file(tmp_path: Path) -> None:
    """torch has an error of its own for a disk that fills up."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_checkpoint({"x": torch.zeros(1_000_000)}, tmp_path / "last.ckpt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())
