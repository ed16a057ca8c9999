"""Any notes that a table lists: a CSV or a JSON-lines file with one row a note."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from datamodules.note_table import check_notes
from datamodules.sources.files import FileSource, first_few, path_inside
from datamodules.sources.pitches import midi_from_name

_NEEDED = ("audio", "pitch", "instrument")
_OPTIONAL = {"dynamic": "", "group": "", "offset_s": 0.0}


class TableSource(FileSource):
    """Notes listed in a table.

    Columns: ``audio`` (path relative to the table, or to the root where one is given), ``pitch`` (MIDI number or note
    name: ``A4``, ``F#3``, ``Bb5``) and ``instrument``; optional ``note_id`` (else the path, with the offset where there
    is one), ``dynamic``, ``group`` and ``offset_s`` (where the note starts in its file, in seconds). Other columns are
    passed over.

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
        columns, rows = self._read()
        missing = [column for column in _NEEDED if column not in columns]
        if missing:
            raise ValueError(f"{self.table}: lacks the column(s) {', '.join(missing)}; it has {', '.join(columns)}")
        if not rows:
            raise ValueError(f"{self.table}: lists no notes")
        good, bad = [], []
        for line, row in rows.items():
            try:
                good.append(_note(self._root(root), row))
            except ValueError as error:
                bad.append(f"line {line}: {error}")
        if bad:
            raise ValueError(f"{self.table}: {len(bad)} wrong row(s): {first_few(bad, most=20)}")
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

    def _read(self) -> tuple[list[str], dict[int, dict[str, Any]]]:
        """Read the file: the names of its columns, and line -> cells."""
        readers = {".csv": _read_csv, ".jsonl": _read_json_lines, ".ndjson": _read_json_lines}
        reader = readers.get(self.table.suffix.lower())
        if reader is None:
            raise ValueError(f"{self.table}: the table must end in .csv or .jsonl")
        try:
            return reader(self.table.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.table}: cannot be read ({error})") from error


def _read_csv(text: str) -> tuple[list[str], dict[int, dict[str, Any]]]:
    """Read a CSV table with a header; all cells are text."""
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True, restkey="")
    if reader.fieldnames is None:
        raise ValueError("it is empty")
    rows = {}
    for row in reader:
        rows[reader.line_num] = {name.strip(): cell for name, cell in row.items() if name}
    return [name.strip() for name in reader.fieldnames], rows


def _read_json_lines(text: str) -> tuple[list[str], dict[int, dict[str, Any]]]:
    """Read JSON lines, each an object; empty lines are passed over."""
    rows = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            rows[number] = json.loads(line)
            if not isinstance(rows[number], dict):
                raise ValueError(f"line {number} is no JSON object")
    return list(dict.fromkeys(name for row in rows.values() for name in row)), rows


def _note(root: Path, row: dict[str, Any]) -> dict[str, Any]:
    """Check one row and complete it."""
    filled = {name: value for name, value in row.items() if not _is_empty(value)}
    absent = [name for name in _NEEDED if name not in filled]
    if absent:
        raise ValueError(f"no {', '.join(absent)}")
    audio = str(filled["audio"]).replace("\\", "/")
    path_inside(root, audio)
    offset_s = _offset(filled.get("offset_s", 0.0))
    unnamed = PurePosixPath(audio).as_posix() + (f"@{offset_s:g}" if offset_s else "")
    return {
        **{name: str(filled.get(name, default)) for name, default in _OPTIONAL.items()},
        "note_id": str(filled.get("note_id", unnamed)),
        "midi": _midi(filled["pitch"]),
        "instrument": str(filled["instrument"]),
        "audio": audio,
        "offset_s": offset_s,
    }


def _midi(pitch: Any) -> int:
    """The MIDI number of a number or a note name."""
    try:
        number = float(pitch)
    except ValueError:
        number = midi_from_name(str(pitch))
    if not 0 <= number <= 127 or number != int(number):
        raise ValueError(f"pitch {pitch} is no MIDI number from 0 to 127")
    return int(number)


def _offset(value: Any) -> float:
    """A time in seconds, not negative."""
    try:
        offset_s = float(value)
    except ValueError:
        offset_s = math.nan
    if not 0 <= offset_s < math.inf:
        raise ValueError(f"offset_s {value} is no time in seconds")
    return offset_s


def _is_empty(value: Any) -> bool:
    """Whether a cell holds nothing."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
