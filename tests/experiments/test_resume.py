"""A fit that was stopped and started again is the fit that was never stopped: weights, optimiser, scores, log rows."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning import Trainer

from callbacks import checkpoints
from callbacks.checkpoints import read_checkpoint
from callbacks.gathered_notes import NoteGatherer
from experiments.__main__ import main
from lightning_modules.pitch_timbre_vae import PitchTimbreVAE
from tests.experiments.small_fits import TWO_STAGES, callbacks_config, leftovers, result, words


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache and one pair of classifiers for all runs of this file."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def fit(home: Path) -> Iterator[Callable[..., None]]:
    def run(run_dir: Path, *more: str, config: str = "smoke") -> None:
        main(["fit", *words(home, run_dir, *more, config=config)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        yield run


@pytest.fixture(scope="module")
def whole(fit: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that was never stopped."""
    run_dir = tmp_path_factory.mktemp("whole")
    fit(run_dir)
    return run_dir


class PowerCutError(RuntimeError):
    """Stands for whatever ends a run."""


def stop_once(patch: pytest.MonkeyPatch, owner: Any, name: str, epoch: int) -> None:
    real = getattr(owner, name)

    def stop(self: Any, *args: Any, **kwargs: Any) -> Any:
        trainer = args[0] if isinstance(args[0], Trainer) else self.trainer
        if trainer.current_epoch == epoch:
            raise PowerCutError
        return real(self, *args, **kwargs)

    patch.setattr(owner, name, stop)


