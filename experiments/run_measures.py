"""`python -m experiments robustness` and `timbre`: measures of finished runs, each a table of its own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from datamodules.atomic_files import replacing
from experiments.busy import busy
from experiments.exit_codes import one_line_errors

if TYPE_CHECKING:
    import pandas as pd


def robustness(argv: Sequence[str]) -> int:
    """Score finished runs on harder sounds of their scored notes; returns the exit status."""
    parser = _parser("robustness", "Score runs on harder sounds: noise, a room, a telephone, other tunings.")
    arguments = parser.parse_args(argv)
    with busy("loading torch"):
        from experiments.robustness import measure, to_markdown

    with one_line_errors():
        scores = measure(arguments.runs)
        _write(arguments.out, "robustness", scores, to_markdown(scores))
    return 0


def timbre(argv: Sequence[str]) -> int:
    """Measure the timbre codes of finished runs; returns the exit status."""
    parser = _parser("timbre", "Measure whether timbre codes hold the timbre, and whether listeners agree with them.")
    parser.add_argument("--ratings", type=Path, metavar="FOLDER", help="a copy of github.com/tiianhk/timbremetrics")
    arguments = parser.parse_args(argv)
    with busy("loading torch"):
        from experiments.timbre import measure, to_markdown

    with one_line_errors():
        scores = measure(arguments.runs, arguments.ratings)
        _write(arguments.out, "timbre", scores, to_markdown(scores))
    return 0


def pitch_courses(argv: Sequence[str]) -> int:
    """Compare the pitch of frames with the truth and with pYIN; returns the exit status."""
    parser = _parser("pitch-courses", "Compare the pitch of frames, in cents, with moving tones and with pYIN.")
    parser.add_argument("--sounds", type=Path, metavar="FOLDER", help="sound files that pYIN reads too")
    arguments = parser.parse_args(argv)
    from experiments.pitch_courses import measure, to_markdown

    with one_line_errors():
        scores = measure(arguments.runs, arguments.sounds)
        _write(arguments.out, "pitch-courses", scores, to_markdown(scores))
    return 0


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m experiments {name}", description=description, allow_abbrev=False)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, metavar="FOLDER", help="finished runs")
    parser.add_argument("--out", type=Path, default=Path("runs", name), help=f"where {name}.md and {name}.csv go")
    return parser


def _write(out: Path, name: str, table: pd.DataFrame, markdown: str) -> None:
    """Write ``name.csv`` and ``name.md`` into a folder, and print the latter."""
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / f"{name}.csv") as temporary:
        table.to_csv(temporary, index=False)
    with replacing(out / f"{name}.md") as temporary:
        temporary.write_text(markdown, encoding="utf-8")
    print(markdown)
    print(f"written to {out / name}.md and .csv")
