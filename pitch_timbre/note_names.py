"""Names of notes: C4 is MIDI pitch 60, A4 = 440 Hz."""

from __future__ import annotations

import math
import re

NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ACCIDENTALS = {"": 0, "#": 1, "s": 1, "♯": 1, "b": -1, "♭": -1}


def note_name(midi: int) -> str:
    """The name of a MIDI pitch.

    >>> note_name(61)
    'C#4'
    """
    return f"{NAMES[midi % 12]}{midi // 12 - 1}"


def midi_pitch(pitch: str | float) -> float:
    """The MIDI pitch of a name, or of a number, which is one already; between semitones too.

    Raises:
        ValueError: it is neither.

    >>> midi_pitch("Bb3"), midi_pitch("60.5")
    (58.0, 60.5)
    """
    if isinstance(pitch, str):
        if match := re.fullmatch(r"([A-Ga-g])([#sb♯♭]?)(-?\d{1,2})", pitch.strip()):
            step, accidental, octave = match.groups()
            return float(STEPS[step.upper()] + ACCIDENTALS[accidental] + 12 * (int(octave) + 1))
        try:
            pitch = float(pitch)
        except ValueError:
            raise ValueError(f"pitch {pitch!r}: not a note such as C4, F#3 or Bb5, nor a MIDI pitch") from None
    if not (math.isfinite(pitch) and 0 <= pitch <= 127):
        raise ValueError(f"pitch {pitch:g}: a MIDI pitch lies between 0 and 127")
    return float(pitch)


def hertz(midi: float) -> float:
    """The frequency of a MIDI pitch.

    >>> hertz(69)
    440.0
    """
    return float(440 * 2 ** ((midi - 69) / 12))
