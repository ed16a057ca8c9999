"""`python -m experiments robustness --runs ...`: how runs read harder sounds of their scored notes.

Nothing is trained but linear readers of each run's clean training notes (of the instrument from z, the probe; of pitch
and instrument from frames, the judges of swaps) and, once, an encoder with instrument labels: the ceiling of the probe.
YIN reads the pitch of the same sounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from sklearn.pipeline import Pipeline

from datamodules.pitch_trackers import yin
from experiments.busy import busy
from experiments.labelled_encoder import NAME, LabelledEncoder
from experiments.trained_runs import Frames, Sounds, TrainedRun, open_run
from metrics import degradations
from metrics.category_mapping import mapped_correctly
from metrics.latent_probe import linear_reader

READ_S = 1.5
"""Seconds of each note that are read: the latest instant, and the window after it."""
INSTANTS_S = (0.05, 0.1, 0.5, 1.0)
SECOND_NOTE_DB = -10.0
SEED = 0
MEASURES = ("pitch", "instrument", "swap_pitch", "swap_instrument")
HEADER = {
    "pitch": "pitch read from the sound (categories mapped on clean training notes)",
    "instrument": "instrument read from z by a linear probe of clean training notes",
    "swap_pitch": "timbre of the sound decoded at another note's pitch: a linear judge of real frames finds that pitch",
    "swap_instrument": "the same swap: the judge finds the sound's instrument",
}


def degrade(rate: int, frame_s: float) -> dict[str, Callable[[Sounds], Sounds]]:
    """Each degradation by its name; ``frame_s`` is the instant of the frames, in seconds."""

    def with_second(sounds: Sounds) -> Sounds:
        order = np.random.default_rng(SEED).permutation(len(sounds))
        return degradations.mix(sounds, sounds[np.roll(order, 1)[np.argsort(order)]], SECOND_NOTE_DB)

    d = degradations
    return {
        "clean": lambda sounds: sounds,
        **{f"pink noise {snr} dB": partial(d.add_pink_noise, snr_db=snr, seed=SEED) for snr in (20, 10)},
        "reverberation 0.8 s": partial(d.add_reverberation, rate=rate, decay_s=0.8, seed=SEED),
        "telephone band": partial(d.limit_to_telephone, rate=rate),
        **{f"{cents:+d} cents": partial(d.detune, rate=rate, cents=cents) for cents in (-40, -20, 20, 40)},
        **{
            f"frame at {instant:g} s": partial(d.move_instant, rate=rate, instant_s=instant, frame_s=frame_s)
            for instant in INSTANTS_S
        },
        f"second note {SECOND_NOTE_DB:g} dB": with_second,
    }


@dataclass(frozen=True)
class Reader:
    """One run, and what reads its latents and its decoded frames.

    Attributes:
        run: the run.
        sounds: (n, T) of its scored notes.
        midi: (n,) their labels.
        instruments: (n,) their labels.
        known: categories and pitches of the clean training notes, for the mapping.
        probe: instrument from z.
        judges: pitch and instrument from frames.
    """

    run: TrainedRun
    sounds: Sounds
    midi: NDArray[np.int64]
    instruments: NDArray[np.str_]
    known: tuple[torch.Tensor, torch.Tensor]
    probe: Pipeline
    judges: tuple[Pipeline, Pipeline]

    @classmethod
    def fitted(cls, run: TrainedRun) -> Reader:
        """Fit the mapping, the probe and the judges on the clean training notes of a run."""
        notes, scored, training = run.data.notes, run.data.scored, run.data.parts.training
        midi, instruments = notes.midi.to_numpy(), notes.instrument.to_numpy(str)
        sounds = run.sounds(READ_S)
        frames = run.frames(sounds[training])
        latents = run.encode(frames)
        x = frames.x.numpy()
        known = latents.category, torch.from_numpy(midi[training])
        probe = linear_reader(latents.mu.numpy(), instruments[training])
        judges = linear_reader(x, midi[training]), linear_reader(x, instruments[training])
        return cls(run, sounds[scored], midi[scored], instruments[scored], known, probe, judges)

    def score(self, sounds: Sounds) -> dict[str, float]:
        """Per cent right of :data:`MEASURES`, for degraded sounds of the scored notes."""
        frames = self.run.frames(sounds)
        latents, clean = self.run.encode(frames), self.run.encode(self.run.frames(self.sounds))
        donors = np.random.default_rng(SEED).permutation(len(sounds))
        swapped = self.run.decode(latents.mu, clean.c[torch.from_numpy(donors)]).numpy()
        right = (
            mapped_correctly(latents.category, torch.from_numpy(self.midi), *self.known),
            self.probe.predict(latents.mu.numpy()) == self.instruments,
            self.judges[0].predict(swapped) == self.midi[donors],
            self.judges[1].predict(swapped) == self.instruments,
        )
        return {name: 100 * float(np.mean(each & frames.audible)) for name, each in zip(MEASURES, right, strict=True)}

    def ceiling(self) -> dict[str, float]:
        """What the judges reach on the real frames of the scored notes, in per cent."""
        x = self.run.frames(self.sounds).x.numpy()
        pitch, instrument = (judge.predict(x) for judge in self.judges)
        right = {"swap_pitch": pitch == self.midi, "swap_instrument": instrument == self.instruments}
        return {name: 100 * float(np.mean(each)) for name, each in right.items()}


@dataclass(frozen=True)
class Ceiling:
    """A code that was learned with instrument labels, and the instrument read from it as from z."""

    encoder: LabelledEncoder
    probe: Pipeline

    @classmethod
    def fitted(cls, run: TrainedRun) -> Ceiling:
        """Learn from the clean training notes of a run."""
        training = run.data.parts.training
        instruments = run.data.notes.instrument.to_numpy(str)[training]
        x = run.frames(run.sounds(READ_S)[training]).x.numpy()
        encoder = LabelledEncoder.fitted(x, instruments, run.model.n_latent)
        return cls(encoder, linear_reader(encoder(x), instruments))

    def instrument(self, frames: Frames, instruments: NDArray[np.str_]) -> float:
        """Per cent of sounds whose instrument is read right."""
        read = self.probe.predict(self.encoder(frames.x.numpy())) == instruments
        return 100 * float(np.mean(read & frames.audible))


def yin_accuracy(sounds: Sounds, rate: int, frame_s: float, midi: NDArray[np.int64]) -> float:
    """Per cent of sounds (N, T) whose pitch YIN rounds to the label, in one window at the instant of the model's."""
    return 100 * float(np.mean(np.round(yin(sounds, rate, round(frame_s * rate))) == midi))


