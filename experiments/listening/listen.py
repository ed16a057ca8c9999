"""`python -m experiments listen --config ...`: the package on labelled notes, beside pitch trackers; and its swaps."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

import pitch_timbre as pt
from datamodules.atomic_files import replacing
from datamodules.sources.source import NoteSource
from experiments.listening.measures import pyin_midi
from experiments.listening.trackers import LONGEST_S, NEEDS, OURS, compare, trackers

SEED = 0
HEARD_S = 1.0
"""What pYIN reads of a swap."""
RIGHT_CENTS = 50.0
SECONDS = "core-seconds a minute of sound"


def choose(notes: pd.DataFrame, by: str | None, count: int) -> pd.DataFrame:
    """Notes spread evenly over each group, with the column ``by``.

    Args:
        notes: the note table.
        by: a regular expression whose first group, found in a note's id, names the note's group; notes in which it is
            not found are left out. ``None``: by instrument.
        count: of each group, at most.

    Raises:
        ValueError: it is found in none, or is no expression with a group.
    """
    try:
        named = notes.instrument if by is None else notes.note_id.str.extract(by, expand=False)
    except (re.error, ValueError) as error:
        raise ValueError(f"--by {by}: {error}; give a regular expression with one group") from error
    if isinstance(named, pd.DataFrame):
        raise ValueError(f"--by {by}: has several groups; give one")
    if named.isna().all():
        raise ValueError(f"--by {by}: found in none of the note ids, such as {notes.note_id.iloc[0]!r}")
    grouped = notes.assign(by=named).dropna(subset="by").groupby("by", sort=True)
    return pd.concat(each.iloc[np.linspace(0, len(each) - 1, min(count, len(each))).astype(int)] for _, each in grouped)


def read_mono(source: NoteSource, root: Path | None, notes: pd.DataFrame) -> list[tuple[NDArray[np.float32], int]]:
    """The sounds of notes, mono, and their rates in Hz."""
    sounds = []
    for note in notes.itertuples():
        samples, rate = source.read_audio(root, note, LONGEST_S)
        sounds.append((np.asarray(samples if samples.ndim == 1 else samples.mean(axis=1), np.float32), rate))
    return sounds


def pitch_table(notes: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Per cent of notes whose pitch each tracker has right, a row a group, and what a minute of sound costs.

    Args:
        notes: chosen notes, with ``midi`` and ``by``.
        found: what :func:`experiments.listening.trackers.compare` returns of them.
    """
    label = notes[["midi", "by"]].reset_index(drop=True).rename_axis("sound").reset_index()
    joined = found.merge(label, on="sound", suffixes=("", "_label"))
    joined["right"] = 100.0 * (joined.midi == joined.midi_label)
    joined["pitch class"] = 100.0 * ((joined.midi - joined.midi_label) % 12 == 0)
    names = list(dict.fromkeys(found.tracker))
    table = joined.pivot_table(index="by", columns="tracker", values="right")[names]
    table.insert(0, "notes", label.groupby("by").size())
    per = joined.groupby("tracker")[["right", "pitch class", "core_s", "lasts_s"]].agg(
        {"right": "mean", "pitch class": "mean", "core_s": "sum", "lasts_s": "sum"}
    )
    cost = 60 * per.core_s / per.lasts_s
    for name, values in (("all", per.right), ("all, pitch class", per["pitch class"]), (SECONDS, cost)):
        table.loc[name] = {"notes": len(label), **values}
    return table


def swaps(model: pt.Model, notes: pd.DataFrame, sounds: Sequence[tuple[NDArray[np.float32], int]]) -> pd.DataFrame:
    """Give each note that is read as sure the timbre of another, and let pYIN read the swap.

    Returns:
        a row a swap: ``note``, ``timbre`` (ids), ``midi`` that was asked for, ``cents`` from there to pYIN's.
    """
    read = [model.analyse(sound) for sound in track(sounds, "reading", console=Console(stderr=True), transient=True)]
    sure = [number for number, found in enumerate(read) if found.status == "ok"]
    if len(sure) < 2:
        raise ValueError(f"{len(sure)} of {len(read)} notes are read as sure; a swap needs two")
    order = np.random.default_rng(SEED).permutation(sure)
    rows = []
    for own, other in track(
        list(zip(order, np.roll(order, 1), strict=True)), "swaps", console=Console(stderr=True), transient=True
    ):
        samples, rate = model.render(read[own].pitch, read[other], like=read[own])
        cents = 100 * (pyin_midi(samples[: round(HEARD_S * rate)], rate) - read[own].pitch)
        rows.append((notes.note_id.iloc[own], notes.note_id.iloc[other], read[own].pitch, cents))
    return pd.DataFrame(rows, columns=["note", "timbre", "midi", "cents"])


