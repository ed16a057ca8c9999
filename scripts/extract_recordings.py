"""Write the recordings that ship with the project: an extract of Debian's FluidR3_GM soundfont.

    apt install fluid-soundfont-gm && make setup
    python scripts/extract_recordings.py

It writes ``recordings.flac``, ``recordings.json`` and ``LICENSE`` into ``datamodules/sources/fluid_r3``:

* the left (or only) channel of every recording that the soundfont plays for a note of the set, at most 4 s of it, one
  after the other in one file, 16 bits, each at its own sample rate (in the JSON; the FLAC header's rate is nominal);
* for each recording, what a player needs: pitch, tuning, loop, keys, filter cutoff, decay and release.

The soundfont's nine velocity layers play the same recordings, so that the map has keys only; its vibrato, envelopes of
the filter, panning and levels are left out. A loop that ends after the 4 s is replaced by one within them: it ends
where the extract ends, is about as long as the soundfont's one, and starts where the sound resembles its end the most.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from sf2utils.generator import Sf2Gen
from sf2utils.sf2parse import Sf2File

from datamodules.sources.embedded import INSTRUMENTS, Recording

SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
COPYRIGHT = Path("/usr/share/doc/fluid-soundfont-gm/copyright")
TARGET = Path(__file__).resolve().parents[1] / "datamodules" / "sources" / "fluid_r3"

MAX_DURATION_S = 4.0
# The ends of a moved loop are compared over this long a stretch: several periods of the lowest notes.
LOOP_WINDOW_S = 0.1
NOMINAL_RATE = 44_100

# What a generator is where a zone does not set it (SoundFont 2.01, section 8.1.3).
DEFAULT_CUTOFF_CENTS = 13_500
DEFAULT_TIME_TIMECENTS = -12_000


class Zone:
    """One zone of a soundfont instrument: its generators over those of the instrument's global zone.

    Args:
        bag: the zone, of :mod:`sf2utils`.
        instrument_bag: the global zone, or None.
    """

    def __init__(self, bag: Any, instrument_bag: Any) -> None:
        self.sample = bag.sample
        self.generators = {**(instrument_bag.gens if instrument_bag else {}), **bag.gens}
        keys: tuple[int, int] = bag.key_range or (0, 127)
        self.low_key, self.high_key = keys

    def value(self, generator: int, default: int) -> int:
        """The signed amount of a generator."""
        return int(self.generators[generator].short) if generator in self.generators else default

    def seconds(self, generator: int) -> float:
        """The amount of a generator of time, in seconds."""
        return round(2.0 ** (self.value(generator, DEFAULT_TIME_TIMECENTS) / 1_200), 6)

    @property
    def is_left(self) -> bool:
        """Whether it plays a left or only channel."""
        return bool(self.sample.is_left or self.sample.is_mono)

    def overlaps(self, pitches: range) -> bool:
        """Whether it is played at one of the MIDI pitches."""
        return self.low_key < pitches.stop and self.high_key >= pitches.start


def read_zones(soundfont: Sf2File, program: int) -> list[Zone]:
    """The left channel's zones of a General MIDI program, by key.

    Raises:
        ValueError: the program is missing, or its velocity layers play different instruments.
    """
    presets = [p for p in soundfont.presets if p.name != "EOP" and (p.bank, p.preset) == (0, program)]
    if not presets:
        raise ValueError(f"the soundfont has no program {program}")
    instruments = {bag.instrument.name: bag.instrument for bag in presets[0].bags if bag.instrument}
    if len(instruments) != 1:
        raise ValueError(f"program {program} plays several instruments: {', '.join(instruments)}")
    (instrument,) = instruments.values()
    first = instrument.bags[0]
    shared = first if first.sample is None else None
    zones = [Zone(bag, shared) for bag in instrument.bags if bag.sample is not None]
    return sorted((zone for zone in zones if zone.is_left), key=lambda zone: zone.low_key)


def move_loop(samples: np.ndarray, length: int, sample_rate: int) -> int:
    """The start of a loop that ends with the samples.

    Args:
        samples: (T,) int16.
        length: the wanted length of the loop, in samples.
        sample_rate: in Hz.

    Returns:
        The start, at most 10 % from the length wanted, at which the sound before it resembles the sound before the end
        the most (normalised correlation of :data:`LOOP_WINDOW_S`).
    """
    sound = samples.astype(np.float64)
    window = round(LOOP_WINDOW_S * sample_rate)
    length = min(length, (len(sound) - window) * 10 // 11)
    first, last = len(sound) - length * 11 // 10, len(sound) - length * 9 // 10
    before = np.lib.stride_tricks.sliding_window_view(sound[first - window : last], window)
    likeness = before @ sound[-window:] / np.linalg.norm(before, axis=1)
    return first + int(np.argmax(likeness))


def read_recording(zone: Zone, first: int) -> tuple[np.ndarray, Recording]:
    """The samples of a zone (T,) int16, and what a player needs; ``first`` is their place in the file."""
    sample = zone.sample
    rate = int(sample.sample_rate)
    samples = np.frombuffer(sample.raw_sample_data, dtype="=i2")[: round(MAX_DURATION_S * rate)]
    start, end = int(sample.start_loop), int(sample.end_loop)
    if end > len(samples):
        start, end = move_loop(samples, end - start, rate), len(samples)
    header_root = int(sample.original_pitch)
    coarse = zone.value(Sf2Gen.OPER_COARSE_TUNE, 0)
    return samples, Recording(
        name=sample.name,
        first=first,
        length=len(samples),
        sample_rate=rate,
        root_key=zone.value(Sf2Gen.OPER_OVERRIDING_ROOT_KEY, header_root) - coarse,
        correction_cents=zone.value(Sf2Gen.OPER_FINE_TUNE, 0) + int(sample.pitch_correction),
        loop_start=start,
        loop_end=end,
        low_key=zone.low_key,
        high_key=zone.high_key,
        cutoff_cents=zone.value(Sf2Gen.OPER_INITIAL_FILTER_CUTOFF, DEFAULT_CUTOFF_CENTS),
        hold_s=zone.seconds(Sf2Gen.OPER_HOLD_VOL_ENV),
        decay_s=zone.seconds(Sf2Gen.OPER_DECAY_VOL_ENV),
        sustain_db=zone.value(Sf2Gen.OPER_SUSTAIN_VOL_ENV, 0) / 10,
        release_s=zone.seconds(Sf2Gen.OPER_RELEASE_VOL_ENV),
    )


def extract(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Read the recordings of the set from a soundfont.

    Returns:
        all samples (T,) int16, and the contents of ``recordings.json``.
    """
    sounds: list[np.ndarray] = []
    instruments: dict[str, list[dict[str, Any]]] = {}
    first = 0
    with path.open("rb") as file:
        soundfont = Sf2File(file)
        for name, instrument in INSTRUMENTS.items():
            instruments[name] = []
            for zone in read_zones(soundfont, instrument.program):
                if zone.overlaps(instrument.pitches):
                    samples, recording = read_recording(zone, first)
                    sounds.append(samples)
                    instruments[name].append(asdict(recording))
                    first += len(samples)
        bank = soundfont.info.bank_name
    samples = np.concatenate(sounds)
    return samples, {
        "soundfont": f"{bank}, (c) 2000-2002, 2008 Frank Wen, MIT licence",
        "samples_sha256": hash_samples(samples),
        "instruments": instruments,
    }


