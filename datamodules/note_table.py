"""The note table: one row a note, and its checks.

A note table is a ``pandas.DataFrame`` sorted by ``note_id`` with the columns of :data:`NOTE_COLUMNS`:

* ``note_id`` (str): unique in the set and stable between runs; splits and corrections are recorded by it.
* ``midi`` (int): the MIDI pitch, 0..127 (A4 = 69 = 440 Hz).
* ``instrument`` (str): the instrument's name.
* ``dynamic`` (str): ``pp`` ... ``ff``, or empty.
* ``group`` (str): the recording, file or take that the note comes from, or empty: a split by recording keeps its notes
  together, and claims resample them together.
* ``fold`` (str): the official fold that the note belongs to, or empty; a source may leave the column out.
* ``audio`` (str): the audio file, relative to the source's root, or empty for rendered notes.
* ``offset_s`` (float): where the note starts in that file, in seconds.
"""

from __future__ import annotations

import pandas as pd

from datamodules.table_files import clean_text

NOTE_COLUMNS = ("note_id", "midi", "instrument", "dynamic", "group", "fold", "audio", "offset_s")
_NAMES = ("note_id", "instrument", "dynamic", "group", "fold")


def check_notes(notes: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return ``notes`` sorted by ``note_id`` with clean types.

    Args:
        notes: the rows that a source has read.
        where: the source, named in every error.

    Raises:
        ValueError: a column is missing, the table is empty, a note id occurs twice, a pitch is no whole number in
            0..127, a text holds invisible characters, or two instruments differ in case only.
    """
    notes = notes if "fold" in notes else notes.assign(fold="")
    missing = [column for column in NOTE_COLUMNS if column not in notes.columns]
    if missing:
        raise ValueError(f"{where}: the note table lacks the column(s) {', '.join(missing)}")
    if notes.empty:
        raise ValueError(f"{where}: no notes found; check the folder and the filters of the source")
    notes = notes.loc[:, list(NOTE_COLUMNS)]
    try:
        texts = {name: notes[name].map(lambda text, name=name: clean_text(text, name)) for name in _NAMES}
        notes.audio.map(lambda audio: clean_text(audio, "audio"))  # checked too, but opened as it is
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    notes = notes.assign(**texts).sort_values("note_id", kind="stable").reset_index(drop=True)
    twice = notes.note_id[notes.note_id.duplicated()]
    if len(twice):
        raise ValueError(f"{where}: note id {twice.iloc[0]!r} occurs more than once; ids must be unique")
    outside = notes[(notes.midi < 0) | (notes.midi > 127)]
    if len(outside):
        row = outside.iloc[0]
        raise ValueError(f"{where}: note {row.note_id!r} has MIDI pitch {row.midi}, outside 0..127; correct or drop it")
    spellings: dict[str, str] = {}
    for name in notes.instrument.unique():
        if (other := spellings.setdefault(name.casefold(), name)) != name:
            raise ValueError(f"{where}: instruments {other!r} and {name!r} differ in case only; write one of them")
    if "" in spellings:
        raise ValueError(f"{where}: note {notes.note_id[notes.instrument == ''].iloc[0]!r} has no instrument")
    return notes.astype({"midi": int, "offset_s": float})