def swaps_text(found: pd.DataFrame) -> str:
    """What the swaps show, in two lines and a table of the wrong ones."""
    off = found.cents.abs()
    right = off <= RIGHT_CENTS
    lines = [
        f"{len(found)} swaps (`hold`), pitch by pYIN: {100 * right.mean():.1f} % within {RIGHT_CENTS:g} cents; "
        f"median {off.median():.1f} cents; none found in {int(off.isna().sum())}.",
        "",
    ]
    if not right.all():
        lines += ["| note | timbre of | MIDI | cents |", "|---|---|---|---|"]
        lines += [
            f"| {row.note} | {row.timbre} | {row.midi:.2f} | {row.cents:+.0f} |" for row in found[~right].itertuples()
        ]
    return "\n".join(lines)


def to_markdown(table: pd.DataFrame) -> str:
    """The table of pitches."""
    lines = [f"| | {' | '.join(table.columns)} |", "|---" * (1 + len(table.columns)) + "|"]
    for name, row in table.iterrows():
        values = [f"{value:.2f}" if name == SECONDS else f"{value:.1f}" for value in row.iloc[1:]]
        lines.append(f"| {name} | {row.iloc[0]:.0f} | {' | '.join(values)} |")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Compare; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments listen",
        description="The package on labelled notes, beside pitch trackers, and the pitch of its swaps. Other arguments "
        "are those of fit (--config, --data.root, --data.corrections ...).",
        allow_abbrev=False,
    )
    parser.add_argument("--with", nargs="*", default=list(NEEDS), metavar="TRACKER", help=f"default: {' '.join(NEEDS)}")
    parser.add_argument("--by", metavar="REGEX", help="groups: what its first group finds in a note id; by instrument")
    parser.add_argument("--notes", type=int, default=60, help="of each group, at most (%(default)s)")
    parser.add_argument("--swaps", action="store_true", help="swap the notes' timbres and read the swaps' pitches")
    parser.add_argument("--model", type=Path, help="an exported model, or a run's folder; default: the shipped one")
    parser.add_argument("--out", type=Path, default=Path("runs/listen"), help="folder of listen.md and the CSV files")
    own, rest = parser.parse_known_args(list(argv))

    from experiments.cli import PitchTimbreCLI
    from experiments.exit_codes import one_line_errors
    from experiments.paths import CONFIGS

    with one_line_errors():
        if own.notes < 1:
            raise ValueError(f"--notes is {own.notes}; give 1 or more")
        model = pt.load(own.model)
        chosen_trackers = trackers([OURS, *(name for name in vars(own)["with"] if name != OURS)], model)
    data = PitchTimbreCLI(["--config", str(CONFIGS / "base.yaml"), *rest], run=False).datamodule
    with one_line_errors():
        notes = choose(data.notes, own.by, own.notes)
        sounds = read_mono(data.source, data.root, notes)
        found = compare(sounds, chosen_trackers)
        tables = {"pitches": found.assign(note_id=notes.note_id.to_numpy()[found.sound])}
        text = f"Pitch right, per cent ({data.name}):\n\n{to_markdown(pitch_table(notes, found))}\n"
        if own.swaps:
            tables["swaps"] = swaps(model, notes, sounds)
            text += f"\n{swaps_text(tables['swaps'])}\n"
        own.out.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            with replacing(own.out / f"{name}.csv") as temporary:
                table.to_csv(temporary, index=False)
        with replacing(own.out / "listen.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(text)
    print(f"written to {own.out}: listen.md, {', '.join(f'{name}.csv' for name in tables)}")
    return 0
