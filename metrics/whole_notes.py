"""Measures of whole notes: which notes swap their timbres, courses in time, and errors of frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SWAP_SEMITONES = 3
"""How far apart the pitches of two notes may be that swap their timbres: no timbre is asked for beyond its range."""

PARTS = 8
"""Equal parts of a note, whose means are part of a course's summary."""

LAGS = (1, 3, 6)
"""Frames between the values that a course's autocorrelations compare; 20, 60 and 120 ms at the default hop."""


def swap_pairs(
    midi: ArrayLike, instruments: ArrayLike, count: int, semitones: int = SWAP_SEMITONES, seed: int = 0
) -> Integers:
    """Pairs of notes of different instruments and of the same range of pitch.

    Every note that has such a partner gives its pitch equally often (but for one), each time to the timbre of a random
    one of its partners. The same notes and seed give the same pairs.

    Args:
        midi: (N,) MIDI pitches.
        instruments: (N,) labels.
        count: P, how many pairs are wanted.
        semitones: how far apart the two pitches may be.
        seed: of what is random.

    Returns:
        (2, P): the notes whose timbre is taken, and the notes that give all else.

    Raises:
        ValueError: no two notes make a pair.
    """
    pitch, label, generator = np.asarray(midi), np.asarray(instruments), np.random.default_rng(seed)
    pairs: list[tuple[int, int]] = []
    order = generator.permutation(len(pitch))
    while len(pairs) < count:
        found = []
        for note in order:
            partners = np.flatnonzero((np.abs(pitch - pitch[note]) <= semitones) & (label != label[note]))
            if len(partners):
                found.append((int(generator.choice(partners)), int(note)))
            if len(pairs) + len(found) == count:
                break
        if not found:
            raise ValueError(
                f"no two notes of different instruments are within {semitones} semitones of each other: "
                "their timbres cannot be swapped; score notes of other instruments too"
            )
        pairs += found
    return np.array(pairs, dtype=np.int64).T


def levels_db(frames: ArrayLike, range_db: float) -> Floats:
    """Frames in [-1, 1], of any shape, as dB below the loudest band; ``range_db`` is from -1 to 1."""
    return np.asarray((np.asarray(frames, float) - 1) / 2 * range_db)


def loudness_course(levels: ArrayLike) -> Floats:
    """The level of the mean power over the bands, dB, of levels (..., F) in dB."""
    return np.asarray(10 * np.log10(np.mean(10 ** (np.asarray(levels, float) / 10), axis=-1)))


def centroid_course(levels: ArrayLike, mel_hz: ArrayLike) -> Floats:
    """The spectral centroid in octaves above 1 Hz: the mean frequency of bands (F,) weighted by their power.

    Args:
        levels: (..., F) in dB.
        mel_hz: (F,) centres of the bands, Hz.
    """
    power = 10 ** (np.asarray(levels, float) / 10)
    return np.asarray(np.log2(power @ np.asarray(mel_hz, float) / power.sum(-1)))


def frame_errors_db(frames: ArrayLike, others: ArrayLike, mask: ArrayLike, range_db: float) -> Floats:
    """The mean absolute difference of two versions of N notes, dB, over the frames that each note has.

    Args:
        frames: (N, T, F) in [-1, 1].
        others: (N, T, F) in [-1, 1].
        mask: (N, T) bool, at least one a note.
        range_db: dB from -1 to 1.

    Returns:
        (N,) one value a note.
    """
    counted = np.asarray(mask, bool)
    difference = np.abs(np.asarray(frames, float) - np.asarray(others, float)).mean(-1) * range_db / 2
    return np.asarray((difference * counted).sum(1) / counted.sum(1))


def course_correlation(courses: ArrayLike, others: ArrayLike, mask: ArrayLike) -> Floats:
    """Pearson's correlation of two courses of each note, (N,); 0 where one of them does not move.

    Args:
        courses: (N, T).
        others: (N, T).
        mask: (N, T) bool, the frames that are compared.
    """
    counted = np.asarray(mask, float)
    number = np.maximum(counted.sum(1, keepdims=True), 1)
    a, b = (np.asarray(each, float) for each in (courses, others))
    a, b = ((each - (each * counted).sum(1, keepdims=True) / number) * counted for each in (a, b))
    size = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.asarray(np.where(size > 1e-9, (a * b).sum(1) / np.maximum(size, 1e-9), 0))


def course_summary(courses: ArrayLike, mask: ArrayLike) -> Floats:
    """What a linear probe reads of courses of any length: means, deviation and autocorrelations.

    Args:
        courses: (N, T, D).
        mask: (N, T) bool; a note's own frames are its first ones.

    Returns:
        (N, D (PARTS + 1 + len(LAGS))): of each of the D courses the means over `PARTS` equal parts of the note, the
        standard deviation, and the autocorrelation at `LAGS` (the biased estimate; 0 for a course that does not move).
    """
    counted = np.asarray(mask, float)[..., None]
    course = np.asarray(courses, float) * counted
    length = np.maximum(counted.sum(1), 1)  # (N, 1)
    centred = (course - course.sum(1, keepdims=True) / length[:, None]) * counted
    energy = (centred**2).sum(1)
    lagged = [
        np.where(energy > 1e-9, (centred[:, lag:] * centred[:, :-lag]).sum(1) / np.maximum(energy, 1e-9), 0)
        for lag in LAGS
    ]
    return np.concatenate([*_means_of_parts(course, length), np.sqrt(energy / length), *lagged], axis=1)


def _means_of_parts(course: Floats, length: Floats) -> list[Floats]:
    """(N, D) means over each equal part of notes (N, T, D) that are 0 from their length (N, 1) on.

    A part may begin within a frame, which then counts for both of its parts by its share.
    """
    total = np.concatenate([np.zeros_like(course[:, :1]), course.cumsum(1)], axis=1)
    edges = length * np.linspace(0, 1, PARTS + 1)  # (N, PARTS + 1)
    below = np.minimum(edges.astype(int), course.shape[1] - 1)
    notes = np.arange(len(course))[:, None]
    share = (edges - below)[..., None]
    at_edges = total[notes, below] * (1 - share) + total[notes, below + 1] * share
    means = np.diff(at_edges, axis=1) * PARTS / length[:, None]
    return list(means.transpose(1, 0, 2))


@dataclass(frozen=True)
class PitchErrors:
    """How far a course of pitch lies from another one.

    Attributes:
        frames: how many frames were compared.
        median_cents: the median of the absolute differences.
        within_50: per cent of the frames within 50 cents.
        within_20: per cent of the frames within 20 cents.
    """

    frames: int
    median_cents: float
    within_50: float
    within_20: float


def pitch_errors(midi: ArrayLike, reference: ArrayLike) -> PitchErrors:
    """Compare two courses of pitch, (T,) fractional MIDI, in the frames where the reference has a pitch (is not NaN).

    A frame without a pitch in ``midi`` counts as infinitely far.

    Raises:
        ValueError: the shapes differ, or no frame of the reference has a pitch.
    """
    course, truth = np.asarray(midi, float), np.asarray(reference, float)
    if course.shape != truth.shape or course.ndim != 1:
        raise ValueError(f"midi {course.shape} and reference {truth.shape}; give (T,) of both")
    known = np.isfinite(truth)
    if not known.any():
        raise ValueError("no frame of the reference has a pitch; give a sound that has one")
    cents = 100 * np.abs(np.where(np.isfinite(course), course, np.inf) - truth)[known]
    shares = (100 * float(np.mean(cents <= limit)) for limit in (50, 20))
    return PitchErrors(int(known.sum()), float(np.median(cents)), *shares)