def test_a_resumed_run_is_the_run_that_was_never_stopped(
    fit: Callable[..., None], whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped in a step and in a validation; log and record are damaged, and the folder is moved."""
    place, moved = tmp_path / "stopped", tmp_path / "moved"
    for owner, name, epoch in ((NoteGatherer, "on_train_batch_end", 1), (PitchTimbreVAE, "validation_step", 2)):
        with pytest.MonkeyPatch.context() as patch:
            stop_once(patch, owner, name, epoch)
            with pytest.raises(PowerCutError):
                fit(place)
        assert not (place / "metrics.json").exists()
        assert read_checkpoint(place / "checkpoints" / "last.ckpt")["epoch"] == epoch - 1
    (place / "metrics.csv").write_text("half a r")
    (place / "run.json").write_text("{")
    place.rename(moved)
    capsys.readouterr()
    fit(moved)
    assert "going on from" in capsys.readouterr().out
    assert result(moved) == result(whole)
    assert not leftovers(moved)


@pytest.mark.parametrize("more", [[], ["--data.shifts.pairs", "on_the_fly", "--trainer.check_val_every_n_epoch", "2"]])
def test_a_run_of_two_stages_goes_on_in_either(
    more: list[str], fit: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row m7: stopped while the axis of pitch is learned, and in the second stage, which the same process had begun.

    The trainer keeps the last value of every term: a row of the second stage once held terms of the first.
    """
    settings = [*TWO_STAGES, "--trainer.max_epochs", "6", *more]
    fit(tmp_path / "whole", *settings, config="m7")
    for owner, name, epoch in (
        (NoteGatherer, "on_train_batch_end", 1),
        (NoteGatherer, "on_train_batch_end", 4),
        (PitchTimbreVAE, "validation_step", 5),
    ):
        with pytest.MonkeyPatch.context() as patch:
            stop_once(patch, owner, name, epoch)
            with pytest.raises(PowerCutError):
                fit(tmp_path / "stopped", *settings, config="m7")
    capsys.readouterr()
    fit(tmp_path / "stopped", *settings, config="m7")
    assert "going on from" in capsys.readouterr().out
    assert result(tmp_path / "stopped") == result(tmp_path / "whole")
    weights = read_checkpoint(tmp_path / "whole" / "checkpoints" / "last.ckpt")["state_dict"]
    assert weights["candidate_mass"].sum() > 0


@pytest.fixture(params=["max_steps", "averaged weights"])
def settings_of_the_end(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Settings with which the trainer does something of its own at a training's end.

    The third epoch is cut short by ``max_steps``: no validation follows it.
    """
    if request.param == "averaged weights":
        callbacks = yaml.safe_load(Path(callbacks_config(tmp_path / "averaged.yaml")).read_text())
        averaging = {"class_path": "EMAWeightAveraging", "init_args": {"decay": 0.5}}
        callbacks["trainer"]["callbacks"].insert(2, averaging)
        (tmp_path / "averaged.yaml").write_text(yaml.safe_dump(callbacks))
        return ["--config", str(tmp_path / "averaged.yaml")]
    return ["--trainer.max_steps", "5"]


def test_a_run_with_an_end_of_its_own_goes_on(
    settings_of_the_end: list[str], fit: Callable[..., None], tmp_path: Path
) -> None:
    """Stopped in its second and its third epoch, and after its last, where only the scores are left to take."""
    fit(tmp_path / "whole", *settings_of_the_end)
    for epoch in (1, 2):
        with pytest.MonkeyPatch.context() as patch:
            stop_once(patch, NoteGatherer, "on_train_batch_end", epoch)
            with pytest.raises(PowerCutError):
                fit(tmp_path / "run", *settings_of_the_end)
    fit(tmp_path / "run", *settings_of_the_end)
    assert result(tmp_path / "run") == result(tmp_path / "whole")
    (tmp_path / "run" / "metrics.json").unlink()
    fit(tmp_path / "run", *settings_of_the_end)
    assert result(tmp_path / "run") == result(tmp_path / "whole")
    sessions = json.loads((tmp_path / "run" / "run.json").read_text())["sessions"]
    last = "checkpoints/last.ckpt"
    assert [each["from"] and (each["from"]["checkpoint"], each["from"]["epoch"]) for each in sessions] == [
        None,
        (last, 0),
        (last, 1),
        (last, sessions[-1]["from"]["epoch"]),
    ]


def test_a_run_that_had_stopped_early_trains_no_further(
    fit: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    impatient = callbacks_config(tmp_path / "impatient.yaml", patience=2, min_delta=1e9)
    settings = ["--trainer.max_epochs", "30", "--config", impatient]
    fit(tmp_path / "run", *settings)
    assert "stopped early: " in capsys.readouterr().out
    first = result(tmp_path / "run")
    assert first["scores"][2] == 3
    (tmp_path / "run" / "metrics.json").unlink()
    fit(tmp_path / "run", *settings)
    assert result(tmp_path / "run") == first


def test_a_loss_that_is_not_finite_is_one_line(
    fit: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        fit(tmp_path, "--model.learning_rate", "1e30")
    assert ended.value.code == 1
    assert "the weights are not finite after epoch 0; lower model.learning_rate" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_leaves_the_run_to_go_on_from(
    fit: Callable[..., None],
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save = torch.save

    def full(content: dict[str, Any], file: Any) -> None:
        if content["epoch"] == 2:
            file.write(b"some of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
        save(content, file)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.torch, "save", full)
        with pytest.raises(SystemExit) as ended:
            fit(tmp_path)
    assert ended.value.code == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device" in error
    assert "the same command goes on" in error
    assert not leftovers(tmp_path)
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["epoch"] == 1
    fit(tmp_path)
    assert result(tmp_path) == result(whole)


@pytest.mark.parametrize(("name", "damage"), [("last", "cut"), ("last", "flipped"), ("best", "cut"), ("best", "gone")])
def test_a_damaged_checkpoint_is_set_aside_and_the_run_starts_anew(
    name: str,
    damage: str,
    fit: Callable[..., None],
    whole: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "checkpoints" / f"{name}.ckpt"
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    file.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    if damage == "gone":
        file.unlink()
    capsys.readouterr()
    fit(tmp_path)
    assert "set aside as *.ckpt.damaged: starting anew" in capsys.readouterr().out
    assert (tmp_path / "checkpoints" / "last.ckpt.damaged").exists()
    assert result(tmp_path) == result(whole)


def test_a_folder_is_one_process_at_a_time(
    fit: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("experiments.run_folder.WAIT_FOR_ANOTHER_S", 0.1)
    holds = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]): print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", holds, str(tmp_path / ".fit.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(SystemExit) as ended:
            fit(tmp_path)
    assert ended.value.code == 2
    assert "another process is training in it" in capsys.readouterr().err
