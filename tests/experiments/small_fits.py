"""Small fits, and what must be the same of two of them."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import yaml

from callbacks.checkpoints import read_checkpoint

CONFIGS = Path(__file__).parents[2] / "configs"
TWO_STAGES = ["--model.axis.epochs", "2", "--data.batch_size", "16", "--data.split.validation_share", "0.25"]


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
