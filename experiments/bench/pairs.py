"""How many pairs a core makes in a second, and how far they are from resampling the whole note.

Every way gets notes in memory, the part of them that it needs, and the frames of the unshifted notes for nothing; what
it computes is the frame of the shifted note. Where a library shifts the samples, the frame is then cut, transformed and
brought to mel bands for the whole batch at once by torch, as quickly as here, so that only the shifting is compared;
the two ways marked "as written" do all of it as the libraries' documentation does.
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
from statistics import harmonic_mean
from types import ModuleType
from typing import Any, Literal

import librosa
import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from datamodules.mel import EPSILON, FrameScale, MelSettings
from datamodules.note_pairs import NotePairs, ShiftSettings
from datamodules.pitch_shift import context_reach, shifted_power
from datamodules.sources.embedded import EmbeddedNotes
from datamodules.waveforms import WaveformSettings, prepare_waveform
from experiments.bench.measure import (
    DisagreementError,
    Figure,
    Goal,
    Measured,
    OverLimitError,
    Spread,
    Way,
    bounded,
    interleaved,
    ratios,
    timed,
)

Samples = NDArray[np.float64]

RANGES = ((-12, 12), (-2, 2))
SPEED_GOAL, TABLE_GOAL = 400.0, 50_000.0
MEAN_GOAL, P999_GOAL, CENTS_GOAL = 0.001, 0.03, 1.0
BELOW_EDGE = 0.9
"""Errors are counted below this share of the band edge: the filters of resamplers differ above it."""
SAME = 3e-4
"""How far two ways of ours may be from one another on the [-1, 1] scale."""
WHOLE_S = 1.875
"""What the authors load of each note."""
BATCH = 256
LIMIT_S, LIMIT_GB, BOUNDED_NOTES = 4.0, 4.0, 16
TONES_HZ = (440.0, 1000.0, 2000.0, 3100.0, 5000.0)


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
        """What the frames are brought to [-1, 1] by."""
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


# Accuracy -------------------------------------------------------------------------------------------------------------


def errors(bench: Bench, found: Tensor, expected: Tensor, semitones: float) -> Tensor:
    """Absolute errors of frames (B, F) of one shift, in the bands below 0.9 of the band edge, flat."""
    edge = min(bench.mel.fmax_hz, bench.rate / 2 * 2 ** (semitones / 12))
    hz = librosa.mel_frequencies(n_mels=bench.mel.n_mels + 2, fmin=bench.mel.fmin_hz, fmax=bench.mel.fmax_hz)[1:-1]
    return (found.double() - expected).abs()[:, torch.from_numpy(hz < BELOW_EDGE * edge)].flatten()


def accuracy(bench: Bench, shifts: range, title: str = "pairs: accuracy") -> dict[int, tuple[float, float]]:
    """Mean and 99.9th percentile of our error against soxr VHQ of the whole note, for each shift.

    Raises:
        DisagreementError: the table does not hold what is made on the fly.
    """
    found = {}
    every = np.arange(len(bench.rows))
    for semitones in track(shifts, title, transient=True):
        drawn = torch.full((len(every),), semitones)
        ours, read = (data.pairs(torch.from_numpy(bench.rows), drawn).x_shifted for data in (bench.fly, bench.table))
        assert ours is not None
        assert read is not None
        if float((ours - read).abs().max()) > SAME:
            raise DisagreementError(f"pairs: the table's frames at {semitones:+d} are not those made on the fly")
        error = errors(bench, ours, reference(bench, every, drawn.double().numpy()), semitones)
        found[semitones] = float(error.mean()), float(error.quantile(0.999))
    return found


def error_of_way(bench: Bench, way: Callable[..., Tensor], shifts: range, n: int = 48) -> str:
    """Mean and 99.9th percentile of a way's error on some notes and shifts."""
    source = np.random.default_rng(0)
    which, drawn = source.integers(0, len(bench.rows), n), source.integers(shifts.start, shifts.stop, n).astype(float)
    found, expected = way(which, drawn), reference(bench, which, drawn)
    each = [errors(bench, found[i : i + 1], expected[i : i + 1], drawn[i]) for i in range(n)]
    return in_words(torch.cat(each))


def in_words(error: Tensor) -> str:
    """A mean and a 99.9th percentile."""
    return f"error {float(error.mean()):.1e}, p99.9 {float(error.quantile(0.999)):.1e}"