def measure(folders: Sequence[Path]) -> pd.DataFrame:
    """Score every run under every degradation: a row for each, with its four measures and YIN's pitch.

    On the sounds of the first run, the ceiling of the instrument too.
    """
    rows = []
    for folder in folders:
        with busy(f"reading the notes of {folder}"):
            reader = Reader.fitted(open_run(folder))
        run = reader.run
        frame_s = run.maker.centre / run.rate
        rows.append({"run": run.name, "sounds": "real frames (ceiling)", **reader.ceiling()})
        ceiling = None if len(rows) > 1 else Ceiling.fitted(run)
        ways = degrade(run.rate, frame_s)
        for name, way in track(ways.items(), f"{run.name}: {len(ways)} degradations", console=Console(stderr=True)):
            sounds = way(reader.sounds)
            heard = yin_accuracy(sounds, run.rate, frame_s, reader.midi)
            rows.append({"run": run.name, "sounds": name, **reader.score(sounds), "yin_pitch": heard})
            if ceiling:
                found = ceiling.instrument(run.frames(sounds), reader.instruments)
                rows.append({"run": NAME, "sounds": name, "instrument": found})
    return pd.DataFrame(rows)


def to_markdown(scores: pd.DataFrame) -> str:
    """One table for each measure: sounds by runs, in per cent."""
    lines = ["# Robustness", "", "Per cent of the scored notes; the models are those of the best checkpoints."]
    for name, meaning in HEADER.items():
        table = scores.pivot(index="sounds", columns="run", values=name).reindex(scores.sounds.unique())
        if name == "pitch":
            table["YIN"] = scores.groupby("sounds").yin_pitch.mean()
        table = table.dropna(how="all").dropna(axis=1, how="all").round(1)
        lines += ["", f"## {name}: {meaning}", "", f"| sounds | {' | '.join(table.columns)} |"]
        lines += ["|---" * (1 + len(table.columns)) + "|"]
        lines += [f"| {sound} | {' | '.join(f'{value:.1f}' for value in row)} |" for sound, *row in table.itertuples()]
    return "\n".join(lines) + "\n"
