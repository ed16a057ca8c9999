"""Fits that die at chosen points: forked from one warm process, since importing torch takes longer than a small fit."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks import checkpoints
from callbacks.epoch_log import EpochLog
from callbacks.epoch_seed import EpochSeed
from experiments import scoring
from experiments.__main__ import main
from lightning_modules.note_classifier import NoteClassifier
from lightning_modules.pitch_timbre_vae import PitchTimbreVAE

POINTS: dict[str, tuple[Any, str]] = {
    "a step": (EpochSeed, "on_train_batch_start"),
    "validation": (PitchTimbreVAE, "validation_step"),
    "before a checkpoint is copied": (ModelCheckpoint, "_save_checkpoint"),
    "in the middle of a checkpoint's write": (torch, "save"),
    "before a checkpoint has its name": (os, "fsync"),
    "the log": (EpochLog, "log_metrics"),
    "the log's write": (EpochLog, "_write"),
    "the final test": (PitchTimbreVAE, "test_step"),
    "metrics.json": (scoring, "write_json"),
    "a classifier's step": (NoteClassifier, "training_step"),
    "a classifier's keeping": (NoteClassifier, "kept"),
}


def die_at(point: str, count: int, number: int) -> None:
    """Let the ``count``-th call at a point be the process's end, by a signal."""
    owner, name = POINTS[point]
    real: Callable[..., Any] = getattr(owner, name)
    left = [count]

    def dies(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            if owner is torch:
                args[1].write(b"half a checkpoint")
                args[1].flush()
            os.kill(os.getpid(), number)
        return real(*args, **kwargs)

    setattr(owner, name, dies)


def fit(words: list[str], log: Path, death: tuple[str, int, int] | None) -> int:
    """Run one fit in a child process; its exit status, minus the signal's number where a signal ended it."""
    child = os.fork()
    if child == 0:
        with log.open("ab", buffering=0) as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        status = 70
        try:
            if death is not None:
                die_at(*death)
            status = main(["fit", *words])
        except SystemExit as ended:
            status = int(ended.code or 0)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    checkpoints.torch.set_num_threads(1)
    for line in sys.stdin:
        order = json.loads(line)
        death = order["death"] and (order["death"][0], order["death"][1], signal.Signals[order["death"][2]])
        print(json.dumps(fit(order["words"], Path(order["log"]), death)), flush=True)
