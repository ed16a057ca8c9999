"""One Weights & Biases run for each run of the table, offline where there is no account."""

from __future__ import annotations

import os
from pathlib import Path

import wandb
from lightning.pytorch.loggers import WandbLogger


def mode_without_account() -> str | None:
    """``offline`` where WANDB_MODE is not set and no key is found, so that nothing waits for a login; else ``None``."""
    if "WANDB_MODE" in os.environ or wandb.login(prompt=False):
        return None
    print("W&B: no key found, so this run is kept offline; `wandb sync <run_dir>/wandb/offline-run-*` uploads it")
    return "offline"


class WandbRun(WandbLogger):
    """WandbLogger with the project's grouping: group = row, one run a seed.

    Args:
        run_dir: the run's folder; W&B's files go below it.
        row: the row of the table.
        seed: the run's seed.
        project: the W&B project.
        job_type: what kind of run it is.
    """

    def __init__(
        self, run_dir: Path, row: str, seed: int, project: str = "pitch-timbre", job_type: str = "row"
    ) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        super().__init__(
            name=f"{row}-seed{seed}",
            project=project,
            group=row,
            job_type=job_type,
            save_dir=str(run_dir),
            mode=mode_without_account(),
            config={"row": row, "seed": seed},
            settings=wandb.Settings(silent=True, console="off"),
        )
        # Lightning always passes it, and W&B warns of it whatever its value.
        self._wandb_init.pop("anonymous", None)
