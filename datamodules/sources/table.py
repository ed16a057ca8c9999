"""Any notes that a table lists: a CSV or a JSON-lines file with one row a note."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from datamodules.notes import check_notes
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
        rows = self._read()
        missing = [column for column in _NEEDED if column not in rows.columns]
        if missing:
            raise ValueError(
                f"{self.table}: lacks the column(s) {', '.join(missing)}; it has {', '.join(map(str, rows.columns))}"
            )
        good, bad = [], []
        for line, row in enumerate(rows.to_dict("records"), start=self._first_line):
            try:
                good.append(_note(self._root(root), {str(name): value for name, value in row.items()}))
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

    @property
    def _first_line(self) -> int:
        """The line of the first note, counted from 1: a CSV has a header."""
        return 1 if self._is_json else 2

    @property
    def _is_json(self) -> bool:
        """Whether the table is JSON lines."""
        return self.table.suffix.lower() in (".jsonl", ".ndjson")

    def _root(self, root: Path | None) -> Path:
        """The folder that paths are relative to."""
        return self.table.parent if root is None else Path(root)

    def _read(self) -> pd.DataFrame:
        """Read the file as text values."""
        if not self._is_json and self.table.suffix.lower() != ".csv":
            raise ValueError(f"{self.table}: the table must end in .csv or .jsonl")
        try:
            if self._is_json:
                return pd.read_json(self.table, lines=True, dtype=False, convert_dates=False)
            return pd.read_csv(self.table, dtype=str, keep_default_na=False, skipinitialspace=True)
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.table}: cannot be read ({error})") from error


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
