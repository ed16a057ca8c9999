"""Whether a timbre code holds the timbre: its register, its neighbours across pitches, and human ratings."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

Floats = NDArray[np.float64]


def register_r2(codes: ArrayLike, midi: ArrayLike, instruments: ArrayLike, neighbours: int = 5) -> float:
    """How much of the pitch within an instrument can be read from the codes: R squared, pooled over instruments.

    The pitch of a note is predicted as the mean pitch of the nearest codes of the same instrument at other pitches. 0
    is what the instrument's mean pitch predicts; 1 is a code that only orders the notes by pitch.

    Args:
        codes: (N, L) timbre codes.
        midi: (N,) MIDI pitches.
        instruments: (N,) labels.
        neighbours: how many codes predict one pitch; all where an instrument has fewer.

    Raises:
        ValueError: no instrument has notes of two pitches.
    """
    z, pitch, label = _checked(codes, midi, instruments)
    residual = total = 0.0
    for name in np.unique(label):
        own = label == name
        distances, p = cdist(z[own], z[own]), pitch[own]
        distances[p[:, None] == p[None]] = np.inf
        if not np.isfinite(distances).any():
            continue
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :neighbours]
        counted = np.isfinite(np.take_along_axis(distances, nearest, 1))
        predicted = (p[nearest] * counted).sum(1) / counted.sum(1)
        residual += float(np.sum((p - predicted) ** 2))
        total += float(np.sum((p - p.mean()) ** 2))
    if not total:
        raise ValueError("no instrument has notes of two pitches: the register cannot be read; give more notes")
    return 1 - residual / total


def far_neighbour_agreement(codes: ArrayLike, midi: ArrayLike, instruments: ArrayLike, semitones: int = 12) -> float:
    """The share of notes whose nearest code, among notes at least some semitones away, is of the same instrument.

    Args:
        codes: (N, L) timbre codes.
        midi: (N,) MIDI pitches.
        instruments: (N,) labels.
        semitones: how far away a neighbour must be.

    Returns:
        a share of the notes that have a note of their instrument that far away, in [0, 1].

    Raises:
        ValueError: there is no such note.
    """
    z, pitch, label = _checked(codes, midi, instruments)
    far = np.abs(pitch[:, None] - pitch[None]) >= semitones
    possible = (far & (label[:, None] == label[None])).any(1)
    if not possible.any():
        raise ValueError(f"no instrument has two notes {semitones} semitones apart; give notes of a wider range")
    nearest = np.where(far, cdist(z, z), np.inf)[possible].argmin(1)
    return float(np.mean(label[nearest] == label[possible]))


def rank_agreement(distances: ArrayLike, ratings: ArrayLike) -> float:
    """Spearman correlation of distances with rated dissimilarities: the mean over the sounds as anchors.

    Args:
        distances: (N, N) symmetric.
        ratings: (N, N) symmetric.

    Returns:
        in [-1, 1]; an anchor whose distances or ratings are all equal counts as 0.

    Source:
        the measure of arXiv 2507.07764.
    """
    d, r = _pair_of_matrices(distances, ratings)
    found = []
    for anchor in range(len(d)):
        others = np.arange(len(d)) != anchor
        a, b = d[anchor, others], r[anchor, others]
        constant = np.ptp(a) == 0 or np.ptp(b) == 0
        found.append(0.0 if constant else float(spearmanr(a, b).statistic))
    return float(np.mean(found))


def triplet_agreement(distances: ArrayLike, ratings: ArrayLike, margin: float = 0.1) -> float:
    """The share of (anchor, a, b) for which the distances say as the ratings do which of a and b is nearer.

    Args:
        distances: (N, N) symmetric.
        ratings: (N, N) symmetric.
        margin: the ratings of a and b must differ by more than this share of their whole range.

    Returns:
        in [0, 1], the mean over the anchors that have such a triplet; 0.5 is chance.

    Raises:
        ValueError: there is no such triplet.
    """
    d, r = _pair_of_matrices(distances, ratings)
    off = ~np.eye(len(r), dtype=bool)
    margin *= float(np.ptp(r[off]))
    shares = []
    for anchor in range(len(d)):
        a, b = d[anchor, off[anchor]], r[anchor, off[anchor]]
        i, j = np.triu_indices(len(a), 1)
        clear = np.abs(b[i] - b[j]) > margin
        if clear.any():
            shares.append(np.mean(((a[i] - a[j]) * (b[i] - b[j]) > 0)[clear]))
    if not shares:
        raise ValueError("the ratings are all alike: no triplet can be compared")
    return float(np.mean(shares))


def _checked(codes: ArrayLike, midi: ArrayLike, instruments: ArrayLike) -> tuple[Floats, Floats, NDArray[np.generic]]:
    z, pitch, label = np.asarray(codes, float), np.asarray(midi, float), np.asarray(instruments)
    if z.ndim != 2 or pitch.shape != z.shape[:1] or label.shape != z.shape[:1]:
        raise ValueError(f"codes {z.shape}, midi {pitch.shape}, instruments {label.shape}; give (N, L), (N,), (N,)")
    if not np.isfinite(z).all():
        raise ValueError("codes have values that are NaN or infinite; drop these notes")
    return z, pitch, label


def _pair_of_matrices(distances: ArrayLike, ratings: ArrayLike) -> tuple[Floats, Floats]:
    d, r = np.asarray(distances, float), np.asarray(ratings, float)
    if d.ndim != 2 or d.shape[0] != d.shape[1] or d.shape != r.shape or len(d) < 3:
        raise ValueError(f"distances {d.shape}, ratings {r.shape}; give two (N, N) matrices of at least 3 sounds")
    return d, r