def cents_off(mel: MelSettings, rate: int, shifts: range) -> float:
    """How far the peaks of shifted tones are from 2^(delta / 12), at most, in cents.

    The main lobe of the Hann window is known, so two of its bins give the frequency between them exactly.
    """
    reach = context_reach(mel.n_fft, shifts.stop - 1)
    t, worst = np.arange(-reach, reach + 1) / rate, 0.0
    for hz in TONES_HZ:
        tone = torch.from_numpy(np.sin(2 * pi * hz * t)).float().repeat(len(shifts), 1)
        powers = shifted_power(tone, torch.tensor(list(shifts)), mel.n_fft).double().numpy()
        for power, semitones in zip(powers, shifts, strict=True):
            target = hz * 2 ** (semitones / 12)
            if target > BELOW_EDGE * min(rate / 2, mel.fmax_hz):
                continue
            peak = int(power.argmax())
            lower = peak if power[peak + 1] > power[peak - 1] else peak - 1
            ratio = np.sqrt(power[lower + 1] / power[lower])
            found = (lower + (2 * ratio - 1) / (1 + ratio)) * rate / mel.n_fft
            worst = max(worst, float(abs(1200 * np.log2(found / target))))
    return worst


# Limits ---------------------------------------------------------------------------------------------------------------


def transform_limit(bench: Bench) -> Callable[[Tensor], Tensor]:
    """A window, an rfft, the power, a sparse mel product and a log of frames (B, n_fft), with nothing else."""
    window = torch.hann_window(bench.mel.n_fft)
    bank = mel_bank(bench)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = bank.to_sparse_csr()
        rows = torch.sparse_csr_tensor(rows.crow_indices().int(), rows.col_indices().int(), rows.values(), bank.shape)

    def frames(samples: Tensor) -> Tensor:
        spectrum = torch.view_as_real(torch.fft.rfft(samples * window))
        power = spectrum[..., 0].square().addcmul_(spectrum[..., 1], spectrum[..., 1])
        return torch.log((rows @ power.T).T + EPSILON)

    return frames


def check_limit(bench: Bench) -> None:
    """The limit computes the unshifted frames, so that it is a limit of the same thing.

    Raises:
        DisagreementError: it does not.
    """
    start = bench.mel.centre(bench.rate) - bench.mel.n_fft // 2
    windows = torch.from_numpy(bench.notes[:, start : start + bench.mel.n_fft]).float()
    found = bench.scale.normalise(transform_limit(bench)(windows))
    expected = bench.fly.pairs(torch.from_numpy(bench.rows), torch.zeros(len(bench.rows), dtype=torch.long)).x
    if float((found - expected).abs().mean()) > SAME:  # single bands of silence are float32's rounding noise
        raise DisagreementError("pairs: the limit's frames are not the unshifted frames")


# The part -------------------------------------------------------------------------------------------------------------


def measure(cache_dir: Path, quick: bool = False) -> Measured:
    """Pairs a core-second, for shifts of an octave and for the default ones."""
    warnings.filterwarnings("ignore", message=".*n_fft=.* is too large.*")
    parts = [
        _measure_range(make_bench(*limits, cache_dir, 40 if quick else 200), 2 if quick else 6) for limits in RANGES
    ]
    return Measured(
        [figure for part in parts for figure in part.figures],
        [goal for part in parts for goal in part.goals],
        {name: value for part in parts for name, value in part.details.items()},
    )


