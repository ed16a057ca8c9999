"""`make dashboard`: the runs that W&B keeps offline, how to upload them, and how to look at them."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

from callbacks.wandb_run import PROJECT, key_is_known

LAYOUT = f"""How to look at them, in the project {PROJECT}:
  runs table: group by Group (the row), then by Job Type (row, classifier, report)
  panels over epoch: train/loss/kl_c, val/loss/total, val/acc, val/honest/acc, val/cds, val/fid_recon, grouped
  bars, mean and deviation of a group: published/* and honest/* (best checkpoint), last/* (last epoch)
  pictures: figures/* of a run, and of the run of job type report, whose table/* is the nine-row table"""


def offline_runs(folders: list[Path]) -> list[Path]:
    """The offline runs below some folders, except those of cells that were set aside."""
    found = (run for folder in folders for run in folder.expanduser().rglob("wandb/offline-run-*") if run.is_dir())
    return sorted(run for run in found if "older" not in run.parts)


def uploaded(run: Path) -> bool:
    """Whether `wandb sync` has marked it."""
    return any(run.glob("*.synced"))


def main(argv: list[str] | None = None) -> int:
    """List the runs that W&B keeps offline, and say how to upload them."""
    parser = argparse.ArgumentParser(prog="python -m experiments dashboard", description=main.__doc__)
    default = ["runs", "~/.cache/pitch-timbre/classifiers"]
    parser.add_argument("--runs", nargs="+", type=Path, default=[Path(name) for name in default], help="folders")
    parser.add_argument("--sync", action="store_true", help="upload them; needs a key (`wandb login`)")
    arguments = parser.parse_args(argv)
    runs = offline_runs(arguments.runs)
    waiting = [str(run) for run in runs if not uploaded(run)]
    print(f"{len(runs)} offline runs below {', '.join(map(str, arguments.runs))}; {len(waiting)} to be uploaded")
    if not arguments.sync:
        for run in waiting:
            print(f"  wandb sync {shlex.quote(run)}")
        if waiting:
            print("`wandb login` once, then the lines above, or all of them: make dashboard SYNC=1")
        print(LAYOUT)
        return 0
    try:
        if not key_is_known():
            raise ValueError("there is no W&B key; `wandb login` once")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_MODE"}
    command = [sys.executable, "-m", "wandb", "sync", *waiting]
    return subprocess.run(command, env=environment, check=False).returncode if waiting else 0
