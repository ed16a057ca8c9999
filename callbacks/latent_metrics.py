"""What the latents say of pitch and instrument: ACC, PM, and linear probes of z."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from callbacks.gathered_notes import NoteOutputs, PitchCategories, gathered_notes
from metrics.absolute_pitch import is_octave_error, largest_instrument_offset, pitch_errors
from metrics.category_mapping import mapped_accuracy, mapped_correctly, matched_accuracy, matched_correctly
from metrics.chance_level import instrument_only_level, random_category_levels
from metrics.information import normalised_mutual_information, pitch_information_gap
from metrics.latent_probe import linearly_read, probed_correctly

PROBED = ("pitch", "instrument")
"""The labels that linear probes read from z."""


class LatentMetrics(L.Callback):
    """ACC and PM each epoch; with probes, and on all notes, when testing. All in %.

    ``published`` fits mappings on the scored notes and lets probes choose their epoch on them; ``honest`` fits
    mappings and probes, logistic regressions that have converged, on the training notes. During training the honest
    mapping is fitted on the categories that the epoch's own steps gave to the training notes, which costs nothing; the
    test encodes them all again.

    A calibrated model is also scored by its categories' own MIDI pitches, with no mapping.

    Attributes:
        notes: what a test found of each scored note, in order: its category, and which measures count it as right.
        training_notes: the categories and pitches of the training notes, kept by a test.
        other_training_notes: the same of the run that a checkpoint comes from, when it is tested on other notes; its
            mapping is then scored too, as ``transfer``.
    """

    def __init__(self) -> None:
        self.notes = pd.DataFrame()
        self.training_notes = PitchCategories(torch.empty(0), torch.empty(0))
        self.other_training_notes: tuple[Tensor, Tensor] | None = None

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Log ACC and PM of the epoch, and the accuracy of the absolute pitch."""
        gathered = gathered_notes(trainer)
        scored, fitted = gathered.scored.categories, gathered.training_categories
        values = {f"val/{name}": value for name, value in _mapping(scored, scored).items()}
        if fitted:
            values |= {f"val/honest/{name}": value for name, value in _mapping(scored, fitted).items()}
        errors = self._pitch_errors(trainer, pl_module, scored)
        if errors is not None:
            values["val/honest/acc_abs"] = 100 * float((errors == 0).mean())
        pl_module.log_dict(values)

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Log ACC, PM, the probes and their combination, published and honest."""
        scored, fitted = gathered_notes(trainer).scored.cpu(), gathered_notes(trainer).training.cpu()
        right: dict[str, np.ndarray] = {}
        for protocol, fit in (("published", scored), ("honest", fitted)):
            right[f"{protocol}/acc"] = matched_correctly(*scored.categories, *fit.categories)
            right[f"{protocol}/pm"] = mapped_correctly(*scored.categories, *fit.categories)
            for name in PROBED:
                labels, fit_labels = getattr(scored, name), getattr(fitted, name)
                probe = probed_correctly if protocol == "published" else linearly_read
                right[f"{protocol}/{name}"] = np.asarray(probe(scored.mu, labels, fitted.mu, fit_labels))
        errors = self._pitch_errors(trainer, pl_module, scored.categories)
        if errors is not None:
            right |= {"honest/acc_abs": errors == 0, "honest/octave_error": is_octave_error(errors)}
        values = {name: 100 * float(each.mean()) for name, each in right.items()}
        for protocol in ("published", "honest"):
            pitch, instrument = values[f"{protocol}/pitch"], values[f"{protocol}/instrument"]
            values[f"{protocol}/combine"] = (instrument + 100 - pitch) / 2
        if errors is not None:
            values["honest/instrument_offset"] = largest_instrument_offset(errors, scored.instrument)
            values["honest/calibration_agreement"] = 100 * float(pl_module.calibration_agreement)
        values["published/nmi"] = 100 * normalised_mutual_information(scored.category, scored.pitch)
        gap = pitch_information_gap(scored.category, scored.mu, scored.pitch)
        if gap is not None:
            values["honest/pitch_gap"] = 100 * gap
        values |= {
            f"honest/floor_{name}": 100 * value for name, value in _chance_levels(scored, fitted, pl_module).items()
        }
        self.notes = pd.DataFrame(
            {"category": scored.category.numpy()}
            | {name.replace("/", "_"): each.astype(int) for name, each in right.items()}
        )
        self.training_notes = fitted.categories
        if self.other_training_notes is not None:
            transferred = _mapping(scored.categories, self.other_training_notes)
            values |= {f"transfer/{name}": value for name, value in transferred.items()}
        pl_module.log_dict(values)

    def _pitch_errors(self, trainer: L.Trainer, module: Any, notes: PitchCategories) -> np.ndarray | None:
        """Errors of the notes' absolute pitch, (N,) semitones; ``None`` where the model is not calibrated."""
        offset, lowest = float(module.midi_offset), trainer.datamodule.lowest_midi  # type: ignore[attr-defined]
        return pitch_errors(notes.category, offset, notes.pitch + lowest) if np.isfinite(offset) else None


def _chance_levels(scored: NoteOutputs, fitted: NoteOutputs, module: Any) -> dict[str, float]:
    """What the notes score without any knowledge of pitch or instrument, in [0, 1]."""
    found = random_category_levels(scored.pitch, fitted.pitch, module.n_categories)
    found["instrument_only"] = instrument_only_level(scored.instrument, scored.pitch, fitted.instrument, fitted.pitch)
    order = torch.randperm(len(fitted.category), generator=torch.Generator().manual_seed(0))
    for name in PROBED:
        labels, fit_labels = getattr(scored, name), getattr(fitted, name)[order]
        found[f"permuted_{name}"] = float(linearly_read(scored.mu, labels, fitted.mu, fit_labels).mean())
    return found


def _mapping(scored: PitchCategories, fitted: tuple[Tensor, Tensor]) -> dict[str, float]:
    """ACC and PM of notes with the mapping fitted on other notes, in %."""
    return {"acc": 100 * matched_accuracy(*scored, *fitted), "pm": 100 * mapped_accuracy(*scored, *fitted)}
