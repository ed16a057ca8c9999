"""One cell of the grid: its folder, its files, and its claim.

A cell is claimed by an operating system's lock that its own process holds, so that a claim ends when the work does: not
before, should only the driver be killed, and not after.
"""

from __future__ import annotations

import json
import math
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from datamodules.atomic_files import read_json, regular_file, replacing
from experiments.reporting.cell_files import is_number, read_metrics

POLL_S = 0.2
_claims: list[FileLock] = []
"""What a cell's process holds until it has ended."""


@dataclass(frozen=True)
class Cell:
    """One row with one seed, and one fold where the grid has folds.

    Attributes:
        row: the row's name.
        seed: the seed.
        run_dir: the cell's folder.
        epochs: how many epochs it may take.
        key: the hash of all that its result depends on.
        fold: the fold that is scored; ``None`` in a grid without folds.
    """

    row: str
    seed: int
    run_dir: Path
    epochs: int
    key: str
    fold: int | None = None

    @property
    def name(self) -> str:
        """The cell in words."""
        return f"{self.row} seed {self.seed}" + ("" if self.fold is None else f" fold {self.fold}")

    @property
    def log(self) -> Path:
        """Where the cell's output is kept."""
        return self.run_dir / "log.txt"

    @property
    def outcome_file(self) -> Path:
        """Where the last outcome is kept."""
        return self.run_dir / "outcome.json"

    def finished(self) -> bool:
        """Whether the cell has ended, with this key."""
        metrics = read_metrics(self.run_dir / "metrics.json")
        return metrics is not None and metrics.get("grid_key") == self.key

    def epoch(self) -> int:
        """How many epochs the cell has logged."""
        try:
            with regular_file(self.run_dir / "metrics.csv").open("rb") as file:
                column = file.readline().decode().strip().split(",").index("epoch")
                file.seek(max(file.tell(), file.seek(0, os.SEEK_END) - 8192))
                last = file.read().decode().rstrip().rpartition("\n")[2]
            return max(0, min(self.epochs, 1 + int(float(last.split(",")[column]))))
        except (OSError, ValueError, IndexError, OverflowError):
            return 0  # not begun, or caught in the middle of a write

    def left_by_others(self) -> list[Path]:
        """The files in the cell's folder that were made with another key."""
        claim = self.run_dir / "grid_key"
        if not self.run_dir.is_dir() or (claim.is_file() and claim.read_bytes() == self.key.encode()):
            return []
        # A claim that was killed while it wrote its key leaves a temporary file, and nothing of another key.
        names = [file.name for file in self.run_dir.iterdir() if not file.name.endswith((".lock", ".tmp"))]
        return [self.run_dir / name for name in names if name != "older"]

    def set_aside(self) -> None:
        """Move what another key left into ``older/<n>``, so that nothing resumes from it; for the claim's holder."""
        if left := self.left_by_others():
            older = self.run_dir / "older"
            older.mkdir(exist_ok=True)
            place = older / str(len(list(older.iterdir())))
            place.mkdir()
            for file in left:
                file.rename(place / file.name)
        with replacing(self.run_dir / "grid_key") as temporary:
            temporary.write_text(self.key)

    def claim(self, timeout_s: float) -> FileLock | None:
        """The cell's lock, held; ``None`` if another process has it (a negative timeout waits for ever)."""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.run_dir / ".lock", poll_interval=POLL_S)
        try:
            lock.acquire(timeout=timeout_s)
        except Timeout:
            return None
        return lock


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Attributes:
        cell: the cell.
        state: ``finished``, ``skipped`` (it was finished), ``busy`` (another driver's), ``stopped``, ``lost`` (its
            process was killed) or ``failed``.
        wall_s: seconds that it took.
        training_s: seconds of them from the first epoch's start to the last one's end.
        reason: why it failed.
    """

    cell: Cell
    state: str
    wall_s: float = 0.0
    training_s: float = 0.0
    reason: str = ""

    def keep(self) -> Outcome:
        """Write it into the cell's folder, where every driver's report finds it."""
        content = {key: value for key, value in asdict(self).items() if key != "cell"}
        # On a full disk, the driver still has it.
        with suppress(OSError), replacing(self.cell.outcome_file) as temporary:
            temporary.write_text(json.dumps(content))
        return self


def kept_outcome(cell: Cell) -> Outcome | None:
    """What the last process of a cell came to, as `Outcome.keep` wrote it."""
    try:
        found = Outcome(cell, **read_json(cell.outcome_file))
    except TypeError:
        return None
    seconds, texts = (found.wall_s, found.training_s), (found.state, found.reason)
    numbers = all(is_number(value) and math.isfinite(value) for value in seconds)
    return found if numbers and all(isinstance(text, str) for text in texts) else None


def claim_cell(cell: Cell, wait_for_it: bool) -> str:
    """Claim a cell for this process, to its end, and set aside what another key left.

    Returns:
        ``claimed``; ``busy`` if another process has it; ``skipped`` if that one has finished it.
    """
    lock = cell.claim(-1 if wait_for_it else 0)
    if lock is None:
        return "busy"
    _claims.append(lock)
    if cell.finished():
        return "skipped"
    cell.set_aside()
    cell.outcome_file.unlink(missing_ok=True)
    return "claimed"
