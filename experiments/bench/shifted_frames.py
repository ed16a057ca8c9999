"""Frames of shifted notes by the libraries that people use, beside those of this project.

Each way gets notes in memory and returns the frames of the shifted notes. Where a library shifts the samples, the frame
is then cut, transformed and converted to mel bands for the whole batch by torch, as quickly as here, so that only the
shifting is compared; the ways marked "as written" do all of it as the libraries' documentation does.
"""

from __future__ import annotations

import importlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import floor, pi
from pathlib import Path
from types import ModuleType
from typing import Any

import librosa
import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.epoch_sampler import ShiftSettings
from datamodules.mel import EPSILON, FrameScale, MelSettings
from datamodules.note_pairs import NotePairs
from datamodules.sources.embedded import EmbeddedNotes
from datamodules.waveforms import WaveformSettings, prepare_waveform
from experiments.bench.measure import OverLimitError, bounded

Samples = NDArray[np.float64]

BELOW_EDGE = 0.9
"""Errors are counted below this share of the band edge: the filters of resamplers differ above it."""
WHOLE_S = 1.875
"""What the authors load of each note."""
LIMIT_S, LIMIT_GB, BOUNDED_NOTES = 4.0, 4.0, 16


@dataclass(frozen=True)
class Bench:
    """The notes and the settings that every way works on.

    Attributes:
        fly: ours, pairs made on the fly.
        table: ours, pairs read from the table.
        rows: (M,) the rows of the note table that the other ways work on.
        whole: (M, T) their samples, ``WHOLE_S`` long, at the level that ours have.
        kept: how many samples of each ours keep.
    """

    fly: NotePairs
    table: NotePairs
    rows: NDArray[np.int64]
    whole: Samples
    kept: int

    @property
    def mel(self) -> MelSettings:
        """The settings of the frames."""
        return self.fly.mel

    @property
    def rate(self) -> int:
        """Samples a second."""
        return self.fly.waveform_settings.sample_rate

    @property
    def scale(self) -> FrameScale:
        """The scale that maps the frames to [-1, 1]."""
        assert self.fly.scale is not None
        return self.fly.scale

    @property
    def notes(self) -> Samples:
        """(M, kept) the part of the notes that ours keep."""
        return self.whole[:, : self.kept]


def make_bench(lowest: int, highest: int, cache_dir: Path, n_checked: int = 200, max_notes: int | None = None) -> Bench:
    """Set up the embedded notes for shifts from ``lowest`` to ``highest``."""
    source = EmbeddedNotes()
    fly, table = (
        NotePairs(source, shifts=ShiftSettings(lowest, highest, pairs), cache_dir=cache_dir, max_notes=max_notes)
        for pairs in ("on_the_fly", "table")
    )
    fly.setup()
    table.setup()
    rows = np.linspace(0, len(fly.notes) - 1, min(n_checked, len(fly.notes))).astype(np.int64)
    plain, kept = WaveformSettings(duration_s=WHOLE_S, normalise="none"), fly.waveform_settings.length
    whole = np.stack(
        [
            prepare_waveform(*source.read_audio(None, note, WHOLE_S + 0.05), plain).astype(np.float64)
            for note in fly.notes.iloc[rows].itertuples()
        ]
    )
    level = whole[:, :kept]
    whole = (whole - level.mean(1, keepdims=True)) / level.std(1, keepdims=True)
    return Bench(fly, table, rows, whole, kept)


# Frames ---------------------------------------------------------------------------------------------------------------


def cut_frames(bench: Bench, notes: list[Samples], instants: NDArray[np.float64]) -> Tensor:
    """The frames (B, F) of notes at instants in samples, which may lie between two of them."""
    n_fft = bench.mel.n_fft
    cut = np.empty((len(notes), n_fft), dtype=np.float64)
    for row, (note, instant) in enumerate(zip(notes, instants, strict=True)):
        first = floor(instant) - n_fft // 2 + 1
        t = np.arange(first, first + n_fft) - instant
        cut[row] = note[first : first + n_fft] * (0.5 + 0.5 * np.cos(2 * pi * t / n_fft))
    return to_frames(bench, torch.from_numpy(cut))


