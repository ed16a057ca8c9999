"""A sign of life on a terminal while a command does what takes some seconds and has no bar of its own."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any


def busy(doing: str) -> AbstractContextManager[Any]:
    """Turn a small wheel on standard error, beside what is being done; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console
    from rich.markup import escape

    return Console(stderr=True).status(f"{escape(doing)} ...", spinner="line")
