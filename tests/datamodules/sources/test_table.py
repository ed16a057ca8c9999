"""Tables of notes, CSV and JSON lines: what they give, and the line and fault of wrong ones."""

from __future__ import annotations

import json

import pytest

from datamodules.sources.table import TableSource
from tests.datamodules.sources.folders import column, write_audio


def test_a_csv_table(tmp_path):
    write_audio(tmp_path, "a.wav", "sub/b.wav")
    (tmp_path / "notes.csv").write_text(
        "audio,pitch,instrument,dynamic,offset_s,colour\na.wav,69,oboe,mf,,red\nsub/b.wav,Bb3,flute,,0.25,blue\n"
    )
    source = TableSource(tmp_path / "notes.csv")
    notes = source.read_notes(None)
    assert column(notes, "note_id") == ["a.wav", "sub/b.wav@0.25"]
    assert column(notes, "midi") == [69, 58]
    assert column(notes, "offset_s") == [0.0, 0.25]
    assert column(notes, "dynamic") == ["mf", ""]
    assert len(source.read_audio(None, list(notes.itertuples())[1], 9.0)[0]) == 22_050 - 11_025


def test_a_json_lines_table_with_a_root_elsewhere(tmp_path):
    write_audio(tmp_path / "audio", "a.wav")
    rows = [
        {"audio": "a.wav", "pitch": 69, "instrument": "oboe", "note_id": "first", "group": 3},
        {"audio": "a.wav", "pitch": "F#3", "instrument": "oboe", "note_id": "second"},
    ]
    (tmp_path / "notes.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    source = TableSource(tmp_path / "notes.jsonl")
    notes = source.read_notes(tmp_path / "audio")
    assert column(notes, "note_id") == ["first", "second"]
    assert column(notes, "midi") == [69, 54]
    assert source.read_audio(tmp_path / "audio", next(notes.itertuples()), 0.1)[1] == 44_100


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("audio,pitch\na.wav,69\n", r"lacks the column\(s\) instrument; it has audio, pitch"),
        ("audio,pitch,instrument\na.wav,128,x\n", r"line 2: pitch 128 is no MIDI number from 0 to 127"),
        ("audio,pitch,instrument\na.wav,60.5,x\n", "line 2: pitch 60.5"),
        ("audio,pitch,instrument\na.wav,nan,x\n", "line 2: "),
        ("audio,pitch,instrument\na.wav,60,x\na.wav,H4,x\nb.wav,,x\n", r"2 wrong row\(s\): line 3: .*line 4: no pitch"),
        ("audio,pitch,instrument\n../a.wav,60,x\n", "leaves the root"),
        ("audio,pitch,instrument\n/etc/a.wav,60,x\n", "leaves the root"),
        ("audio,pitch,instrument,offset_s\na.wav,60,x,-1\n", "offset_s -1 is no time"),
        ("audio,pitch,instrument\na.wav,60,x\na.wav,61,x\n", "note id 'a.wav' occurs more than once"),
        ("audio,pitch,instrument\n", "no notes"),
        ("", r"lacks the column\(s\) audio, pitch, instrument"),
        ("audio;pitch;instrument\na.wav;60;x\n", "it has audio;pitch;instrument"),
        ("audio,pitch,instrument,dynamic\na.wav,A4,Clarinet, in Bb,ff\n", "line 2: 5 cells for 4 columns"),
        ("audio,pitch,instrument,offset_s\na.wav,A4,x,1,25\n", "line 2: 5 cells"),
        ('audio,pitch,instrument,offset_s\na.wav,A4,x,"1,25"\n', "line 2: offset_s 1,25"),
        ('audio,pitch,instrument\na.wav,"69,0",x\n', "line 2: '69,0'"),
        ("audio,pitch,instrument,pitch\na.wav,A4,x,C4\n", "has the column 'pitch' twice"),
        ('audio,pitch,instrument\n"a\nb.wav",A4,x\n', r"line 2: audio .* U\+000A"),
        ("audio,pitch,instrument\na.wav,60,x\x1b[31m\n", r"line 2: instrument .* U\+001B"),
        ("audio,pitch,instrument\na.wav,60,\u202ex\n", r"line 2: instrument .* U\+202E"),
        ("audio,pitch,instrument\na.wav,Es4,x\nb.wav,As4,x\n", r"2 wrong row\(s\): line 2: .*Es4.*line 3: .*As4"),
        ("audio,pitch,instrument\na.wav,6_0,x\n", "line 2: '6_0'"),
        ("audio,pitch,instrument\na.wav,\u0666\u0660,x\n", "line 2: "),
        ("audio,pitch,instrument\na.wav,1e400,x\n", "line 2: pitch 1e400"),
        ("audio,pitch,instrument\na.wav,60,violin\nb.wav,60,Violin\n", "'violin' and 'Violin' differ in case"),
        ('audio,pitch,instrument\n"a.wav,60,x\nb.wav,60,x\n', "line 3: cannot be read as CSV"),
        ("audio,pitch,instrument\na.wav,60," + "x" * 200_000 + "\n", "cannot be read as CSV"),
    ],
)
def test_wrong_tables_name_the_line_and_the_fault(tmp_path, content, message):
    (tmp_path / "notes.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        TableSource(tmp_path / "notes.csv").read_notes(None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"audio": "a.wav", "pitch": true, "instrument": "x"}', "line 1: pitch True"),
        ('{"audio": "a.wav", "pitch": [60], "instrument": "x"}', r"line 1: pitch \[60\]"),
        ('{"audio": "a.wav", "pitch": 60, "instrument": ["x", "y"]}', "line 1: instrument"),
        ('{"audio": {"a": 1}, "pitch": 60, "instrument": "x"}', "line 1: audio"),
        ('{"audio": "a.wav", "pitch": NaN, "instrument": "x"}', "line 1: no pitch"),
        ('{"audio": "a.wav", "pitch": Infinity, "instrument": "x"}', "line 1: 'inf'"),
        ('{"audio": "a.wav", "pitch": 60, "pitch": 61, "instrument": "x"}', "line 1: has 'pitch' twice"),
        ('{"audio": "a.wav", "pitch": ' + "1" * 5_000 + ', "instrument": "x"}', "line 1: "),
        ('{"audio": "a.wav", "pitch": 60, "instrument": "x\\ud800"}', r"line 1: instrument .* U\+D800"),
        ('{"audio": "a.wav", "pitch": 60, "instrument": "x", "offset_s": "now"}', "line 1: offset_s now"),
        ('\n[1]\n"text"', r"2 wrong row\(s\): line 2: is no JSON object; line 3: is no JSON object"),
        ("[" * 100_000, "line 1: "),
    ],
)
def test_wrong_json_lines_name_the_line_and_the_fault(tmp_path, content, message):
    (tmp_path / "notes.jsonl").write_text(content)
    with pytest.raises(ValueError, match=message):
        TableSource(tmp_path / "notes.jsonl").read_notes(None)


