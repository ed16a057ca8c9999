"""Tables of text as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

NOT_THERE = "–"  # noqa: RUF001 (an en dash: an empty cell)


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table of a heading and lines, its columns of equal width."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = [" | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines]
    rule = " | ".join("-" * width for width in widths)
    return [f"| {line} |" for line in (padded[0], rule, *padded[1:])]
