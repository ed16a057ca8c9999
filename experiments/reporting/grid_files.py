"""What stands in a grid's folder beside its cells: the table, the tested claims and the pictures, rewritten as one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from datamodules.atomic_files import replacing
from experiments.busy import busy
from experiments.reporting import claims, claims_text, error_breakdown
from experiments.reporting.cells import read_cells
from experiments.reporting.plots import draw_figures
from experiments.reporting.row_scores import grid_rows, paper_rows
from experiments.reporting.table import aggregated, header, print_table, render


def write_tables(*folders: Path) -> str:
    """Write ``table.md``, ``table.csv``, ``claims.md`` and ``claims.csv`` of the finished cells into a grid's folder.

    Args:
        folders: one folder, or several whose tables are shown together: their claims are corrected together.

    Returns:
        The text of the last ``table.md``.
    """
    cells = [read_cells(out) for out in folders]
    rows = [grid_rows(out, of) for out, of in zip(folders, cells, strict=True)]
    text = ""
    for out, own, of, judged in zip(folders, cells, rows, claims.judge(paper_rows(), rows), strict=True):
        text = "\n".join([render(own), *error_breakdown.section(of), *claims_text.section(judged), ""])
        contents = {
            "table.md": text,
            "table.csv": aggregated(own).to_csv(index=False),
            "claims.md": claims_text.render(judged, header(own)),
            "claims.csv": claims_text.frame(judged).to_csv(index=False),
        }
        for name, content in contents.items():
            with replacing(out / name) as temporary:
                temporary.write_text(content)
    return text


def rewrite(*folders: Path) -> None:
    """Write the tables, claims and pictures of grids again.

    Raises:
        OSError: no cell is finished in a folder, or it cannot be written to.
    """
    for out in folders:
        if read_cells(out).empty:
            raise OSError(f"{out}: no finished cell (<row>/seed_<n>/metrics.json) in this folder")
    with busy(f"writing tables, claims and pictures of {', '.join(map(str, folders))}"):
        write_tables(*folders)
        for out in folders:
            draw_figures(out)


def grid_folders(command: str, about: str | None, argv: list[str] | None) -> list[Path]:
    """The folders that a command's arguments name, as ``runs/table runs/folds`` or ``--out runs/table``."""
    parser = argparse.ArgumentParser(prog=f"python -m experiments {command}", description=about, allow_abbrev=False)
    parser.add_argument("folders", nargs="*", type=Path, help="grids' folders; default: runs/table")
    parser.add_argument("--out", type=Path, default=Path("runs/table"), help="the same, for one")
    arguments = parser.parse_args(argv)
    return list(dict.fromkeys(arguments.folders)) or [arguments.out]


def main(argv: list[str] | None = None) -> int:
    """Print grids' tables again, and rewrite their files: table.md, table.csv, claims.md, claims.csv and pictures.

    Claims of several folders are corrected together: give all whose tables are shown together.
    """
    folders = grid_folders("table", main.__doc__, argv)
    try:
        rewrite(*folders)
        for out in folders:
            cells = read_cells(out)
            print_table(cells, sorted(set(cells["row"])))
            print(f"table: {out / 'table.md'}")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