def test_cells_have_one_form(tmp_path):
    """White space around a cell, the ways to write an accent, and line separators of other cells make no difference."""
    rows = ["a.wav,A4,Violin,x\n", "b.wav,A4,Violin ,x\n", "c.wav,A4,Fl\u00f6te,x\u2003\n", "d.wav,A4,Flo\u0308te\n"]
    (tmp_path / "notes.csv").write_text("\ufeffaudio, pitch ,instrument,group\n" + "".join(rows), encoding="utf-8")
    notes = TableSource(tmp_path / "notes.csv").read_notes(None)
    assert column(notes, "instrument") == ["Violin", "Violin", "Fl\u00f6te", "Fl\u00f6te"]
    assert column(notes, "group") == ["x", "x", "x", ""]
    line = '{"audio": "a.wav", "pitch": 60, "instrument": "NA", "comment": "one\u2028two"}'
    (tmp_path / "notes.jsonl").write_text(line, encoding="utf-8")
    assert column(TableSource(tmp_path / "notes.jsonl").read_notes(None), "instrument") == ["NA"]


def test_marks_in_names_are_plain_text(tmp_path):
    names = ["Trumpet [muted]", "Horn [/b]", "Guitar $20_{", "a|b", "<b>", "nan", "null", "None", "NA", "=1+1"]
    rows = "".join(f'{i}.wav,60,"{name}"\n' for i, name in enumerate(names))
    (tmp_path / "notes.csv").write_text("audio,pitch,instrument\n" + rows)
    assert column(TableSource(tmp_path / "notes.csv").read_notes(None), "instrument") == names


def test_tables_that_are_absent_or_of_another_kind(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        TableSource(tmp_path / "absent.csv").read_notes(None)
    with pytest.raises(ValueError, match=r"must end in \.csv or \.jsonl"):
        TableSource(tmp_path / "notes.xlsx").read_notes(None)
    (tmp_path / "notes.jsonl").write_text("{not json\n")
    with pytest.raises(ValueError, match="line 1: is no JSON"):
        TableSource(tmp_path / "notes.jsonl").read_notes(None)


def test_a_link_to_itself_is_named(tmp_path):
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    source = TableSource(tmp_path / "notes.csv")
    (tmp_path / "notes.csv").write_text("audio,pitch,instrument\nloop.wav,60,x\n")
    with pytest.raises(ValueError, match=r"loop\.wav"):
        source.read_audio(None, next(source.read_notes(None).itertuples()), 1.0)
