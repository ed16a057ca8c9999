"""An epoch of whole notes: the data alone, from the table and on the fly, and with the model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning as L

from callbacks.epoch_seed import EpochSeed
from datamodules.epoch_sampler import ShiftSettings
from datamodules.note_sequences import NoteSequences
from experiments.bench.measure import Figure, Goal, Measured, Spread, ratios
from experiments.paths import CONFIGS

WHAT = "an epoch of whole notes, core-seconds"
EPOCHS, QUICK_EPOCHS, QUICK_NOTES = 5, 2, 128
GOAL_S, GOAL_NOTES = 12.0, 1885


class Clock(L.Callback):
    """Core-seconds of each epoch's training, of the batches as well as of the model."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start."""
        self._began = time.process_time()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop."""
        self.seconds.append(time.process_time() - self._began)


def epochs_of(data: NoteSequences, epochs: int) -> list[float]:
    """Core-seconds of reading the training batches of some epochs."""
    data.setup()
    loader, found = data.train_dataloader(), []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined] # as the Trainer does
        began = time.process_time()
        for batch in loader:
            data.on_after_batch_transfer(batch, 0)
        found.append(time.process_time() - began)
    return found


def row(cache: Path, quick: bool, *words: str) -> Any:
    """The command line of the row m8, with one epoch of its first stage."""
    from experiments.cli import PitchTimbreCLI

    given = ["--config", str(CONFIGS / "m8.yaml"), "--trainer.logger", "false", "--model.axis.epochs", "1", *words]
    given += ["--data.cache_dir", str(cache)]
    return PitchTimbreCLI([*given, *(["--data.max_notes", str(QUICK_NOTES)] if quick else [])], run=False)


def fitted(cache: Path, quick: bool, epochs: int) -> list[float]:
    """Core-seconds of the epochs of m8 after its first stage, without callbacks that score."""
    cli, clock = row(cache, quick), Clock()
    trainer = L.Trainer(
        accelerator="cpu",
        precision=cli.settings.trainer.precision,
        max_epochs=epochs + 1,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[EpochSeed(0), clock],
    )
    trainer.fit(cli.model, cli.datamodule)
    return clock.seconds[1:]


def measure(cache: Path, quick: bool = False) -> Measured:
    """An epoch's data by both ways, and an epoch of m8."""
    epochs = QUICK_EPOCHS if quick else EPOCHS
    table = row(cache, quick).datamodule
    shifts = table.shifts
    fly = row(cache, quick, "--data.shifts.pairs", "on_the_fly").datamodule
    assert isinstance(shifts, ShiftSettings)
    found = {
        "data from the table": epochs_of(table, epochs),
        "data on the fly": epochs_of(fly, epochs),
        "m8: data and model": fitted(cache, quick, epochs),
    }
    notes, frames = int(table.parts.training.sum()), table.sequence.frames
    note = f"{len(table.notes)} notes, {notes} for training; 2 segments of {frames} frames each; {shifts.pairs}"
    first = found["data from the table"]
    figures = [
        Figure("whole_notes", WHAT, way, "ours", Spread.of(spent), ratios(spent, first), note=note)
        for way, spent in found.items()
    ]
    wanted = f"an epoch of m8 on {GOAL_NOTES:,} notes, core-seconds"
    whole = Spread.of(found["m8: data and model"]).median * GOAL_NOTES / len(table.notes)
    return Measured(figures, [Goal("whole_notes", wanted, whole, GOAL_S, False)], {"core_seconds": found})
