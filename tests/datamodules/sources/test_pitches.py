"""Names of notes and their MIDI numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.sources.pitches import midi_from_name, name_from_midi


@given(st.integers(0, 127))
def test_pitch_names_go_there_and_back(midi):
    assert midi_from_name(name_from_midi(midi)) == midi


@pytest.mark.parametrize("name", ["As4", "Es4", "H4", "A\u0664", "A4_0", "A123", "B##3", "Abb4"])
def test_names_that_some_read_otherwise_are_no_pitches(name):
    with pytest.raises(ValueError, match="no note name"):
        midi_from_name(name)


@given(st.text(max_size=5))
def test_any_text_is_a_pitch_or_a_value_error(text):
    try:
        midi = midi_from_name(text)
    except ValueError:
        return
    assert midi_from_name(name_from_midi(midi)) == midi
