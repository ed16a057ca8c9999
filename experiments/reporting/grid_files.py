"""What stands in a grid's folder beside its cells: the table, the tested claims and the pictures, rewritten as one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from datamodules.atomic_files import replacing
from experiments.reporting import claims, claims_text, error_breakdown
from experiments.reporting.cells import read_cells
from experiments.reporting.plots import draw_figures
from experiments.reporting.statistics import grid_rows, paper_rows
from experiments.reporting.table import aggregated, header, print_table, render


def write_tables(out: Path) -> str:
    """Write ``table.md``, ``table.csv``, ``claims.md`` and ``claims.csv`` of the finished cells into the grid's folder.

    Returns:
        The text of ``table.md``.
    """
    cells = read_cells(out)
    rows = grid_rows(out, cells)
    judged = claims.judge(paper_rows(), rows)
    text = "\n".join([render(cells), *error_breakdown.section(rows), *claims_text.section(judged), ""])
    contents = {
        "table.md": text,
        "table.csv": aggregated(cells).to_csv(index=False),
        "claims.md": claims_text.render(judged, header(cells)),
        "claims.csv": claims_text.frame(judged).to_csv(index=False),
    }
    for name, content in contents.items():
        with replacing(out / name) as temporary:
            temporary.write_text(content)
    return text


def rewrite(out: Path) -> str:
    """Write a grid's tables, claims and pictures again, and return the table.

    Raises:
        OSError: no cell is finished in this folder, or it cannot be written to.
    """
    if read_cells(out).empty:
        raise OSError(f"{out}: no finished cell (<row>/seed_<n>/metrics.json) in this folder")
    text = write_tables(out)
    draw_figures(out)
    return text


def grid_folder(command: str, about: str | None, argv: list[str] | None) -> Path:
    """The folder that a command's arguments name, as ``runs/table`` or ``--out runs/table``."""
    parser = argparse.ArgumentParser(prog=f"python -m experiments {command}", description=about, allow_abbrev=False)
    parser.add_argument("folder", nargs="?", type=Path, help="the grid's folder; default: runs/table")
    parser.add_argument("--out", type=Path, default=Path("runs/table"), help="the same")
    arguments = parser.parse_args(argv)
    return Path(arguments.folder or arguments.out)


def main(argv: list[str] | None = None) -> int:
    """Print a grid's table again, and rewrite its files: table.md, table.csv, claims.md, claims.csv and pictures."""
    out = grid_folder("table", main.__doc__, argv)
    try:
        rewrite(out)
        cells = read_cells(out)
        print_table(cells, sorted(set(cells["row"])))
        print(f"table: {out / 'table.md'}")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
