"""The SOL family's names of files."""

from __future__ import annotations

from datamodules.sources.sol import SolSource
from tests.datamodules.sources.folders import SOL, column, write_audio


def test_sol_takes_ordinary_notes_without_mutes(tmp_path):
    write_audio(tmp_path, *SOL)
    notes = SolSource().read_notes(tmp_path)
    assert column(notes, "note_id") == [
        "Fl-ord-C#4-pp-N-N", "Fl-ord-C4-mf-N-T14d", "Kora-ord-E3-mf-4c-N", "trbt-ord-A#2-ff",
    ]  # fmt: skip
    assert column(notes, "instrument") == ["Flute", "Flute", "Kora", "Trombone"]
    assert column(notes, "midi") == [61, 60, 52, 46]
    assert column(notes, "dynamic") == ["pp", "mf", "mf", "ff"]


def test_sol_settings(tmp_path):
    write_audio(tmp_path, *SOL)
    assert "Trumpet in C + S" in column(SolSource(muted=True).read_notes(tmp_path), "instrument")
    assert "Fl-ord-C4-mf-N-T14d" not in column(SolSource(retuned=False).read_notes(tmp_path), "note_id")
    assert column(SolSource(techniques=["flatt"]).read_notes(tmp_path), "note_id") == ["Fl-flatt-C4-mf-N-N"]
