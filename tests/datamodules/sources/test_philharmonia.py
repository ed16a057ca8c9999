"""Philharmonia's names of files, and what all sources that read names refuse."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from datamodules.note_table import NOTE_COLUMNS
from datamodules.sources.philharmonia import PhilharmoniaSource
from tests.datamodules.sources.folders import PHILHARMONIA, column, write_audio


def test_philharmonia_names_and_filters(tmp_path):
    write_audio(tmp_path, *PHILHARMONIA)
    notes = PhilharmoniaSource(lengths=["1"], articulations=["normal", "arco-normal"]).read_notes(tmp_path)
    assert list(notes.columns) == list(NOTE_COLUMNS)
    assert column(notes, "note_id") == [
        "cello_C2_1_piano_arco-normal",
        "english-horn_E3_1_mezzo-forte_normal",
        "oboe_As4_1_forte_normal",
    ]
    assert column(notes, "midi") == [36, 52, 70]
    assert column(notes, "instrument") == ["cello", "cor anglais", "oboe"]
    assert column(notes, "dynamic") == ["p", "mf", "f"]
    assert len(PhilharmoniaSource().read_notes(tmp_path)) == 5
    assert column(PhilharmoniaSource(instruments=["cor anglais"]).read_notes(tmp_path), "midi") == [52]


def test_philharmonia_audio_is_read(tmp_path):
    write_audio(tmp_path, *PHILHARMONIA)
    source = PhilharmoniaSource(lengths=["1"])
    note = next(source.read_notes(tmp_path).itertuples())
    samples, rate = source.read_audio(tmp_path, note, 0.1)
    assert (samples.shape, samples.dtype, rate) == ((4410, 1), np.float32, 44_100)
    assert len(source.read_audio(tmp_path, note, float("inf"))[0]) >= 22_000


def test_a_filter_that_nothing_matches_is_named(tmp_path):
    write_audio(tmp_path, *PHILHARMONIA)
    with pytest.raises(ValueError, match="no instrument named obo; there are: cello, cor anglais, oboe"):
        PhilharmoniaSource(instruments=["obo"]).read_notes(tmp_path)
    with pytest.raises(ValueError, match="none of the 5 files"):
        PhilharmoniaSource(instruments=["cello"], lengths=["05"]).read_notes(tmp_path)


def test_names_that_do_not_parse_are_counted_in_one_warning(tmp_path):
    write_audio(tmp_path, *PHILHARMONIA, "percussion/gong__1_forte_hit.mp3", "oboe/oboe_H4_1_forte_normal.mp3")
    with pytest.warns(UserWarning, match="2 of 7 names .*oboe/oboe_H4") as caught:
        assert len(PhilharmoniaSource().read_notes(tmp_path)) == 5
    assert len(caught) == 1


def test_a_folder_of_another_set_is_an_error(tmp_path):
    write_audio(tmp_path, "a.wav", "b.wav")
    with pytest.raises(ValueError, match=r"none of the 2 names .* can be read: a.wav \(not instrument_NOTE"):
        PhilharmoniaSource().read_notes(tmp_path)


def test_roots_that_are_absent_or_empty(tmp_path):
    with pytest.raises(ValueError, match=r"--data\.root"):
        PhilharmoniaSource().read_notes(None)
    with pytest.raises(ValueError, match="no such folder"):
        PhilharmoniaSource().read_notes(tmp_path / "absent")
    with pytest.raises(ValueError, match="no audio files"):
        PhilharmoniaSource().read_notes(tmp_path)


def test_copies_with_the_same_note_id_are_named(tmp_path):
    write_audio(tmp_path, PHILHARMONIA[0], f"copy/{Path(PHILHARMONIA[0]).name}")
    with pytest.raises(ValueError, match=r"1 note ids .*copy/oboe_As4"):
        PhilharmoniaSource().read_notes(tmp_path)


def test_hidden_files_are_passed_over(tmp_path):
    write_audio(tmp_path, PHILHARMONIA[0])
    (tmp_path / "oboe" / "._oboe_As4_1_forte_normal.mp3").write_text("resource fork")
    assert len(PhilharmoniaSource().read_notes(tmp_path)) == 1


def test_file_names_that_cannot_be_printed_are_refused(tmp_path):
    write_audio(tmp_path, PHILHARMONIA[0])
    os.rename(tmp_path / PHILHARMONIA[0], os.fsencode(tmp_path) + b"/ob\xffoe_A4_1_forte_normal.mp3")
    with pytest.raises(ValueError, match=r"note_id .* U\+DCFF"):
        PhilharmoniaSource().read_notes(tmp_path)