def to_frames(bench: Bench, windowed: Tensor) -> Tensor:
    """Windowed samples (B, n_fft) to frames (B, F) in [-1, 1], in their own precision."""
    power = torch.view_as_real(torch.fft.rfft(windowed)).square().sum(-1)
    return bench.scale.normalise(torch.log(power @ mel_bank(bench).to(power).T + EPSILON))


def mel_bank(bench: Bench) -> Tensor:
    """The filter bank of librosa, (F, n_fft // 2 + 1)."""
    mel = bench.mel
    found = librosa.filters.mel(sr=bench.rate, n_fft=mel.n_fft, n_mels=mel.n_mels, fmin=mel.fmin_hz, fmax=mel.fmax_hz)
    return torch.from_numpy(found)


def reference(bench: Bench, which: NDArray[np.int64], semitones: NDArray[np.float64]) -> Tensor:
    """The frames (B, F) of whole notes resampled by soxr VHQ, read at the same instant, in float64."""
    return resampled(bench, which, semitones, partial(soxr_vhq, bench.rate))


def soxr_vhq(rate: int, note: Samples, ratio: float) -> Samples:
    """A note played ``ratio`` times as fast, resampled as well as soxr can."""
    return np.asarray(soxr.resample(note, rate * ratio, rate, quality="VHQ"))


def linear(note: Samples, ratio: float) -> Samples:
    """A note played ``ratio`` times as fast, by linear interpolation as the paper's authors do."""
    return np.interp(np.arange(0, len(note) - 1, ratio), np.arange(len(note)), note)


def resampled(
    bench: Bench,
    which: NDArray[np.int64],
    semitones: NDArray[np.float64],
    play: Callable[[Samples, float], Samples],
) -> Tensor:
    """The frames of notes that ``play`` makes shorter or longer."""
    speeds = 2 ** (semitones / 12)
    played = [play(bench.notes[note], speed) for note, speed in zip(which, speeds, strict=True)]
    return cut_frames(bench, played, bench.mel.centre(bench.rate) / speeds)


def stretched(
    bench: Bench, which: NDArray[np.int64], semitones: NDArray[np.float64], shift: Callable[[Samples, float], Samples]
) -> Tensor:
    """The frames of notes that ``shift`` leaves as long as they are."""
    shifted = [shift(bench.notes[note].astype(np.float32), s) for note, s in zip(which, semitones, strict=True)]
    return cut_frames(bench, shifted, np.full(len(which), bench.mel.centre(bench.rate), dtype=np.float64))


def as_written(
    bench: Bench,
    which: NDArray[np.int64],
    semitones: NDArray[np.float64],
    shift: Callable[[Samples, float], Samples],
    lasts: bool,
) -> Tensor:
    """Shift the whole note, take its mel spectrogram, read the frame nearest to the instant."""
    mel, frames = bench.mel, []
    for note, s in zip(which, semitones, strict=True):
        bands = librosa.feature.melspectrogram(
            y=shift(bench.whole[note].astype(np.float32), s),
            sr=bench.rate,
            n_fft=mel.n_fft,
            hop_length=mel.hop_length,
            n_mels=mel.n_mels,
            fmin=mel.fmin_hz,
            fmax=mel.fmax_hz,
        )
        instant = bench.mel.centre(bench.rate) / (1 if lasts else 2 ** (s / 12))
        frames.append(bands[:, round(instant / mel.hop_length)])
    return bench.scale.normalise(torch.log(torch.from_numpy(np.stack(frames)).double() + EPSILON))


# What people use ------------------------------------------------------------------------------------------------------


