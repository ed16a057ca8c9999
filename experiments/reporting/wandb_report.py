"""`python -m experiments report --out runs/table`: one W&B run that shows what `table.md` shows."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from callbacks.wandb_artifacts import checkpoint, use
from callbacks.wandb_run import remove_superseded, start_run, wandb_mode
from datamodules.atomic_files import read_json
from experiments.reporting.cells import published_scores, read_cells, selected, spreads
from experiments.reporting.claims import judge
from experiments.reporting.claims_text import brief_lines
from experiments.reporting.columns import HONEST_GENERATION, HONEST_METRICS, PUBLISHED_METRICS, Spreads
from experiments.reporting.grid_files import grid_folders, rewrite
from experiments.reporting.row_scores import grid_rows, paper_rows
from experiments.reporting.table import aggregated, table_lines

PICTURES = ("table.png", "curves.png")
FILES = ("table.md", "table.csv", "claims.md", "claims.csv", *PICTURES)
CONFIG_FACTS = (
    "row",
    "seed",
    "fold",
    "data",
    "data_hash",
    "machine",
    "precision",
    "epochs",
    "config_hash",
    "git_revision",
)


def publish(out: Path, *others: Path) -> None:
    """Put a grid's tables and pictures into its W&B run of job type ``report``; the same folder, the same run.

    Nothing happens where W&B is switched off, or no cell is finished.

    Args:
        out: the grid's folder, with its tables and pictures.
        others: the folders whose tables are shown with it.

    Raises:
        ValueError: see `callbacks.wandb_run.wandb_mode`.
    """
    cells = read_cells(out)
    mode = wandb_mode()
    if mode == "disabled" or cells.empty:
        return
    # W&B copies an artifact's files to where it uploads them from: beside the run, not into the user's home.
    os.environ.setdefault("WANDB_DATA_DIR", str((out / "wandb").resolve()))
    shutil.rmtree(out / "wandb" / "artifacts", ignore_errors=True)
    about = {"name": f"report of {out.resolve().name}", "group": "report", "job_type": "report"}
    run = start_run(out, mode, {"report": "report"}, config={"cells": _facts(cells)}, **about)
    import wandb

    here = spreads(selected(cells, "published", "best"), PUBLISHED_METRICS)
    honest = spreads(selected(cells, "honest", "best"), (*HONEST_METRICS, *HONEST_GENERATION))
    last = spreads(selected(cells, "published", "last"), PUBLISHED_METRICS)
    paper = spreads(published_scores(), PUBLISHED_METRICS)
    rows = [grid_rows(folder, read_cells(folder)) for folder in (out, *others)]
    tables = {
        "table/published": table_lines(PUBLISHED_METRICS, {"here": here, "paper": paper}),
        "table/honest": table_lines((*HONEST_METRICS, *HONEST_GENERATION), {"here": honest}),
        "table/last_epoch": table_lines(PUBLISHED_METRICS, {"here": last}),
        "table/claims": brief_lines(judge(paper_rows(), rows)[0]),
    }
    logged: dict[str, Any] = {name: wandb.Table(dataframe=_frame(lines)) for name, lines in tables.items()}
    logged["table/values"] = wandb.Table(dataframe=aggregated(cells))
    logged |= {f"figures/{Path(file).stem}": wandb.Image(str(out / file)) for file in PICTURES if (out / file).exists()}
    run.log(logged)
    run.summary.update({**_means(here, "published"), **_means(honest, "honest"), **_means(last, "last/published")})
    for file in sorted(out.glob("*/*/metrics.json")):
        if (file.parent / "checkpoints" / "best.ckpt").is_file():
            use(run, checkpoint(file.parent, read_json(file)))
    artifact = wandb.Artifact(f"table-{run.id}", type="table")
    for name in FILES:
        if (out / name).exists():
            artifact.add_file(str(out / name))
    run.log_artifact(artifact)
    if mode == "offline":
        remove_superseded(out, run)
    run.finish()


def _facts(cells: pd.DataFrame) -> list[dict[str, Any]]:
    """What each cell was."""
    runs = cells.reindex(columns=list(CONFIG_FACTS)).drop_duplicates(["row", "seed", "fold"])
    return [{str(k): v for k, v in run.items() if pd.notna(v)} for run in runs.to_dict("records")]


def _frame(lines: list[list[str]]) -> pd.DataFrame:
    """The heading and lines of `table_lines` for a table that can be sorted: every line names its row."""
    data: list[list[str]] = []
    for line in lines[1:]:
        plain = [cell.replace("**", "") for cell in line]
        data.append([plain[0] or data[-1][0], *plain[1:]])
    return pd.DataFrame(data, columns=[name or "Source" for name in lines[0]])


def _means(found: Spreads, protocol: str) -> dict[str, float]:
    return {f"{row}/{protocol}/{name}": spread.mean for row, of in found.items() for name, spread in of.items()}


def main(argv: list[str] | None = None) -> int:
    """Write grids' tables and pictures again, and put them into W&B; several folders' claims are corrected together."""
    folders = grid_folders("report", main.__doc__, argv)
    try:
        rewrite(*folders)
        for out in folders:
            publish(out, *(other for other in folders if other != out))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    shown = [str(out / name) for out in folders for name in FILES if (out / name).exists()]
    print(f"report: {', '.join(shown)}")
    return 0
