"""A soundfont of two tones, made here."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from datamodules.sources.soundfont import SoundfontNotes

pytest.importorskip("sf2utils.sf2parse", exc_type=ImportError)

RATE = 44_100
PERIOD = 100
"""Samples a period of both tones: 441 Hz, A4 + 3.9 cents."""


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def text(name: str) -> bytes:
    return name.encode().ljust(20, b"\0")


def write_font(file: Path, root_key: int = 69, fine: int = 4) -> Path:
    """One preset, program 73, that plays a looped tone up to key 72 and another, three octaves of partials, above."""
    time = np.arange(40 * PERIOD) / PERIOD
    low = np.sin(2 * np.pi * time)
    high = low + 0.8 * np.sin(4 * np.pi * time)
    sounds = [(8_000 * wave).astype("<i2").tobytes() + bytes(92) for wave in (low, high)]
    starts, length = (0, len(sounds[0]) // 2), len(time)
    loop = (10 * PERIOD, 30 * PERIOD)
    keys = [(0, 72), (73, 127)]
    zones = [[(43, low | high << 8), (52, fine), (54, 1), (53, n)] for n, (low, high) in enumerate(keys)]
    generators = [[(41, 0)], *zones]
    samples = [
        text(f"tone {n}")
        + struct.pack("<IIIIIBbHH", at, at + length, at + loop[0], at + loop[1], RATE, root_key, 0, 0, 1)
        for n, at in enumerate(starts)
    ]

    def bags(each: list[list[tuple[int, int]]]) -> bytes:
        counts = np.cumsum([0, *map(len, each)])
        return b"".join(struct.pack("<HH", int(count), 0) for count in counts)

    def gens(each: list[list[tuple[int, int]]]) -> bytes:
        return b"".join(struct.pack("<HH", *g) for zone in each for g in zone) + bytes(4)

    preset = text("Flute") + struct.pack("<HHHIII", 73, 0, 0, 0, 0, 0)
    pdta = (
        chunk(b"phdr", preset + text("EOP") + struct.pack("<HHHIII", 0, 0, 1, 0, 0, 0))
        + chunk(b"pbag", bags(generators[:1]))
        + chunk(b"pmod", bytes(10))
        + chunk(b"pgen", gens(generators[:1]))
        + chunk(b"inst", text("flute") + struct.pack("<H", 0) + text("EOI") + struct.pack("<H", 2))
        + chunk(b"ibag", bags(generators[1:]))
        + chunk(b"imod", bytes(10))
        + chunk(b"igen", gens(generators[1:]))
        + chunk(b"shdr", b"".join(samples) + text("EOS") + bytes(26))
    )
    info = chunk(b"ifil", struct.pack("<HH", 2, 1)) + chunk(b"isng", b"EMU8000\0") + chunk(b"INAM", b"tones\0")
    lists = [(b"INFO", info), (b"sdta", chunk(b"smpl", b"".join(sounds))), (b"pdta", pdta)]
    content = b"sfbk" + b"".join(chunk(b"LIST", name + body) for name, body in lists)
    file.write_bytes(chunk(b"RIFF", content))
    return file


def frequency(samples: np.ndarray, rate: int) -> float:
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 8 * len(samples)))
    return float(np.argmax(power) * rate / (8 * len(samples)))


def test_a_note_sounds_at_its_pitch_beyond_the_end_of_its_recording(tmp_path):
    """The font tunes the tone up by 4 cents: key 69 is 442.0 Hz, and an octave below it is half of that."""
    source = SoundfontNotes(write_font(tmp_path / "font.sf2"), {"pipe": 73}, lowest=57, highest=81)
    notes = source.read_notes(None)
    assert notes.midi.tolist() == list(range(57, 82))
    assert notes.group.unique().tolist() == ["tone 0", "tone 1"]
    for note in notes.itertuples():
        samples, rate = source.read_audio(None, note, 0.5)
        assert (len(samples), rate) == (11_025, 22_050)
        wanted = 441 * 2 ** ((note.midi - 69) / 12 + 4 / 1200)
        assert frequency(samples, rate) == pytest.approx(wanted, rel=0.001)
        assert np.abs(samples[-2000:]).max() > 0.2  # the loop goes on


def test_presets_are_found_by_name_and_embedded_names_keep_their_range(tmp_path):
    source = SoundfontNotes(write_font(tmp_path / "font.sf2"), {"flute": "Flute"})
    assert source.read_notes(None).midi.agg(["min", "max"]).tolist() == [60, 96]


def test_the_cache_key_changes_with_the_font_and_the_layer(tmp_path):
    font = write_font(tmp_path / "font.sf2")
    source = SoundfontNotes(font, {"pipe": 73})
    note = next(source.read_notes(None).itertuples())
    before = source.audio_key(None, note)
    assert SoundfontNotes(font, {"pipe": 73}, velocity=20).audio_key(None, note) != before
    font.touch()
    font.write_bytes(font.read_bytes() + b"\0\0")
    assert source.audio_key(None, note) != before


@pytest.mark.parametrize(
    ("content", "settings", "named"),
    [
        (None, {"instruments": {"tuba": 58}}, "program 58"),
        (None, {"instruments": {"tuba": "Tuba"}}, "Tuba"),
        (b"not a font", {}, "SF2"),
        (b"RIFF\0\0\0\0sfbk", {}, "SF2"),
        (b"", {}, "SF2"),
    ],
)
def test_a_font_that_does_not_serve_is_refused(tmp_path, content, settings, named):
    font = write_font(tmp_path / "font.sf2")
    if content is not None:
        font.write_bytes(content)
    with pytest.raises(ValueError, match=named) as refused:
        SoundfontNotes(font, **settings).read_notes(None)
    assert "font.sf2" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_font_and_impossible_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"none\.sf2"):
        SoundfontNotes(tmp_path / "none.sf2").read_notes(None)
    with pytest.raises(ValueError, match="lowest"):
        SoundfontNotes(tmp_path / "font.sf2", lowest=80, highest=70)
    with pytest.raises(ValueError, match="velocity"):
        SoundfontNotes(tmp_path / "font.sf2", velocity=0)
