"""What a model of whole notes reads of them and makes of them, scored: `val/...` each epoch, `honest/...` at a test."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from callbacks.gathered_notes import PitchCategories
from callbacks.generation_metrics import classifier_file
from callbacks.run_figures import frame_units
from callbacks.whole_note_codes import NoteCodes
from callbacks.whole_note_swaps import (
    decode_swaps,
    features_of,
    frechet_scores,
    swap_scores,
    tracked_correctly,
)
from lightning_modules.sequence_classifier import NoteSequenceClassifier
from metrics.absolute_pitch import is_octave_error, pitch_errors
from metrics.category_mapping import matched_accuracy, matched_correctly
from metrics.chance_level import instrument_only_level
from metrics.latent_probe import linear_reader
from metrics.timbre import far_neighbour_agreement, register_r2
from metrics.whole_notes import frame_errors_db, swap_pairs

LABELS = ("instrument", "pitch", "dynamic", "articulation")
"""What is read from each code; the last two where the note table has them."""

EPOCH_NOTES, TEST_NOTES = 48, 400
"""Scored notes that are decoded, at most: each epoch, and when testing; as many swaps are made of them."""

PROBED_NOTES = 4000
"""Training notes that probes are fitted on, at most."""


class WholeNoteMetrics(L.Callback):
    """Scores a model of whole notes; see ``experiments.reporting.columns`` for what each value is.

    Probes and mappings are fitted on training notes, and read scored ones. A swap joins the timbre of one scored note
    with the pitch, loudness and course of another one; the evaluators of whole notes, and pYIN on rendered sound, are
    asked for both, and beside them stands what they find in the real notes.

    Args:
        classifier_dir: where the evaluators are kept, by data hash.
        tracked: how many swaps are rendered and tracked by a test, about a second each; 0: none.

    Attributes:
        notes: what a test found of each scored note, in order: its category, and which measures count it as right.
        training_notes: the categories and pitches of the training notes, kept by a test.
        other_training_notes: the same of the run that a checkpoint comes from, when it is tested on other notes; its
            mapping is then scored too, as ``transfer``.

    Raises:
        ValueError: ``tracked`` is negative.
    """

    def __init__(self, classifier_dir: Path, tracked: int = 24) -> None:
        if tracked < 0:
            raise ValueError(f"WholeNoteMetrics.tracked is {tracked}; give 0 (no swap is rendered) or more")
        self.classifier_dir, self.tracked = classifier_dir, tracked
        self.notes = pd.DataFrame()
        self.training_notes = PitchCategories(torch.empty(0), torch.empty(0))
        self.other_training_notes: tuple[Tensor, Tensor] | None = None
        self._evaluators: dict[str, NoteSequenceClassifier] = {}
        self._parts: tuple[list[NoteCodes], list[NoteCodes]] = ([], [])
        self._training_features: list[Tensor] = []
        self._real_tracked: dict[str, float] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Load the evaluators of this data.

        Raises:
            ValueError: there is none, or it is of another data set.
        """
        data_hash = trainer.datamodule.data_hash  # type: ignore[attr-defined]
        for label in ("pitch", "instrument"):
            file = classifier_file(self.classifier_dir, data_hash, label)
            if not file.exists():
                raise ValueError(
                    f"{file}: there is no {label} evaluator of these whole notes; train it by `python -m experiments "
                    "classifiers` with the same data"
                )
            self._evaluators[label] = NoteSequenceClassifier.load(file, data_hash, label)

    def fingerprints(self) -> dict[str, str]:
        """Row of each evaluator -> hash of its weights."""
        return {f"classifier_sequence_{label}": each.fingerprint() for label, each in self._evaluators.items()}

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the codes of a batch of the notes that checkpoints are selected on."""
        units = frame_units(trainer.datamodule)  # type: ignore[attr-defined]
        self._parts[0].append(NoteCodes.of(pl_module, batch, outputs, units, None))

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the codes of a batch of scored notes (loader 0) or of training notes (loader 1)."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        rate = data.frame_rate_hz if dataloader_idx == 0 else None
        self._parts[dataloader_idx].append(NoteCodes.of(pl_module, batch, outputs, frame_units(data), rate))
        if dataloader_idx == 1:
            evaluator = self._evaluators["instrument"].to(batch.x.device)
            self._training_features.append(features_of(evaluator, batch.x, batch.mask))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let the notes go."""
        for part in (*self._parts, self._training_features):
            part.clear()

    on_test_end = on_validation_end

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Log the epoch's values: pitch, error of frames, and a few swaps."""
        scored = NoteCodes.joined(self._parts[0])
        values = {"acc": 100 * matched_accuracy(*_categories(scored))}
        errors = _pitch_errors(trainer.datamodule, pl_module, scored)  # type: ignore[attr-defined]
        if errors is not None:
            values["honest/acc_abs"] = 100 * float((errors == 0).mean())
        with trainer.precision_plugin.forward_context():
            values |= self._decoded(trainer.datamodule, pl_module, scored, EPOCH_NOTES)  # type: ignore[attr-defined]
        pl_module.log_dict({f"val/{name}": value for name, value in values.items()})

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Log all values, and keep what was found of each note."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        scored, fitted = (NoteCodes.joined(part) for part in self._parts)
        right = {"note_acc": matched_correctly(*_categories(scored), *_categories(fitted))}
        errors = _pitch_errors(data, pl_module, scored)
        if errors is not None:
            right |= {"note_acc_abs": errors == 0, "note_octave_error": is_octave_error(errors)}
        probed = _probed(data.notes, scored, fitted)
        right |= {name: found for name, found in probed.items() if len(found) == len(scored.note)}
        values = {name: 100 * float(found.mean()) for name, found in (right | probed).items()}
        values |= _timbre(data, scored, fitted) | self._decoded(data, pl_module, scored, TEST_NOTES, testing=True)
        self.notes = pd.DataFrame(
            {"category": scored.category} | {f"honest_{name}": found.astype(int) for name, found in right.items()}
        )
        self.training_notes = _categories(fitted)
        logged = {f"honest/{name}": value for name, value in values.items()}
        if self.other_training_notes is not None:
            logged["transfer/acc"] = 100 * matched_accuracy(*_categories(scored), *self.other_training_notes)
        pl_module.log_dict(logged)

    @torch.no_grad()
    def _decoded(self, data: Any, module: Any, scored: NoteCodes, most: int, testing: bool = False) -> dict[str, float]:
        """What is found in reconstructions and swaps of some of the scored notes."""
        rows = scored.note[np.unique(np.linspace(0, len(scored.note) - 1, most).astype(int))]
        indices = torch.from_numpy(rows).to(module.device)
        batch = data.sequences(indices, torch.zeros_like(indices))
        latents = module.encode_notes(batch.x, batch.mask, batch.x_pitch)
        own, units = torch.arange(len(rows), device=module.device), frame_units(data)
        reconstructed = decode_swaps(module, latents, own, own)
        error = frame_errors_db(
            reconstructed.cpu().numpy(), batch.x.cpu().numpy(), batch.mask.cpu().numpy(), units.range_db
        )
        found = {"frame_error_db": float(error.mean())}
        for evaluator in self._evaluators.values():
            evaluator.to(module.device)
        midi = batch.pitch.cpu().numpy() + data.lowest_midi
        try:
            pairs = swap_pairs(midi, batch.instrument.cpu().numpy(), len(rows))
        except ValueError:  # one instrument, or none that share a range: there is nothing to swap
            return found
        timbre, rest = torch.from_numpy(pairs).to(module.device)
        swapped = decode_swaps(module, latents, timbre, rest)
        found |= swap_scores(self._evaluators, batch, swapped, timbre, rest, units)
        if testing:
            features = torch.cat(self._training_features)
            masks = batch.mask[rest]
            evaluator = self._evaluators["instrument"]
            found |= frechet_scores(evaluator, batch, reconstructed, swapped, masks, features)
            found |= self._tracked(data, batch, swapped, pairs[1], midi)
        return found

    def _tracked(
        self, data: Any, batch: Any, swapped: Tensor, rest: NDArray[np.int64], midi: NDArray[np.int64]
    ) -> dict[str, float]:
        """What pYIN hears in some rendered swaps, and in the real notes that gave their pitch, in %."""
        if not self.tracked:
            return {}
        some = rest[: self.tracked]
        mask, key = batch.mask[some], f"{data.data_hash} {batch.note[some].tolist()}"
        if key not in self._real_tracked:  # no model is in it: the same for the last epoch and the best one
            right = tracked_correctly(batch.x[some], mask, midi[some], data)
            self._real_tracked = {key: 100 * float(right.mean())}
        right = tracked_correctly(swapped[: self.tracked], mask, midi[some], data)
        return {"note_swap_tracked": 100 * float(right.mean()), "note_real_tracked": self._real_tracked[key]}


