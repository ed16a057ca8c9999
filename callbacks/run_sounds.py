"""Reconstructions and swaps of a fit as sound, rendered as the package renders them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F

from callbacks.best_checkpoint import AtBestCheckpoint
from callbacks.gathered_notes import NoteOutputs, gathered_notes
from callbacks.run_figures import choose_examples
from callbacks.wandb_run import WandbRun
from datamodules.mel import mel_edges_hz
from pitch_timbre import audio
from pitch_timbre.note_names import note_name
from pitch_timbre.render import MelBands, mel_power, plain_loudness, render_note

LASTS_S = 1.0


class RunSounds(AtBestCheckpoint):
    """Write sounds of a fit into ``<run_dir>/sounds`` and the W&B run, of its best checkpoint and while it trains.

    Of each of the notes that the pictures show: its frame, its reconstruction, and its timbre at the pitch of the next
    one. All are rendered alike, from one frame that is held, so that what differs is what the model did. The labels
    choose and name the notes and give the fundamentals; nothing is drawn at random.

    Args:
        run_dir: the run's folder.
        every_n_epochs: while it trains, each time so many epochs have passed; 0: at the end only.

    Raises:
        ValueError: ``every_n_epochs`` is negative.
    """

    def __init__(self, run_dir: Path, every_n_epochs: int = 0) -> None:
        if every_n_epochs < 0:
            raise ValueError(f"RunSounds.every_n_epochs is {every_n_epochs}; give 0 (at the end only) or more")
        self.run_dir, self.every_n_epochs = run_dir, every_n_epochs

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Write those of this epoch, where it is one of those that are asked for."""
        if self.every_n_epochs and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._write(trainer, pl_module, trainer.current_epoch)

    def show_best(self, trainer: L.Trainer, module: Any) -> None:
        """Write those of the fit's best checkpoint."""
        self._write(trainer, module, None)

    def _write(self, trainer: L.Trainer, module: Any, epoch: int | None) -> None:
        """Write and log; ``epoch`` is ``None`` for the best checkpoint."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        folder = self.run_dir / "sounds" / ("best" if epoch is None else f"epoch_{epoch}")
        folder.mkdir(parents=True, exist_ok=True)
        files = {}
        for name, samples in _sounds(data, module, gathered_notes(trainer).scored.cpu()).items():
            files[f"sounds/{name}"] = folder / f"{name}.flac"
            audio.write(files[f"sounds/{name}"], samples, data.waveform_settings.sample_rate)
        for logger in trainer.loggers:
            if isinstance(logger, WandbRun):
                logger.log_sounds(files, epoch)


@torch.no_grad()
def _sounds(data: Any, module: Any, scored: NoteOutputs) -> dict[str, audio.Samples]:
    """Sounds (T,) by their names."""
    rate = data.waveform_settings.sample_rate
    bands = MelBands(mel_edges_hz(data.mel), data.mel.n_fft, rate)
    shown = choose_examples(scored.instrument.tolist(), scored.pitch.tolist())
    midi = [data.lowest_midi + int(scored.pitch[note]) for note in shown]
    names = [
        f"{place}_{plain_name(data.instruments[scored.instrument[note]])}_{note_name(pitch)}"
        for place, (note, pitch) in enumerate(zip(shown, midi, strict=True), 1)
    ]

    def decode(categories: torch.Tensor) -> np.ndarray:
        c = F.one_hot(categories, module.n_categories).to(scored.mu)
        z, device = scored.mu[shown], module.device
        return np.asarray(module.decode(z.to(device), c.to(device)).float().cpu())

    following = [*shown[1:], *shown[:1]]
    parts = {
        "frame": (scored.x[shown].float().numpy(), midi),
        "reconstruction": (decode(scored.category[shown]), midi),
        "swap": (decode(scored.category[following]), [*midi[1:], *midi[:1]]),
    }
    sounds = {}
    for kind, (frames, pitches) in parts.items():
        for name, frame, pitch in zip(names, frames, pitches, strict=True):
            power = mel_power(frame[None], data.scale.low, data.scale.high)
            as_named = f"{name}_at_{note_name(pitch)}" if kind == "swap" else f"{name}_{kind}"
            sounds[as_named] = render_note(bands, power, pitch, pitch, plain_loudness(LASTS_S), rate)
    return sounds


def plain_name(instrument: str) -> str:
    """An instrument's name as a part of a file's name, whatever it holds (``Horn [/muted]``, ``../../x``)."""
    return re.sub(r"\W+", "_", instrument)[:40]
