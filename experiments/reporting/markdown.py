"""Tables of text as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

NOT_THERE = "–"  # noqa: RUF001 (an en dash: an empty cell)


# Backslashes first; "<" and "&" begin HTML, "[" a link, "~" and "$" what some readers of Markdown know.
_MARKS = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]|~$#!"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})


def escaped(text: str) -> str:
    """A name from the data (an instrument, a source, a machine), to stand in Markdown as it is, on one line."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return re.sub(r"(?<=\w)\\_(?=\w)", "_", " ".join(shown.split()).translate(_MARKS))


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table of a heading and lines, its columns of equal width."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = [" | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines]
    rule = " | ".join("-" * width for width in widths)
    return [f"| {line} |" for line in (padded[0], rule, *padded[1:])]
