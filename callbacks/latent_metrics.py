"""What the latents say of pitch and instrument: ACC, PM, and linear probes of z."""

from __future__ import annotations

from typing import Any, Literal

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from metrics.absolute_pitch import is_octave_error, largest_instrument_offset, pitch_errors
from metrics.category_mapping import mapped_accuracy, mapped_correctly, matched_accuracy, matched_correctly
from metrics.chance_level import instrument_only_floor, random_category_floors
from metrics.information import normalised_mutual_information, pitch_information_gap
from metrics.latent_probe import probed_correctly


class LatentMetrics(L.Callback):
    """ACC and PM each epoch; with probes, and on all notes, when testing. All in %.

    ``published`` fits mappings on the scored notes and lets probes choose their epoch on them; ``honest`` fits and
    chooses on the training notes. During training the honest mapping is fitted on the categories that the epoch's own
    steps gave to the training notes, which costs nothing; the test encodes them all again.

    A calibrated model is also scored by its categories' own MIDI pitches, with no mapping.

    Attributes:
        notes: what a test found of each scored note, in order: its category, and which measures count it as right.
        training_notes: (categories, pitches) of the training notes, kept by a test.
        other_training_notes: the same of the run that a checkpoint comes from, when it is tested on other notes; its
            mapping is then scored too, as ``transfer``.
    """

    def __init__(self) -> None:
        self.notes = pd.DataFrame()
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

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Log ACC and PM of the epoch, and the accuracy of the absolute pitch."""
        scored, fitted = _gather(self._scored), _gather(self._fitted)
        self._scored.clear()
        values = {f"val/{name}": value for name, value in _mapping(scored, scored).items()}
        if fitted:
            values |= {f"val/honest/{name}": value for name, value in _mapping(scored, fitted).items()}
        errors = self._pitch_errors(trainer, pl_module, *scored)
        if errors is not None:
            values["val/honest/acc_abs"] = 100 * float((errors == 0).mean())
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

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Log ACC, PM, the probes and their combination, published and honest."""
        scored, fitted = _gather(self._scored), _gather(self._fitted)
        self._scored.clear()
        self._fitted.clear()
        right: dict[str, np.ndarray] = {}
        for protocol, fit in (("published", scored), ("honest", fitted)):
            select: Literal["scored", "fit"] = "scored" if protocol == "published" else "fit"
            right[f"{protocol}/acc"] = matched_correctly(*scored[:2], *fit[:2])
            right[f"{protocol}/pm"] = mapped_correctly(*scored[:2], *fit[:2])
            for name, label in (("pitch", 1), ("instrument", 3)):
                probed = probed_correctly(scored[2], scored[label], fitted[2], fitted[label], select=select)
                right[f"{protocol}/{name}"] = probed.numpy()
        errors = self._pitch_errors(trainer, pl_module, *scored[:2])
        if errors is not None:
            right |= {"honest/acc_abs": errors == 0, "honest/octave_error": is_octave_error(errors)}
        values = {name: 100 * float(each.mean()) for name, each in right.items()}
        for protocol in ("published", "honest"):
            pitch, instrument = values[f"{protocol}/pitch"], values[f"{protocol}/instrument"]
            values[f"{protocol}/combine"] = (instrument + 100 - pitch) / 2
        if errors is not None:
            values["honest/instrument_offset"] = largest_instrument_offset(errors, scored[3])
            values["honest/calibration_agreement"] = 100 * float(pl_module.calibration_agreement)
        values["published/nmi"] = 100 * normalised_mutual_information(scored[0], scored[1])
        gap = pitch_information_gap(scored[0], scored[2], scored[1])
        if gap is not None:
            values["honest/pitch_gap"] = 100 * gap
        values |= {f"honest/floor_{name}": 100 * value for name, value in _floors(scored, fitted, pl_module).items()}
        self.notes = pd.DataFrame(
            {"category": scored[0].numpy()} | {name.replace("/", "_"): each.astype(int) for name, each in right.items()}
        )
        self.training_notes = (fitted[0], fitted[1])
        if self.other_training_notes is not None:
            transferred = _mapping(scored[:2], self.other_training_notes)
            values |= {f"transfer/{name}": value for name, value in transferred.items()}
        pl_module.log_dict(values)

    def _pitch_errors(self, trainer: L.Trainer, module: Any, categories: Tensor, pitches: Tensor) -> np.ndarray | None:
        """Errors of the notes' absolute pitch, (N,) semitones; ``None`` where the model is not calibrated."""
        offset, lowest = float(module.midi_offset), trainer.datamodule.lowest_midi  # type: ignore[attr-defined]
        return pitch_errors(categories, offset, pitches + lowest) if np.isfinite(offset) else None


def _gather(parts: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.cat(column).cpu() for column in zip(*parts, strict=True))


def _floors(scored: tuple[Tensor, ...], fitted: tuple[Tensor, ...], module: Any) -> dict[str, float]:
    """What (category, pitch, z, instrument) of the notes score without knowledge, in [0, 1]."""
    floors = random_category_floors(scored[1], fitted[1], module.n_pitches)
    floors["instrument_only"] = instrument_only_floor(scored[3], scored[1], fitted[3], fitted[1])
    order = torch.randperm(len(fitted[0]), generator=torch.Generator().manual_seed(0))
    for name, label in (("pitch", 1), ("instrument", 3)):
        probed = probed_correctly(scored[2], scored[label], fitted[2], fitted[label][order], select="fit")
        floors[f"permuted_{name}"] = float(probed.double().mean())
    return floors


def _mapping(scored: tuple[Tensor, ...], fitted: tuple[Tensor, ...]) -> dict[str, float]:
    """ACC and PM of (categories, pitches) with the mapping fitted on other (categories, pitches)."""
    return {"acc": 100 * matched_accuracy(*scored, *fitted), "pm": 100 * mapped_accuracy(*scored, *fitted)}
