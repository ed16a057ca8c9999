"""The annealed temperature of the Gumbel-softmax."""

from __future__ import annotations

from math import exp
from typing import Any

import lightning as L


class TemperatureAnnealing(L.Callback):
    """Set ``module.temperature`` to ``max(lowest, exp(-rate epoch))`` at each epoch's start.

    The temperature is a buffer of the module, so a checkpoint holds the one that it was trained with.

    Args:
        rate: per epoch (the authors' value).
        lowest: where the annealing ends.
    """

    def __init__(self, rate: float = 0.00346, lowest: float = 0.5) -> None:
        if rate < 0 or lowest <= 0:
            raise ValueError(f"temperature: rate {rate} must not be negative and lowest {lowest} must be positive")
        self.rate, self.lowest = rate, lowest

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Anneal; a model without a temperature has nothing to anneal."""
        if hasattr(pl_module, "temperature"):
            pl_module.temperature.fill_(max(self.lowest, exp(-self.rate * trainer.current_epoch)))
