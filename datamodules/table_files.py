"""Tables as text files, CSV and JSON lines, and the one form of their cells.

A cell is stripped of white space around it and brought to Unicode's composed form (NFC), so that "Violin " and
"Violin", or the two ways to write "ö", are one name. Control and other invisible characters in a cell are refused.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datamodules.atomic_files import regular_file

Rows = dict[int, dict[str, Any]]
"""Line -> column -> cell."""


def clean_text(text: str, what: str = "the cell") -> str:
    """One form of a text, so that equal names are equal.

    Raises:
        ValueError: it holds a control or another invisible character, or half of a surrogate pair.
    """
    text = unicodedata.normalize("NFC", text.strip())
    for character in text if not text.isprintable() else "":
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            raise ValueError(f"{what} {text!r} holds the invisible character U+{ord(character):04X}; remove it")
    return text


def read_text(file: Path) -> str:
    """The text of an ordinary UTF-8 file.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return regular_file(file).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{file}: cannot be read as UTF-8 text ({getattr(error, 'strerror', None) or error})"
        ) from error


def read_csv(file: Path, needed: Sequence[str]) -> Rows:
    """Read a CSV table with a header.

    Args:
        file: the table; commas part its cells, and a cell that holds one is in double quotes.
        needed: the columns that it must have.

    Returns:
        the rows by their lines; empty lines are left out, and cells that a short row lacks are empty.

    Raises:
        ValueError: it cannot be read, lacks a column or has it twice, or rows are wrong, all named with their lines.
    """
    reader = csv.reader(io.StringIO(read_text(file), newline=""), skipinitialspace=True, strict=True)
    rows: Rows = {}
    wrong = []
    try:
        columns = [clean_text(name, "the column") for name in next(reader, [])]
        if missing := [name for name in needed if name not in columns]:
            raise ValueError(f"lacks the column(s) {', '.join(missing)}; it has {', '.join(columns) or 'none'}")
        if twice := [name for name in columns if name and columns.count(name) > 1]:
            raise ValueError(f"has the column {twice[0]!r} twice; remove one")
        last = reader.line_num
        for cells in reader:
            line, last = last + 1, reader.line_num
            if not any(cells):
                continue
            try:
                if len(cells) > len(columns):
                    raise ValueError(f"{len(cells)} cells for {len(columns)} columns; put cells with a comma in quotes")
                cells += [""] * (len(columns) - len(cells))
                rows[line] = {name: clean_text(cell, name) for name, cell in zip(columns, cells, strict=True)}
            except ValueError as error:
                wrong.append(f"line {line}: {error}")
    except csv.Error as error:
        raise ValueError(f"{file}: line {reader.line_num}: cannot be read as CSV ({error})") from error
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    refuse(file, wrong)
    return rows


def read_json_lines(file: Path, needed: Sequence[str]) -> Rows:
    """Read JSON lines, each an object of texts and numbers; empty lines are passed over, ``null`` is an empty cell.

    Raises:
        ValueError: it cannot be read, no row has a column, or rows are wrong, all named with their lines.
    """
    rows: Rows = {}
    wrong = []
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_once)
            if not isinstance(row, dict):
                raise ValueError("is no JSON object")
            rows[number] = {clean_text(name, "the column"): cell for name, cell in row.items()}
        except (ValueError, RecursionError) as error:
            wrong.append(f"line {number}: {'is no JSON' if isinstance(error, json.JSONDecodeError) else error}")
    refuse(file, wrong)
    columns = {name for row in rows.values() for name in row}
    if rows and (missing := [name for name in needed if name not in columns]):
        raise ValueError(f"{file}: lacks the column(s) {', '.join(missing)}; it has {', '.join(sorted(columns))}")
    return rows


def read_json(file: Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return json.loads(read_text(file), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        reason = str(error).removeprefix(f"{file}: ")
        raise ValueError(f"{file}: cannot be read as JSON ({reason})") from error


def refuse(file: Path, wrong: Sequence[str], most: int = 20) -> None:
    """Raise ValueError for the wrong rows of a table, if there are any."""
    if wrong:
        more = f", and {len(wrong) - most} more" if len(wrong) > most else ""
        raise ValueError(f"{file}: {len(wrong)} wrong row(s): {'; '.join(wrong[:most])}{more}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, each of whose keys occurs once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"has {next(name for name in names if names.count(name) > 1)!r} twice; remove one")
    return found
