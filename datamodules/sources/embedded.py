"""The embedded notes: a small sampler that plays 142 recordings of twelve instruments.

The recordings are those that FluidR3_GM (Frank Wen, MIT licence) plays for :data:`INSTRUMENTS`; they ship beside this
file in ``fluid_r3``, written by ``scripts/extract_recordings.py``. A note is *rendered*: a recording is transposed by
resampling, its loop is repeated for as long as the note lasts, and its level and its brightness follow the dynamic. The
1,885 notes are therefore rendered from 142 recordings; they are not 1,885 recordings.

Rendering each note in the plain way would leave most frames with a near copy in another split (the same recording, the
next dynamic). Three things keep notes apart: the dynamics of a pitch take turns with two recordings, and every note has
a tuning (within :data:`MAX_DETUNE_CENTS`) and an onset (within :data:`MAX_ONSET_S`) of its own.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import soxr
from scipy import signal

from datamodules.note_table import NOTE_COLUMNS, check_notes
from datamodules.sources.source import NoteSource

SAMPLE_RATE = 22_050
"""Sample rate of every rendered note, in Hz."""

RECIPE_VERSION = 1
"""To be raised by every edit that changes the sound of a note: caches are keyed by it."""

MAX_DETUNE_CENTS = 15.0
MAX_ONSET_S = 0.030
MAX_HELD_DEVIATION = 0.25
"""How far the time that a note is held lies from the one that is asked for, as a share of it."""
SHORTEST_RELEASE_S = 0.2
"""Instead of a shorter release, in seconds: the soundfont sets none for the clarinet, which would end in a click."""

# SoundFont 2.01, section 8.4: the default modulators from velocity to attenuation and to the filter's cutoff.
_VELOCITY_TO_CUTOFF_CENTS = 2_400.0
_MIDI_0_HZ = 440.0 * 2.0 ** (-69 / 12)
# Above this share of the sample rate the low-pass does nothing that the Nyquist limit does not do.
_HIGHEST_CUTOFF = 0.49

_FOUR_DYNAMICS = {"pp": 36, "mp": 68, "mf": 92, "ff": 120}
_THREE_DYNAMICS = {"pp": 36, "mf": 80, "ff": 120}
_DYNAMICS_OF_THE_OTHER_RECORDING = ("pp", "mf")


@dataclass(frozen=True)
class Instrument:
    """One instrument of the set.

    Attributes:
        program: its General MIDI program, counted from 0.
        low: its lowest MIDI pitch.
        high: its highest MIDI pitch, included.
        velocities: MIDI velocity (1..127) of each of its dynamics.
    """

    program: int
    low: int
    high: int
    velocities: Mapping[str, int]

    @property
    def pitches(self) -> range:
        """Its MIDI pitches."""
        return range(self.low, self.high + 1)


INSTRUMENTS: Mapping[str, Instrument] = {
    "english_horn": Instrument(69, 52, 81, _FOUR_DYNAMICS),
    "french_horn": Instrument(60, 34, 77, _FOUR_DYNAMICS),
    "trombone": Instrument(57, 40, 74, _FOUR_DYNAMICS),
    "trumpet": Instrument(56, 54, 84, _FOUR_DYNAMICS),
    "piano": Instrument(0, 24, 105, _THREE_DYNAMICS),
    "violin": Instrument(40, 55, 100, _FOUR_DYNAMICS),
    "cello": Instrument(42, 36, 81, _FOUR_DYNAMICS),
    "alto_sax": Instrument(65, 49, 80, _FOUR_DYNAMICS),
    "bassoon": Instrument(70, 34, 75, _FOUR_DYNAMICS),
    "clarinet": Instrument(71, 50, 91, _FOUR_DYNAMICS),
    "flute": Instrument(73, 60, 96, _THREE_DYNAMICS),
    "oboe": Instrument(68, 58, 91, _FOUR_DYNAMICS),
}
"""The twelve instruments: 1,885 notes, MIDI 24..105. The trumpet is in C, the clarinet in B flat; pitches sound."""

DYNAMICS = tuple(_FOUR_DYNAMICS)
"""The names of the dynamics, from soft to loud."""


@dataclass(frozen=True)
class Recording:
    """One recording of the extract: where it lies in ``recordings.flac`` and how the soundfont plays it.

    Attributes:
        name: its name in the soundfont.
        first: its first sample in the file.
        length: how many samples it has.
        sample_rate: in Hz; the file's own header cannot hold one rate a recording.
        root_key: the MIDI pitch of which it is a recording.
        correction_cents: added to the tuning when it is played (a recording that is sharp has a negative one).
        loop_start: first sample of the loop, counted from ``first``.
        loop_end: one past the last sample of the loop.
        low_key: the lowest MIDI pitch to which the soundfont maps it.
        high_key: the highest one, included.
        cutoff_cents: the low-pass cutoff at velocity 127, in cents above MIDI pitch 0 (8.18 Hz).
        hold_s: how long the level stays before it falls.
        decay_s: how long it would take to fall by 100 dB.
        sustain_db: how far it falls.
        release_s: how long it would take to fall by 100 dB once the key is released.
    """

    name: str
    first: int
    length: int
    sample_rate: int
    root_key: int
    correction_cents: int
    loop_start: int
    loop_end: int
    low_key: int
    high_key: int
    cutoff_cents: int
    hold_s: float
    decay_s: float
    sustain_db: float
    release_s: float

    def rate_for(self, midi: int, detune_cents: float) -> float:
        """How much faster than recorded it has to be played to sound at ``midi`` plus ``detune_cents``."""
        return float(2.0 ** ((midi - self.root_key + (self.correction_cents + detune_cents) / 100.0) / 12.0))

    def maps(self, midi: int) -> bool:
        """Whether the soundfont plays it at this pitch."""
        return self.low_key <= midi <= self.high_key

    def distance(self, midi: int) -> tuple[int, int]:
        """How far it has to be transposed, in semitones; of two equally far, the lower one comes first."""
        return abs(midi - self.root_key), self.root_key


def choose_recording(recordings: Sequence[Recording], midi: int, other: bool) -> Recording:
    """The recording that plays a pitch.

    Args:
        recordings: those of one instrument.
        midi: the MIDI pitch.
        other: False for the recording that the soundfont maps to the pitch (the nearest one where it maps none), True
            for the nearest of all others.
    """
    nearest = sorted(recordings, key=lambda recording: recording.distance(midi))
    mapped = next((recording for recording in nearest if recording.maps(midi)), nearest[0])
    if not other:
        return mapped
    return next(recording for recording in nearest if recording is not mapped)


class EmbeddedNotes(NoteSource):
    """The notes of the embedded recordings: with the default arguments, 1,885 notes of 12 instruments.

    The ``group`` of a note is the recording that it is rendered from.

    Args:
        instruments: which of :data:`INSTRUMENTS`; ``None`` for all.
        dynamics: which of :data:`DYNAMICS`; ``None`` for all. An instrument keeps those that it has (piano and flute
            have no mp).
        takes: how many renderings of each note, differing in tuning and onset, to have a larger set. They play the
            same recordings and many are near copies, so that a split has to keep the takes of a note together: the
            one by instrument and pitch does.
        seed: the seed of the tunings, onsets and held times. Each note draws from a stream of its own, so that it is
            the same note whatever else is in the set.
        held_s: how long notes are held before they are released, in seconds: each for a time of its own, within
            :data:`MAX_HELD_DEVIATION` of this. The release is the soundfont's. ``None``: no note is released.

    Raises:
        ValueError: an instrument or a dynamic is unknown, there are no takes, or notes are not held at all.
    """

    reads_root = False

    def __init__(
        self,
        instruments: list[str] | None = None,
        dynamics: list[str] | None = None,
        takes: int = 1,
        seed: int = 0,
        held_s: float | None = None,
    ) -> None:
        if takes < 1:
            raise ValueError(f"takes is {takes}; at least 1 is needed")
        if held_s is not None and not 0 < held_s < math.inf:
            raise ValueError(f"held_s is {held_s:g}; give a positive time in seconds, or null for notes without an end")
        self.instruments = list(INSTRUMENTS) if instruments is None else list(instruments)
        self.dynamics = list(DYNAMICS) if dynamics is None else list(dynamics)
        self.takes = takes
        self.seed, self.held_s = seed, held_s
        _check_names("instrument", self.instruments, INSTRUMENTS)
        _check_names("dynamic", self.dynamics, DYNAMICS)

    def read_notes(self, root: Path | None) -> pd.DataFrame:
        """Return the note table; ``root`` is not used."""
        rows = [
            {
                "note_id": note_id(name, midi, dynamic, take),
                "midi": midi,
                "instrument": name,
                "dynamic": dynamic,
                "group": _recording_of(name, midi, dynamic).name,
                "fold": "",
                "audio": "",
                "offset_s": 0.0,
            }
            for name in self.instruments
            for midi in INSTRUMENTS[name].pitches
            for dynamic in INSTRUMENTS[name].velocities
            if dynamic in self.dynamics
            for take in range(1, self.takes + 1)
        ]
        return check_notes(pd.DataFrame(rows, columns=list(NOTE_COLUMNS)), "the embedded notes")

    def read_audio(self, root: Path | None, note: Any, duration_s: float) -> tuple[np.ndarray, int]:
        """Render ``duration_s`` seconds of a note: (T,) float32 within [-1, 1], at 22,050 Hz.

        The note's id decides what sounds: a correction changes the label only.
        """
        instrument, midi, dynamic, take = _parts_of(note.note_id)
        return render_note(instrument, midi, dynamic, duration_s, self.seed, take, self.held_s), SAMPLE_RATE

    def audio_key(self, root: Path | None, note: Any) -> str:
        """The recipe, the extract, the seed, the note and, where it is released, how."""
        held = "" if self.held_s is None else f"/held-{self.held_s!r}-{_extract_digest(with_release=True)}"
        return f"sampler-{RECIPE_VERSION}/{_extract_digest()}/{self.seed}/{note.note_id}{held}"


def note_id(instrument: str, midi: int, dynamic: str, take: int = 1) -> str:
    """The id of a note: ``flute-060-mf``, and ``flute-060-mf-t2`` for its second take."""
    return f"{instrument}-{midi:03d}-{dynamic}" + (f"-t{take}" if take > 1 else "")


def render_note(
    instrument: str,
    midi: int,
    dynamic: str,
    duration_s: float,
    seed: int = 0,
    take: int = 1,
    held_s: float | None = None,
) -> np.ndarray:
    """Render one note; the same arguments give the same samples in any order and in any process.

    A shorter rendering is the beginning of a longer one, to the bit.

    Args:
        instrument: a name of :data:`INSTRUMENTS`.
        midi: the MIDI pitch that sounds.
        dynamic: one of the instrument's dynamics.
        duration_s: in seconds.
        seed: see :class:`EmbeddedNotes`.
        take: counted from 1.
        held_s: see :class:`EmbeddedNotes`.

    Returns:
        samples (T,) float32 at :data:`SAMPLE_RATE`, T = round(duration_s * SAMPLE_RATE).

    Raises:
        ValueError: the instrument or the dynamic is unknown.
    """
    _check_names("instrument", [instrument], INSTRUMENTS)
    velocities = INSTRUMENTS[instrument].velocities
    _check_names(f"dynamic of {instrument}", [dynamic], velocities)
    velocity = velocities[dynamic]
    detune_cents, onset, held_deviation = _draw(seed, instrument, midi, dynamic, take)
    recording = _recording_of(instrument, midi, dynamic)

    note = np.zeros(round(duration_s * SAMPLE_RATE))
    sounding = note[onset:]
    sounding[:] = _transpose(recording, recording.rate_for(midi, detune_cents), len(sounding))
    sounding *= _envelope(recording, len(sounding)) * (velocity / 127.0) ** 2
    if held_s is not None:
        sounding *= _release(recording, len(sounding), held_s * (1 + held_deviation))
    return _low_pass(note, recording, velocity).astype(np.float32)


def _recording_of(instrument: str, midi: int, dynamic: str) -> Recording:
    """The recording that a note is rendered from."""
    return choose_recording(_recordings()[instrument], midi, dynamic in _DYNAMICS_OF_THE_OTHER_RECORDING)


def _check_names(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise ValueError for a name that is not known."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown {kind} {unknown[0]!r}; known: {', '.join(known)}")


def _parts_of(identifier: str) -> tuple[str, int, str, int]:
    """The instrument, MIDI pitch, dynamic and take that a note id names (see :func:`note_id`)."""
    instrument, midi, dynamic, *take = identifier.split("-")
    return instrument, int(midi), dynamic, int(take[0][1:]) if take else 1


def _draw(seed: int, instrument: str, midi: int, dynamic: str, take: int) -> tuple[float, int, float]:
    """The tuning of a note in cents, its onset in samples, and the deviation of its held time, as a share of it.

    Drawn from a hash and not from a generator: no version of a library can change it.
    """
    key = f"{seed}/{instrument}/{midi}/{dynamic}" + (f"/{take}" if take > 1 else "")
    digest = hashlib.sha256(key.encode()).digest()
    first, second, third = (int.from_bytes(digest[start : start + 8], "big") / 2.0**64 for start in (0, 8, 16))
    onset = int(second * MAX_ONSET_S * SAMPLE_RATE)
    return (2.0 * first - 1.0) * MAX_DETUNE_CENTS, onset, (2.0 * third - 1.0) * MAX_HELD_DEVIATION


def _transpose(recording: Recording, rate: float, length: int) -> np.ndarray:
    """Play a recording at ``rate`` times its speed: (length,) at :data:`SAMPLE_RATE`, its loop repeated as needed."""
    source_rate = recording.sample_rate * rate
    # The resampler looks ahead and fades out at the end of what it is given: half a second more, which is cut off
    # again, keeps that out of the note and makes a short rendering the beginning of a long one.
    needed = int((length / SAMPLE_RATE + 0.5) * source_rate)
    played: np.ndarray = soxr.resample(_unroll(recording, needed), source_rate, SAMPLE_RATE, quality="HQ")
    return played[:length]


def _unroll(recording: Recording, length: int) -> np.ndarray:
    """The first ``length`` samples of a recording whose loop never ends: float64 in [-1, 1]."""
    samples = _samples()[recording.first : recording.first + recording.length]
    index = np.arange(length)
    past = index >= recording.loop_end
    loop_length = recording.loop_end - recording.loop_start
    index[past] = recording.loop_start + (index[past] - recording.loop_start) % loop_length
    return samples[index] / 32_768.0


def _envelope(recording: Recording, length: int) -> np.ndarray:
    """The soundfont's decay, a straight line in dB, as factors (length,): what lets a looped piano die away."""
    time = np.arange(length) / SAMPLE_RATE
    fallen_db = np.clip(100.0 * (time - recording.hold_s) / recording.decay_s, 0.0, recording.sustain_db)
    return np.asarray(10.0 ** (-fallen_db / 20.0))


