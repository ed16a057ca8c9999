"""How a command ends: bad input, a full disk and signals are one line and an exit status."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from experiments.known_settings import ALLOW_CLASSES

EXIT_FAILED, EXIT_BAD_INPUT = 1, 2
EXIT_SIGNAL = 128
"""Plus the signal's number, as shells count."""


@contextmanager
def one_line_errors(
    kinds: tuple[type[Exception], ...] = (ValueError, OSError), status: int = EXIT_BAD_INPUT, advice: str = ""
) -> Iterator[None]:
    """Errors of these kinds end the program with one line; PITCH_TIMBRE_TRACEBACK=1 shows where they arose."""
    try:
        yield
    except kinds as error:
        if os.environ.get("PITCH_TIMBRE_TRACEBACK"):
            raise
        print(f"error: {one_line(str(error))}{advice}", file=sys.stderr, flush=True)
        raise SystemExit(status) from error


def one_line(message: str) -> str:
    """What went wrong, without the list of types that were tried."""
    if denied := re.search(r"Importing '([\w.]+)' is not allowed", message):
        return (
            f"{denied[1]}: not a class that a configuration may name, so it is not imported; if you trust it, set "
            f"{ALLOW_CLASSES}={denied[1].partition('.')[0]} in the environment"
        )
    noise = (
        "Does not validate",
        "Subtypes:",
        "Errors:",
        "Given value",
        "Expected a <class 'NoneType'>",
        "Problem with",
    )
    lines = [line.strip(" -") for line in message.splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(noise))


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the program at once, with a shell's status for them, rather than at the batch's end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(EXIT_SIGNAL + number)

    # What is ignored (SIGINT in a shell's background) stays so.
    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    except SystemExit as ended:
        if ended.code in [EXIT_SIGNAL + number for number in numbers]:
            print("stopped; the same command goes on from the last completed epoch", file=sys.stderr, flush=True)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
