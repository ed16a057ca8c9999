from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules.note_table import NOTE_COLUMNS, check_notes
from datamodules.splits import Split, SplitSettings, split_notes, write_split


def table(per_instrument: int = 40, instruments: tuple[str, ...] = ("oboe", "cello", "flute")) -> pd.DataFrame:
    rows = [
        {
            "note_id": f"{name}-{i:03d}",
            "midi": 40 + i // 2,
            "instrument": name,
            "dynamic": "mf",
            "group": f"fold{i % 5}",
            "audio": "",
            "offset_s": 0.0,
        }
        for name in instruments
        for i in range(per_instrument)
    ]
    return check_notes(pd.DataFrame(rows), "test")


def both(scored: np.ndarray) -> Split:
    return Split(scored, scored)


def test_a_table_is_sorted_by_id() -> None:
    shuffled = table().sample(frac=1, random_state=0)
    assert list(check_notes(shuffled, "test").note_id) == sorted(shuffled.note_id)
    assert tuple(check_notes(shuffled, "test").columns) == NOTE_COLUMNS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="midi"), r"here: .*lacks the column\(s\) midi"),
        (lambda t: t.iloc[:0], "here: no notes found"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "here: note id 'cello-000' occurs more than once"),
        (lambda t: t.assign(midi=128), "here: note 'cello-000' has MIDI pitch 128, outside 0..127"),
    ],
)
def test_bad_tables_are_refused(change, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        check_notes(change(table()), "here")


def test_the_random_split_is_stratified() -> None:
    notes = table()
    scored = split_notes(notes, SplitSettings()).scored
    assert scored.sum() == 12
    assert (notes.instrument[scored].value_counts() == 4).all()
    assert np.array_equal(scored, split_notes(notes, SplitSettings()).scored)
    assert not np.array_equal(scored, split_notes(notes, SplitSettings(seed=1)).scored)


def test_the_grouped_split_keeps_a_pitch_of_an_instrument_together() -> None:
    notes = table()
    scored = split_notes(notes, SplitSettings(kind="grouped")).scored
    unit = notes.instrument + notes.midi.astype(str)
    assert 0 < scored.sum() < len(notes)
    assert set(unit[scored]).isdisjoint(unit[~scored])


def recordings(per_recording: int = 4) -> pd.DataFrame:
    """Three instruments of ten recordings each, that differ in their numbers of notes."""
    notes = table()
    number = notes.groupby("instrument").cumcount() // per_recording
    return notes.assign(group=notes.instrument + " take " + number.astype(str)).iloc[:-3].reset_index(drop=True)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("selection_share", [None, 0.1])
def test_a_recording_is_on_one_side(seed: int, selection_share: float | None) -> None:
    notes = recordings()
    split = split_notes(notes, SplitSettings(kind="recording", selection_share=selection_share, seed=seed))
    parts = [split.scored, split.training, *([split.selection] if split.has_selection else [])]
    assert (np.sum(parts, axis=0) == 1).all()
    for part in parts:
        assert set(notes.instrument[part]) == set(notes.instrument)
        assert set(notes.group[part]).isdisjoint(notes.group[~part])
    assert notes.group[split.scored].nunique() == 3


def test_a_recording_needs_a_name() -> None:
    notes = recordings()
    with pytest.raises(ValueError, match="kind is recording, and 1 of 117 notes have no group"):
        split_notes(notes.assign(group=notes.group.where(notes.index > 0, "")), SplitSettings(kind="recording"))
    with pytest.raises(ValueError, match=r"instrument 'cello' has 1 recording\(s\), too few for the recording split"):
        split_notes(recordings(per_recording=40), SplitSettings(kind="recording"))


def test_instruments_that_share_their_recordings_cannot_be_parted() -> None:
    notes = recordings()
    shared = pd.concat([notes, notes[notes.group == "flute take 0"].assign(instrument="piccolo")])
    shared = shared.assign(note_id=[str(i) for i in range(len(shared))])
    with pytest.raises(ValueError, match="'piccolo' has 1 recording"):
        split_notes(check_notes(shared, "test"), SplitSettings(kind="recording"))


@pytest.mark.parametrize("kind", ["random", "grouped", "recording", "instruments", "official"])
def test_selection_takes_nothing_from_the_scored_notes(kind: str) -> None:
    notes = recordings().assign(fold=lambda t: np.where(t.midi < 44, "test", "train"))
    given = {"kind": kind, "official_groups": ("test",), "validation_share": 0.3 if kind == "instruments" else 0.1}
    published, three = (
        split_notes(notes, SplitSettings(**given, selection_share=share)) for share in (None, given["validation_share"])
    )
    assert not published.has_selection
    assert three.has_selection
    assert np.array_equal(published.scored, published.selection)
    assert np.array_equal(published.scored, three.scored)
    assert not (three.scored & three.selection).any()
    assert np.array_equal(three.training, ~three.scored & ~three.selection)


def test_a_selection_that_cannot_be_cut_names_its_setting() -> None:
    with pytest.raises(ValueError, match=r"data\.split\.selection_share.*1 instrument"):
        split_notes(table(instruments=("a", "b")), SplitSettings(kind="instruments", selection_share=0.1))


def test_three_parts_are_recorded_and_read_again(tmp_path: Path) -> None:
    notes, file = recordings(), tmp_path / "split.csv"
    first = split_notes(notes, SplitSettings(kind="recording", selection_share=0.2, file=file))
    assert pd.read_csv(file).part.value_counts().to_dict() == {
        "train": first.training.sum(),
        "selection": first.selection.sum(),
        "test": first.scored.sum(),
    }
    again = split_notes(notes, SplitSettings(file=file))
    assert np.array_equal(first.scored, again.scored)
    assert np.array_equal(first.selection, again.selection)
    write_split(notes, both(first.scored), file)
    with pytest.raises(ValueError, match="no part named selection"):
        split_notes(notes, SplitSettings(selection_share=0.2, file=file))


def test_whole_instruments_can_be_left_out() -> None:
    notes = table(instruments=("a", "b", "c", "d", "e"))
    scored = split_notes(notes, SplitSettings(kind="instruments", validation_share=0.2)).scored
    assert notes.instrument[scored].nunique() == 1
    assert set(notes.instrument[scored]).isdisjoint(notes.instrument[~scored])


@pytest.mark.parametrize("kind", ["random", "grouped", "recording", "instruments"])
def test_folds_score_each_note_once(kind: str) -> None:
    notes = table(instruments=("a", "b", "c", "d", "e"))
    folds = [split_notes(notes, SplitSettings(kind=kind, folds=5, fold=i)).scored for i in range(5)]  # type: ignore[arg-type]
    assert (np.sum(folds, axis=0) == 1).all()


def test_official_folds() -> None:
    notes = table()
    scored = split_notes(notes, SplitSettings(kind="official", official_groups=("fold3",))).scored
    assert set(notes.group[scored]) == {"fold3"}
    with_folds = notes.assign(fold=np.where(notes.midi < 50, "low", "high"))
    scored = split_notes(with_folds, SplitSettings(kind="official", official_groups=("low",))).scored
    assert np.array_equal(scored, notes.midi < 50)
    with pytest.raises(ValueError, match=r"official_groups is \['x'\]; the groups of these notes are \['fold0'"):
        split_notes(notes, SplitSettings(kind="official", official_groups=("x",)))


def test_a_split_is_recorded_by_note_id_and_read_again(tmp_path: Path) -> None:
    notes, file = table(), tmp_path / "splits" / "split.csv"
    first = split_notes(notes, SplitSettings(file=file))
    # another seed and another order of rows: the record decides
    again = split_notes(notes.iloc[::-1].reset_index(drop=True), SplitSettings(file=file, seed=7))
    assert np.array_equal(first.scored, again.scored[::-1])
    assert [path.name for path in file.parent.iterdir()] == ["split.csv"]


def test_a_split_of_other_notes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "split.csv"
    notes = table()
    write_split(notes, both(np.zeros(len(notes), bool)), file)
    with pytest.raises(ValueError, match=r"split.csv: recorded for other notes \(1 differ, 'cello-000' among them\)"):
        split_notes(notes.iloc[1:], SplitSettings(file=file))
    file.write_text("note_id,part\ncello-000,maybe\n")
    with pytest.raises(ValueError, match=r"split.csv: not a split"):
        split_notes(notes, SplitSettings(file=file))


@pytest.mark.parametrize("scored", [0, 119, 120])
def test_a_recorded_split_leaves_notes_on_both_sides(tmp_path: Path, scored: int) -> None:
    notes, file = table(), tmp_path / "split.csv"
    write_split(notes, both(np.arange(len(notes)) < scored), file)
    with pytest.raises(ValueError, match=rf"data\.split scores {scored} of 120 notes"):
        split_notes(notes, SplitSettings(file=file))


def test_an_instrument_with_one_note_is_named() -> None:
    notes = table()
    lone = pd.concat([notes, notes.iloc[:1].assign(note_id="tuba-1", instrument="tuba")])
    with pytest.raises(ValueError, match=r"instrument 'tuba' has 1 note\(s\), too few for the random split"):
        split_notes(check_notes(lone, "test"), SplitSettings())


@pytest.mark.parametrize(("share", "scores"), [(0.1, 1), (0.9, 9)])
def test_two_notes_are_scored_and_two_trained_on(share: float, scores: int) -> None:
    notes = table(per_instrument=10)
    notes = notes[notes.instrument == notes.instrument.iloc[0]].reset_index(drop=True)
    with pytest.raises(ValueError, match=f"data.split scores {scores} of 10 notes"):
        split_notes(notes, SplitSettings(validation_share=share))
    assert split_notes(notes, SplitSettings(validation_share=0.2)).scored.sum() == 2


def test_too_few_scored_notes_for_the_instruments() -> None:
    with pytest.raises(ValueError, match=r"1 scored notes cannot hold one of each of 3 instruments"):
        split_notes(table(per_instrument=2), SplitSettings())


@pytest.mark.parametrize(
    "wrong",
    [
        {"validation_share": 0.0},
        {"selection_share": 1.0},
        {"seed": -1},
        {"seed": 2**32},
        {"folds": 5, "fold": 5},
        {"folds": 1},
    ],
)
def test_impossible_splits_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"data\.split"):
        SplitSettings(**wrong)
