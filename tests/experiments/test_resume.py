"""A fit that was stopped and started again is the fit that was never stopped: weights, optimiser, scores, log rows."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
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

CONFIGS = Path(__file__).parents[2] / "configs"
KILLED = Path(__file__).with_name("killed_fits.py")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache and one pair of classifiers for all runs of this file."""
    return tmp_path_factory.mktemp("home")


def callbacks_config(file: Path, **stopping: Any) -> str:
    """A configuration of the callbacks without pictures and sounds, which take longer than such a fit."""
    callbacks = yaml.safe_load((CONFIGS / "base.yaml").read_text())["trainer"]["callbacks"]
    callbacks = [callback for callback in callbacks if callback["class_path"] not in ("RunFigures", "RunSounds")]
    (early,) = (callback for callback in callbacks if callback["class_path"].endswith("EarlyStopping"))
    early["init_args"] |= stopping
    file.write_text(yaml.safe_dump({"trainer": {"callbacks": callbacks}}))
    return str(file)


def words(home: Path, run_dir: Path, *more: str, config: str = "smoke") -> list[str]:
    """A small fit, in four epochs."""
    configs = ["--config", str(CONFIGS / f"{config}.yaml"), "--config", callbacks_config(home / "callbacks.yaml")]
    shared = ["--classifier_dir", str(home / "classifiers"), "--data.cache_dir", str(home / "cache")]
    size = ["--data.max_notes", "64", "--data.source.instruments", "[oboe,cello,flute]", "--trainer.max_epochs", "4"]
    return [*configs, *shared, *size, "--run_dir", str(run_dir), *more]


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


IN_ONE_SESSION = ("wall_s", "train_s", "current_score", "sessions")


def digest(value: Any, run_dir: Path) -> str:
    """A hash of nested values, tensors by their bits, without the run's folder and its times.

    Nor with ModelCheckpoint's ``current_score``, which decides nothing, and which Lightning forgets on resuming.
    """
    if isinstance(value, torch.Tensor):
        text = value.contiguous().numpy().tobytes().hex() + str(value.dtype)
    elif isinstance(value, dict):
        text = "|".join(f"{k}:{digest(v, run_dir)}" for k, v in value.items() if k not in IN_ONE_SESSION)
    elif isinstance(value, list | tuple):
        text = "|".join(digest(item, run_dir) for item in value)
    else:
        text = repr(value)
    return sha256(text.replace(str(run_dir.resolve()), "").encode()).hexdigest()[:16]


