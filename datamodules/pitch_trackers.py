"""The pitch that an estimator hears in each note's samples: no label, and no training on these notes."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import librosa
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from datamodules.atomic_files import replacing
from datamodules.waveforms import Waveforms

Estimator = Literal["pesto", "pyin", "yin"]
Heard = NDArray[np.float32]

NOTES_AT_ONCE = 64
PESTO_HOP_S = 0.01
PYIN_HZ = (27.5, 4186.0)
"""A piano's range."""
LONGEST_WINDOW = 4096
"""Samples of pYIN's frame: two periods of its lowest pitch, at 22,050 Hz."""


def heard_pitches(waveforms: Waveforms, estimator: Estimator, instant: int, cache_dir: Path) -> Heard:
    """The MIDI pitch that an estimator hears at one instant of each note, (N,); NaN where it hears none.

    What a note has from its start is read, silence beyond it: the frames of both estimators are longer than a mel
    frame. Kept on disk, by the notes' content, the estimator and its version.

    Args:
        waveforms: the notes.
        estimator: ``pesto`` (Riou et al., "PESTO: Pitch Estimation with Self-supervised Transposition-equivariant
            Objective", ISMIR 2023; with the weights that its package ships), ``pyin`` (Mauch and Dixon, ICASSP 2014;
            librosa's) or ``yin`` (see :func:`yin`).
        instant: the sample at which a note is heard.
        cache_dir: where results are kept.

    Raises:
        ValueError: the estimator is not installed.
    """
    hear, version = _estimator(estimator, waveforms.sample_rate, instant)
    name = f"{waveforms.content_hash[:16]}_{estimator}_{version}_{instant}.npy"
    file = cache_dir / "heard" / name
    if (kept := read_kept(file, len(waveforms))) is not None:
        return kept
    length = int(waveforms.lengths.max())
    parts = []
    for first in track(range(0, len(waveforms), NOTES_AT_ONCE), description=f"{estimator} hears the notes"):
        parts.append(hear(waveforms.segments(0, length, slice(first, first + NOTES_AT_ONCE))))
    heard: Heard = np.concatenate(parts).astype(np.float32)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary, temporary.open("wb") as opened:
        np.save(opened, heard)
    return heard


def read_kept(file: Path, count: int) -> Heard | None:
    """What was kept; ``None`` where there is nothing, or it is damaged."""
    try:
        kept = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    return kept if kept.shape == (count,) and kept.dtype == np.float32 else None


def _estimator(name: Estimator, rate: int, instant: int) -> tuple[Callable[[NDArray[np.float32]], Heard], str]:
    """What hears the pitch at an instant of sounds (B, T), and its version."""
    if name == "pyin":
        return lambda sounds: _pyin(sounds, rate, instant), metadata.version("librosa")
    if name == "yin":
        return lambda sounds: yin(sounds, rate, instant), metadata.version("librosa")
    try:
        version = metadata.version("pesto-pitch")
    except metadata.PackageNotFoundError as error:
        raise ValueError(
            "data.pitch_tracker is pesto, which is not installed: pip install 'pitch-timbre[pesto]'"
        ) from error
    from pesto import load_model

    model = load_model("mir-1k_g7", step_size=1000 * PESTO_HOP_S, sampling_rate=rate).eval()

    def hear(sounds: NDArray[np.float32]) -> Heard:
        with torch.no_grad():
            midi = model(torch.from_numpy(sounds), convert_to_freq=False, return_activations=False)[0]
        found: Heard = midi[:, round(instant / rate / PESTO_HOP_S)].numpy()
        return found

    return hear, version


def _pyin(sounds: NDArray[np.float32], rate: int, instant: int) -> Heard:
    hop = LONGEST_WINDOW // 16
    return pyin_course(sounds, rate, hop)[:, round(instant / hop)]


def pyin_course(
    sounds: NDArray[np.float32], rate: int, hop: int, resolution: float = 0.1, window: int = LONGEST_WINDOW
) -> Heard:
    """The MIDI pitch that pYIN hears in sounds (B, T), (B, 1 + T // hop); NaN where it hears none.

    Args:
        sounds: (B, T).
        rate: Hz.
        hop: samples between instants; the first is the first sample.
        resolution: of the pitch in semitones; the coarser, the quicker.
        window: samples of a frame; the shorter, the better it follows, and the higher the lowest pitch.
    """
    lowest, highest = PYIN_HZ
    lowest = max(lowest, 2.1 * rate / window)
    hz, _, _ = librosa.pyin(
        sounds,
        fmin=lowest,
        fmax=highest,
        sr=rate,
        frame_length=window,
        hop_length=hop,
        resolution=resolution,
    )
    heard: Heard = librosa.hz_to_midi(hz)
    return heard


def yin(sounds: NDArray[Any], rate: int, instant: int) -> Heard:
    """The MIDI pitch, (N,), that YIN finds in one window of sounds (N, T), around the instant, a sample.

    Source:
        de Cheveigné and Kawahara, "YIN, a fundamental frequency estimator for speech and music", JASA 2002; librosa's.
    """
    first = instant - LONGEST_WINDOW // 2
    padded = np.pad(sounds, ((0, 0), (max(0, -first), LONGEST_WINDOW)))
    windows = padded[:, max(0, first) : max(0, first) + LONGEST_WINDOW]
    lowest, highest = PYIN_HZ
    hz = librosa.yin(windows, fmin=lowest, fmax=highest, sr=rate, frame_length=LONGEST_WINDOW, center=False)[:, 0]
    heard: Heard = librosa.hz_to_midi(hz)
    return heard