def hash_samples(samples: np.ndarray) -> str:
    """The sha256 of int16 samples, little endian: it does not depend on the version of the FLAC encoder."""
    return hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()


def dump(description: dict[str, Any]) -> str:
    """The text of ``recordings.json``: one line a recording."""
    head = "".join(f"  {json.dumps(key)}: {json.dumps(description[key])},\n" for key in ("soundfont", "samples_sha256"))
    instruments = ",\n".join(
        f"    {json.dumps(name)}: [\n" + ",\n".join(f"      {json.dumps(row)}" for row in rows) + "\n    ]"
        for name, rows in description["instruments"].items()
    )
    return "{\n" + head + '  "instruments": {\n' + instruments + "\n  }\n}\n"


def read_licence(path: Path) -> str:
    """The copyright notice of the soundfont, without the lines on Debian's packaging, which is not used."""
    notice, _, _ = path.read_text(encoding="utf-8").partition("The Debian packaging is")
    return notice.rstrip() + "\n"


def main() -> None:
    """Write the extract."""
    parser = argparse.ArgumentParser(
        description="Write the recordings that ship with the project.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--soundfont", type=Path, default=SOUNDFONT, help="FluidR3_GM, an SF2 file")
    parser.add_argument("--copyright", type=Path, default=COPYRIGHT, help="its copyright notice")
    parser.add_argument("--target", type=Path, default=TARGET, help="the folder to write")
    arguments = parser.parse_args()

    logging.getLogger().setLevel(logging.ERROR)  # sf2utils warns of short samples that the set does not use
    samples, description = extract(arguments.soundfont)
    arguments.target.mkdir(parents=True, exist_ok=True)
    soundfile.write(
        arguments.target / "recordings.flac", samples, NOMINAL_RATE, subtype="PCM_16", compression_level=1.0
    )
    (arguments.target / "recordings.json").write_text(dump(description), encoding="utf-8")
    (arguments.target / "LICENSE").write_text(read_licence(arguments.copyright), encoding="utf-8")
    count = sum(len(rows) for rows in description["instruments"].values())
    print(f"{count} recordings, {len(samples)} samples, sha256 {description['samples_sha256']}")


if __name__ == "__main__":
    main()
