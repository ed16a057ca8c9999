"""What a grid shows its user: the bar, a line for each cell that ends, the table as it grows."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from datamodules.atomic_files import regular_file
from experiments.grid.cells import Cell, Outcome, kept_outcome
from experiments.reporting.grid_files import write_tables

LOG_LINES = 15
LOOK_S = 1.0
TRAINING_SHARE = 0.8
"""Of a cell's time, until a first cell has ended and shows it: the rest is start-up and scoring."""


class GridProgress(AbstractContextManager["GridProgress"]):
    """The bar over the epochs of all cells, or plain lines where the output is no terminal.

    It looks into the cells' folders: so it sees what another driver, or another machine, has done too.

    Args:
        cells: the cells of the grid.
        workers: the workers in words.
        out: the grid's folder, whose table is written again when a cell has finished.
    """

    def __init__(self, cells: Sequence[Cell], workers: str, out: Path) -> None:
        self._cells, self._workers, self._out = cells, workers, out
        self._total = sum(cell.epochs for cell in cells)
        self._console = Console(soft_wrap=True, highlight=False, emoji=False)
        self._done: set[str] = set()
        self._seen: dict[str, int] = {}
        self._first = self._wall_s = self._training_s = 0.0
        self._started = time.monotonic()
        self._bar: Progress | None = None
        self._closed = threading.Event()
        self._watch = threading.Thread(target=self._watch_cells, daemon=True)

    def __enter__(self) -> GridProgress:
        """Print what there is to do, and open the bar."""
        self._done = {cell.name for cell in self._cells if cell.finished()}
        self._seen = {cell.name: _changed(cell.outcome_file) for cell in self._cells}
        self._first = self._work()
        self.say(f"{len(self._cells)} cells, {len(self._done)} of them finished before; {self._workers}")
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"))
            times = (TimeElapsedColumn(), TextColumn("{task.fields[left]}"))
            self._bar = Progress(*columns, *times, console=self._console)
            self._bar.add_task("grid", total=self._total, completed=self._epochs(), left="")
            self._bar.start()
        self._watch.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Report the last cells and close the bar."""
        self._closed.set()
        self._watch.join()
        self._look()
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        self._console.print(text, markup=False)

    def _watch_cells(self) -> None:
        while not self._closed.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        """Report what has ended since the last look."""
        ended = [outcome for cell in self._cells if (outcome := self._news(cell)) is not None]
        for outcome in ended:
            self._tell(outcome)
        if any(outcome.state == "finished" for outcome in ended):
            try:
                write_tables(self._out)
            except OSError as error:  # it is written again at the next cell and at the end
                self.say(f"the table could not be written: {error}")
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._epochs(), left=self._left())

    def _news(self, cell: Cell) -> Outcome | None:
        """The cell's outcome if it is a new one."""
        changed = _changed(cell.outcome_file)
        if changed in (0, self._seen[cell.name]):
            return None
        self._seen[cell.name] = changed
        return kept_outcome(cell)

    def _tell(self, outcome: Outcome) -> None:
        """Print a line for a cell that ended; its share of the bar is full however early it stopped."""
        cell = outcome.cell
        if outcome.state == "finished":
            self._done.add(cell.name)
            self._wall_s += outcome.wall_s
            self._training_s += min(outcome.training_s, outcome.wall_s)
        reason = f" ({outcome.reason})" if outcome.reason else ""
        self.say(
            f"[{len(self._done)}/{len(self._cells)}] {cell.name}: {outcome.state}{reason} in {in_words(outcome.wall_s)}"
            f" · {self._times()}"
        )

    def _epochs(self) -> int:
        """Epochs done, of all cells."""
        return sum(cell.epochs if cell.name in self._done else cell.epoch() for cell in self._cells)

    def _times(self) -> str:
        """The time since the start, and the time left at the mean speed since then."""
        return f"{in_words(time.monotonic() - self._started)} elapsed, {self._left()}"

    def _work(self) -> float:
        """The work done, in epochs: a running cell has its scoring before it still, which takes time too."""
        epochs, share = self._epochs(), self._training_s / self._wall_s if self._wall_s else TRAINING_SHARE
        ended = sum(cell.epochs for cell in self._cells if cell.name in self._done)
        return ended + share * (epochs - ended)

    def _left(self) -> str:
        """The time left, training and scoring, at the mean speed since the start."""
        elapsed, done = time.monotonic() - self._started, self._work()
        if done <= self._first:
            return "time left: not known yet"
        return f"about {in_words(elapsed * (self._total - done) / (done - self._first))} left"


def _changed(file: Path) -> int:
    """When a file was changed last; 0 where there is none."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def training_share(outcomes: Sequence[Outcome], jobs: int, wall_s: float) -> str:
    """How much of the workers' time was training: the rest is start-up, scoring at a cell's end, and waiting."""
    training_s = sum(outcome.training_s for outcome in outcomes)
    workers = f"{jobs} worker{'s' if jobs > 1 else ''}"
    return f"{100 * training_s / (jobs * wall_s):.0f} % of the time of {workers} ({in_words(wall_s)}) was training"


def tail(log: Path) -> str:
    """The last lines of a log."""
    try:
        with regular_file(log).open(errors="replace") as file:
            return "".join(f"    {line}" for line in deque(file, LOG_LINES)).rstrip()
    except (OSError, ValueError) as error:
        return f"    {error}"


def in_words(seconds: float) -> str:
    """A duration to read: 3 h 05 min, 4 min 10 s, 12 s."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
