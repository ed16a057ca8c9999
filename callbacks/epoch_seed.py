"""Noise that depends on the run's seed and the epoch alone."""

from __future__ import annotations

import lightning as L
import torch

EPOCHS_A_SEED = 1_000_003
"""A prime above any number of epochs, so that no two (seed, epoch) share their noise."""


class EpochSeed(L.Callback):
    """Seed torch with (seed, epoch) as each epoch starts.

    Fresh noise each epoch, and the same noise whether an epoch was reached in one go or by resuming: checkpoints hold
    no generator states.

    Args:
        seed: the run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Seed."""
        torch.manual_seed(self.seed * EPOCHS_A_SEED + trainer.current_epoch)
