from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from experiments.reporting.grid_files import write_tables
from experiments.reporting.markdown import NOT_THERE


def write_cell(out: Path, row: str, name: str, right: dict[tuple[str, str, int], int]) -> None:
    """A finished cell that heard each note (id, instrument, MIDI pitch) right or not."""
    acc = 100 * sum(right.values()) / len(right)
    scores = {"published": {"acc": acc}, "honest": {"acc": acc}}
    facts = {"row": row, "seed": int(name.split("_")[1]), "data": "notes", "data_hash": "a", "epochs": 3, "wall_s": 1.0}
    if "fold" in name:
        facts["fold"] = int(name.split("_")[3])
    folder = out / row / name
    folder.mkdir(parents=True)
    content = {
        **facts,
        "machine": "m",
        "precision": "p",
        "best": {"epoch": 1, **scores},
        "last": {"epoch": 2, **scores},
    }
    (folder / "metrics.json").write_text(json.dumps(content))
    lines = [(*note, heard, heard) for note, heard in right.items()]
    columns = ["note_id", "instrument", "midi", "published_acc", "honest_acc"]
    pd.DataFrame(lines, columns=columns).to_csv(folder / "notes.csv", index=False)


LOW, MIDDLE, HIGH = ("low", "double bass", 28), ("middle", "alto sax", 59), ("high", "alto sax", 60)


def lines_of(text: str, heading: str) -> list[list[str]]:
    """The cells of the table that begins with a heading."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} "))
    found = []
    for line in lines[first:]:
        if not line:
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_the_table_says_which_octaves_and_instruments_are_misheard(tmp_path: Path) -> None:
    write_cell(tmp_path, "m7", "seed_0", {LOW: 1, MIDDLE: 1, HIGH: 0})
    write_cell(tmp_path, "m7", "seed_1", {LOW: 0, MIDDLE: 1, HIGH: 0})
    write_cell(tmp_path, "b", "seed_0", {MIDDLE: 0, HIGH: 1})
    text = write_tables(tmp_path)
    assert lines_of(text, "Octave")[0] == ["Octave", "Notes", "b", "m7"]
    assert lines_of(text, "Octave")[2:] == [
        ["C1 to B1 (MIDI 24 to 35)", "1", NOT_THERE, "50.0"],
        ["C3 to B3 (MIDI 48 to 59)", "1", "0.0", "100.0"],
        ["C4 to B4 (MIDI 60 to 71)", "1", "100.0", "0.0"],
    ]
    assert lines_of(text, "Instrument")[2:] == [
        ["alto sax", "2", "50.0", "50.0"],
        ["double bass", "1", NOT_THERE, "50.0"],
    ]
    assert (tmp_path / "table.md").read_text() == text


def test_folds_together_count_each_note_once(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_cell(tmp_path, "m7", f"seed_{seed}_fold_0", {LOW: 1, MIDDLE: seed})
        write_cell(tmp_path, "m7", f"seed_{seed}_fold_1", {HIGH: 1})
    assert [line[1:] for line in lines_of(write_tables(tmp_path), "Octave")[2:]] == [
        ["1", "100.0"],
        ["1", "50.0"],
        ["1", "100.0"],
    ]


def test_cells_without_single_notes_make_no_such_section(tmp_path: Path) -> None:
    write_cell(tmp_path, "m7", "seed_0", {LOW: 1, MIDDLE: 1})
    (tmp_path / "m7" / "seed_0" / "notes.csv").write_text("damaged")
    assert "Octave" not in write_tables(tmp_path)
