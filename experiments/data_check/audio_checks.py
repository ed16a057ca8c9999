"""What can be measured of one note without a model: its level, its faults and its pitch.

The pitch is measured twice by YIN (de Cheveigne and Kawahara 2002, librosa's): a lenient threshold prefers short
periods and sometimes returns the octave above, where the fundamental is weak; a strict one prefers long periods and
sometimes returns the octave below. Where both agree, the pitch is reliable. Measured on the embedded notes: pYIN makes
the same octave errors as lenient YIN, at 90 times the cost (0.82 s a note against 0.009 s).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pandas as pd
import soxr

from datamodules.pitch_wander import FRAME, LENIENT, RATE, yin
from datamodules.sources.source import NoteSource
from datamodules.waveforms import LARGEST_SAMPLE, SILENCE_PEAK, onset

EXAMINED_S = 3.0
"""How much of a note is examined, in seconds."""

_BINS = 8 * FRAME
# Above this MIDI pitch (1 kHz) the lags of YIN are too coarse.
_HIGH = 84
_STRICT = 0.02
_FLAT_RUN = 6
_ONSET_DB = -40.0
_NYQUIST_SHARE = 0.45


@dataclass(frozen=True)
class MeasuredPitch:
    """The pitch of one note by two thresholds.

    Attributes:
        lenient: MIDI pitch (fractional) by the lenient threshold; NaN where the note is too short.
        strict: the same by the strict threshold.
        steadiness: the share of frames within half a semitone of their median, the lower of both.
        wander: semitones between the 10th and the 90th percentile of the frames' pitch by the lenient threshold,
            octave errors of single frames removed; large in trills and glissandi.
        hidden_db: where ``lenient`` is a whole multiple of the labelled frequency: the energy of the label's partials
            that a note at ``lenient`` would not have, over the energy of those that it would, in dB; else NaN.
    """

    lenient: float = math.nan
    strict: float = math.nan
    steadiness: float = 0.0
    wander: float = math.nan
    hidden_db: float = math.nan


def examine_notes(source: NoteSource, root: Path | None, notes: pd.DataFrame) -> list[dict[str, Any]]:
    """Examine some notes, one after the other; see :func:`examine_note`."""
    return [examine_note(source, root, note) for note in notes.itertuples()]


def examine_note(source: NoteSource, root: Path | None, note: Any) -> dict[str, Any]:
    """Measure one note.

    Returns:
        ``note_id``; ``fault``: why the note cannot be used, or empty; and where it can: ``duration_s`` (at most
        :data:`EXAMINED_S`), ``onset_s`` (when it comes within 40 dB of its peak), ``rate`` (Hz), ``peak_db`` and
        ``level_db`` (RMS, both relative to full scale), ``clipped``, ``content`` (a digest of the samples) and the
        fields of :class:`MeasuredPitch`.
    """
    try:
        samples, rate = source.read_audio(root, note, EXAMINED_S)
        mono = samples if samples.ndim == 1 else samples.mean(axis=1)
        return {"note_id": note.note_id, "fault": "", **_measure(np.asarray(mono, np.float32), rate, note.midi)}
    except ValueError as error:
        return {"note_id": note.note_id, "fault": str(error)}


def _measure(mono: np.ndarray, rate: int, midi: int) -> dict[str, Any]:
    """Measure the samples (T,) of one note, or say why they cannot be used."""
    if not (np.abs(mono) < LARGEST_SAMPLE).all():
        raise ValueError("holds NaN, infinite or absurdly large samples")
    centred = mono - mono.mean(dtype=np.float64) if len(mono) else mono
    peak = float(np.abs(centred).max(initial=0.0))
    if peak < SILENCE_PEAK:
        raise ValueError("is silent")
    pitch = measure_pitch(centred, rate, midi)
    return {
        "duration_s": len(mono) / rate,
        "onset_s": onset(centred, _ONSET_DB) / rate,
        "rate": rate,
        "peak_db": 20 * math.log10(peak),
        "level_db": 10 * math.log10(float(np.mean(centred**2))),
        "clipped": _is_clipped(mono),
        "content": hashlib.blake2b(mono.tobytes(), digest_size=16).hexdigest(),
        **vars(pitch),
    }


def measure_pitch(mono: np.ndarray, rate: int, midi: int) -> MeasuredPitch:
    """Measure the pitch of a note, anywhere within MIDI 12..115.

    Args:
        mono: (T,) samples without an offset.
        rate: in Hz.
        midi: the labelled pitch; it chooses the partials that ``hidden_db`` compares, and does not bias the pitch.
    """
    if rate != RATE:
        mono = soxr.resample(mono, rate, RATE)
    mono = np.trim_zeros(mono)
    if len(mono) < FRAME // 2:
        return MeasuredPitch()
    power = _power(mono)
    lenient, lenient_steadiness, wander = yin(mono, LENIENT)
    strict, strict_steadiness, _ = yin(mono, _STRICT)
    lenient, strict = _refine(lenient, power), _refine(strict, power)
    steadiness = min(lenient_steadiness, strict_steadiness)
    return MeasuredPitch(lenient, strict, steadiness, wander, _hidden_db(power, lenient, midi))


def compile_yin() -> None:
    """Have Numba compile YIN into its cache on disk: processes that compile it at the same time may crash."""
    yin(np.sin(np.arange(2 * FRAME, dtype=np.float64)), _STRICT)


def _power(mono: np.ndarray) -> np.ndarray:
    """The power spectrum (_BINS // 2 + 1,) of the loudest part of ``mono`` (T,)."""
    length = min(4 * FRAME, len(mono))
    energy = np.concatenate([[0.0], np.cumsum(mono.astype(np.float64) ** 2)])
    first = int(np.argmax(energy[length:] - energy[:-length]))
    part = mono[first : first + length]
    return np.asarray(np.abs(np.fft.rfft(part * np.hanning(len(part)), _BINS)) ** 2)


def _refine(pitch: float, power: np.ndarray) -> float:
    """Move a high pitch to the peak of the spectrum near it.

    YIN interpolates between whole samples of lag: at 3.5 kHz, six samples a period, it is 30 cents sharp.
    """
    if pitch < _HIGH:
        return pitch
    low, high = (int(librosa.midi_to_hz(pitch + side) * _BINS / RATE) for side in (-0.7, 0.7))
    peak = low + int(np.argmax(power[low : high + 1]))
    return float(librosa.hz_to_midi(peak * RATE / _BINS))


def _hidden_db(power: np.ndarray, found: float, midi: int) -> float:
    """See :attr:`MeasuredPitch.hidden_db`."""
    multiple = round(2 ** ((found - midi) / 12))
    if multiple < 2 or abs(midi + 12 * math.log2(multiple) - found) > 0.6:
        return math.nan
    label_hz = float(librosa.midi_to_hz(found)) / multiple
    orders = np.arange(1, int(_NYQUIST_SHARE * RATE / label_hz) + 1)
    centres = np.rint(orders * label_hz * _BINS / RATE).astype(int)
    reach = max(1, round(0.03 * label_hz * _BINS / RATE))
    energy = np.array([power[max(0, centre - reach) : centre + reach + 1].max() for centre in centres])
    shared = orders % multiple == 0
    return 10 * math.log10((energy[~shared].sum() + 1e-20) / (energy[shared].sum() + 1e-20))


def _is_clipped(mono: np.ndarray) -> bool:
    """Whether a note has flat tops at full scale, or samples above it (of an mp3 file made from clipped audio)."""
    if np.abs(mono).max() > 1.0:
        return True
    flat = (np.diff(mono) == 0) & (np.abs(mono[1:]) >= 0.99)
    return bool(np.convolve(flat, np.ones(_FLAT_RUN - 1), "valid").max(initial=0) >= _FLAT_RUN - 1)
