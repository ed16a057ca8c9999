"""Corrections of labels: applied, and refused with the line."""

from __future__ import annotations

import os

import pandas as pd
import pytest

from datamodules.corrections import apply_corrections
from datamodules.sources.table import TableSource
from tests.datamodules.sources.folders import column


@pytest.fixture
def notes(tmp_path):
    rows = [{"audio": f"{name}.wav", "pitch": 60, "instrument": "oboe", "note_id": name} for name in "abc"]
    pd.DataFrame(rows).to_csv(tmp_path / "notes.csv", index=False)
    return TableSource(tmp_path / "notes.csv").read_notes(None)


def test_a_fifo_is_no_table(tmp_path, notes):
    os.mkfifo(tmp_path / "fifo.csv")
    with pytest.raises(ValueError, match="fifo"):
        TableSource(tmp_path / "fifo.csv").read_notes(None)
    with pytest.raises(ValueError, match="fifo"):
        apply_corrections(notes, tmp_path / "fifo.csv")


def test_corrections_relabel_and_drop_and_say_so(tmp_path, notes, capsys):
    file = tmp_path / "corrections.csv"
    file.write_text("note_id,action,midi,reason\na,relabel,48,octave\nc,drop,,silent\nelsewhere,drop,,silent\n")
    before = notes.copy()
    corrected = apply_corrections(notes, file)
    assert column(corrected, "note_id") == ["a", "b"]
    assert column(corrected, "midi") == [48, 60]
    assert corrected.dtypes.to_dict() == notes.dtypes.to_dict()
    pd.testing.assert_frame_equal(notes, before)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("1 notes relabelled, 1 dropped; 1 of its rows name notes that are not here")


def test_no_corrections_change_nothing(notes, capsys):
    assert apply_corrections(notes, None) is notes
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("note_id,action\na,drop\n", r"lacks the column\(s\) midi, reason"),
        ("note_id,action,midi,reason\na,remove,,x\n", "line 2: action 'remove' is neither relabel nor drop"),
        ("note_id,action,midi,reason\na,relabel,,x\n", "line 2: midi '' is no MIDI number"),
        ("note_id,action,midi,reason\na,relabel,200,x\n", "line 2: midi '200'"),
        ("note_id,action,midi,reason\na,relabel,-1,x\n", "line 2: midi '-1'"),
        ("note_id,action,midi,reason\na,drop,,x\na,relabel,50,x\n", "'a' occurs more than once"),
        ("note_id,action,midi,reason\nz,drop,,x\n", "names none of these notes"),
        ("note_id,action,midi,reason\na,drop,,x\nb,drop,,x\nc,drop,,x\n", "drops every note"),
        ("", r"lacks the column\(s\) note_id"),
        ("note_id,action,midi,reason\na,drop,,x,y\n", "line 2: 5 cells for 4 columns"),
        ("note_id,action,midi,reason\na,relabel,٦٠,x\n", "line 2: midi"),
    ],
)
def test_wrong_corrections_are_refused(tmp_path, notes, content, message):
    file = tmp_path / "corrections.csv"
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        apply_corrections(notes, file)
    with pytest.raises(ValueError, match="cannot be read"):
        apply_corrections(notes, tmp_path / "absent.csv")
