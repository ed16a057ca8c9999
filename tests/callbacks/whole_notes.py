"""Whole notes whose instrument, pitch and course are known, and a model that knows how they are made."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor, nn

from datamodules.mel import FrameScale, MelSettings, mel_centres_hz
from datamodules.sequence_batch import NoteSequenceBatch

INSTRUMENTS, PITCHES, LOWEST, T = 3, 12, 60, 40
MEL = MelSettings(n_mels=48)


@dataclass(frozen=True)
class Latents:
    """As `lightning_modules.whole_note_module.NoteLatents`, as far as callbacks read it."""

    mu: Tensor
    logits: Tensor
    cents: Tensor
    category: Tensor
    v: Tensor
    loudness: Tensor

    @property
    def c(self) -> Tensor:
        return self.logits.softmax(-1)


class KnowingModel(nn.Module):
    """Reads the labels that are hidden in the first bands, and decodes as the notes were made."""

    def __init__(self, ignores_timbre: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        draw = lambda *shape: torch.rand(shape, generator=generator)  # noqa: E731
        self.timbres, self.pitches = -0.2 * draw(INSTRUMENTS, MEL.n_mels), -0.2 * draw(PITCHES, MEL.n_mels)
        self.ignores_timbre = ignores_timbre
        self.n_latent, self.n_categories, self.n_course = INSTRUMENTS, PITCHES, 1
        self.device, self.midi_offset = torch.device("cpu"), torch.tensor(float(LOWEST))
        self.logged: dict[str, float] = {}

    def log_dict(self, values: dict[str, float]) -> None:
        self.logged |= values

    def decode_notes(self, g: Tensor, pitch: Tensor, loudness: Tensor, v: Tensor) -> Tensor:
        if self.ignores_timbre:  # a collapsed code: the instrument comes with the course
            g = F.one_hot(v[:, 0, 0].round().long(), INSTRUMENTS).float()
        spectrum = (g @ self.timbres)[:, None] + pitch @ self.pitches
        return (spectrum + loudness[..., None] - 0.2).clamp(-1, 1)

    def encode_notes(self, x: Tensor, mask: Tensor, x_pitch: Tensor | None = None, *_: Any) -> Latents:
        mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        every = (self.timbres[:, None] + self.pitches[None]).flatten(0, 1)
        nearest = torch.cdist(mean - mean.mean(1, keepdim=True), every - every.mean(1, keepdim=True)).argmin(1)
        instrument, pitch = nearest // PITCHES, nearest % PITCHES
        logits = 30.0 * F.one_hot(pitch, PITCHES)[:, None].expand(-1, x.shape[1], -1)
        loudness = x.mean(-1) - (self.timbres[instrument] + self.pitches[pitch]).mean(-1, keepdim=True) + 0.2
        v = instrument[:, None, None].expand(-1, x.shape[1], 1).float()
        return Latents(F.one_hot(instrument, INSTRUMENTS).float(), logits, 0 * loudness, pitch, v, loudness)


class Notes:
    """A data module of 144 notes, a quarter of them scored."""

    frame_rate_hz, lowest_midi, data_hash = 50.0, LOWEST, "hash"
    n_pitches, instruments, mel, mel_hz = PITCHES, ["cello", "flute", "oboe"], MEL, mel_centres_hz(MEL)
    scale, waveform_settings = FrameScale(-16.0, 2.0), SimpleNamespace(sample_rate=22_050)

    def __init__(self) -> None:
        n, random = 144, np.random.default_rng(0)
        self.instrument, self.pitch = torch.arange(n) % INSTRUMENTS, torch.arange(n) // INSTRUMENTS % PITCHES
        length = torch.from_numpy(random.integers(12, T + 1, n))
        self.mask = torch.arange(T) < length[:, None]
        time, rate = torch.arange(T) / 50, torch.from_numpy(random.uniform(-9, 9, (n, 1))).float()
        loudness = -0.1 - 0.2 * torch.sin(rate * (time + 1)) ** 2
        model = KnowingModel()
        c = F.one_hot(self.pitch, PITCHES).float()[:, None].expand(-1, T, -1)
        x = model.decode_notes(F.one_hot(self.instrument, INSTRUMENTS).float(), c, loudness, loudness[..., None])
        self.x = torch.where(self.mask[..., None], x, -1.0)
        self.scored = np.arange(n) < INSTRUMENTS * PITCHES
        midi, names = LOWEST + self.pitch.numpy(), np.array(self.instruments)[self.instrument]
        self.notes = pd.DataFrame({"note_id": np.arange(n).astype(str), "midi": midi, "instrument": names})
        self.notes["dynamic"] = np.where(np.arange(n) % 2, "p", "")
        self.notes["articulation"] = np.where(self.instrument == 1, "trill", "normal")

    def sequences(self, rows: Tensor, semitones: Tensor) -> NoteSequenceBatch:
        x, mask, zero = self.x[rows], self.mask[rows], torch.zeros(len(rows), dtype=torch.long)
        return NoteSequenceBatch(
            x, mask, x, mask, None, None, semitones, self.pitch[rows], self.instrument[rows], rows, zero
        )


class Nearest(nn.Module):
    """An evaluator that compares a note's mean frame with those of all labels."""

    def __init__(self, label: str, data: Notes) -> None:
        super().__init__()
        truth = getattr(data, label)
        means = self.features(data.x, data.mask)
        each = torch.stack([means[truth == value].mean(0) for value in truth.unique()])
        self.head = nn.Linear(MEL.n_mels, len(each))
        with torch.no_grad():
            self.head.weight.copy_(each)
            self.head.bias.copy_(-each.square().sum(1) / 2)

    def features(self, x: Tensor, mask: Tensor) -> Tensor:
        mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return mean - mean.mean(1, keepdim=True)


def trainer_of(data: Notes, **more: Any) -> Any:
    """A trainer with what callbacks read of it."""
    return SimpleNamespace(datamodule=data, precision_plugin=Precision(), loggers=[], **more)
