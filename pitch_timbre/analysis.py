"""A recording of one note to its pitch, timbre and course of loudness."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pitch_timbre.audio import SILENCE_PEAK, Samples, Sound
from pitch_timbre.note_names import hertz, note_name

if TYPE_CHECKING:
    from pitch_timbre.model import Encoded, Model

Status = Literal["ok", "uncertain", "silent", "short", "unreadable"]

BLOCK_S = 0.01
"""Of the course of loudness."""
ONSET_DB, END_DB = -40.0, -40.0
"""A note lasts from the first to the last block within so much of the loudest."""
SHORTEST_S = 0.05
HOP_S = 0.05
"""Between the frames that are read."""
MOST_FRAMES = 100
"""Frames of a long note lie further apart."""
LEAST_CONFIDENCE, LEAST_AGREEMENT, LEAST_HARMONIC = 0.5, 0.6, 0.75
"""A note below one of them is uncertain. Of 500 recordings of single notes 1 % lie below the last and no other; of
steady chords of two notes 85 %, of three 98 %."""


@dataclass(frozen=True, eq=False)
class Frames:
    """What the model says of N instants of a note.

    Attributes:
        time_s: (N,) seconds into the recording.
        midi: (N,) the most probable pitch of each.
        confidence: (N,) its probability.
        timbre: (N, L).
        level: (N,) how loud the sound is around the instant.
    """

    time_s: NDArray[np.float64]
    midi: NDArray[np.int64]
    confidence: Samples
    timbre: Samples
    level: Samples


@dataclass(frozen=True, eq=False)
class Analysis:
    """What a recording holds.

    Attributes:
        status: ``ok``; ``uncertain``: the frames differ, none is sure, or much of the sound is of no harmonic of the
            note (a chord, speech, noise); ``silent``; ``short``: less than 0.05 s of sound; ``unreadable``.
        midi: the MIDI pitch; ``None`` where there is no note.
        cents: how far the fundamental lies from it.
        confidence: the probability of the pitch, averaged over the frames, louder ones counting more.
        agreement: share of the frames, likewise, that have this pitch.
        harmonic: share of the sound's power that lies at harmonics of the note.
        onset_s: where the note begins, seconds.
        duration_s: how long it lasts.
        timbre: (L,) the mean of the frames' timbres, likewise.
        loudness: (T,) course of its loudness (root mean square) from the onset on, a value each 0.01 s.
        frames: what it is made of.
        remark: what the owner of the recording should know; empty for nothing.
    """

    status: Status
    midi: int | None
    cents: float
    confidence: float
    agreement: float
    harmonic: float
    onset_s: float
    duration_s: float
    timbre: Samples
    loudness: Samples = field(repr=False)
    frames: Frames = field(repr=False)
    remark: str = ""

    @property
    def note(self) -> str:
        """The name of the pitch, such as C#4; empty where there is no note."""
        return "" if self.midi is None else note_name(self.midi)

    @property
    def pitch(self) -> float:
        """The MIDI pitch with its fraction; NaN where there is no note."""
        return float("nan") if self.midi is None else self.midi + self.cents / 100

    @classmethod
    def without_note(cls, status: Status, n_latent: int, remark: str = "") -> Analysis:
        """Of a recording that holds no note."""
        none = np.zeros(0, dtype=np.float32)
        frames = Frames(np.zeros(0), np.zeros(0, dtype=np.int64), none, np.zeros((0, n_latent), np.float32), none)
        nan = float("nan")
        unknown = np.full(n_latent, np.nan, dtype=np.float32)
        return cls(status, None, nan, nan, nan, nan, nan, nan, unknown, none, frames, remark)


