"""Where the rows mishear: honest ACC by octave and by instrument."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from experiments.reporting.cell_files import row_label, row_order
from experiments.reporting.markdown import NOT_THERE, aligned, escaped
from experiments.reporting.row_scores import HONEST_ACC, RowScores

SEMITONES = 12


def section(rows: Mapping[str, RowScores]) -> list[str]:
    """The lines of ``table.md`` that tell; none where no cell has kept its single notes.

    Args:
        rows: the grid's rows, with the outcomes of single notes.
    """
    by_octave, by_instrument = (
        _table(rows, heading, of) for heading, of in (("Octave", octave), ("Instrument", instrument))
    )
    if not by_octave:
        return []
    return [
        "## Honest ACC by octave and instrument, best checkpoint",
        "",
        "Of the scored notes of all seeds and folds; Notes counts each of them once.",
        "",
        *by_octave,
        "",
        *by_instrument,
        "",
    ]


def octave(group: str) -> tuple[int, str]:
    """The octave of a group, instrument and MIDI pitch, to sort by and to show: ``C4 to B4 (MIDI 60 to 71)``."""
    lowest = int(group.rpartition(" ")[2]) // SEMITONES * SEMITONES
    name = lowest // SEMITONES - 1
    return lowest, f"C{name} to B{name} (MIDI {lowest} to {lowest + SEMITONES - 1})"


def instrument(group: str) -> tuple[int, str]:
    """The instrument of a group of notes, to sort by and to show."""
    return 0, escaped(group.rpartition(" ")[0])


def _table(rows: Mapping[str, RowScores], heading: str, of: Callable[[str], tuple[int, str]]) -> list[str]:
    """A line a kind of notes, a column a row."""
    ids: dict[tuple[int, str], set[str]] = {}
    heard: dict[str, dict[tuple[int, str], list[float]]] = {}
    for name, row in rows.items():
        for notes in row.notes.values():
            shares = notes.scores.get(HONEST_ACC.name)
            if shares is None:
                continue
            for note_id, group, right in zip(notes.ids, notes.kinds, shares, strict=True):
                kind = of(group)
                ids.setdefault(kind, set()).add(note_id)
                heard.setdefault(name, {}).setdefault(kind, []).append(right)
    shown = [name for name in row_order(heard) if name in heard]
    lines = [[heading, "Notes", *map(row_label, shown)]]
    for kind in sorted(ids):
        found = [heard[name].get(kind) for name in shown]
        means = [f"{np.mean(shares):.1f}" if shares else NOT_THERE for shares in found]
        lines.append([kind[1], str(len(ids[kind])), *means])
    return aligned(lines) if shown else []
