"""Notes of any SF2 soundfont: what it plays for an instrument, at every pitch of its range."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soxr
from numpy.typing import NDArray

from datamodules.note_table import check_notes
from datamodules.sources.embedded import INSTRUMENTS, SAMPLE_RATE
from datamodules.sources.files import first_few
from datamodules.sources.source import NoteSource

# Generators of SoundFont 2.01, section 8.1.2.
_COARSE_TUNE, _FINE_TUNE, _SAMPLE_MODES, _ROOT_KEY = 51, 52, 54, 58
_LOOPED = (1, 3)
# Recipe of the sound, for the caches: increase it with every edit that changes a sample.
_RECIPE = 1


@dataclass(frozen=True)
class Zone:
    """One recording of a soundfont and how it is played.

    Attributes:
        name: the recording's name.
        samples: (T,) int16.
        rate: in Hz.
        root: MIDI pitch (fractional) of the recording when it is played at its own rate.
        keys: lowest and highest MIDI key that the soundfont plays it at.
        loop: first sample and one past the last sample of the loop, or ``None``.
    """

    name: str
    samples: NDArray[np.int16]
    rate: int
    root: float
    keys: tuple[int, int]
    loop: tuple[int, int] | None

    def play(self, midi: int, duration_s: float) -> NDArray[np.float32]:
        """Play the recording at a MIDI pitch: at most ``duration_s`` seconds, (T,) float32 at 22,050 Hz."""
        source_rate = self.rate * 2.0 ** ((midi - self.root) / 12)
        length = round(duration_s * SAMPLE_RATE)
        index = np.arange(int((duration_s + 0.5) * source_rate))  # the resampler needs samples beyond the end
        if self.loop:
            first, end = self.loop
            index = np.where(index < end, index, first + (index - first) % (end - first))
        sound = self.samples[index[index < len(self.samples)]] / np.float32(32_768)
        return np.asarray(soxr.resample(sound, source_rate, SAMPLE_RATE)[:length], np.float32)


class SoundfontNotes(NoteSource):
    """One note for each instrument and pitch of an SF2 file. Its ``group`` is the recording that is played.

    Args:
        file: the soundfont, ``.sf2``.
        instruments: name of the instrument in the note table -> its General MIDI program, counted from 0, or the name
            of its preset in the soundfont. ``None``: the twelve instruments of the embedded notes.
        lowest: the lowest MIDI pitch. An instrument with the name of an embedded one is kept within its range.
        highest: the highest MIDI pitch, included.
        velocity: MIDI velocity, 1..127: which of the soundfont's layers is played.

    Raises:
        ValueError: the pitch range or the velocity is impossible.
    """

    def __init__(
        self,
        file: Path,
        instruments: dict[str, int | str] | None = None,
        lowest: int = 24,
        highest: int = 105,
        velocity: int = 100,
    ) -> None:
        if not 0 <= lowest <= highest <= 127:
            raise ValueError(f"soundfont: lowest {lowest}, highest {highest}; give 0 <= lowest <= highest <= 127")
        if not 1 <= velocity <= 127:
            raise ValueError(f"soundfont: velocity {velocity}; give 1..127")
        self.file = Path(file).expanduser()
        programs: Mapping[str, int | str] = {name: played.program for name, played in INSTRUMENTS.items()}
        self.instruments = dict(programs if instruments is None else instruments)
        self.pitches, self.velocity = range(lowest, highest + 1), velocity

    def read_notes(self, root: Path | None) -> pd.DataFrame:
        """Read the note table; ``root`` is the folder that a relative ``file`` is in, if one is given.

        Raises:
            ValueError: the file is no soundfont, lacks an instrument, or plays no pitch of the range.
        """
        rows = []
        for name, zones in self._zones(root).items():
            own = INSTRUMENTS[name].pitches if name in INSTRUMENTS else self.pitches
            for midi in (midi for midi in self.pitches if midi in own):
                if zone := _zone_at(zones, midi):
                    fields = {"midi": midi, "instrument": name, "dynamic": "", "group": zone.name, "audio": ""}
                    rows.append({"note_id": f"{name}-{midi:03d}", **fields, "offset_s": 0.0})
        if not rows:
            first, last = self.pitches[0], self.pitches[-1]
            raise ValueError(f"{self.file}: plays nothing from MIDI {first} to {last}; widen lowest and highest")
        return check_notes(pd.DataFrame(rows), str(self.file))

    def read_audio(self, root: Path | None, note: Any, duration_s: float) -> tuple[NDArray[np.float32], int]:
        """Play at most ``duration_s`` seconds of the pitch that the note's id names."""
        name, _, midi = note.note_id.rpartition("-")
        zone = _zone_at(self._zones(root)[name], int(midi))
        if zone is None:
            raise ValueError(f"{self.file}: plays nothing at {note.note_id}")
        return zone.play(int(midi), min(duration_s, 4.0)), SAMPLE_RATE

    def audio_key(self, root: Path | None, note: Any) -> str:
        """The recipe, the soundfont's size and time, the layer and the note."""
        status = self._path(root).stat()
        return f"sf2-{_RECIPE}/{status.st_size}/{status.st_mtime_ns}/{self.instruments}/{self.velocity}/{note.note_id}"

    def _path(self, root: Path | None) -> Path:
        return self.file if root is None else Path(root).expanduser() / self.file

    def _zones(self, root: Path | None) -> dict[str, tuple[Zone, ...]]:
        path = self._path(root)
        if not path.is_file():
            raise ValueError(f"{path}: no such soundfont; give an SF2 file by data.source.init_args.file")
        modified = path.stat().st_mtime_ns
        return _read_zones(path, modified, tuple(self.instruments.items()), self.velocity)


