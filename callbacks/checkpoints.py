"""What a run goes on from: `last.ckpt` of every epoch, written beside the training and read without running it."""

from __future__ import annotations

import re
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from math import isfinite
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from callbacks.epoch_log import EpochLog
from callbacks.run_record import RunRecord
from datamodules.atomic_files import replacing
from lightning_modules.checkpoint_file import data_state, read_file

PATHS_OF_STATE = {"best_model_path", "kth_best_model_path", "last_model_path"}
SCORES_OF_STATE = ("best_model_score", "current_score", "kth_value")


def read_checkpoint(file: str | Path) -> dict[str, Any]:
    """Read a run's checkpoint without running anything in it, and check what a run takes from it.

    Raises:
        ValueError: it is damaged, none of this project's, or holds what no run has written.
        FileNotFoundError: there is no such file.
    """
    checkpoint = read_file(file)
    if wrong := _first_fault(checkpoint):
        raise ValueError(f"{file}: {wrong}; a run cannot use this checkpoint, give one of this project's own")
    return checkpoint


def _first_fault(checkpoint: dict[str, Any]) -> str | None:
    """What of a checkpoint no run of this project has written, or ``None``."""
    types: dict[str, type | tuple[type, ...]] = {"epoch": int, "global_step": int, "state_dict": dict}
    types |= {"pytorch-lightning_version": str}
    optional: dict[str, type] = {"callbacks": dict, "optimizer_states": list, "lr_schedulers": list, "loops": dict}
    optional |= {"ended": bool, EpochLog.__name__: dict}
    for name, kind in {**types, **optional}.items():
        if name in types and name not in checkpoint:
            return f"it has no {name}"
        if name in checkpoint and (type(checkpoint[name]) is bool) != (kind is bool):
            return f"its {name} is {checkpoint[name]!r}"
        if name in checkpoint and not isinstance(checkpoint[name], kind):
            return f"its {name} is of type {type(checkpoint[name]).__name__}"
    if not data_state(checkpoint):
        return "it does not say its data"
    version = checkpoint["pytorch-lightning_version"]
    if not re.fullmatch(r"\d+(\.\w+)+", version):
        return f"its pytorch-lightning_version is {version!r}"
    for name, weight in checkpoint["state_dict"].items():
        if not isinstance(weight, Tensor):
            return f"its weight {name} is of type {type(weight).__name__}"
        if weight.ndim and not weight.isfinite().all():  # a number alone may be NaN: a model that is not calibrated
            return f"its weight {name} has values that are NaN or infinite"
    for name, state in checkpoint.get("callbacks", {}).items():
        if not isinstance(state, dict) or not isinstance(state.get("best_k_models", {}), dict):
            return f"the state of {name} is not a dictionary"
        # ModelCheckpoint removes the files that its state names.
        for path in [*(state.get(name, "") for name in PATHS_OF_STATE), *state.get("best_k_models", {})]:
            if not isinstance(path, str) or (path and not Path(path).name.endswith(".ckpt")):
                return f"the state of {name} names {str(path)[:100]!r} as a checkpoint"
        scores = [*(state.get(score) for score in SCORES_OF_STATE), *state.get("best_k_models", {}).values()]
        if not all(score is None or isinstance(score, Tensor | int | float) for score in scores):
            return f"the state of {name} has a score that is no number"
    for part in ("optimizer_states", "lr_schedulers"):
        for state in checkpoint.get(part, []):
            if not isinstance(state, dict) or not _is_plain(state):
                return f"its {part} are not of texts, tensors and finite numbers"
            # torch's schedulers take every name of their state for an attribute.
            if part == "lr_schedulers" and (odd := [name for name in state if _is_of_the_code(name)]):
                return f"its {part} have a state named {odd[0]!r}"
    if not _counts(checkpoint.get("loops", {})):
        return "its loops are not of numbers from 0 on"
    for epoch, row in checkpoint.get(EpochLog.__name__, {}).items():
        if not (isinstance(epoch, int) and isinstance(row, dict) and all(map(_is_logged, row.items()))):
            return f"its log of epoch {epoch!r} is not one of names and numbers"
    return None


def _is_plain(value: Any) -> bool:
    """Whether nested values are tensors, texts, ``None`` and finite numbers."""
    if isinstance(value, dict):
        return all(isinstance(key, str | int) and _is_plain(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | Tensor) or (isinstance(value, int | float) and isfinite(value))


def _counts(value: Any) -> bool:
    """Whether nested dictionaries hold the numbers that loops count."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _counts(each) for key, each in value.items())
    return isinstance(value, int) and 0 <= value < 2**63


def _is_of_the_code(name: str) -> bool:
    """Whether a scheduler's attribute is a method or its optimiser, which no state may replace."""
    return name == "optimizer" or callable(getattr(LambdaLR, name, None))


def _is_logged(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], int | float)


