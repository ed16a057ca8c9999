"""Side-by-side measuring: every figure is a ratio of things that took turns in one run."""

from __future__ import annotations

import multiprocessing
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median
from typing import Any, Literal

from rich.progress import track

POLL_S = 0.05
ROUND_S = 0.15
"""Core-seconds that a quick way is repeated for in each round, so that the clock's grain is lost in it."""


class DisagreementError(RuntimeError):
    """Two ways did not compute the same thing, so that their times would say nothing."""


@dataclass(frozen=True)
class Spread:
    """The median of some repeats, and their extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one or more values."""
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.median:.3g}"
        return f"{self.median:,.3g} ({self.low:,.3g} .. {self.high:,.3g})"


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        part: pairs, steps, metrics, startup, sound, whole_notes or precision.
        what: what is measured, with its unit.
        way: who does it.
        role: ours, a way that people use today, or a limit.
        value: in the unit of ``what``.
        ratio: against the line of the same ``what`` whose ratio is ``None``, round by round.
        check: how far the result is from the reference's, or that it is the same.
        note: what else there is to say.
    """

    part: str
    what: str
    way: str
    role: Literal["ours", "today", "limit"]
    value: Spread
    ratio: Spread | None = None
    check: str = ""
    note: str = ""


@dataclass(frozen=True)
class Goal:
    """What was wanted, what was found.

    Attributes:
        part: the part that measured it.
        wanted: the goal, in words.
        found: the measured value.
        bound: what it is compared with.
        at_least: the value has to reach the bound; otherwise it must not exceed it.
    """

    part: str
    wanted: str
    found: float
    bound: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.found >= self.bound if self.at_least else self.found <= self.bound


@dataclass(frozen=True)
class Measured:
    """The results of one part of the bench; ``details`` goes into the JSON file only."""

    figures: list[Figure]
    goals: list[Goal]
    details: dict[str, Any]


Way = Callable[[int], tuple[int, float]]
"""Does its share of a round (its number is given): how many things it did, and the core-seconds that they took."""


def timed(work: Callable[[], int], least_s: float = ROUND_S) -> Way:
    """A way that repeats ``work``, which says how many things it did, for some core-seconds of this process."""

    def way(_round: int) -> tuple[int, float]:
        done, start = 0, time.process_time()
        while (spent := time.process_time() - start) < least_s or not done:
            done += work()
        return done, spent

    return way


def interleaved(ways: Mapping[str, Way], rounds: int, title: str) -> dict[str, list[float]]:
    """Let the ways take turns, round by round, so that a machine that slows down slows all of them.

    Returns:
        things a core-second of each way, one value a round.
    """
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in track(range(rounds), title, transient=True):
        for name, way in ways.items():
            count, spent = way(turn)
            rates[name].append(count / spent)
    return rates


def ratios(values: Sequence[float], base: Sequence[float]) -> Spread:
    """The spread of the ratios round by round."""
    return Spread.of([value / other for value, other in zip(values, base, strict=True)])


class OverLimitError(RuntimeError):
    """A bounded call took too long or too much memory."""


def bounded(work: Callable[[], Any], seconds: float, gigabytes: float) -> Any:
    """What ``work`` returns, unless it exceeds a time or a memory; it is run in a fork of this process.

    The memory is watched rather than limited: torch reserves far more address space than it uses.

    Raises:
        OverLimitError: it took longer, or held more, or failed.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(work, there))
    process.start()
    there.close()
    assert process.pid is not None
    start, before = time.monotonic(), _held_gb(process.pid)
    try:
        while not here.poll(POLL_S):
            if not process.is_alive() and not here.poll():
                raise OverLimitError("failed")
            if time.monotonic() - start > seconds:
                raise OverLimitError(f"over {seconds:g} s")
            if _held_gb(process.pid) - before > gigabytes:
                raise OverLimitError(f"over {gigabytes:g} GB")
        return here.recv()
    except EOFError as error:
        raise OverLimitError("failed") from error
    finally:
        process.kill()
        process.join()
        here.close()


def _send(work: Callable[[], Any], there: Connection) -> None:
    there.send(work())
    there.close()


def _held_gb(pid: int) -> float:
    """Resident memory of a process in GB; 0 where it has ended."""
    with suppress(ValueError):
        found = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True)
        return int(found.stdout) * 1024 / 1e9
    return 0.0
