"""A checkpoint may come from anybody: what a run takes from it is checked first."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

from callbacks.checkpoints import AtomicCheckpointIO, LastCheckpoint, read_checkpoint, write_checkpoint
from callbacks.run_record import RunRecord


def checkpoint(**changes: Any) -> dict[str, Any]:
    usual = {
        "epoch": 3,
        "global_step": 8,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {"w": torch.ones(2), "midi_offset": torch.tensor(torch.nan)},
        "NotePairs": {"pitch_range": (24, 105)},
        "callbacks": {"ModelCheckpoint": model_checkpoint(), "RunRecord": {"row": "m6", "seed": 0, "data_hash": "d"}},
        "EpochLog": {0: {"epoch": 0, "val/acc": 1.5}},
        "ended": False,
    }
    return usual | changes


def model_checkpoint(**changes: Any) -> dict[str, Any]:
    best = "/elsewhere/checkpoints/best.ckpt"
    usual = {"dirpath": "/elsewhere/checkpoints", "best_model_path": best, "kth_best_model_path": best}
    return usual | {"last_model_path": "", "best_k_models": {best: torch.tensor(1.0)}} | changes


def state(**changes: Any) -> dict[str, Any]:
    return {"callbacks": {"ModelCheckpoint": model_checkpoint(**changes)}}


HOSTILE: dict[str, dict[str, Any]] = {
    "an epoch in words": {"epoch": "three"},
    "an epoch that is true": {"epoch": True},
    "no step": {"global_step": None},
    "another version's name": {"pytorch-lightning_version": "the newest"},
    "weights that are a list": {"state_dict": [1.0]},
    "a weight that is a number": {"state_dict": {"w": 1.0}},
    "a weight that is NaN": {"state_dict": {"w": torch.tensor([1.0, torch.nan])}},
    "a weight that is infinite": {"state_dict": {"w": torch.tensor([[torch.inf]])}},
    "callbacks that are a list": {"callbacks": []},
    "a callback's state that is a text": {"callbacks": {"RunRecord": "x"}},
    "a log of texts": {"EpochLog": {0: {"val/acc": "1"}}},
    "a log of epochs in words": {"EpochLog": {"0": {"val/acc": 1.0}}},
    "a folder to remove": state(kth_best_model_path="x/.."),
    "a run's record to remove": state(best_model_path="/home/me/run/run.json"),
    "a list of files to remove": state(best_k_models={"../../run": torch.tensor(1.0)}),
    "best models that are a list": state(best_k_models=["a"]),
    "a score in words": state(best_k_models={"best.ckpt": "high"}),
    "a best score in words": state(best_model_score="high"),
    "an optimiser's state that is a text": {"optimizer_states": ["x"]},
    "a learning rate that is NaN": {"optimizer_states": [{"state": {}, "param_groups": [{"lr": torch.nan}]}]},
    "a scheduler whose method is a number": {"lr_schedulers": [{"step": 1}]},
    "a scheduler of another optimiser": {"lr_schedulers": [{"optimizer": None}]},
    "loops that count below zero": {"loops": {"fit_loop": {"epoch_progress": {"current": {"ready": -1}}}}},
    "loops that count in words": {"loops": {"fit_loop": {"epoch_progress": "two"}}},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_run_has_written_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    write_checkpoint(checkpoint(**HOSTILE[name]), file)
    for read in (read_checkpoint, AtomicCheckpointIO().load_checkpoint):
        with pytest.raises(ValueError, match=r"last\.ckpt") as refused:
            read(file)
        assert "\n" not in str(refused.value)


def test_a_checkpoint_of_this_project_is_read(tmp_path: Path) -> None:
    write_checkpoint(checkpoint(), tmp_path / "last.ckpt")
    assert read_checkpoint(tmp_path / "last.ckpt")["epoch"] == 3


def test_a_fifo_is_no_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match="not a checkpoint"):
        read_checkpoint(tmp_path / "last.ckpt")


def test_paths_of_a_checkpoint_become_those_of_the_own_folder(tmp_path: Path) -> None:
    """Whatever folder a checkpoint names: ModelCheckpoint removes the files that its state names."""
    content = checkpoint()
    trainer: Any = SimpleNamespace(state=SimpleNamespace(fn=TrainerFn.FITTING), loggers=[], max_steps=-1)
    LastCheckpoint(tmp_path).on_load_checkpoint(trainer, None, content)  # type: ignore[arg-type]
    own = str(tmp_path / "best.ckpt")
    found = content["callbacks"]["ModelCheckpoint"]
    assert found["dirpath"] == str(tmp_path)
    assert found["best_model_path"] == found["kth_best_model_path"] == own
    assert list(found["best_k_models"]) == [own]
    assert found["last_model_path"] == ""


def test_a_name_that_is_logged_no_longer_is_forgotten(tmp_path: Path) -> None:
    """The trainer keeps the last value of every name; a checkpoint's log holds those of its epoch only."""
    trainer: Any = SimpleNamespace(callback_metrics={"train/loss/alignment": 1.0, "val/acc": 2.0})
    LastCheckpoint(tmp_path).on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
    assert trainer.callback_metrics == {"val/acc": 2.0}


@pytest.mark.parametrize(
    ("row", "seed", "data_hash", "named"),
    [("m6", 0, "d", None), ("b", 0, "d", "row"), ("m6", 1, "d", "seed"), ("m6", 0, "other", "data_hash")],
)
def test_a_fit_goes_on_from_its_own_row_seed_and_data(
    row: str, seed: int, data_hash: str, named: str | None, tmp_path: Path
) -> None:
    record = RunRecord(tmp_path, row, seed)
    if named is None:
        record.check_source(Path("last.ckpt"), checkpoint(), data_hash)
        return
    with pytest.raises(ValueError, match=rf"last\.ckpt: --ckpt_path .* of {named} "):
        record.check_source(Path("last.ckpt"), checkpoint(), data_hash)


def test_the_state_of_a_schedule_is_read(tmp_path: Path) -> None:
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    state = torch.optim.lr_scheduler.LambdaLR(optimizer, [lambda step: 1.0]).state_dict()
    write_checkpoint(checkpoint(lr_schedulers=[state]), tmp_path / "last.ckpt")
    assert read_checkpoint(tmp_path / "last.ckpt")["lr_schedulers"] == [state]
    write_checkpoint(checkpoint(lr_schedulers=[state | {"step": 1}]), tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match="step"):
        read_checkpoint(tmp_path / "last.ckpt")