def analyse(model: Model, sound: Sound) -> Analysis:
    """Say which note a sound holds.

    Args:
        model: what reads it.
        sound: at the model's rate.
    """
    n_latent = model.card.n_latent
    if np.abs(sound.samples).max(initial=0.0) < SILENCE_PEAK:
        return Analysis.without_note("silent" if len(sound.samples) else "short", n_latent, sound.remark)
    loudness = _loudness(sound.samples, sound.rate)
    first, last = _extent(loudness)
    duration_s = (last - first) * BLOCK_S
    if duration_s < SHORTEST_S:
        return Analysis.without_note("short", n_latent, sound.remark)
    start, end = (min(round(block * BLOCK_S * sound.rate), len(sound.samples)) for block in (first, last))
    instants = _instants(start, end, sound.rate)
    encoded = model.encode(sound, instants)
    probability = _softmax(encoded.logits)
    weight = np.square(encoded.level, dtype=np.float64)
    weight /= weight.sum()
    posterior = weight @ probability
    category = int(posterior.argmax())
    agrees = probability.argmax(1) == category
    lowest = model.card.midi_of_category_0
    semitones, harmonic = _refine(sound, instants[_loudest(weight * agrees)], lowest + category)
    midi = round(semitones) if abs(semitones - lowest - category) > 0.5 else lowest + category
    confidence, agreement = float(posterior[category]), float(weight @ agrees)
    sure = confidence >= LEAST_CONFIDENCE and agreement >= LEAST_AGREEMENT and harmonic >= LEAST_HARMONIC
    return Analysis(
        status="ok" if sure else "uncertain",
        midi=midi,
        cents=100 * (semitones - midi),
        confidence=confidence,
        agreement=agreement,
        harmonic=harmonic,
        onset_s=first * BLOCK_S,
        duration_s=duration_s,
        timbre=np.asarray(weight @ encoded.timbre, dtype=np.float32),
        loudness=loudness[first:last],
        frames=_frames(encoded, probability, instants / sound.rate, lowest),
        remark=sound.remark,
    )


def _frames(encoded: Encoded, probability: Samples, time_s: NDArray[np.float64], lowest: int) -> Frames:
    return Frames(time_s, probability.argmax(1) + lowest, probability.max(1), encoded.timbre, encoded.level)


def _softmax(logits: Samples) -> Samples:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


def _loudness(samples: Samples, rate: int) -> Samples:
    """(blocks,) root mean square of each block."""
    starts = np.round(np.arange(0, len(samples), BLOCK_S * rate)).astype(int)
    starts = starts[starts < len(samples)]
    counts = np.diff(starts, append=len(samples))
    return np.sqrt(np.add.reduceat(np.square(samples), starts) / counts).astype(np.float32)


def _extent(loudness: Samples) -> tuple[int, int]:
    """The first block of the note, and the one after its last."""
    peak = loudness.max()
    loud = np.flatnonzero(loudness >= peak * 10 ** (ONSET_DB / 20))
    audible = np.flatnonzero(loudness >= peak * 10 ** (END_DB / 20))
    return int(loud[0]), int(audible[-1]) + 1


