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
from datamodules.atomic_files import read_json, regular_file, remove_leftovers, replacing, write_json
from datamodules.splits import Split, write_split


def write_log(file: Path) -> None:
    log = EpochLog(file.parent)
    log.begin({})
    log.log_metrics({"epoch": 0, "val/acc": 1.0})
    log.finalize("success")


def write_notes(file: Path) -> None:
    write_split(pd.DataFrame({"note_id": ["a", "b"]}), Split(*2 * [np.array([True, False])]), file)


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


def test_json_is_written_whole_and_read_leniently(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "run.json"
    write_json(file, {"a": 1})
    assert read_json(file) == {"a": 1}
    assert [path.name for path in file.parent.iterdir()] == ["run.json"]
    file.write_text('{"a": ')
    assert read_json(file) == read_json(tmp_path / "none.json") == {}
    file.write_text("[1]")
    assert read_json(file) == {}


@pytest.mark.parametrize("kind", ["folder", "fifo", "device", "link to a device"])
def test_only_ordinary_files_are_opened(kind: str, tmp_path: Path) -> None:
    """Opening a fifo that nobody writes to would wait for ever."""
    file = tmp_path / "file"
    if kind == "folder":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    else:
        file = Path("/dev/zero")
        if kind == "link to a device":
            (file := tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=rf"{file}: is a f"):
        regular_file(file)
    assert read_json(file) == {}


def test_a_link_to_an_ordinary_file_is_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert regular_file(tmp_path / "link") == tmp_path / "link"
    with pytest.raises(FileNotFoundError):
        regular_file(tmp_path / "none")
