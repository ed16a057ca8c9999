"""Notes that cannot be used: the error that names them, and the corrections file that drops them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

LISTED_AT_MOST = 20
"""Lines of the message, one for each note."""


class BadNotesError(ValueError):
    """Notes that cannot be used, all of them at once.

    Attributes:
        reasons: note id -> why it cannot be used.
    """

    def __init__(self, message: str, reasons: dict[str, str]) -> None:
        super().__init__(message)
        self.reasons = reasons


def write_bad_notes(path: Path, notes: pd.DataFrame, reasons: np.ndarray) -> None:
    """Write the bad notes as a corrections file that drops them."""
    bad = reasons != ""
    table = pd.DataFrame({"note_id": notes.note_id[bad], "action": "drop", "midi": "", "reason": reasons[bad]})
    table.to_csv(path, index=False)


def bad_notes_message(notes: pd.DataFrame, reasons: np.ndarray, bad: np.ndarray, folder: Path) -> str:
    """Name the bad notes, their files and what to do."""
    lines = [f"{len(bad)} of {len(notes)} notes cannot be used:"]
    for row in bad[:LISTED_AT_MOST]:
        note = notes.iloc[row]
        lines.append(f"  {note.audio or 'rendered'} (note {note.note_id}): {reasons[row]}")
    if len(bad) > LISTED_AT_MOST:
        lines.append(f"  and {len(bad) - LISTED_AT_MOST} more")
    lines.append(
        "Replace or remove the files; or drop the notes by a corrections file (--data.corrections), all of them are in "
        f"{folder / 'bad_notes.csv'}; or go on without them by --data.on_bad_file drop."
    )
    return "\n".join(lines)