def _measure_range(bench: Bench, rounds: int) -> Measured:
    lowest, highest = bench.fly.shifts.lowest, bench.fly.shifts.highest
    shifts, name = range(lowest, highest + 1), f"{lowest}..{highest}"
    check_limit(bench)
    each = accuracy(bench, shifts, f"pairs: accuracy {name}")
    cents = cents_off(bench.mel, bench.rate, shifts)
    today = shifters(bench)
    checks = {way: error_of_way(bench, frames, shifts) for way, frames in today.items()}
    other = [shift for shift in np.unique(np.linspace(lowest, highest, 6).round().astype(int)).tolist() if shift]
    heavy = {way: BoundedWay(bench, shift, other) for way, shift in exploding(bench.rate).items()}
    worst = max(mean for mean, _ in each.values()), max(tail for _, tail in each.values())
    ours = f"error {worst[0]:.1e}, p99.9 {worst[1]:.1e}"
    checks |= {"ours, on the fly": ours, "ours, from the table": ours}

    rates = interleaved({**_ways(bench, today), **heavy}, rounds, f"pairs: speed {name}")
    base, what = rates["librosa pitch_shift"], f"pairs a core-second, shifts {name}"
    notes = {way: _over(bounded_way) for way, bounded_way in heavy.items()}
    checks |= {way: in_words(torch.cat(w.errors)) for way, w in heavy.items() if w.errors}
    figures = []
    for way, values in rates.items():
        role: Literal["ours", "today", "limit"] = (
            "ours" if way.startswith("ours") else "limit" if way.startswith("limit") else "today"
        )
        value, ratio = Spread.of(values), None if values is base else ratios(values, base)
        if way in heavy:  # each round had a shift of its own, with as many notes
            value = Spread(harmonic_mean(values), min(values), max(values))
            ratio = Spread.of([value.median / Spread.of(base).median])
        figures.append(Figure("pairs", what, way, role, value, ratio, checks.get(way, ""), notes.get(way, "")))
    goals = _goals(rates, name)
    goals += [
        Goal("pairs", f"mean error of the worst shift, {name}", worst[0], MEAN_GOAL, False),
        Goal("pairs", f"99.9th percentile of the worst shift, {name}", worst[1], P999_GOAL, False),
        Goal("pairs", f"tones off 2^(delta / 12), cents, {name}", cents, CENTS_GOAL, False),
    ]
    per_shift = {f"{shift:+d}": {"mean": mean, "p999": tail} for shift, (mean, tail) in each.items()}
    return Measured(figures, goals, {name: {"rates": rates, "error_by_shift": per_shift, "tones_cents": cents}})


def _goals(rates: dict[str, list[float]], name: str) -> list[Goal]:
    goals = []
    for base in ("librosa pitch_shift", "librosa pitch_shift, whole note as written"):
        for way, wanted in (("ours, on the fly", SPEED_GOAL), ("ours, from the table", TABLE_GOAL)):
            words = f"{way}: so many times {base}, {name}"
            goals.append(Goal("pairs", words, ratios(rates[way], rates[base]).median, wanted, True))
    return goals


def _over(way: BoundedWay) -> str:
    """Which shifts exceeded the limits; the rate is then an upper bound."""
    over = "; ".join(f"{shift:+d}: {limit}" for shift, limit in way.over.items())
    return over and f"at most; {over}"


def _ways(bench: Bench, today: dict[str, Callable[..., Tensor]]) -> dict[str, Way]:
    """The ways that run in this process."""
    source = np.random.default_rng(1)
    lowest, highest = bench.fly.shifts.lowest, bench.fly.shifts.highest
    draws = torch.Generator().manual_seed(1)

    def others(frames: Callable[..., Tensor]) -> Way:
        def few() -> int:
            which = source.integers(0, len(bench.rows), 16)
            return len(frames(which, source.integers(lowest, highest + 1, 16).astype(float)))

        return timed(few)

    def drawn() -> tuple[Tensor, Tensor]:
        indices = torch.randint(0, len(bench.fly.notes), (BATCH,), generator=draws)
        return indices, torch.randint(lowest, highest + 1, (BATCH,), generator=draws)

    def read(data: NotePairs, batch: tuple[Tensor, Tensor]) -> Way:
        return timed(lambda: len(data.pairs(*batch).x))

    batch, between = drawn(), lowest + (highest - lowest) * torch.rand(BATCH, generator=draws)
    windows, limit = torch.randn(BATCH, bench.mel.n_fft), transform_limit(bench)
    frames = torch.randn(len(bench.fly.notes) * (highest - lowest + 1), bench.mel.n_mels)
    rows = torch.randint(0, len(frames), (2, BATCH), generator=draws)

    def both_rows() -> int:
        for row in rows:
            frames.index_select(0, row)
        return BATCH

    return {
        **{way: others(shift) for way, shift in today.items()},
        "ours, on the fly": read(bench.fly, batch),
        "ours, on the fly, real intervals": read(bench.fly, (batch[0], between)),
        "ours, from the table": read(bench.table, batch),
        "limit on the fly: rfft, mel, log": timed(lambda: len(limit(windows))),
        "limit of the table: index_select": timed(both_rows),
    }
