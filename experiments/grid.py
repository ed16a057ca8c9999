"""All rows and seeds of the table: one process a cell, a few at a time, finished cells kept.

A cell is one row with one seed, in ``<out>/<row>/seed_<n>``. It is finished when its ``metrics.json`` carries the key
that the grid gave it (`cell_key`): a hash of the row's YAML and its bases, the data's YAML, the number of epochs, the
extra arguments and the package's version. What was made with other settings is set aside in ``older/`` within the
cell's folder, never mixed in and never deleted. The key does not see the content of the notes that a data YAML points
at: ``metrics.json`` has their hash, and the table says if cells differ in it.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import joblib
import yaml
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from experiments.base_config import with_bases
from experiments.table import PUBLISHED_ROWS, draw_curves, read_metrics, write_tables

CONFIGS = Path(__file__).parents[1] / "configs"
GRID_KEY = "PITCH_TIMBRE_GRID_KEY"
"""The environment variable by which a cell learns the key that it stores in its metrics.json as ``grid_key``."""

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_SIGNAL = 1, 2, 128
GRACE_S = 15.0
"""Seconds that a terminated cell has to close its files before it is killed."""
POLL_S = 0.2
LOG_LINES = 15

# A cell must not outlive a driver that was killed with SIGKILL: the kernel tells it (PR_SET_PDEATHSIG is 1), and the
# setting survives exec. A preexec_fn would do the same, but is not safe in a process with threads.
DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


class BadInputError(ValueError):
    """What the user asked for cannot be run; the message is one line."""


@dataclass(frozen=True)
class GridSettings:
    """What a grid runs.

    Attributes:
        rows: names of row configurations.
        seeds: seeds a row, from 0.
        out: the grid's folder.
        epochs: epochs of each cell; ``None``: as its configuration says.
        jobs: cells at a time; ``None``: one a GPU, or one a core.
        data: a data configuration that replaces the default notes.
        extra: more arguments for every cell's ``fit``.
        index: run this cell of the list alone.
    """

    rows: tuple[str, ...] = tuple(PUBLISHED_ROWS)
    seeds: int = 5
    out: Path = Path("runs/table")
    epochs: int | None = None
    jobs: int | None = None
    data: Path | None = None
    extra: tuple[str, ...] = ()
    index: int | None = None


@dataclass(frozen=True)
class Cell:
    """One row with one seed.

    Attributes:
        row: the row's name.
        seed: the seed.
        run_dir: the cell's folder.
        epochs: how many epochs it may take.
        key: the hash of the settings that its result depends on.
    """

    row: str
    seed: int
    run_dir: Path
    epochs: int
    key: str

    @property
    def name(self) -> str:
        """The cell in words."""
        return f"{self.row} seed {self.seed}"

    @property
    def log(self) -> Path:
        """Where the cell's output is kept."""
        return self.run_dir / "log.txt"

    def finished(self) -> bool:
        """Whether the cell has ended, with these settings."""
        metrics = read_metrics(self.run_dir / "metrics.json")
        return metrics is not None and metrics.get("grid_key") == self.key

    def epoch(self) -> int:
        """How many epochs the running cell has logged."""
        try:
            with (self.run_dir / "metrics.csv").open("rb") as file:
                column = file.readline().decode().strip().split(",").index("epoch")
                file.seek(max(file.tell(), file.seek(0, os.SEEK_END) - 8192))
                last = file.read().decode().rstrip().rpartition("\n")[2]
            return min(self.epochs, 1 + int(float(last.split(",")[column])))
        except (OSError, ValueError, IndexError):
            return 0  # not begun, or caught in the middle of a write


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Attributes:
        cell: the cell.
        state: ``finished``, ``skipped`` (it was finished), ``busy`` (another driver's), ``stopped`` or ``failed``.
        wall_s: seconds that it took.
        reason: why it failed.
    """

    cell: Cell
    state: str
    wall_s: float = 0.0
    reason: str = ""


FitCommand = Callable[[GridSettings, Cell], list[str]]
ClassifierCommand = Callable[[GridSettings], list[str]]


def known_rows() -> list[str]:
    """The rows that configs/ holds: the published ones in their order, then others by name."""
    found = [file.stem for file in CONFIGS.glob("*.yaml") if _is_row(file)]
    return [*(row for row in PUBLISHED_ROWS if row in found), *sorted(set(found) - set(PUBLISHED_ROWS))]


def _is_row(file: Path) -> bool:
    """A row builds on a base; the classifiers and the smoke test do too, and are none."""
    has_base = any(line.startswith("base:") for line in file.read_text().splitlines())
    return has_base and file.stem != "smoke" and not file.stem.startswith("classifier")


def list_cells(settings: GridSettings) -> list[Cell]:
    """The cells in the order in which they run: seed 0 of every row first, so that a one-seed table stands early."""
    keys = {row: cell_key(row, settings) for row in settings.rows}
    epochs = {row: settings.epochs or configured_epochs(row) for row in settings.rows}
    return [
        Cell(row, seed, settings.out / row / f"seed_{seed}", epochs[row], keys[row])
        for seed in range(settings.seeds)
        for row in settings.rows
    ]


def cell_key(row: str, settings: GridSettings) -> str:
    """A hash of all that a cell's result depends on, but for its seed and the notes themselves."""
    parts = {
        "row": with_bases(CONFIGS / f"{row}.yaml"),
        "data": with_bases(settings.data) if settings.data else None,
        "epochs": settings.epochs,
        "extra": settings.extra,
        "version": version("pitch-timbre"),
    }
    return sha256(json.dumps(parts).encode()).hexdigest()


def configured_epochs(row: str) -> int:
    """``trainer.max_epochs`` of a row, for the progress bar."""
    trainers = [(yaml.safe_load(text) or {}).get("trainer") or {} for text in with_bases(CONFIGS / f"{row}.yaml")]
    return max(1, next((trainer["max_epochs"] for trainer in reversed(trainers) if "max_epochs" in trainer), 1))


def fit_command(settings: GridSettings, cell: Cell) -> list[str]:
    """The command that trains one cell."""
    epochs = [] if settings.epochs is None else ["--trainer.max_epochs", str(settings.epochs)]
    return [
        *(sys.executable, "-m", "experiments", "fit", "--config", str(CONFIGS / f"{cell.row}.yaml")),
        *([] if settings.data is None else ["--config", str(settings.data)]),
        *("--seed_everything", str(cell.seed), "--run_dir", str(cell.run_dir)),
        *epochs,
        *settings.extra,
    ]


def classifier_command(settings: GridSettings) -> list[str]:
    """The command that trains the evaluation classifiers if this data has none."""
    data = [] if settings.data is None else ["--config", str(settings.data)]
    return [sys.executable, "-m", "experiments", "classifiers", *data, *settings.extra]


def run_process(command: Sequence[str], log: Path, environment: dict[str, str], stop: threading.Event) -> int | None:
    """Run a command in a process group of its own, its output appended to a log.

    Returns:
        Its exit status; ``None`` if ``stop`` was set first: then nothing of the group is left.
    """
    if sys.platform == "linux":
        command = [sys.executable, "-S", "-c", DIE_WITH_PARENT, str(os.getpid()), *command]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        while not stop.is_set():
            with suppress(subprocess.TimeoutExpired):
                return process.wait(POLL_S)
        _end_group(process)
    return None


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the whole group, and SIGKILL to what is left after the time of grace."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(GRACE_S)
    with suppress(ProcessLookupError, PermissionError):  # macOS: PermissionError where only a zombie is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Grid:
    """The run of a list of cells, and what it tells the user.

    Args:
        settings: what is run.
        fit: makes the command of a cell.
        classifiers: makes the command that prepares the evaluation classifiers.
    """

    def __init__(
        self,
        settings: GridSettings,
        fit: FitCommand = fit_command,
        classifiers: ClassifierCommand = classifier_command,
    ) -> None:
        self.settings, self.fit, self.classifiers = settings, fit, classifiers
        self.cells = list_cells(settings)
        if settings.index is not None:
            self.cells = [self.cells[settings.index]]
        gpus = visible_gpus()
        self.jobs = settings.jobs or len(gpus) or joblib.cpu_count()
        self.stop = threading.Event()
        self.signal = 0
        self.report = Report(self.cells, self.jobs)
        self._tables = threading.Lock()
        # One device a job, in turns: without it every process would take the first GPU.
        self._devices: queue.Queue[str | None] = queue.Queue()
        for job in range(self.jobs):
            self._devices.put(gpus[job % len(gpus)] if gpus else None)

    def run(self) -> int:
        """Run all cells that are not finished.

        Returns:
            The exit status: 0; 1 if a cell failed; 128 + the signal if one ended the grid.
        """
        outcomes: list[Outcome] = []
        with self._signals(), self.report:
            if all(cell.finished() for cell in self.cells) or self._prepare():
                outcomes = self._run(self.cells, wait=False)
                busy = [outcome.cell for outcome in outcomes if outcome.state == "busy"]
                outcomes = [outcome for outcome in outcomes if outcome.state != "busy"] + self._run(busy, wait=True)
        return self._conclude(outcomes)

    def _prepare(self) -> bool:
        """Train the evaluation classifiers before the cells, which would else all wait for one that does."""
        log = self.settings.out / "classifiers.txt"
        self.report.say(f"evaluation classifiers: trained first if this data has none (log: {log})")
        status = run_process(self.classifiers(self.settings), log, cell_environment(), self.stop)
        if status:
            self.report.say(f"error: the evaluation classifiers failed (exit status {status}); log: {log}\n{tail(log)}")
        return status == 0

    def _run(self, cells: Sequence[Cell], wait: bool) -> list[Outcome]:
        """Run cells, a few at a time: each thread waits for one process."""
        outcomes = joblib.Parallel(n_jobs=self.jobs, prefer="threads", batch_size=1, pre_dispatch="all")(
            joblib.delayed(self._run_cell)(cell, wait) for cell in cells
        )
        return list(outcomes)

    def _run_cell(self, cell: Cell, wait: bool) -> Outcome:
        """Run a cell unless it is finished or, without ``wait``, another driver's; the others go on if it fails."""
        if self.stop.is_set():
            return Outcome(cell, "stopped")
        if cell.finished():
            return Outcome(cell, "skipped")
        try:
            with self.claimed(cell, wait) as claimed:
                outcome = self._run_claimed(cell) if claimed else Outcome(cell, "busy")
        except OSError as error:
            outcome = Outcome(cell, "failed", reason=str(error))
        if outcome.state != "busy":
            self.report.ended(outcome)
        if outcome.state == "finished":
            self._write_tables()
        return outcome

    def _run_claimed(self, cell: Cell) -> Outcome:
        """Run a cell that is this driver's, unless the driver that had it has finished it."""
        if cell.finished():
            return Outcome(cell, "skipped")
        set_aside_other_settings(cell)
        self.report.started(cell)
        return self._train(cell)

    @contextmanager
    def claimed(self, cell: Cell, wait: bool) -> Iterator[bool]:
        """Hold the cell's lock, an operating system's lock that ends with the process; yields whether it is held."""
        cell.run_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(cell.run_dir / ".lock")
        while not lock.is_locked:
            try:
                lock.acquire(timeout=POLL_S if wait else 0)
            except Timeout:
                if not wait or self.stop.is_set():
                    break
        try:
            yield lock.is_locked
        finally:
            lock.release()

    def _train(self, cell: Cell) -> Outcome:
        """Run the cell's process to its end."""
        started = time.monotonic()
        device = self._devices.get()
        try:
            command = self.fit(self.settings, cell)
            status = run_process(command, cell.log, cell_environment(cell.key, device), self.stop)
        finally:
            self._devices.put(device)
        wall_s = time.monotonic() - started
        if status is None:
            return Outcome(cell, "stopped", wall_s)
        if status == 0 and cell.finished():
            return Outcome(cell, "finished", wall_s)
        reason = f"exit status {status}" if status else "it ended without a metrics.json of these settings"
        return Outcome(cell, "failed", wall_s, reason)

    def _write_tables(self) -> None:
        """Rewrite the tables; a table that cannot be written now is written at the end."""
        try:
            with self._tables:
                write_tables(self.settings.out)
        except OSError as error:
            self.report.say(f"the table could not be written: {error}")

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C, SIGTERM and a closed terminal stop the grid: the threads see it and end their processes."""

        def ask_to_stop(number: int, frame: FrameType | None) -> None:
            self.signal = number
            self.stop.set()

        # nohup ignores SIGHUP, and that stays so.
        numbers = [s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
        before = {number: signal.signal(number, ask_to_stop) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _conclude(self, outcomes: Sequence[Outcome]) -> int:
        """Write and print the table, then say what failed or what is left to do."""
        done = sum(cell.finished() for cell in self.cells)
        if done:
            text = write_tables(self.settings.out)
            draw_curves(self.settings.out)
            if self.settings.index is None and not self.signal:
                print(text)
            print(f"table: {self.settings.out / 'table.md'}, table.csv, curves.png")
        failed = [outcome for outcome in outcomes if outcome.state == "failed"]
        for outcome in failed:
            cell = outcome.cell
            print(f"error: {cell.name} failed: {outcome.reason}; log: {cell.log}\n{tail(cell.log)}")
        if self.signal:
            print(f"stopped: {done} of {len(self.cells)} cells are finished; the same command goes on from here")
            return EXIT_SIGNAL + self.signal
        return 0 if done == len(self.cells) else EXIT_FAILED


def run_grid(
    settings: GridSettings,
    fit: FitCommand = fit_command,
    classifiers: ClassifierCommand = classifier_command,
) -> int:
    """Check the settings, run the grid, and return its exit status.

    Raises:
        BadInputError: see `check`.
    """
    check(settings)
    return Grid(settings, fit, classifiers).run()


def check(settings: GridSettings) -> None:
    """Refuse what cannot be run, before anything is started.

    Raises:
        BadInputError: an unknown row, no row, no seed, no data file, a folder that cannot be written, ...
    """
    known = known_rows()
    unknown = [row for row in settings.rows if row not in known]
    if unknown or not settings.rows:
        raise BadInputError(f"unknown row {', '.join(unknown) or '(none given)'}; known rows: {' '.join(known)}")
    for name, number in (("seeds", settings.seeds), ("epochs", settings.epochs), ("jobs", settings.jobs)):
        if number is not None and number < 1:
            raise BadInputError(f"{name} is {number}; it must be at least 1")
    if settings.data is not None and not settings.data.is_file():
        raise BadInputError(f"{settings.data}: there is no such data configuration")
    n_cells = settings.seeds * len(settings.rows)
    if settings.index is not None and not 0 <= settings.index < n_cells:
        raise BadInputError(f"index is {settings.index}; these rows and seeds make cells 0 to {n_cells - 1}")
    probe = settings.out / f".writable.{os.getpid()}"
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BadInputError(f"{settings.out}: cannot be written: {error.strerror}") from error
    try:
        list_cells(settings)
    except TypeError as error:
        raise BadInputError(str(error)) from error


def set_aside_other_settings(cell: Cell) -> None:
    """Move what other settings left in the cell's folder into ``older/<n>``, so that a run never resumes from it."""
    claim = cell.run_dir / "grid_key"
    before = claim.read_text() if claim.exists() else ""
    if before != cell.key:
        left = [file for file in cell.run_dir.iterdir() if file.name not in (".lock", "older")]
        if left:
            older = cell.run_dir / "older"
            older.mkdir(exist_ok=True)
            place = older / str(len(list(older.iterdir())))
            place.mkdir()
            for file in left:
                file.rename(place / file.name)
        claim.write_text(cell.key)


def cell_environment(key: str | None = None, device: str | None = None) -> dict[str, str]:
    """The environment of a cell: one thread, its key, its GPU."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    if key is not None:
        environment[GRID_KEY] = key
    if device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = device
    return environment


def visible_gpus() -> list[str]:
    """The CUDA devices of this machine, as CUDA_VISIBLE_DEVICES names them; without importing torch."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [device for device in named.split(",") if device not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(number) for number, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def tail(log: Path) -> str:
    """The last lines of a log."""
    try:
        with log.open(errors="replace") as file:
            return "".join(f"    {line}" for line in deque(file, LOG_LINES)).rstrip()
    except OSError as error:
        return f"    {error}"


class Report(AbstractContextManager["Report"]):
    """The bar over the epochs of all cells, or plain lines where the output is no terminal.

    Args:
        cells: the cells of the grid.
        jobs: how many run at a time.
    """

    def __init__(self, cells: Sequence[Cell], jobs: int) -> None:
        self._cells, self._jobs = cells, jobs
        self._total = sum(cell.epochs for cell in cells)
        self._console = Console(soft_wrap=True, highlight=False, emoji=False)
        self._lock = threading.RLock()
        self._running: dict[str, Cell] = {}
        self._done: set[str] = set()
        self._first = 0
        self._started = time.monotonic()
        self._bar: Progress | None = None
        self._closed = threading.Event()
        self._watch = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> Report:
        """Say what is to be done and open the bar."""
        self._done = {cell.name for cell in self._cells if cell.finished()}
        self._first = self._epochs()
        self.say(f"{len(self._cells)} cells, {len(self._done)} of them finished before; {self._jobs} at a time")
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"))
            times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
            # The speed is averaged over minutes: cells start, are scored at their end, and stop early.
            self._bar = Progress(*columns, *times, console=self._console, speed_estimate_period=900)
            self._bar.add_task("grid", total=self._total, completed=self._first)
            self._bar.start()
            self._watch.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Close the bar."""
        self._closed.set()
        if self._bar is not None:
            self._watch.join()
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        self._console.print(text, markup=False)

    def started(self, cell: Cell) -> None:
        """A cell's process starts."""
        with self._lock:
            self._running[cell.name] = cell

    def ended(self, outcome: Outcome) -> None:
        """A cell is done; its share of the bar is full however early it stopped."""
        cell = outcome.cell
        with self._lock:
            self._running.pop(cell.name, None)
            if outcome.state == "stopped":
                return
            self._done.add(cell.name)
            took = f" in {words(outcome.wall_s)}" if outcome.wall_s else ""
            self.say(f"[{len(self._done)}/{len(self._cells)}] {cell.name}: {outcome.state}{took} · {self._times()}")

    def _epochs(self) -> int:
        """Epochs done, of all cells."""
        with self._lock:
            finished = sum(cell.epochs for cell in self._cells if cell.name in self._done)
            return finished + sum(cell.epoch() for cell in self._running.values())

    def _times(self) -> str:
        """The time since the start, and the time left at the mean speed since then."""
        elapsed, done = time.monotonic() - self._started, self._epochs()
        left = elapsed * (self._total - done) / max(1, done - self._first)
        return f"{words(elapsed)} elapsed, about {words(left)} left"

    def _poll(self) -> None:
        while not self._closed.wait(1.0):
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], completed=self._epochs())


