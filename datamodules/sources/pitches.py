"""Pitch names: ``A4``, ``A#4``, ``Bb3``, ``C-1`` to MIDI numbers and back."""

from __future__ import annotations

import re

_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}
_NAME = re.compile(r"(?P<letter>[A-Ga-g])(?P<accidental>[#♯b♭]?)(?P<octave>-?[0-9]{1,2})")
_SHARP_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def midi_from_name(name: str) -> int:
    """Return the MIDI number of a note name in scientific pitch notation (A4 = 69 = 440 Hz).

    Args:
        name: a letter, an accidental (``#``, ``b``, or none) and an octave. ``As4`` is refused: it is A sharp to some
            and A flat to others (German).

    Raises:
        ValueError: ``name`` is no note name.

    Examples:
        >>> midi_from_name("A4"), midi_from_name("A#4"), midi_from_name("Bb3"), midi_from_name("C-1")
        (69, 70, 58, 0)
    """
    match = _NAME.fullmatch(name.strip())
    if match is None:
        raise ValueError(f"{name!r} is no note name; write for example C4, F#3 or Bb5 (no German As, Es, H)")
    semitone = _SEMITONES[match["letter"].upper()] + _ACCIDENTALS[match["accidental"]]
    return 12 * (int(match["octave"]) + 1) + semitone


def name_from_midi(midi: int) -> str:
    """Return the name of a MIDI number, with sharps.

    Examples:
        >>> name_from_midi(69), name_from_midi(70)
        ('A4', 'A#4')
    """
    return f"{_SHARP_NAMES[midi % 12]}{midi // 12 - 1}"