def _release(recording: Recording, length: int, held_s: float) -> np.ndarray:
    """What a key that is released after ``held_s`` does to the level, a straight line in dB, as factors (length,)."""
    released = np.maximum(np.arange(length) / SAMPLE_RATE - held_s, 0.0)
    return np.asarray(10.0 ** (-5.0 * released / max(recording.release_s, SHORTEST_RELEASE_S)))


def _low_pass(samples: np.ndarray, recording: Recording, velocity: int) -> np.ndarray:
    """The brightness of a velocity: a second-order low-pass, lower the softer the note."""
    cents = recording.cutoff_cents - _VELOCITY_TO_CUTOFF_CENTS * (127 - velocity) / 127
    cutoff_hz = _MIDI_0_HZ * 2.0 ** (cents / 1_200.0)
    if cutoff_hz >= _HIGHEST_CUTOFF * SAMPLE_RATE:
        return samples
    sections = signal.butter(2, cutoff_hz, fs=SAMPLE_RATE, output="sos")
    return np.asarray(signal.sosfilt(sections, samples))


@lru_cache(maxsize=1)
def _recordings() -> dict[str, list[Recording]]:
    """The recordings of each instrument."""
    text = (files(__package__) / "fluid_r3" / "recordings.json").read_text(encoding="utf-8")
    return {
        name: [Recording(**fields) for fields in recordings]
        for name, recordings in json.loads(text)["instruments"].items()
    }


@lru_cache(maxsize=1)
def _samples() -> np.ndarray:
    """All recordings, one after the other, int16: read once in each process."""
    with as_file(files(__package__) / "fluid_r3" / "recordings.flac") as path:
        samples, _ = soundfile.read(path, dtype="int16")
    return np.asarray(samples)


@lru_cache(maxsize=2)
def _extract_digest(with_release: bool = False) -> str:
    """Says which extract is installed; the releases, which came later, change the digest of no note without one."""
    text = (files(__package__) / "fluid_r3" / "recordings.json").read_bytes()
    text = text if with_release else re.sub(rb', "release_s": [^}]*', b"", text)
    return hashlib.sha256(text).hexdigest()[:12]