def resume_point(folder: Path, run: dict[str, str]) -> Path | None:
    """`last.ckpt` of a run's ``checkpoints`` folder if the run can go on from it; says why where it cannot.

    Checkpoints of other settings or data are removed. Where one of `last.ckpt` and `best.ckpt` is damaged, both are set
    aside: the best weights of past epochs cannot be made again but by training.

    Args:
        folder: the run's ``checkpoints``.
        run: the hashes of the run's settings and data, as :class:`RunRecord` keeps them in a checkpoint.
    """
    last, best = folder / "last.ckpt", folder / "best.ckpt"
    if not last.exists():
        return None
    try:
        of_run = read_checkpoint(last)["callbacks"][RunRecord.__name__]
        read_checkpoint(best)
    except (ValueError, KeyError, OSError) as error:
        for file in (last, best):
            if file.exists():
                file.replace(file.with_name(f"{file.name}.damaged"))
        print(f"{error}; set aside as *.ckpt.damaged: starting anew", flush=True)
        return None
    if any(of_run.get(name) != value for name, value in run.items()):
        print(f"{last} is of other settings or data: starting anew", flush=True)
        last.unlink()
        return None
    return last


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints whole or not at all, in a thread beside the training; reads them with ``weights_only``.

    The values are copied when a checkpoint is taken, and written in that order: `best.ckpt` of an epoch is on the disk
    before `last.ckpt` refers to it.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._writing: deque[Future[None]] = deque()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Copy, and begin to write; the epoch before must be written by then.

        Raises:
            OSError: an earlier checkpoint could not be written.
        """
        while self._writing and (len(self._writing) > 1 or self._writing[0].done()):
            self._writing.popleft().result()
        copied = apply_to_collection(checkpoint, Tensor, lambda tensor: tensor.detach().to("cpu", copy=True))
        self._writing.append(self._thread.submit(write_checkpoint, copied, Path(path)))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Read tensors and plain values; whatever else a file holds is refused."""
        return read_checkpoint(path)

    def teardown(self) -> None:
        """Wait for what is being written.

        Raises:
            OSError: a checkpoint could not be written.
        """
        while self._writing:
            self._writing.popleft().result()


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(checkpoint, file)
        except RuntimeError as error:  # torch's own, where its writer met the operating system's
            raise OSError(f"{path}: cannot be written ({error.__context__ or error})") from error


class LastCheckpoint(ModelCheckpoint):
    """`last.ckpt` of every epoch, with what Lightning's own lacks: the log's rows, and whether training has ended.

    Args:
        dirpath: the folder.
    """

    def __init__(self, dirpath: Path) -> None:
        super().__init__(dirpath, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
        self._ended = False

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget the training terms of the epochs before: the trainer keeps a name that is logged no longer."""
        for name in [name for name in trainer.callback_metrics if name.startswith("train/")]:
            del trainer.callback_metrics[name]

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Fail where the training has: no checkpoint or metric is made of such weights.

        Raises:
            FloatingPointError: a weight is not finite.
        """
        if not torch.stack([weight.sum() for weight in pl_module.parameters()]).sum().isfinite():
            raise FloatingPointError(
                f"the weights are not finite after epoch {trainer.current_epoch}; lower model.learning_rate, or try "
                "--trainer.precision 32-true"
            )

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the log up to this epoch; Lightning logs the epoch's training terms only after this."""
        terms = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("train/")}
        for log in _epoch_logs(trainer):
            checkpoint[EpochLog.__name__] = log.rows_with(trainer.current_epoch, terms)
        checkpoint["ended"] = trainer.should_stop

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the log, where a fit goes on; the folder may have been moved since."""
        for state in checkpoint.get("callbacks", {}).values():
            _own_paths(state, self.dirpath)
        if trainer.state.fn != TrainerFn.FITTING:
            return
        for log in _epoch_logs(trainer):
            log.restore(checkpoint.get(EpochLog.__name__, {}))
        self._ended = checkpoint.get("ended", False)
        if trainer.max_steps != -1:
            _begin_next_epoch(checkpoint["loops"]["fit_loop"])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Train no further where early stopping had ended the training, and know the scores of the last validation."""
        super().on_train_start(trainer, pl_module)
        trainer.should_stop = trainer.should_stop or self._ended
        for log in _epoch_logs(trainer):  # an epoch that max_steps cuts short is judged by the validation before it
            for row in log.rows.values():
                known = {name: torch.tensor(value) for name, value in row.items() if name.startswith("val/")}
                trainer.callback_metrics.update(known)


def _epoch_logs(trainer: L.Trainer) -> list[EpochLog]:
    return [logger for logger in trainer.loggers if isinstance(logger, EpochLog)]


def _own_paths(state: dict[str, Any], folder: Any) -> None:
    """Let the paths in a ModelCheckpoint's state lie in ``folder``: Lightning would forget the best score otherwise."""

    def own(path: str) -> str:
        return str(Path(folder) / Path(path).name) if path else path

    for name in PATHS_OF_STATE & state.keys():
        state[name] = own(state[name])
    if "best_k_models" in state:
        state["best_k_models"] = {own(path): score for path, score in state["best_k_models"].items()}
    if "dirpath" in state:
        state["dirpath"] = folder


def _begin_next_epoch(loop: dict[str, Any]) -> None:
    """Let the trainer go on with the next epoch: with ``max_steps`` it would end the last one a second time."""
    loop["epoch_progress"]["current"]["completed"] = loop["epoch_progress"]["current"]["processed"]
    loop["epoch_progress"]["total"]["completed"] = loop["epoch_progress"]["total"]["processed"]
    for name in ("batch_progress", "scheduler_progress"):
        loop[f"epoch_loop.{name}"]["current"] = dict.fromkeys(loop[f"epoch_loop.{name}"]["current"], 0)
    loop["epoch_loop.batch_progress"]["is_last_batch"] = False
