"""Any notes that a table lists: a CSV or a JSON-lines file with one row a note."""

from __future__ import annotations

import math
import re
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from datamodules.note_table import check_notes
from datamodules.sources.files import FileSource, path_inside
from datamodules.sources.pitches import midi_from_name
from datamodules.table_files import clean_text, read_csv, read_json_lines, refuse

_NEEDED = ("audio", "pitch", "instrument")
_READERS = {".csv": read_csv, ".jsonl": read_json_lines, ".ndjson": read_json_lines}
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


class TableSource(FileSource):
    """Notes listed in a table.

    Columns: ``audio`` (path relative to the table, or to the root where one is given), ``pitch`` (MIDI number or note
    name: ``A4``, ``F#3``, ``Bb5``) and ``instrument``; optional ``note_id`` (else the path, with the offset where there
    is one), ``dynamic``, ``group`` (the recording or take), ``fold`` (an official one) and ``offset_s`` (where the note
    starts in its file, in seconds). Other columns are passed over. Cells have one form (see
    :mod:`datamodules.table_files`).

    Args:
        table: the file, ``.csv`` or ``.jsonl``.
    """

    def __init__(self, table: Path) -> None:
        self.table = Path(table).expanduser()

    def read_notes(self, root: Path | None) -> pd.DataFrame:
        """Read the note table.

        Raises:
            ValueError: a column is missing, or rows are wrong, all of them named with their lines.
        """
        reader = _READERS.get(self.table.suffix.lower())
        if reader is None:
            raise ValueError(f"{self.table}: the table must end in .csv or .jsonl")
        rows = reader(self.table, _NEEDED)
        if not rows:
            raise ValueError(f"{self.table}: lists no notes")
        good, bad = [], []
        for line, row in rows.items():
            try:
                good.append(_note(self._root(root), row))
            except ValueError as error:
                bad.append(f"line {line}: {error}")
        refuse(self.table, bad)
        return check_notes(pd.DataFrame(good), str(self.table))

    def read_audio(self, root: Path | None, note: Any, duration_s: float) -> tuple[Any, int]:
        """As :meth:`FileSource.read_audio`; the table's folder is the root where none is given."""
        return super().read_audio(self._root(root), note, duration_s)

    def audio_key(self, root: Path | None, note: Any) -> str:
        """As :meth:`FileSource.audio_key`; the table's folder is the root where none is given."""
        return super().audio_key(self._root(root), note)

    def _root(self, root: Path | None) -> Path:
        """The folder that paths are relative to."""
        return self.table.parent if root is None else Path(root)


def _note(root: Path, row: dict[str, Any]) -> dict[str, Any]:
    """Check one row and complete it."""
    absent = [name for name in _NEEDED if not _text(row, name)]
    if absent:
        raise ValueError(f"no {', '.join(absent)}")
    audio = _text(row, "audio").replace("\\", "/")
    path_inside(root, audio)
    offset_s = _number(_text(row, "offset_s") or "0")
    if not 0 <= offset_s < math.inf:
        raise ValueError(f"offset_s {row['offset_s']} is no time in seconds")
    unnamed = PurePosixPath(audio).as_posix() + (f"@{offset_s:g}" if offset_s else "")
    return {
        **{name: _text(row, name) for name in ("instrument", "dynamic", "group", "fold")},
        "note_id": _text(row, "note_id") or unnamed,
        "midi": _midi(_text(row, "pitch")),
        "audio": audio,
        "offset_s": offset_s,
    }


def _text(row: dict[str, Any], name: str) -> str:
    """A cell as text, empty where there is none; lists, objects and truth values are refused."""
    cell = row.get(name)
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool) or not isinstance(cell, (str, int, float)):
        raise ValueError(f"{name} {cell!r} is neither text nor a number")
    return clean_text(str(cell), name)


def _midi(pitch: str) -> int:
    """The MIDI number of a number or a note name."""
    number = _number(pitch) if _NUMBER.fullmatch(pitch) else midi_from_name(pitch)
    if not 0 <= number <= 127 or number != int(number):
        raise ValueError(f"pitch {pitch} is no MIDI number from 0 to 127")
    return int(number)


def _number(text: str) -> float:
    """A decimal number; NaN for what is none."""
    return float(text) if _NUMBER.fullmatch(text) else math.nan
