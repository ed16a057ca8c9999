"""What launchers tell a process does not make it one of many."""

from __future__ import annotations

import os

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from experiments.lightning_cli import LAUNCHERS, one_process

SLURM = {"SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NTASKS": "4", "SLURM_NODEID": "0"}


@pytest.mark.parametrize(
    "environment",
    [{"RANK": "1"}, {"LOCAL_RANK": "1"}, {"RANK": "3", "WORLD_SIZE": "4"}, SLURM, {"SLURM_NTASKS": "4"}],
    ids=lambda environment: " ".join(environment),
)
def test_a_run_is_one_process_whatever_a_launcher_says(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**environment, "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    one_process()
    assert not [name for name in (*LAUNCHERS, "SLURM_NTASKS", "SLURM_PROCID") if name in os.environ]
    assert rank_zero_only.rank == 0
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    assert trainer.is_global_zero
    assert trainer.world_size == 1
