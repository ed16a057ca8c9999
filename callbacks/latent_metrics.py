"""What the latents say of pitch and instrument: ACC, PM, and linear probes of z."""

from __future__ import annotations

from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor

from metrics.category_mapping import mapped_accuracy, matched_accuracy
from metrics.latent_probe import probe_accuracy


class LatentMetrics(L.Callback):
    """ACC and PM each epoch; with probes, and on all notes, when testing. All in %.

    ``published`` fits mappings on the scored notes and lets probes choose their epoch on them; ``honest`` fits and
    chooses on the training notes. During training the honest mapping is fitted on the categories that the epoch's own
    steps gave to the training notes, which costs nothing; the test encodes them all again.

    Attributes:
        training_notes: (categories, pitches) of the training notes, kept by a test.
        other_training_notes: the same of the run that a checkpoint comes from, when it is tested on other notes; its
            mapping is then scored too, as ``transfer``.
    """

    def __init__(self) -> None:
        self.training_notes = (torch.empty(0), torch.empty(0))
        self.other_training_notes: tuple[Tensor, Tensor] | None = None
        self._scored: list[tuple[Tensor, ...]] = []
        self._fitted: list[tuple[Tensor, ...]] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin an epoch."""
        self._fitted.clear()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the training notes' categories."""
        self._fitted.append((outputs["category"], batch.pitch))

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the scored notes' categories."""
        self._scored.append((outputs.category, batch.pitch))

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log ACC and PM of the epoch."""
        scored, fitted = _gather(self._scored), _gather(self._fitted)
        self._scored.clear()
        values = {f"val/{name}": value for name, value in _mapping(scored, scored).items()}
        if fitted:
            values |= {f"val/honest/{name}": value for name, value in _mapping(scored, fitted).items()}
        pl_module.log_dict(values)

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the latents of the scored notes (loader 0) and of the training notes (loader 1)."""
        kept = (outputs.category, batch.pitch, outputs.mu, batch.instrument)
        (self._fitted if dataloader_idx else self._scored).append(kept)

    def on_test_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget the training's categories."""
        self._fitted.clear()

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log ACC, PM, the probes and their combination, published and honest."""
        scored, fitted = _gather(self._scored), _gather(self._fitted)
        self._scored.clear()
        self._fitted.clear()
        values: dict[str, float] = {}
        for protocol, fit in (("published", scored), ("honest", fitted)):
            select: Literal["scored", "fit"] = "scored" if protocol == "published" else "fit"
            pitch, instrument = (
                100 * probe_accuracy(scored[2], scored[label], fitted[2], fitted[label], select=select)
                for label in (1, 3)
            )
            values |= {f"{protocol}/pitch": pitch, f"{protocol}/instrument": instrument}
            values[f"{protocol}/combine"] = (instrument + 100 - pitch) / 2
            values |= {f"{protocol}/{name}": value for name, value in _mapping(scored[:2], fit[:2]).items()}
        self.training_notes = (fitted[0], fitted[1])
        if self.other_training_notes is not None:
            transferred = _mapping(scored[:2], self.other_training_notes)
            values |= {f"transfer/{name}": value for name, value in transferred.items()}
        pl_module.log_dict(values)


def _gather(parts: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.cat(column).cpu() for column in zip(*parts, strict=True))


def _mapping(scored: tuple[Tensor, ...], fitted: tuple[Tensor, ...]) -> dict[str, float]:
    """ACC and PM of (categories, pitches) with the mapping fitted on other (categories, pitches)."""
    return {"acc": 100 * matched_accuracy(*scored, *fitted), "pm": 100 * mapped_accuracy(*scored, *fitted)}
