"""The sources on folders laid out as the real data sets, with small generated audio; and what bad folders get."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import tarfile
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

import datamodules.sources
from datamodules.corrections import apply_corrections
from datamodules.note_table import NOTE_COLUMNS
from datamodules.sources.files import audio_files, path_inside
from datamodules.sources.good_sounds import GoodSoundsSource
from datamodules.sources.nsynth import NSynthSource
from datamodules.sources.philharmonia import PhilharmoniaSource
from datamodules.sources.pitches import midi_from_name, name_from_midi
from datamodules.sources.sol import SolSource
from datamodules.sources.table import TableSource
from datamodules.sources.tinysol import TinySolSource


def write_audio(root: Path, *names: str, rate: int = 44_100, midi: int = 69) -> None:
    """Write half a second of a tone under each name."""
    hertz = 440 * 2 ** ((midi - 69) / 12)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, 0.5 * np.sin(2 * np.pi * hertz * np.arange(rate // 2) / rate), rate)


def column(notes: pd.DataFrame, name: str) -> list:
    return notes[name].tolist()


# Pitch names ----------------------------------------------------------------------------------------------------------


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


# Philharmonia ---------------------------------------------------------------------------------------------------------


PHILHARMONIA = [
    "oboe/oboe_As4_1_forte_normal.mp3",
    "oboe/oboe_A4_05_forte_normal.mp3",
    "oboe/oboe_B4_1_molto-pianissimo_major-trill.mp3",
    "cello/cello_C2_1_piano_arco-normal.mp3",
    "cor anglais/english-horn_E3_1_mezzo-forte_normal.mp3",
]


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
    with pytest.raises(ValueError, match="the filters leave none of the 5 files"):
        PhilharmoniaSource(instruments=["cello"], lengths=["05"]).read_notes(tmp_path)


def test_names_that_do_not_parse_are_counted_in_one_warning(tmp_path):
    write_audio(tmp_path, *PHILHARMONIA, "percussion/gong__1_forte_hit.mp3", "oboe/oboe_H4_1_forte_normal.mp3")
    with pytest.warns(UserWarning, match="2 of 7 names cannot be read: oboe/oboe_H4") as caught:
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
    with pytest.raises(ValueError, match=r"1 note ids occur more than once: .*copy/oboe_As4.*remove or rename"):
        PhilharmoniaSource().read_notes(tmp_path)


def test_hidden_files_are_passed_over(tmp_path):
    write_audio(tmp_path, PHILHARMONIA[0])
    (tmp_path / "oboe" / "._oboe_As4_1_forte_normal.mp3").write_text("resource fork")
    assert len(PhilharmoniaSource().read_notes(tmp_path)) == 1


# The SOL family -------------------------------------------------------------------------------------------------------


SOL = [
    "Winds/Flute/ordinario/Fl-ord-C4-mf-N-T14d.wav",
    "Winds/Flute/ordinario/Fl-ord-C#4-pp-N-N.wav",
    "Winds/Flute/flatterzunge/Fl-flatt-C4-mf-N-N.wav",
    "Winds/Flute/aeolian/Fl-aeol-N-mf-N-N.wav",
    "Brass/Trombone/ordinario/trbt-ord-A#2-ff.wav",
    "Brass/Trumpet_C+sordina/ordinario/TpC+S-ord-F#4-mf-N-N.wav",
    "Strings/Kora/ordinario/Kora-ord-E3-mf-4c-N.wav",
]


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


TINYSOL_HEADER = (
    "Path,Fold,Family,Instrument (abbr.),Instrument (in full),Technique (abbr.),Technique (in full),Pitch,Pitch ID,"
    "Dynamics,Dynamics ID,Instance ID,String ID (if applicable),Needed digital retuning"
)


def write_tinysol(root: Path) -> list[str]:
    """A folder laid out as TinySOL, without its metadata; the rows of that."""
    write_audio(root, *SOL[:2])
    return [
        TINYSOL_HEADER,
        f"{SOL[0]},3,Winds,Fl,Flute,ord,ordinario,C4,60,mf,2,0,,TRUE",
        f"{SOL[1]},0,Winds,Fl,Flute,ord,ordinario,C#4,61,pp,0,0,,FALSE",
    ]


def test_tinysol_by_names_alone(tmp_path):
    write_tinysol(tmp_path)
    notes = TinySolSource().read_notes(tmp_path)
    assert column(notes, "midi") == [61, 60]
    assert column(notes, "fold") == ["", ""]
    assert column(notes, "group") == column(notes, "audio")
    assert column(TinySolSource(retuned=False).read_notes(tmp_path), "midi") == [61]


@pytest.mark.parametrize("place", ["TinySOL_metadata.csv", "annotation/TinySOL_metadata.csv"])
def test_tinysol_with_its_official_folds(tmp_path, place):
    rows = write_tinysol(tmp_path)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("\n".join(rows))
    assert column(TinySolSource().read_notes(tmp_path), "fold") == ["0", "3"]


def test_tinysol_metadata_elsewhere_and_wrong(tmp_path):
    rows = write_tinysol(tmp_path / "audio")
    metadata = tmp_path / "m.csv"
    source = TinySolSource(metadata=metadata)
    metadata.write_text("\n".join(rows))
    assert column(source.read_notes(tmp_path / "audio"), "fold") == ["0", "3"]
    metadata.write_text("\n".join(rows[:2]))
    with pytest.raises(ValueError, match="does not list 1 of the notes"):
        source.read_notes(tmp_path / "audio")
    metadata.write_text("\n".join([*rows[:2], rows[2].replace(",61,", ",62,")]))
    with pytest.raises(ValueError, match="another pitch than the name of 'Fl-ord-C#4-pp-N-N'"):
        source.read_notes(tmp_path / "audio")
    metadata.write_text("a,b\n1,2")
    with pytest.raises(ValueError, match="lacks the column"):
        source.read_notes(tmp_path / "audio")


def test_downloads_without_mirdata_name_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mirdata", None)
    for source in (TinySolSource(download=True), GoodSoundsSource(download=True)):
        with pytest.raises(ValueError, match=r"pip install 'pitch-timbre\[mirdata\]'"):
            source.read_notes(tmp_path)


def test_downloads_are_made_once_and_taken_up_again_when_interrupted(tmp_path, monkeypatch):
    calls = []

    class FakeDataset:
        def __init__(self, name, data_home):
            self.root = Path(data_home)

        def download(self, partial_download):
            calls.append(partial_download)
            if len(calls) == 1:
                raise OSError("connection lost")
            (self.root / "annotation").mkdir(parents=True)
            rows = write_tinysol(self.root / "audio" / "TinySOL")
            (self.root / "annotation" / "TinySOL_metadata.csv").write_text("\n".join(rows))

    monkeypatch.setitem(sys.modules, "mirdata", types.SimpleNamespace(initialize=FakeDataset))
    source = TinySolSource(download=True)
    with pytest.raises(ValueError, match="connection lost"):
        source.read_notes(tmp_path / "new")
    for _ in range(2):
        assert column(source.read_notes(tmp_path / "new"), "fold") == ["0", "3"]
    assert calls == [["audio", "annotations"]] * 2


def test_an_archive_cannot_write_outside_its_folder(tmp_path, monkeypatch):
    class EvilDataset:
        def __init__(self, name, data_home):
            self.root = Path(data_home)

        def download(self, partial_download):
            content, member = b"gotcha", tarfile.TarInfo("../outside")
            member.size = len(content)
            with tarfile.open(tmp_path / "evil.tar", "w") as archive:
                archive.addfile(member, io.BytesIO(content))
            with tarfile.open(tmp_path / "evil.tar") as archive:
                archive.extractall(self.root)  # as mirdata does

    monkeypatch.setitem(sys.modules, "mirdata", types.SimpleNamespace(initialize=EvilDataset))
    with pytest.raises(ValueError, match=r"tinysol: the download to .* failed"):
        TinySolSource(download=True).read_notes(tmp_path / "new")
    assert not (tmp_path / "outside").exists()


def test_the_archives_that_are_asked_of_mirdata_are_there():
    mirdata = pytest.importorskip("mirdata")
    assert {"audio", "annotations"} <= set(mirdata.initialize("tinysol").remotes)
    assert {"packs", "ratings", "sounds", "takes", "audios"} <= set(mirdata.initialize("good_sounds").remotes)


# NSynth ---------------------------------------------------------------------------------------------------------------


def write_nsynth(folder: Path) -> None:
    """A folder laid out as a part of NSynth."""
    examples = {}
    for family, source, pitch, velocity in (
        ("flute", "acoustic", 68, 25), ("flute", "synthetic", 70, 127), ("brass", "acoustic", 40, 100),
    ):  # fmt: skip
        name = f"{family}_{source}_000-{pitch:03d}-{velocity:03d}"
        examples[name] = {
            "note_str": name, "pitch": pitch, "velocity": velocity, "sample_rate": 16_000,
            "instrument_str": f"{family}_{source}_000", "instrument_family_str": family,
            "instrument_source_str": source, "qualities": [0] * 10,
        }  # fmt: skip
        write_audio(folder, f"audio/{name}.wav", rate=16_000)
    (folder / "examples.json").write_text(json.dumps(examples))


def test_nsynth_one_part(tmp_path, capsys):
    write_nsynth(tmp_path / "nsynth-valid")
    source = NSynthSource(sources=["acoustic"])
    notes = source.read_notes(tmp_path / "nsynth-valid")
    assert column(notes, "instrument") == ["brass", "flute"]
    assert column(notes, "midi") == [40, 68]
    assert column(notes, "dynamic") == ["100", "25"]
    assert column(notes, "fold") == ["nsynth-valid"] * 2
    assert "nothing above 8,000 Hz" in capsys.readouterr().out
    assert source.read_audio(tmp_path / "nsynth-valid", next(notes.itertuples()), 0.1)[1] == 16_000


def test_nsynth_all_parts_and_settings(tmp_path):
    for part in ("nsynth-train", "nsynth-test"):
        write_nsynth(tmp_path / part)
    (tmp_path / "nsynth-test" / "examples.json").write_text(
        (tmp_path / "nsynth-test" / "examples.json").read_text().replace("_000", "_001")
    )
    notes = NSynthSource(families=["flute"], instrument="individual", velocities=[127]).read_notes(tmp_path)
    assert column(notes, "instrument") == ["flute_synthetic_000", "flute_synthetic_001"]
    assert column(notes, "fold") == ["nsynth-train", "nsynth-test"]
    assert notes.audio[0].startswith("nsynth-train/audio/")


def test_nsynth_without_or_with_a_wrong_table(tmp_path):
    with pytest.raises(ValueError, match=r"no examples\.json"):
        NSynthSource().read_notes(tmp_path)
    table = tmp_path / "examples.json"
    for content, message in (("{", "cannot be read as JSON"), ("[]", "holds no notes"), ('{"a": {}}', "1 notes lack")):
        table.write_text(content)
        with pytest.raises(ValueError, match=message):
            NSynthSource().read_notes(tmp_path)
    write_nsynth(tmp_path)
    with pytest.raises(ValueError, match="no instrument_family_str named lute"):
        NSynthSource(families=["lute"]).read_notes(tmp_path)


# Good-Sounds ----------------------------------------------------------------------------------------------------------


def write_good_sounds(root: Path, below: str = "good-sounds") -> None:
    """A folder laid out as Good-Sounds: two sounds by two microphones each, and a scale."""
    sounds = {
        "2": {"id": 2, "instrument": "flute", "klass": "good-sound", "semitone": 48, "dynamics": "mf", "pack_id": 7},
        "3": {"id": 3, "instrument": "flute", "klass": "good-sound", "note": "C#", "octave": 4, "pack_id": 7},
        "4": {"id": 4, "instrument": "flute", "klass": "scale-good", "semitone": None, "note": None, "pack_id": 7},
    }
    takes = {}
    for number, (sound, microphone) in enumerate([(2, "neumann"), (2, "akg"), (3, "neumann"), (4, "akg")], start=1):
        filename = f"sound_files/flute_{microphone}/{sound:04d}.wav"
        takes[str(number)] = {"id": number, "sound_id": sound, "microphone": microphone, "filename": filename}
        write_audio(root, f"{below}/{filename}", rate=48_000)
    (root / "sounds.json").write_text(json.dumps(sounds))
    (root / "takes.json").write_text(json.dumps(takes))


@pytest.mark.parametrize("below", ["good-sounds", "."])
def test_good_sounds_one_take_a_sound(tmp_path, below):
    write_good_sounds(tmp_path, below)
    source = GoodSoundsSource()
    notes = source.read_notes(tmp_path)
    assert column(notes, "note_id") == ["sound-00002", "sound-00003"]
    assert column(notes, "midi") == [60, 61]
    assert column(notes, "group") == ["7", "7"]
    assert [("akg" in audio, "neumann" in audio) for audio in notes.audio] == [(True, False), (False, True)]
    assert all(source.read_audio(tmp_path, note, 0.1)[1] == 48_000 for note in notes.itertuples())


@pytest.mark.parametrize(
    ("fields", "midi"),
    [
        ({"note": "C", "octave": 4, "semitone": 48}, 60),
        ({"note": "A#", "octave": 0, "semitone": 10}, 22),
        ({"note": "B", "octave": 5, "semitone": ""}, 83),
        ({"semitone": "57"}, 69),
        ({"note": "C", "octave": 4, "semitone": 60}, None),
        ({"note": "C#", "octave": 4, "semitone": 48}, None),
        ({"note": "C", "semitone": True}, None),
        ({"semitone": 48.5}, None),
        ({"semitone": [48]}, None),
    ],
)
def test_good_sounds_counts_semitones_from_c0_and_refuses_contradictions(tmp_path, fields, midi):
    write_good_sounds(tmp_path)
    sound = {"id": 2, "instrument": "flute", "klass": "good-sound", **fields}
    (tmp_path / "sounds.json").write_text(json.dumps({"2": sound}))
    if midi is None:
        with pytest.raises(ValueError, match=r"0002\.wav"):
            GoodSoundsSource().read_notes(tmp_path)
    else:
        assert column(GoodSoundsSource().read_notes(tmp_path), "midi") == [midi]


def test_good_sounds_settings_and_faults(tmp_path):
    write_good_sounds(tmp_path)
    neumann = GoodSoundsSource(microphones=["neumann", "akg"]).read_notes(tmp_path)
    assert all("neumann" in audio for audio in neumann.audio)
    with pytest.raises(ValueError, match=r"gives no pitch for .*0004.wav"):
        GoodSoundsSource(classes=["scale-good"]).read_notes(tmp_path)
    with pytest.raises(ValueError, match="no microphone named iphone; there are: akg, neumann"):
        GoodSoundsSource(microphones=["iphone"]).read_notes(tmp_path)
    (tmp_path / "takes.json").write_text('{"1": {"id": 1}}')
    with pytest.raises(ValueError, match="lacks one of sound_id"):
        GoodSoundsSource().read_notes(tmp_path)
    (tmp_path / "takes.json").unlink()
    with pytest.raises(ValueError, match=r"takes\.json: cannot be read"):
        GoodSoundsSource().read_notes(tmp_path)


# Tables ---------------------------------------------------------------------------------------------------------------


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


def test_a_fifo_is_no_table(tmp_path, notes):
    os.mkfifo(tmp_path / "fifo.csv")
    with pytest.raises(ValueError, match="fifo"):
        TableSource(tmp_path / "fifo.csv").read_notes(None)
    with pytest.raises(ValueError, match="fifo"):
        apply_corrections(notes, tmp_path / "fifo.csv")


def test_file_names_that_cannot_be_printed_are_refused(tmp_path):
    write_audio(tmp_path, PHILHARMONIA[0])
    os.rename(tmp_path / PHILHARMONIA[0], os.fsencode(tmp_path) + b"/ob\xffoe_A4_1_forte_normal.mp3")
    with pytest.raises(ValueError, match=r"note_id .* U\+DCFF"):
        PhilharmoniaSource().read_notes(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("pitch", "68"), ("pitch", True), ("pitch", 68.5), ("velocity", [1]), ("instrument_family_str", None)],
)
def test_nsynth_fields_of_other_types_are_refused(tmp_path, field, value):
    write_nsynth(tmp_path)
    examples = json.loads((tmp_path / "examples.json").read_text())
    name = next(iter(examples))
    examples[name][field] = value
    (tmp_path / "examples.json").write_text(json.dumps(examples))
    with pytest.raises(ValueError, match=f"1 notes lack one of .*{name}"):
        NSynthSource().read_notes(tmp_path)


def test_tables_that_are_absent_or_of_another_kind(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        TableSource(tmp_path / "absent.csv").read_notes(None)
    with pytest.raises(ValueError, match=r"must end in \.csv or \.jsonl"):
        TableSource(tmp_path / "notes.xlsx").read_notes(None)
    (tmp_path / "notes.jsonl").write_text("{not json\n")
    with pytest.raises(ValueError, match="line 1: is no JSON"):
        TableSource(tmp_path / "notes.jsonl").read_notes(None)


# Paths ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["Take 1:2/a.wav", "a:b/c.wav", ":/a.wav"])
def test_a_colon_in_a_name_leads_nowhere(path: str, tmp_path: Path) -> None:
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).touch()
    assert path_inside(tmp_path, path) == tmp_path / path
    assert list(audio_files(tmp_path)) == [path]


@pytest.mark.parametrize("path", ["../a.wav", "a/../../b.wav", "/etc/passwd", "..\\a.wav", "C:\\a.wav", "c:/a.wav"])
def test_paths_that_leave_the_root_are_refused(tmp_path, path):
    with pytest.raises(ValueError, match="leaves the root"):
        path_inside(tmp_path, path)


@given(st.lists(st.sampled_from(["a", "..", ".", "b c", "", "~", "/"]), max_size=5).map("/".join))
def test_any_path_stays_inside_or_is_refused(tmp_path_factory, path):
    root = tmp_path_factory.getbasetemp()
    try:
        full = path_inside(root, path)
    except ValueError:
        return
    assert full.resolve().is_relative_to(root.resolve())


def test_links_that_lead_outside_are_refused(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    write_audio(root, "a.wav")
    write_audio(outside, "b.wav")
    (root / "b.wav").symlink_to(outside / "b.wav")
    with pytest.raises(ValueError, match="leads outside the root"):
        list(audio_files(root))
    (root / "b.wav").unlink()
    (root / "folder").symlink_to(outside)
    with pytest.raises(ValueError, match="leads outside the root"):
        list(audio_files(root))


def test_links_inside_the_root_are_followed_once(tmp_path):
    write_audio(tmp_path, "folder/a.wav")
    (tmp_path / "folder" / "circle").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "folder")
    assert list(audio_files(tmp_path)) == ["folder/a.wav"]


def test_a_link_to_itself_is_named(tmp_path):
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    source = TableSource(tmp_path / "notes.csv")
    (tmp_path / "notes.csv").write_text("audio,pitch,instrument\nloop.wav,60,x\n")
    with pytest.raises(ValueError, match=r"loop\.wav"):
        source.read_audio(None, next(source.read_notes(None).itertuples()), 1.0)


def test_the_root_itself_may_be_a_link(tmp_path):
    write_audio(tmp_path / "real", "a.wav")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert list(audio_files(tmp_path / "link")) == ["a.wav"]


@pytest.mark.parametrize("name", datamodules.sources.__all__)
def test_sources_are_found_by_their_short_names(name):
    assert issubclass(getattr(datamodules.sources, name), datamodules.sources.source.NoteSource)
    assert getattr(datamodules.sources, name).__name__ == name


# Sources as settings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [PhilharmoniaSource(), SolSource(), TinySolSource(), NSynthSource(), GoodSoundsSource(), TableSource("a.csv")],
)
def test_sources_are_picklable(source):
    assert vars(pickle.loads(pickle.dumps(source))) == vars(source)


# Corrections ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def notes(tmp_path):
    rows = [{"audio": f"{name}.wav", "pitch": 60, "instrument": "oboe", "note_id": name} for name in "abc"]
    pd.DataFrame(rows).to_csv(tmp_path / "notes.csv", index=False)
    return TableSource(tmp_path / "notes.csv").read_notes(None)


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
