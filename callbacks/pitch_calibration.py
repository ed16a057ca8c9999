"""Absolute pitch without labels: which MIDI pitch a category is, from synthetic tones."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from datamodules.synthetic_tones import synthetic_tones

LOWEST_MIDI, HIGHEST_MIDI = 24, 105
"""Of the tones, whatever the pitches of the notes are: C1 to A7."""

TONES_PER_PITCH = 6
"""All different."""


class PitchCalibration(L.Callback):
    """Before each checkpoint, find the MIDI pitch of category 0 on synthetic harmonic tones, and keep it in the model.

    The tones are encoded in the training's precision. The share of them that agrees is logged: seeds, and restarts of
    an axis, are chosen by it, without a label.

    Attributes:
        tones: the tones' frames (N, F) and MIDI pitches (N,); ``None`` before a fit.
    """

    def __init__(self) -> None:
        self.tones: tuple[Tensor, Tensor] | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Make the tones' frames as the notes' are made."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        midi = np.repeat(np.arange(LOWEST_MIDI, HIGHEST_MIDI + 1), TONES_PER_PITCH)
        settings = data.waveform_settings
        samples = synthetic_tones(midi, settings.sample_rate, settings.length, np.random.default_rng(0))
        self.tones = data.pitch_frames_of(samples), torch.from_numpy(midi)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Calibrate; a test of a checkpoint takes what the checkpoint holds."""
        if self.tones is not None:
            self.calibrate(trainer, pl_module)
            pl_module.log("val/calibration_agreement", 100 * pl_module.calibration_agreement)

    def calibrate(self, trainer: L.Trainer, module: Any) -> None:
        """Calibrate a model by the tones, in the training's precision."""
        assert self.tones is not None, "calibrate is called in a fit"
        frames, midi = (part.to(module.device) for part in self.tones)
        self.tones = frames, midi
        with trainer.precision_plugin.forward_context():
            module.calibrate(frames, midi)
