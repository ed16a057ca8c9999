"""Files that are written whole or not at all, and read only where they are ordinary files."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path to write to, which takes the name ``file`` once all of it is on the disk.

    An error, a kill or a power cut leaves the old file. The temporary name is the process's own, so that two processes
    that write the same file never mix.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _to_disk(temporary)
        temporary.replace(file)
        _to_disk(file.parent)  # else a power cut could undo this and keep a file that was written later
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder that no other process writes to now."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def regular_file(file: str | Path) -> Path:
    """The path of an ordinary file (or of a link to one); opening a fifo or a device could block for ever.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, a fifo, a socket or a device.
    """
    path = Path(file)
    if not stat.S_ISREG(path.stat().st_mode):
        kind = "a folder" if path.is_dir() else "a fifo, a socket or a device"
        raise ValueError(f"{file}: is {kind}; give an ordinary file")
    return path


def write_json(file: Path, content: Any) -> None:
    """Write JSON atomically."""
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_json(file: Path) -> dict[str, Any]:
    """What :func:`write_json` wrote; empty where there is no such file, or it was cut short or is of another kind."""
    try:
        content = json.loads(regular_file(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
