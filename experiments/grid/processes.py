"""One cell of the grid: its folder, its claim, and the process that trains it.

Importing torch, Lightning and W&B takes about ten seconds, paid once: on Linux a cell's process is forked from one that
has imported them and done nothing else (the standard library's forkserver); elsewhere it imports them itself. A cell is
claimed by an operating system's lock that its own process holds, so that a claim ends when the work does: not before,
should only the driver die, and not after.
"""

from __future__ import annotations

import atexit
import io
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from filelock import FileLock, Timeout

from datamodules.atomic_files import replacing
from experiments.reporting.table import read_metrics

GRACE_S = 15.0
"""Seconds that a terminated cell has to close its files before it is killed."""
POLL_S = 0.2

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Read when torch and numpy are imported: what imports them for the cells starts with it."""

CONTEXT: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
# Frameworks of macOS do not survive a fork. Linux's server starts with these signals blocked, and so ignores a signal
# to the driver's whole group (a terminal's, Slurm's); a cell unblocks them, and misses none that came before it did.
HELD_BACK = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_processes = threading.Lock()
"""multiprocessing's bookkeeping of children is not safe in threads: an exit status read twice is lost."""
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
            with (self.run_dir / "metrics.csv").open("rb") as file:
                column = file.readline().decode().strip().split(",").index("epoch")
                file.seek(max(file.tell(), file.seek(0, os.SEEK_END) - 8192))
                last = file.read().decode().rstrip().rpartition("\n")[2]
            return min(self.epochs, 1 + int(float(last.split(",")[column])))
        except (OSError, ValueError, IndexError):
            return 0  # not begun, or caught in the middle of a write

    def left_by_others(self) -> list[Path]:
        """The files in the cell's folder that were made with another key."""
        claim = self.run_dir / "grid_key"
        if not self.run_dir.is_dir() or (claim.exists() and claim.read_text() == self.key):
            return []
        return [file for file in self.run_dir.iterdir() if file.name != "older" and not file.name.endswith(".lock")]

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
        return Outcome(cell, **json.loads(cell.outcome_file.read_text()))
    except (OSError, ValueError, TypeError):
        return None


@dataclass(frozen=True)
class Program:
    """What a grid calls, as ``module:function``: only the process that needs a module imports it.

    Attributes:
        fit: takes the words of a fit.
        prepare: takes the words that name the data; trains its classifiers, and returns the hash of its content.
        preload: modules that are imported once for all cells. They start no thread and touch no GPU.
    """

    fit: str
    prepare: str
    preload: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        status: its exit status, negative for a signal; ``None`` if it was stopped: then nothing of it is left.
        result: what its function returned, if that arrived.
    """

    status: int | None
    result: Any = None


def run_process(
    function: str,
    words: Sequence[str],
    log: Path,
    environment: dict[str, str],
    stop: threading.Event,
    claim: Callable[[], str] | None = None,
    preload: Sequence[str] = (),
) -> Ended:
    """Call a function in a process, and process group, of its own, its output appended to a log.

    Args:
        function: as ``module:function``.
        words: its argument.
        log: where its output goes.
        environment: all of its environment.
        stop: ends it: SIGTERM to the group, and SIGKILL to what is left after the time of grace.
        claim: called first; what it returns is the result, and all there is if that is not ``claimed``.
        preload: see `Program`; the first call decides.

    Raises:
        OSError: no process could be started, or the claim could not be made.
    """
    receive, send = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_child, args=(send, function, list(words), log, environment, claim))
    _start(process, preload)
    send.close()
    while not (stop.is_set() or wait([process.sentinel], POLL_S)):
        pass
    if not wait([process.sentinel], 0):
        _end_group(process)
        return Ended(None)
    with _processes:
        status = process.exitcode
    if status:
        _signal_group(process, signal.SIGKILL)  # of a killed cell, W&B's own process is left
    result = None
    with suppress(EOFError):
        result = receive.recv()
    receive.close()
    if isinstance(result, OSError):
        raise result
    return Ended(status, result)


def _start(process: BaseProcess, preload: Sequence[str]) -> None:
    """Start a process, and before the first one, where there is one, the server that forks it."""
    CONTEXT.set_forkserver_preload([__name__, *preload])
    with _processes, _environment(ONE_THREAD):
        resource_tracker.ensure_running()  # now: it would unblock what is blocked below
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
        try:
            process.start()
        except (EOFError, ConnectionError) as error:
            raise OSError("the code of the cells cannot be imported (the error stands above)") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Set variables for a moment."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _end_group(process: BaseProcess) -> None:
    """SIGTERM to the whole group, and SIGKILL to what is left after the time of grace."""
    if not _signal_group(process, signal.SIGTERM):
        process.terminate()  # it has not come to make its group
    wait([process.sentinel], GRACE_S)
    _signal_group(process, signal.SIGKILL)
    wait([process.sentinel])
    with _processes:
        process.join()


def _signal_group(process: BaseProcess, number: signal.Signals) -> bool:
    """Signal all of a process' group; whether there is one."""
    assert process.pid is not None
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS, where only a zombie is left
        return True
    return True


def _child(
    send: Connection,
    function: str,
    words: list[str],
    log: Path,
    environment: dict[str, str],
    claim: Callable[[], str] | None,
) -> None:
    """What the process does."""
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)
    os.environ.clear()
    os.environ.update(environment)
    try:
        state = "claimed" if claim is None else claim()
        if state != "claimed":
            send.send(state)
            return
        _redirect(log)
    except OSError as error:
        send.send(error)
        return
    try:
        send.send(resolve_name(function)(words))
    finally:
        # A process of its own does so at its end, and multiprocessing's do not: W&B closes its run.
        atexit._run_exitfuncs()


def _end_with_parent() -> None:
    """End the process' group when the process that asked for it has died."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(0, signal.SIGKILL)


def _redirect(log: Path) -> None:
    """Append standard output and error to a log, line by line."""
    with log.open("ab") as file:
        for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
            os.dup2(file.fileno(), number)
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(line_buffering=True)


def take(cell: Cell, wait_for_it: bool) -> str:
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
