from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from callbacks.epoch_log import EpochLog


def test_the_log_writes_in_a_fit_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A validation of a finished run leaves its log; a rank in the environment hinders no fit."""
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.setenv(name, "1")
    (tmp_path / "metrics.csv").write_text("epoch,val/acc\n0,1\n")
    log = EpochLog(tmp_path)
    log.log_hyperparams({"a": 1})
    log.log_metrics({"epoch": 7, "val/acc": 9.0})
    log.save()
    log.finalize("success")
    assert (tmp_path / "metrics.csv").read_text() == "epoch,val/acc\n0,1\n"
    log.begin({})
    log.log_metrics({"epoch": 7, "val/acc": 9.0})
    log.finalize("success")
    assert (tmp_path / "metrics.csv").read_text() == "epoch,val/acc\n7,9.0\n"


def test_the_log_has_one_row_an_epoch_and_follows_a_checkpoint(tmp_path: Path) -> None:
    log = EpochLog(tmp_path)
    log.begin({})
    for epoch in range(4):
        log.log_metrics({"epoch": epoch, "val/acc": epoch / 3}, step=epoch)
        if epoch == 1:
            kept = log.rows_with(epoch, {"train/loss/total": 8.0})  # before these are logged
        log.log_metrics({"epoch": epoch, "train/loss/total": 9.0 - epoch}, step=epoch)
    log.log_metrics({"epoch": 4, "published/acc": 1.0}, step=9)  # scores belong in metrics.json
    log.finalize("success")
    whole = (tmp_path / "metrics.csv").read_text()
    assert list(pd.read_csv(tmp_path / "metrics.csv").epoch) == [0, 1, 2, 3]
    resumed = EpochLog(tmp_path)
    resumed.restore(kept)
    resumed.begin({})
    assert (tmp_path / "metrics.csv").read_text().splitlines() == whole.splitlines()[:3]
    for epoch in (2, 3):
        resumed.log_metrics({"epoch": epoch, "val/acc": epoch / 3, "train/loss/total": 9.0 - epoch}, step=epoch)
    resumed.finalize("success")
    assert (tmp_path / "metrics.csv").read_text() == whole
