"""Corrections to a note table: a CSV file that names every note that is relabelled or dropped, and why."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from datamodules.table_files import read_csv, refuse

CORRECTION_COLUMNS = ("note_id", "action", "midi", "reason")


def apply_corrections(notes: pd.DataFrame, corrections: Path | None) -> pd.DataFrame:
    """Return the note table with the corrections of a file applied; one line says what was done.

    Args:
        notes: the note table.
        corrections: a CSV with the columns of :data:`CORRECTION_COLUMNS`; ``action`` is ``relabel`` (``midi`` is the
            new pitch) or ``drop``. ``None`` changes nothing. Rows for notes that are not in the table are passed over,
            as a file may be written for more notes than a filter leaves, and counted.

    Raises:
        ValueError: the file cannot be read, a row of it is wrong, it names none of the notes, or it drops them all.
    """
    if corrections is None:
        return notes
    table = _read(Path(corrections).expanduser())
    here = table[table.note_id.isin(notes.note_id)].set_index("note_id")
    if here.empty and len(table):
        raise ValueError(
            f"{corrections}: names none of these notes, but {table.note_id.iloc[0]!r}; is it for another set?"
        )
    relabel = here.midi[here.action == "relabel"].astype(int)
    dropped = here.index[here.action == "drop"]
    midi = notes.note_id.map(relabel).fillna(notes.midi).astype(int)
    corrected = notes.assign(midi=midi)[~notes.note_id.isin(dropped)].reset_index(drop=True)
    if corrected.empty:
        raise ValueError(f"{corrections}: drops every note")
    absent = len(table) - len(here)
    print(
        f"corrections {corrections}: {len(relabel)} notes relabelled, {len(dropped)} dropped"
        + (f"; {absent} of its rows name notes that are not here" if absent else "")
    )
    return corrected


def _read(path: Path) -> pd.DataFrame:
    """Read and check a corrections file."""
    rows = read_csv(path, CORRECTION_COLUMNS)
    wrong = [f"line {line}: {fault}" for line, row in rows.items() if (fault := _fault(row))]
    table = pd.DataFrame(list(rows.values()), columns=list(CORRECTION_COLUMNS))
    wrong += [
        f"note id {note_id!r} occurs more than once" for note_id in table.note_id[table.note_id.duplicated()].unique()
    ]
    refuse(path, wrong)
    return table


def _fault(row: dict[str, str]) -> str:
    """What is wrong with a row, or nothing."""
    action, midi = row["action"], row["midi"]
    if action not in ("relabel", "drop"):
        return f"action {action!r} is neither relabel nor drop"
    if action == "relabel" and not (midi.isascii() and midi.isdigit() and len(midi) <= 3 and int(midi) <= 127):
        return f"midi {midi!r} is no MIDI number from 0 to 127"
    return ""
