"""Good-Sounds: single notes and scales of twelve instruments (Zenodo records 820937 and 4588740).

mirdata's loader is used for the download. The notes are read from the set's own tables, takes.json and sounds.json:
the loader answers a question a track at a time and needs an index from the network for what these two files tell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from datamodules.note_table import check_notes
from datamodules.sources.files import FileSource, check_choice, first_few, path_inside, require_root
from datamodules.sources.mirdata_extra import download
from datamodules.sources.pitches import midi_from_name
from datamodules.table_files import read_json

_SEMITONE_0_MIDI = 12
"""MIDI pitch of the tables' ``semitone`` 0: it is 12 x octave + pitch class, 48 for the C4 that is MIDI 60."""
_PARTS = ["packs", "ratings", "sounds", "takes", "audios"]


class GoodSoundsSource(FileSource):
    """Notes of Good-Sounds.

    Several microphones recorded most sounds at once. Takes of one sound are near copies, which a random split would
    spread over both of its sides; one take a sound is therefore taken, and ``group`` is the recording session.

    Args:
        classes: the classes of sounds to take; ``["good-sound"]``, single notes that are well played, where ``None``.
        instruments: the instruments to take, as in sounds.json. All where ``None``.
        microphones: the microphones to take, the best first; of a sound's takes the first in this order is taken. All,
            in alphabetical order, where ``None``.
        download: let mirdata download the set into the root (and check its checksums), once.
    """

    def __init__(
        self,
        classes: list[str] | None = None,
        instruments: list[str] | None = None,
        microphones: list[str] | None = None,
        download: bool = False,
    ) -> None:
        self.classes = ["good-sound"] if classes is None else classes
        self.instruments = instruments
        self.microphones = microphones
        self.download = download

    def read_notes(self, root: Path | None) -> pd.DataFrame:
        """Read the note table from takes.json and sounds.json.

        Raises:
            ValueError: a table is absent or lacks a field, or the filters leave nothing.
        """
        if self.download:
            download("good_sounds", root, _PARTS)
        root = require_root(root)
        sounds = {str(sound["id"]): sound for sound in _read_table(root / "sounds.json", ("id", "instrument", "klass"))}
        takes = _read_table(root / "takes.json", ("sound_id", "filename", "microphone"))
        check_choice(self.classes, {str(sound["klass"]) for sound in sounds.values()}, "class", "Good-Sounds")
        check_choice(
            self.instruments, {str(sound["instrument"]) for sound in sounds.values()}, "instrument", "Good-Sounds"
        )
        check_choice(self.microphones, {str(take["microphone"]) for take in takes}, "microphone", "Good-Sounds")
        chosen = {
            sound_id: take
            for sound_id, take in self._one_take_a_sound(takes).items()
            if sound_id in sounds and self._wanted(sounds[sound_id])
        }
        return check_notes(pd.DataFrame(_rows(root, sounds, chosen)), "Good-Sounds")

    def _one_take_a_sound(self, takes: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Sound id -> the take by the best of its microphones."""
        order = self.microphones or sorted({str(take["microphone"]) for take in takes})
        usable = [take for take in takes if str(take["microphone"]) in order]
        best_last = sorted(usable, key=lambda take: (-order.index(str(take["microphone"])), str(take["filename"])))
        return {str(take["sound_id"]): take for take in best_last}

    def _wanted(self, sound: dict[str, Any]) -> bool:
        """Whether the filters take this sound."""
        return sound["klass"] in self.classes and (self.instruments is None or sound["instrument"] in self.instruments)


def _rows(root: Path, sounds: dict[str, Any], takes: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the note table, one a sound; refuse sounds without one clear pitch, all at once."""
    rows, without_pitch = [], []
    for sound_id, take in takes.items():
        sound = sounds[sound_id]
        try:
            midi = _pitch(sound)
        except ValueError as error:
            without_pitch.append(f"{take['filename']} ({error})")
            continue
        rows.append(
            {
                "note_id": f"sound-{int(sound_id):05d}" if sound_id.isdigit() else f"sound-{sound_id}",
                "midi": midi,
                "instrument": str(sound["instrument"]),
                "dynamic": str(sound.get("dynamics") or ""),
                "group": str(sound.get("pack_id") or ""),
                "audio": _audio(root, str(take["filename"])),
                "offset_s": 0.0,
            }
        )
    if without_pitch:
        raise ValueError(
            f"Good-Sounds: sounds.json gives no pitch for {first_few(without_pitch)}; choose single notes by classes, "
            "or correct the file"
        )
    return rows


def _pitch(sound: dict[str, Any]) -> int:
    """The MIDI pitch of a sound by its note and octave, its ``semitone``, or both.

    Raises:
        ValueError: there is neither, or they contradict each other.
    """
    note, octave, semitone = (sound.get(name) for name in ("note", "octave", "semitone"))
    named = None if note in (None, "") or octave in (None, "") else midi_from_name(f"{note}{octave}")
    if semitone in (None, ""):
        if named is None:
            raise ValueError("no note, octave or semitone")
        return named
    counted = _SEMITONE_0_MIDI + int(str(semitone))
    if named not in (None, counted):
        raise ValueError(f"note {note}, octave {octave} contradict semitone {semitone}, which is C4 = 48")
    return counted


def _audio(root: Path, filename: str) -> str:
    """The path of a take; the archive unpacks to a folder ``good-sounds``, which some people strip."""
    below = f"good-sounds/{filename}"
    return below if path_inside(root, below).exists() else filename


def _read_table(file: Path, fields: tuple[str, ...]) -> list[dict[str, Any]]:
    """Read the records of sounds.json or takes.json."""
    table = read_json(file)
    records = list(table.values()) if isinstance(table, dict) else [table]
    if any(not isinstance(record, dict) or not set(fields) <= set(record) for record in records):
        raise ValueError(f"{file}: a record lacks one of {', '.join(fields)}; is it of Good-Sounds?")
    return records