def result(run_dir: Path) -> dict[str, Any]:
    """What must be the same."""
    best, last = (read_checkpoint(run_dir / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    metrics = json.loads((run_dir / "metrics.json").read_text())
    return {
        "best weights": digest(best["state_dict"], run_dir),
        "best epoch": best["epoch"],
        "last weights": digest(last["state_dict"], run_dir),
        "optimiser": digest(last["optimizer_states"], run_dir),
        "callbacks": digest(last["callbacks"], run_dir),
        "steps": (last["epoch"], last["global_step"], last["ended"]),
        "log": (run_dir / "metrics.csv").read_text(),
        "scores": (metrics["best"], metrics["last"], metrics["epochs"]),
        "mapping": (run_dir / "categories.csv").read_text(),
    }


def leftovers(run_dir: Path) -> list[Path]:
    return [file for file in run_dir.rglob(".*") if file.name != ".fit.lock"]


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
    settings = ["--model.axis.epochs", "2", "--data.batch_size", "16", "--data.split.validation_share", "0.25"]
    settings += ["--trainer.max_epochs", "6", *more]
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


@pytest.mark.parametrize("ends", ["max_steps", "averaged weights"])
def test_a_run_that_has_only_its_last_scores_to_take_finds_the_same(
    ends: str, fit: Callable[..., None], home: Path, tmp_path: Path
) -> None:
    """Killed after its last epoch: what the trainer does at a training's end, it does not do again."""
    settings = ["--trainer.max_steps", "5"]
    if ends == "averaged weights":
        callbacks = yaml.safe_load(Path(callbacks_config(tmp_path / "averaged.yaml")).read_text())
        averaging = {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.5}}
        callbacks["trainer"]["callbacks"].insert(2, averaging)
        (tmp_path / "averaged.yaml").write_text(yaml.safe_dump(callbacks))
        settings = ["--config", str(tmp_path / "averaged.yaml")]
    fit(tmp_path / "run", *settings)
    first = result(tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    fit(tmp_path / "run", *settings)
    assert result(tmp_path / "run") == first
    sessions = json.loads((tmp_path / "run" / "run.json").read_text())["sessions"]
    assert [session["from"] and session["from"]["checkpoint"] for session in sessions] == [
        None,
        "checkpoints/last.ckpt",
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


@pytest.fixture(scope="module")
def killed_fit() -> Iterator[Callable[..., int]]:
    """Run a fit in a process of its own that may die at a point; see `killed_fits.py`."""
    environment = {**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, str(KILLED)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def run(words: list[str], log: Path, death: tuple[str, int, str] | None = None) -> int:
            print(json.dumps({"words": words, "log": str(log), "death": death}), file=server.stdin, flush=True)
            return int(server.stdout.readline())  # type: ignore[union-attr]

        yield run
        server.stdin.close()


# point, the calls of it among which the fatal one is drawn
DEATHS = {
    "a step": 6,
    "validation": 3,
    "before a checkpoint is copied": 4,
    "in the middle of a checkpoint's write": 4,
    "before a checkpoint has its name": 12,
    "the log": 5,
    "the log's write": 2,
    "the final test": 6,
    "metrics.json": 1,
}


@pytest.mark.slow
@pytest.mark.parametrize(("pairs", "seed"), [("table", 0), ("on_the_fly", 1)])
def test_kills_at_random_points_change_nothing(
    pairs: str, seed: int, home: Path, tmp_path: Path, killed_fit: Callable[..., int]
) -> None:
    """Runs are killed at each kind of point in turn, by one of the signals, as often in one run as it comes to them."""
    draw = random.Random(f"{pairs} {seed}")
    settings = ["--data.shifts.pairs", pairs, "--seed_everything", str(seed)]
    first, again, killed = (tmp_path / name for name in ("first", "again", "killed"))
    for run_dir in (first, again):
        assert killed_fit(words(home, run_dir, *settings), tmp_path / "log.txt") == 0, (
            tmp_path / "log.txt"
        ).read_text()
    assert result(first) == result(again), "two identical commands"
    points, met, new = list(DEATHS), 0, True
    draw.shuffle(points)
    while points:
        point = points[-1]
        death = (point, draw.randint(1, DEATHS[point]), draw.choice(["SIGKILL", "SIGKILL", "SIGTERM", "SIGINT"]))
        status = killed_fit(words(home, killed, *settings), tmp_path / "killed.txt", death)
        expected = {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130}[death[2]]
        assert status in (expected, 0), (death, (tmp_path / "killed.txt").read_text())
        met += status == expected
        if status == expected or new:  # a quick run may never come to the drawn call
            points.pop()
        new = status == 0  # the rest of the run did not come to the point: the next run is a new one
        if new:
            assert result(killed) == result(first), (met, points)
            killed = tmp_path / f"killed with {len(points)} points to come {draw.random()}"
    assert killed_fit(words(home, killed, *settings), tmp_path / "killed.txt") == 0
    assert met >= 6
    assert result(killed) == result(first), met
    assert not leftovers(killed)
    print(f"{pairs}, seed {seed}: {met} kills, {result(killed)['last weights']} {result(killed)['optimiser']}")


@pytest.mark.slow
@pytest.mark.parametrize(("point", "name"), [("a classifier's step", "SIGTERM"), ("a classifier's keeping", "SIGKILL")])
def test_a_kill_while_a_classifier_is_trained(
    point: str, name: str, tmp_path: Path, killed_fit: Callable[..., int]
) -> None:
    for home in (tmp_path / "killed", tmp_path / "whole"):
        home.mkdir()
        arguments = words(home, home / "run", "--trainer.max_epochs", "1")
        if home.name == "killed":
            assert killed_fit(arguments, tmp_path / "log.txt", (point, 5 if "step" in point else 1, name)) != 0
            assert not list((home / "classifiers").rglob("pitch.ckpt"))
        assert killed_fit(arguments, tmp_path / "log.txt") == 0
    kept = [sorted((tmp_path / name / "classifiers").rglob("*.ckpt")) for name in ("killed", "whole")]
    weights = [[torch.load(file, weights_only=True)["state_dict"] for file in files] for files in kept]
    assert digest(weights[0], tmp_path) == digest(weights[1], tmp_path)
    assert result(tmp_path / "killed" / "run")["scores"] == result(tmp_path / "whole" / "run")["scores"]
