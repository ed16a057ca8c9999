"""How many pairs a core makes in a second, and how far they are from resampling the whole note.

Every way gets the part of the notes that it needs in memory, and the frames of the unshifted notes free of charge; it
computes the frame of the shifted note (see :mod:`experiments.bench.shifted_frames`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import pi
from pathlib import Path
from statistics import harmonic_mean
from typing import Literal

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from datamodules.mel import EPSILON, MelSettings
from datamodules.note_pairs import NotePairs
from datamodules.pitch_shift import context_reach, shifted_power
from experiments.bench.measure import (
    DisagreementError,
    Figure,
    Goal,
    Measured,
    Spread,
    Way,
    interleaved,
    ratios,
    timed,
)
from experiments.bench.shifted_frames import (
    BELOW_EDGE,
    Bench,
    BoundedWay,
    errors,
    exploding,
    make_bench,
    mel_bank,
    reference,
    shifters,
)

RANGES = ((-12, 12), (-2, 2))
SPEED_GOAL, TABLE_GOAL = 400.0, 50_000.0
MEAN_GOAL, P999_GOAL, CENTS_GOAL = 0.001, 0.03, 1.0
SAME = 3e-4
"""The largest difference between two of our own ways, on the [-1, 1] scale."""
BATCH = 256
TONES_HZ = (440.0, 1000.0, 2000.0, 3100.0, 5000.0)


# Accuracy -------------------------------------------------------------------------------------------------------------


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