def _categories(notes: NoteCodes) -> PitchCategories:
    return PitchCategories(torch.from_numpy(notes.category), torch.from_numpy(notes.pitch))


def _pitch_errors(data: Any, module: Any, notes: NoteCodes) -> NDArray[np.int64] | None:
    """Errors of the notes' absolute pitch, (N,) semitones; ``None`` where the model is not calibrated."""
    offset = float(module.midi_offset)
    category, pitch = _categories(notes)
    return pitch_errors(category, offset, pitch + data.lowest_midi) if np.isfinite(offset) else None


def _labels(table: pd.DataFrame, notes: NoteCodes) -> dict[str, NDArray[Any]]:
    """Label -> its value for each note, (N,) texts; empty where the note table does not know it."""
    found = {"instrument": notes.instrument.astype(str), "pitch": notes.pitch.astype(str)}
    for name in LABELS[2:]:
        if name in table:
            found[name] = table[name].to_numpy(str)[notes.note]
    return found


def _probed(table: pd.DataFrame, scored: NoteCodes, fitted: NoteCodes) -> dict[str, NDArray[np.bool_]]:
    """``{code}_{label}`` -> which of the scored notes that have such a label are read right by a linear probe.

    Those of the timbre at instants, ``g_instrument_{instant}``, are read by the probe of the timbre of whole notes.
    """
    chosen = np.unique(np.linspace(0, len(fitted.note) - 1, PROBED_NOTES).astype(int))
    found: dict[str, NDArray[np.bool_]] = {}
    labels, fit_labels = _labels(table, scored), _labels(table, fitted)
    for label, values in labels.items():
        known, fit_known = values != "", fit_labels[label][chosen] != ""
        fit_values = fit_labels[label][chosen][fit_known]
        if len(np.unique(fit_values)) < 2 or not known.any():
            continue
        for code, read in scored.codes.items():
            if not read.shape[1]:  # a model without a local course
                continue
            probe = linear_reader(fitted.codes[code][chosen][fit_known], fit_values)
            found[f"{code}_{label}"] = np.asarray(probe.predict(read[known]) == values[known])
            if (code, label) != ("g", "instrument"):
                continue
            for name, codes in scored.instants.items():
                there = np.isfinite(codes).all(1)
                if there.any():
                    found[f"g_instrument_{name}"] = np.asarray(probe.predict(codes[there]) == values[there])
    return found


def _timbre(data: Any, scored: NoteCodes, fitted: NoteCodes) -> dict[str, float]:
    """Whether the code of the timbre is one of the register, on all notes; and the floor of its pitch probe."""
    g = np.concatenate([scored.codes["g"], fitted.codes["g"]])
    midi = np.concatenate([scored.pitch, fitted.pitch]) + data.lowest_midi
    instrument = np.concatenate([scored.instrument, fitted.instrument])
    labels = (torch.from_numpy(of) for of in (scored.instrument, scored.pitch, fitted.instrument, fitted.pitch))
    found = {"floor_note_pitch": 100 * instrument_only_level(*labels)}
    with suppress(ValueError):  # no instrument has notes of two pitches, or an octave apart
        found["g_register_r2"] = register_r2(g, midi, instrument)
        found["g_far_neighbours"] = 100 * far_neighbour_agreement(g, midi, instrument)
    return found
