"""The process that trains a cell.

Importing torch, Lightning and W&B takes about ten seconds, paid once: on Linux a cell's process is forked from one that
has imported them and done nothing else (the standard library's forkserver); elsewhere it imports them itself.
"""

from __future__ import annotations

import atexit
import io
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

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


@dataclass(frozen=True)
class Program:
    """What a grid calls, as ``module:function``: only the process that needs a module imports it.

    Attributes:
        fit: takes the arguments of a fit.
        prepare: takes the arguments that name the data; trains its classifiers, and returns the hash of its content.
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
    arguments: Sequence[str],
    log: Path,
    environment: dict[str, str],
    stop: threading.Event,
    claim: Callable[[], str] | None = None,
    preload: Sequence[str] = (),
) -> Ended:
    """Call a function in a process, and process group, of its own, its output appended to a log.

    Args:
        function: as ``module:function``.
        arguments: its argument.
        log: where its output goes.
        environment: all of its environment.
        stop: ends it: SIGTERM to the group, and SIGKILL to what is left after the time of grace.
        claim: called first; what it returns is the result, and all there is if that is not ``claimed``.
        preload: see `Program`; the first call decides.

    Raises:
        OSError: no process could be started, or the claim could not be made.
    """
    receive, send = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_child, args=(send, function, list(arguments), log, environment, claim))
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
    arguments: list[str],
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
        send.send(resolve_name(function)(arguments))
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