def _instants(start: int, end: int, rate: int) -> NDArray[np.int64]:
    """Where a note from ``start`` to ``end`` is read: evenly, without its attack where it is long enough."""
    margin = min(round(HOP_S * rate), (end - start) // 2)
    span = end - start - 2 * margin
    count = min(MOST_FRAMES, 1 + span // round(HOP_S * rate))
    return (
        np.linspace(start + margin, end - margin, count).astype(np.int64)
        if count > 1
        else np.array([(start + end) // 2])
    )


# The fundamental ------------------------------------------------------------------------------------------------------

N_FFT = 4096
ZOOM = 2
"""The FFT is so much longer than its window."""
REFINED_FRAMES = 8
N_HARMONICS = 8
"""The fundamental is taken from so many of the first harmonics."""
REACH_SEMITONES = 0.9
"""How far a harmonic is looked for from where the model's semitone has it."""


def _loudest(weight: NDArray[np.floating]) -> NDArray[np.int64]:
    """The frames that the fundamental is taken from."""
    return np.argsort(-weight, kind="stable")[: min(REFINED_FRAMES, max(1, np.count_nonzero(weight)))]


def _refine(sound: Sound, instants: NDArray[np.int64], midi: int) -> tuple[float, float]:
    """The fundamental near a pitch, from peaks of the spectrum at its harmonics.

    Args:
        sound: the recording.
        instants: (n,) where it is read, in samples.
        midi: the pitch that the model says.

    Returns:
        its MIDI pitch with its fraction: a median over harmonics and instants, weighted by their magnitude and number
        (a peak's error in Hz counts less the higher the harmonic); and the share of the power at harmonics.
    """
    half, bin_hz = N_FFT // 2, sound.rate / N_FFT / ZOOM
    padded = np.pad(sound.samples, half)
    windows = np.stack([padded[i : i + N_FFT] for i in instants]) * np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    magnitude = np.abs(np.fft.rfft(windows, N_FFT * ZOOM))
    hz = hertz(midi)
    found, weights = [], []
    for harmonic in range(1, N_HARMONICS + 1):
        low, high = (round(harmonic * hz * 2 ** (s * REACH_SEMITONES / 12) / bin_hz) for s in (-1, 1))
        # Beyond half of the fundamental, a peak may be of the next harmonic.
        reach = int(0.5 * hz / bin_hz)
        centre = round(harmonic * hz / bin_hz)
        low, high = max(low, centre - reach, 1), min(high, centre + reach)
        if high >= magnitude.shape[1] - 1:
            break
        part = magnitude[:, low : high + 1]
        peak = low + part.argmax(1)
        inner = (peak > low) & (peak < high)  # a maximum at the edge is a slope, no peak
        rows = np.flatnonzero(inner)
        a, b, c = (np.log(magnitude[rows, peak[rows] + step] + 1e-12) for step in (-1, 0, 1))
        offset = 0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-9)
        found.append((peak[rows] + np.clip(offset, -0.5, 0.5)) * bin_hz / harmonic)
        weights.append(magnitude[rows, peak[rows]] * harmonic)
    if not found or not sum(map(len, found)):
        return float(midi), 0.0
    value, weight = np.concatenate(found), np.concatenate(weights)
    order = np.argsort(value)
    cumulated = np.cumsum(weight[order])
    middle = value[order][np.searchsorted(cumulated, cumulated[-1] / 2)]
    return float(69 + 12 * np.log2(middle / 440)), _harmonic_share(magnitude, float(middle) / bin_hz)


def _harmonic_share(magnitude: NDArray[np.floating], fundamental: float) -> float:
    """The share of the power (n, bins) that lies within a main lobe of a multiple of ``fundamental``, in bins."""
    power = np.square(magnitude).sum(0)
    bins = np.arange(len(power))
    nearest = np.maximum(1, np.round(bins / fundamental))
    # The lobe of the window, and the spread of stiff strings and of vibrato, which grows with the frequency.
    lobe = 2 * ZOOM + 0.02 * bins
    return float(power[np.abs(bins - nearest * fundamental) <= lobe].sum() / max(power.sum(), 1e-30))


# As rows --------------------------------------------------------------------------------------------------------------


def row(file: Path | str, analysis: Analysis) -> dict[str, Any]:
    """An analysis as a row of a table."""
    a = analysis
    values = {
        "file": str(file),
        "status": a.status,
        "midi": a.midi,
        "note": a.note,
        "cents": _rounded(a.cents, 1),
        "confidence": _rounded(a.confidence, 3),
        "agreement": _rounded(a.agreement, 3),
        "harmonic": _rounded(a.harmonic, 3),
        "onset_s": _rounded(a.onset_s, 3),
        "duration_s": _rounded(a.duration_s, 3),
    }
    values |= {f"timbre_{i + 1}": _rounded(value, 4) for i, value in enumerate(a.timbre)}
    return values | {"remark": a.remark}


def frame_rows(file: Path | str, analysis: Analysis) -> list[dict[str, Any]]:
    """An analysis as a row a frame; one row where there is no frame."""
    frames = analysis.frames
    head = {"file": str(file), "status": analysis.status}
    if not len(frames.midi):
        empty = dict.fromkeys(("time_s", "midi", "note", "confidence", "level"))
        return [head | empty | {f"timbre_{i + 1}": None for i in range(len(analysis.timbre))}]
    return [
        head
        | {
            "time_s": _rounded(frames.time_s[i], 3),
            "midi": int(frames.midi[i]),
            "note": note_name(int(frames.midi[i])),
            "confidence": _rounded(frames.confidence[i], 3),
            "level": _rounded(frames.level[i], 5),
        }
        | {f"timbre_{j + 1}": _rounded(value, 4) for j, value in enumerate(frames.timbre[i])}
        for i in range(len(frames.midi))
    ]


def _rounded(value: float, digits: int) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None
