"""Trained runs opened for reading: the model, its notes, and frames of any sound made as the training's."""

from __future__ import annotations

import pkgutil
import re
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from jsonargparse import ArgumentParser
from numpy.typing import NDArray
from omegaconf import OmegaConf
from torch import Tensor

from datamodules import sources
from datamodules.frames import FrameMaker
from datamodules.mel import FrameScale, LowBandSettings, MelSettings
from datamodules.note_data import NoteData
from datamodules.note_pairs import NotePairs
from datamodules.note_sequences import NoteSequences
from datamodules.sources.source import NoteSource
from datamodules.waveforms import SILENCE_PEAK, WaveformSettings, onset
from lightning_modules.latents import Latents
from lightning_modules.load import load
from lightning_modules.note_module import NoteModule
from lightning_modules.pitch_timbre_vae import PitchTimbreVAE
from lightning_modules.whole_note_module import WholeNoteModule

NOTES_AT_ONCE = 256
Sounds = NDArray[np.float64]

# YAML anchors grow without bound, resolvers read the environment.
_NOT_OF_A_RUN = re.compile(r"^\s*(?:- |[\w.]+: )&\w|\$\{[^}]*:", re.MULTILINE)


@dataclass(frozen=True)
class Frames:
    """Frames of N sounds.

    Attributes:
        x: (N, F) in [-1, 1].
        x_pitch: (N, F) what the pitch is read from, where that is not ``x``.
        audible: (N,) bool, false where the sound is silent around the frame.
    """

    x: Tensor
    x_pitch: Tensor | None
    audible: NDArray[np.bool_]


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Attributes:
        name: row/seed, as its folder is called.
        model: its best checkpoint, in evaluation mode.
        data: its notes, with their split.
    """

    name: str
    model: PitchTimbreVAE
    data: NoteData

    @cached_property
    def scale(self) -> FrameScale:
        """The scale of the training's frames."""
        return FrameScale(**self.model.data_settings["scale"])

    @cached_property
    def maker(self) -> FrameMaker:
        """What makes frames as the training did; onsets are trimmed when sounds are read, not again here."""
        kept = self.model.data_settings
        low = LowBandSettings(**kept["pitch_low_bands"]) if kept["pitch_low_bands"] else None
        waveforms = replace(WaveformSettings(**kept["waveforms"]), trim_onset_db=None)
        return FrameMaker(MelSettings(**kept["mel"]), low, waveforms)

    @property
    def rate(self) -> int:
        """Samples a second of the sounds."""
        return self.maker.waveforms.sample_rate

    def prepared(self, samples: NDArray[Any], rate: int) -> Sounds:
        """Decoded samples, (T,) or (T, channels), as mono (T',) at the notes' rate, from their onset where trimmed."""
        mono = samples if samples.ndim == 1 else samples.mean(axis=1)
        mono = soxr.resample(np.asarray(mono, np.float64), rate, self.rate)
        trim_db = self.model.data_settings["waveforms"]["trim_onset_db"]
        return np.asarray(mono if trim_db is None else mono[onset(mono, trim_db) :])

    def sounds(self, duration_s: float) -> Sounds:
        """The first seconds of all notes, (N, T), with silence after the end of a note."""
        length = round(duration_s * self.rate)
        found = np.zeros((len(self.data.notes), length))
        for row, note in zip(found, self.data.notes.itertuples(), strict=True):
            mono = self.prepared(*self.data.source.read_audio(self.data.root, note, duration_s + 0.05))[:length]
            row[: len(mono)] = mono
        return found

    def frames(self, sounds: Sounds) -> Frames:
        """Frames of sounds (N, T) at the notes' rate, at the instant of the training."""
        kept = sounds[:, : self.maker.waveforms.length]
        audible = np.ptp(kept, axis=1) > 2 * SILENCE_PEAK
        # A frame needs some sound: a silent one is replaced, and reported as not audible.
        noise = np.random.default_rng(0).normal(size=sounds.shape[1])
        filled = np.where(audible[:, None], sounds, noise).astype(np.float32)
        parts = np.array_split(filled, -(-len(filled) // NOTES_AT_ONCE))
        frames = torch.cat([self.scale.normalise(self.maker.frames_of_sounds(part)) for part in parts])
        return Frames(*self.maker.split(frames), audible)

    @torch.no_grad()
    def encode(self, frames: Frames) -> Latents:
        """The posteriors of frames."""
        return self.model.encode(frames.x, frames.x_pitch)

    @torch.no_grad()
    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        """Frames (B, F) of timbres (B, L) and pitches (B, K)."""
        return self.model.decode(z, c)


def open_run(folder: Path) -> TrainedRun:
    """Open the best checkpoint of a run's folder, of a row of single frames; nothing in the folder is written.

    Raises:
        ValueError: the folder is no such run, or its settings or its notes cannot be read.
    """
    name, model, data = model_and_notes(folder)
    if not isinstance(model, PitchTimbreVAE) or not isinstance(data, NotePairs):
        raise ValueError(f"{folder}: holds a {type(model).__name__}, which reads no single frames; give a row as m7")
    data.setup()
    return TrainedRun(name, model, data)


def model_and_notes(folder: Path) -> tuple[str, NoteModule, NoteData]:
    """A run's name, the model of its best checkpoint, and its notes, which are not read yet.

    Raises:
        ValueError: the folder is no run of a row, or its settings cannot be read.
    """
    checkpoint, settings = folder / "checkpoints" / "best.ckpt", folder / "config.yaml"
    for file in (checkpoint, settings):
        if not file.is_file():
            raise ValueError(f"{folder}: has no {file.relative_to(folder)}; give the folder of a finished run")
    model = load(checkpoint)
    if not isinstance(model, PitchTimbreVAE | WholeNoteModule):
        raise ValueError(f"{folder}: holds a {type(model).__name__}, which has no timbre; give a row of the table")
    missing = {"scale", "mel", "pitch_low_bands", "waveforms"} - set(model.data_settings)
    if missing:
        raise ValueError(f"{checkpoint}: does not say its {', '.join(sorted(missing))}; train the run again")
    return "/".join(folder.resolve().parts[-2:]), model, data_of(settings)


def data_of(settings: Path) -> NoteData:
    """The data module of a run's configuration, without pairs; only sources of this project are built."""
    for module in pkgutil.iter_modules(sources.__path__, f"{sources.__name__}."):
        import_module(module.name)  # a configuration names a source by its class only
    parser = ArgumentParser(exit_on_error=False)
    try:
        text = settings.read_text(encoding="utf-8")
        if _NOT_OF_A_RUN.search(text):
            raise ValueError("it has anchors or resolvers, which no run writes")
        content: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=True)
        data = content["data"]
        kind = {each.__name__: each for each in (NotePairs, NoteSequences)}[data.pop("class_path", "NotePairs")]
        parser.add_class_arguments(kind, "data")
        source = data["source"]["class_path"].rpartition(".")[2]
        if source not in (known := {kind.__name__: kind for kind in _subclasses(NoteSource)}):
            raise ValueError(f"data.source {source!r} is none of {', '.join(sorted(known))}")
        data["source"]["class_path"] = f"{known[source].__module__}.{source}"
        data["shifts"] |= {"pairs": "none", "continuous": False}
        found: NoteData = parser.instantiate(parser.parse_object({"data": data})).data
    except Exception as error:
        raise ValueError(f"{settings}: its data cannot be read ({' '.join(str(error).split())[:300]})") from error
    return found


def _subclasses(kind: type) -> list[type]:
    """All classes that inherit from ``kind`` and belong to this project."""
    children: list[type] = kind.__subclasses__()
    below = [each for child in children for each in (child, *_subclasses(child))]
    return [each for each in below if each.__module__.startswith(sources.__name__)]
