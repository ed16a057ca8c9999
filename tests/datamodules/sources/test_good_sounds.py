"""Good-Sounds on a folder laid out as it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datamodules.sources.good_sounds import GoodSoundsSource
from tests.datamodules.sources.folders import column, write_audio


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