def shifters(bench: Bench) -> dict[str, Callable[[NDArray[np.int64], NDArray[np.float64]], Tensor]]:
    """The ways of today that fit in a second, by name: notes and shifts to frames. Those not installed are absent."""
    rate = bench.rate

    def librosa_shift(note: Samples, s: float) -> Samples:
        return np.asarray(librosa.effects.pitch_shift(note, sr=rate, n_steps=s))

    ways: dict[str, Any] = {
        "librosa pitch_shift": partial(stretched, bench, shift=librosa_shift),
        "librosa pitch_shift, whole note as written": partial(as_written, bench, shift=librosa_shift, lasts=True),
        "linear resampling": partial(resampled, bench, play=linear),
        "linear resampling, whole note as written": partial(
            as_written, bench, shift=lambda note, s: linear(note, 2 ** (s / 12)), lasts=False
        ),
        "soxr VHQ resampling": partial(reference, bench),
    }
    if audiomentations := installed("audiomentations"):

        def augment(note: Samples, s: float) -> Samples:
            transform = audiomentations.PitchShift(min_semitones=s, max_semitones=s, p=1.0)
            return np.asarray(transform(note, sample_rate=rate))

        ways["audiomentations PitchShift"] = partial(stretched, bench, shift=augment)
    if pedalboard := installed("pedalboard"):

        def board(note: Samples, s: float) -> Samples:
            return np.asarray(pedalboard.PitchShift(semitones=float(s))(note, rate))

        ways["pedalboard PitchShift"] = partial(stretched, bench, shift=board)
    return ways


def exploding(rate: int) -> dict[str, Callable[[Tensor, int], Tensor]]:
    """The batched ways whose time and memory explode for some shifts, by name: (B, T) notes and one shift."""
    ways: dict[str, Callable[[Tensor, int], Tensor]] = {}
    if torchaudio := installed("torchaudio.functional"):
        ways["torchaudio pitch_shift"] = lambda notes, s: torchaudio.pitch_shift(notes, rate, s)
    if torch_pitch_shift := installed("torch_pitch_shift"):
        ways["torch-pitch-shift"] = lambda notes, s: torch_pitch_shift.pitch_shift(notes[:, None], s, rate)[:, 0]
    return ways


def installed(name: str) -> ModuleType | None:
    """A library of the extra ``bench``, or ``None`` where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError:
        return None


class BoundedWay:
    """A way of the exploding kind: one shift of the range a round, for a batch of notes, in a fork of its own.

    What exceeds the limits counts as if it had ended there, so that the rate is an upper bound.

    Attributes:
        over: shift -> the limit that it exceeded.
        errors: of the frames that it made, on the [-1, 1] scale.
    """

    def __init__(self, bench: Bench, shift: Callable[[Tensor, int], Tensor], shifts: list[int]) -> None:
        self.bench, self.shift, self.shifts = bench, shift, shifts
        self.which = np.linspace(0, len(bench.rows) - 1, BOUNDED_NOTES).astype(np.int64)
        self.over: dict[int, str] = {}
        self.errors: list[Tensor] = []

    def __call__(self, turn: int) -> tuple[int, float]:
        """One round."""
        semitones = self.shifts[turn % len(self.shifts)]
        notes = torch.from_numpy(self.bench.notes[self.which]).float()

        def work() -> tuple[Samples, float]:
            began = time.process_time()
            shifted = self.shift(notes, semitones)
            return shifted.numpy(), time.process_time() - began

        began = time.monotonic()
        try:
            shifted, spent = bounded(work, LIMIT_S, LIMIT_GB)
        except OverLimitError as error:
            self.over[semitones] = str(error)
            return len(notes), time.monotonic() - began
        centre = np.full(len(notes), self.bench.mel.centre(self.bench.rate), dtype=np.float64)
        expected = reference(self.bench, self.which, np.full(len(notes), semitones, dtype=np.float64))
        self.errors.append(errors(self.bench, cut_frames(self.bench, list(shifted), centre), expected, semitones))
        return len(notes), spent


def errors(bench: Bench, found: Tensor, expected: Tensor, semitones: float) -> Tensor:
    """Absolute errors of frames (B, F) of one shift, in the bands below 0.9 of the band edge, flat."""
    edge = min(bench.mel.fmax_hz, bench.rate / 2 * 2 ** (semitones / 12))
    hz = librosa.mel_frequencies(n_mels=bench.mel.n_mels + 2, fmin=bench.mel.fmin_hz, fmax=bench.mel.fmax_hz)[1:-1]
    return (found.double() - expected).abs()[:, torch.from_numpy(hz < BELOW_EDGE * edge)].flatten()