def words(seconds: float) -> str:
    """A duration to read: 3 h 05 min, 4 min 10 s, 12 s."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Raises:
            BadInputError: always.
        """
        raise BadInputError(f"{message} (--help lists the arguments)")


def whole_number(text: str) -> int:
    """An argument that is a whole number.

    Raises:
        argparse.ArgumentTypeError: it is not.
    """
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def parse(argv: Sequence[str]) -> GridSettings:
    """The settings of a command line; what follows ``--`` goes to every cell's fit.

    Raises:
        BadInputError: an argument is not known or not a whole number.
    """
    default = GridSettings()
    parser = OneLineParser(prog="python -m experiments grid", description=main.__doc__)
    parser.add_argument("--rows", nargs="+", default=list(default.rows), metavar="ROW", help="default: all nine")
    parser.add_argument("--seeds", type=whole_number, default=default.seeds, help="seeds a row")
    parser.add_argument("--epochs", type=whole_number, help="default: as the configuration says")
    parser.add_argument("--jobs", type=whole_number, help="cells at a time; default: one a GPU, or one a core")
    parser.add_argument("--data", type=Path, help="a data configuration, such as those in configs/data")
    parser.add_argument("--out", type=Path, default=default.out, help="the grid's folder")
    parser.add_argument("--index", type=whole_number, help="run this cell of the list alone (a Slurm array)")
    own, extra = list(argv), []
    if "--" in own:
        place = own.index("--")
        own, extra = own[:place], own[place + 1 :]
    parsed: dict[str, Any] = vars(parser.parse_args(own))
    rows = tuple(dict.fromkeys(parsed.pop("rows")))
    return GridSettings(rows=rows, extra=tuple(extra), **parsed)


def main(argv: list[str] | None = None) -> int:
    """Train rows with several seeds, and print the table with the published one beside it."""
    try:
        return run_grid(parse(sys.argv[1:] if argv is None else argv))
    except BadInputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
