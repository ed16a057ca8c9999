"""The bench (`make bench`): ours, the ways of today and the limits, side by side in one run."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.bench.measure import Measured

PARTS = ("startup", "pairs", "steps", "metrics", "sound", "whole_notes")
CACHE = Path("~/.cache/pitch-timbre")
WIDTH = 200
"""Columns of the table where it is not written to a terminal."""


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table, write ``bench.json``."""
    parser = argparse.ArgumentParser(prog="python -m experiments bench", description=main.__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="where bench.json goes")
    parser.add_argument("--quick", action="store_true", help="few repeats: whether it runs, not how fast")
    parser.add_argument(
        "--runs", nargs=2, type=Path, metavar="GRID", help="compare two finished grids of two precisions instead"
    )
    given = parser.parse_args(argv)
    one_thread()
    from experiments.bench.measure import DisagreementError

    found: dict[str, Measured] = {}
    try:
        if given.runs:
            from experiments.bench import precision

            found["precision"] = precision.measure(tuple(given.runs))
        else:
            for part in given.parts:
                found[part] = _measure(part, given.quick)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except DisagreementError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _print(found)
    _write(found, given.out / "bench.json")
    return 0


def one_thread() -> None:
    """One thread for every library; the environment is read when they are imported."""
    for name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
        os.environ[f"{name}_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


def _measure(part: str, quick: bool) -> Measured:
    if part == "startup":
        from experiments.bench import startup

        return startup.measure(quick)
    if part == "pairs":
        from experiments.bench import pairs

        return pairs.measure(CACHE, quick)
    if part == "steps":
        from experiments.bench import steps

        return steps.measure(quick)
    if part == "sound":
        from experiments.bench import sound

        return sound.measure(quick)
    if part == "whole_notes":
        from experiments.bench import whole_notes

        return whole_notes.measure(CACHE, quick)
    from experiments.bench import metrics

    return metrics.measure(quick)


def _print(found: dict[str, Measured]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for title in dict.fromkeys(figure.what for part in found.values() for figure in part.figures):
        table = Table(
            "way", "", "median (lowest .. highest)", "ratio", "check", "note", title=title, title_justify="left"
        )
        for figure in (figure for part in found.values() for figure in part.figures if figure.what == title):
            ratio = "" if figure.ratio is None else f"{figure.ratio} x"
            table.add_row(figure.way, figure.role, str(figure.value), ratio, figure.check, figure.note)
        console.print(table)
    for goal in (goal for part in found.values() for goal in part.goals):
        sign, word = ">=" if goal.at_least else "<=", "met" if goal.met else "NOT MET"
        console.print(f"{word:8} {goal.wanted}: {goal.found:.4g} ({sign} {goal.bound:g})", highlight=False)


def _write(found: dict[str, Measured], file: Path) -> None:
    import torch

    from callbacks.provenance import git_revision, machine, versions
    from datamodules.atomic_files import write_json

    parts = {
        name: {
            "figures": [asdict(figure) for figure in part.figures],
            "goals": [{**asdict(goal), "met": goal.met} for goal in part.goals],
            "details": part.details,
        }
        for name, part in found.items()
    }
    about = {
        "machine": machine(),
        "git_revision": git_revision(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }
    write_json(file, {**about, "parts": parts})
    print(file)
