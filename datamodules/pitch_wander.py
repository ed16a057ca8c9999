"""How a note's pitch moves in time, by YIN (de Cheveigne and Kawahara 2002, librosa's)."""

from __future__ import annotations

import warnings
from importlib import metadata
from pathlib import Path

import librosa
import numpy as np
import soxr
from numpy.typing import NDArray
from rich.progress import track

from datamodules.atomic_files import replacing
from datamodules.pitch_trackers import read_kept
from datamodules.waveforms import Waveforms

RATE = 22_050
FRAME = 4096
HOP = 1024
# Frames that much below the loudest one (a ratio of amplitudes) are attack, release or room.
_QUIET = 0.1
LENIENT = 0.2
"""A trough threshold of YIN that prefers short periods: weak fundamentals may give the octave above."""
WANDER = 0.35
"""The frames of a note of one pitch wander less (semitones). Philharmonia: below 0.2 with vibrato, trills mostly above
0.4."""


def yin(mono: np.ndarray, threshold: float) -> tuple[float, float, float]:
    """Median MIDI pitch of the loud frames of ``mono`` (T,) at :data:`RATE`, the share of them near it, their wander.

    The share is of those within half a semitone. The wander is the distance in semitones between the 10th and the 90th
    percentile, octave errors of single frames removed; it is large in trills and glissandi.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # librosa pads a note that is shorter than a frame, and warns
        f0 = librosa.yin(
            mono,
            fmin=float(librosa.midi_to_hz(12)),
            fmax=float(librosa.midi_to_hz(115)),
            sr=RATE,
            frame_length=FRAME,
            hop_length=HOP,
            trough_threshold=threshold,
        )
        level = librosa.feature.rms(y=mono, frame_length=FRAME, hop_length=HOP)[0]
    pitches = librosa.hz_to_midi(f0[level > _QUIET * level.max()])
    median = float(np.median(pitches))
    deviation = pitches - median
    low, high = np.percentile((deviation + 6) % 12 - 6, [10, 90])
    return median, float(np.mean(np.abs(deviation) < 0.5)), float(high - low)


def pitch_wander(waveforms: Waveforms, cache_dir: Path) -> NDArray[np.float32]:
    """How far the pitch of each note moves, (N,) semitones; see :func:`yin`. Kept on disk by the notes' content."""
    name = f"{waveforms.content_hash[:16]}_{len(waveforms)}_wander_{metadata.version('librosa')}.npy"
    file = cache_dir / "heard" / name
    if (kept := read_kept(file, len(waveforms))) is not None:
        return kept
    wander = np.zeros(len(waveforms), np.float32)
    for row, (start, length) in track(
        list(enumerate(zip(waveforms.starts, waveforms.lengths, strict=True))), "measuring how the pitch moves"
    ):
        mono = np.trim_zeros(waveforms.samples[start : start + length])
        if waveforms.sample_rate != RATE:
            mono = soxr.resample(mono, waveforms.sample_rate, RATE)
        if len(mono) >= FRAME // 2:
            wander[row] = yin(mono, LENIENT)[2]
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary, temporary.open("wb") as opened:
        np.save(opened, wander)
    return wander
