"""What all models of this project share: an epoch's log and the optimiser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import lightning as L
import torch

from lightning_modules.schedules import Constant, ParameterGroup
from lightning_modules.term_log import TermLog


class NoteModule(L.LightningModule, ABC):
    """A model of notes whose terms are logged once an epoch, trained by Adam.

    Attributes:
        amsgrad: whether Adam is AMSGrad.
        terms_log: where a step adds its terms.
    """

    amsgrad = False

    def __init__(self) -> None:
        super().__init__()
        self.terms_log = TermLog(self)

    @abstractmethod
    def parameter_groups(self) -> list[ParameterGroup]:
        """What is trained, and at which learning rates."""

    def on_train_epoch_end(self) -> None:
        """Log the epoch's terms."""
        self.terms_log.flush("train")

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's terms."""
        self.terms_log.flush("val")

    def configure_optimizers(self) -> Any:
        """Adam, with a scheduler where a learning rate changes."""
        groups = self.parameter_groups()
        optimizer = torch.optim.Adam(
            [{"params": group.parameters, "lr": group.learning_rate} for group in groups],
            amsgrad=self.amsgrad,
            fused=True,
        )
        if all(isinstance(group.schedule, Constant) for group in groups):
            return optimizer
        steps, epochs = int(self.trainer.estimated_stepping_batches), max(1, self.trainer.max_epochs or 1)
        shares = [group.share_of(steps, epochs) for group in groups]
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, shares)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
