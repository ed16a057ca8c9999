"""Noise that depends on the run's seed and the epoch only."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch

EPOCHS_A_SEED = 1_000_003
"""A prime above any number of epochs, so that no two (seed, epoch) share their noise."""


class EpochSeed(L.Callback):
    """Seed torch with (seed, epoch) before each epoch's first step.

    Fresh noise each epoch, and the same noise whether an epoch was reached in one go or by resuming: checkpoints hold
    no generator states. At the first step rather than the epoch's start, because loaders draw from the generator in
    between, and not in the same way when a run is resumed.

    Args:
        seed: the run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed."""
        if batch_idx == 0:
            torch.manual_seed(self.seed * EPOCHS_A_SEED + trainer.current_epoch)