def _zone_at(zones: tuple[Zone, ...], midi: int) -> Zone | None:
    """The recording that is played at a key: of several, the one that is transposed least."""
    mapped = [zone for zone in zones if zone.keys[0] <= midi <= zone.keys[1]]
    return min(mapped, key=lambda zone: abs(midi - zone.root), default=None)


@lru_cache(maxsize=2)
def _read_zones(
    path: Path, modified: int, instruments: tuple[tuple[str, int | str], ...], velocity: int
) -> dict[str, tuple[Zone, ...]]:
    """Read the recordings of some instruments; ``modified`` keeps the cache from outliving the file."""
    try:
        from sf2utils.sf2parse import Sf2File
    except ImportError as error:
        raise ValueError("this source needs sf2utils, which is not installed: pip install sf2utils") from error
    logging.getLogger("sf2utils").setLevel(logging.ERROR)  # it warns of details that are not played here
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            raise ValueError(f"{path}: is no SF2 soundfont (it does not begin with RIFF)")
        file.seek(0)
        root_logger = logging.getLogger()
        level = root_logger.level
        root_logger.setLevel(logging.ERROR)  # the library logs to the root logger
        try:
            font = Sf2File(file)
            presets = [preset for preset in font.presets if preset.name != "EOP"]
            return {name: _preset_zones(path, presets, wanted, velocity) for name, wanted in instruments}
        except (IndexError, KeyError, AttributeError, TypeError, EOFError, OSError) as error:
            raise ValueError(f"{path}: cannot be read as an SF2 soundfont (SF3 is another format)") from error
        finally:
            root_logger.setLevel(level)


def _preset_zones(path: Path, presets: list[Any], wanted: int | str, velocity: int) -> tuple[Zone, ...]:
    """The recordings that one preset plays at a velocity.

    Raises:
        ValueError: there is no such preset, or it plays nothing at this velocity.
    """
    found = [p for p in presets if wanted in ((p.preset,) if isinstance(wanted, int) else (p.name,))]
    if not found:
        names = first_few(sorted(f"{p.preset} {p.name}" for p in presets if p.bank == 0), most=20)
        kind = "General MIDI program" if isinstance(wanted, int) else "preset named"
        raise ValueError(f"{path}: has no {kind} {wanted}; it has {names}")
    zones: list[Zone] = []
    outer: dict[int, Any] = {}
    for bag in min(found, key=lambda preset: int(preset.bank)).bags:
        if bag.instrument is None:
            outer = bag.gens  # the preset's global zone
        elif _includes(bag.velocity_range, velocity):
            zones += _instrument_zones(bag, {**outer, **bag.gens}, velocity)
    if not zones:
        raise ValueError(f"{path}: {wanted} plays nothing at velocity {velocity}; choose another velocity")
    return tuple(zones)


def _instrument_zones(preset_bag: Any, preset: dict[int, Any], velocity: int) -> list[Zone]:
    """The left or only channels that a preset's bag plays; a preset's tuning is added to the instrument's."""
    zones, shared = [], {}
    low, high = preset_bag.key_range or (0, 127)
    for bag in preset_bag.instrument.bags:
        if bag.sample is None:
            shared = bag.gens  # the instrument's global zone
            continue
        sample, own = bag.sample, {**shared, **bag.gens}
        if sample.is_mono or sample.is_left:
            first, last = bag.key_range or (0, 127)
            keys = max(first, low), min(last, high)
            if keys[0] <= keys[1] and _includes(bag.velocity_range, velocity):
                zones.append(_zone(sample, own, preset, keys))
    return zones


def _zone(sample: Any, own: dict[int, Any], preset: dict[int, Any], keys: tuple[int, int]) -> Zone:
    """One recording with its tuning and its loop."""

    def amount(generators: dict[int, Any], generator: int, default: int) -> int:
        return int(generators[generator].short) if generator in generators else default

    coarse, fine = (sum(amount(each, tune, 0) for each in (own, preset)) for tune in (_COARSE_TUNE, _FINE_TUNE))
    root = amount(own, _ROOT_KEY, -1)
    root = int(sample.original_pitch) if root < 0 else root
    samples = np.frombuffer(sample.raw_sample_data, dtype="<i2").copy()
    start, end = int(sample.start_loop), min(int(sample.end_loop), len(samples))
    looped = amount(own, _SAMPLE_MODES, 0) in _LOOPED and 0 <= start < end
    tuned = root - coarse - (fine + int(sample.pitch_correction)) / 100
    return Zone(sample.name, samples, int(sample.sample_rate), tuned, keys, (start, end) if looped else None)


def _includes(limits: tuple[int, int] | None, velocity: int) -> bool:
    """Whether a zone is played at a velocity."""
    return limits is None or limits[0] <= velocity <= limits[1]
