"""Tones of known pitch are read right; what holds no note is called so."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

import pitch_timbre as pt
from pitch_timbre import analysis, audio
from pitch_timbre.model import SHIPPED
from tests.pitch_timbre.notes import RATE, tone


@pytest.fixture(scope="module")
def model() -> pt.Model:
    return pt.load()


@pytest.mark.parametrize("midi", [36, 45.3, 60, 69.2, 80.75, 93])
def test_pitch_and_cents_of_tones(model: pt.Model, midi: float) -> None:
    found = model.analyse((tone(midi), RATE))
    assert found.status == "ok"
    assert found.midi == round(midi)
    assert abs(100 * (found.midi - midi) + found.cents) < 3
    assert found.note == analysis.note_name(round(midi))
    assert found.agreement > 0.9
    assert len(found.timbre) == 8


def test_onset_duration_and_loudness(model: pt.Model) -> None:
    silence = np.zeros(RATE // 2)
    found = model.analyse((np.concatenate([silence, tone(60), silence]), RATE))
    assert found.onset_s == pytest.approx(0.5, abs=0.02)
    assert found.duration_s == pytest.approx(1.0, abs=0.03)
    assert len(found.loudness) == round(found.duration_s / analysis.BLOCK_S)
    assert found.loudness[5] > 2 * found.loudness[-5]


def test_level_rate_and_channels_do_not_matter(model: pt.Model) -> None:
    plain = model.analyse((tone(60), RATE))
    for other in (
        (1e-3 * tone(60), RATE),
        (tone(60) + 0.3, RATE),
        (np.stack([tone(60), 0.5 * tone(60)], 1), RATE),
        (tone(60, rate=192000), 192000),
    ):
        found = model.analyse(other)
        assert found.midi == 60
        assert np.abs(found.timbre - plain.timbre).max() < 0.5


def test_opposite_channels_are_read_and_remarked(model: pt.Model) -> None:
    found = model.analyse((np.stack([tone(64), -tone(64)], 1), RATE))
    assert (found.midi, found.status) == (64, "ok")
    assert "channel" in found.remark


def test_low_rate(model: pt.Model) -> None:
    assert model.analyse((tone(57, rate=8000), 8000)).midi == 57


def gliding_vowel(low_hz: float, high_hz: float) -> np.ndarray:
    """A voice whose pitch and first two formants move, (T,)."""
    time = np.arange(RATE) / RATE
    hz = np.linspace(low_hz, high_hz, RATE)
    turns = np.cumsum(hz) / RATE
    formants = 700 - 400 * time, 1200 + 800 * time
    level = lambda f: sum(1 / (1 + ((f - formant) / 100) ** 2) for formant in formants)  # noqa: E731
    return 0.1 * np.sum([level(n * hz) * np.sin(2 * np.pi * n * turns) for n in range(1, 30)], 0)


@pytest.mark.parametrize(
    ("samples", "status"),
    [
        (np.zeros(RATE), "silent"),
        (np.full(RATE, 0.5), "silent"),
        (np.zeros(0), "short"),
        (tone(60, 0.03), "short"),
        (0.1 * np.random.default_rng(0).standard_normal(RATE), "uncertain"),
        (tone(60) + tone(64) + tone(67), "uncertain"),
        (tone(60) + tone(67), "uncertain"),
        (tone(48) + tone(51) + tone(55) + tone(58), "uncertain"),
        (np.concatenate([tone(60, 0.5), tone(64, 0.5), tone(67, 0.5)]), "uncertain"),
        (gliding_vowel(120, 180), "uncertain"),
        (gliding_vowel(300, 200), "uncertain"),
    ],
    ids=[
        "zeros",
        "constant",
        "empty",
        "short",
        "noise",
        "chord",
        "fifth",
        "seventh",
        "melody",
        "voice",
        "falling_voice",
    ],
)
def test_what_is_no_single_note(model: pt.Model, samples: np.ndarray, status: str) -> None:
    assert model.analyse((samples, RATE)).status == status


def test_long_recordings_are_read_in_part(model: pt.Model, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.tile(tone(60), 70), RATE)
    found = model.analyse(tmp_path / "long.wav")
    assert found.duration_s <= audio.LONGEST_S
    assert "60 s of 70 s" in found.remark
    assert len(found.frames.midi) <= analysis.MOST_FRAMES


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_wild_samples_are_refused(model: pt.Model, value: float) -> None:
    samples = tone(60)
    samples[7] = value
    with pytest.raises(ValueError, match="NaN"):
        model.analyse((samples, RATE))


def test_analysis_is_frozen(model: pt.Model) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.analyse((tone(60), RATE)).midi = 3  # type: ignore[misc]


def test_table_of_a_folder(model: pt.Model, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(60), RATE)
    (tmp_path / "b.wav").write_text("text")
    table = model.table(tmp_path)
    assert list(table.status) == ["ok", "unreadable"]


# Models ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for file in SHIPPED.parent.glob("m7*"):
        shutil.copy(file, tmp_path)
    return tmp_path / "m7.json"


def test_models_are_loaded_from_folders(copied: Path) -> None:
    assert pt.load(copied.parent).card == pt.load(copied).card
    (copied.parent / "export").mkdir()
    for file in copied.parent.glob("m7*"):
        file.rename(copied.parent / "export" / file.name)
    assert pt.load(copied.parent).card.n_latent == 8


@pytest.mark.parametrize("kind", ["version", "damaged", "text", "empty", "folder", "binary"])
def test_what_is_no_model_is_one_line(copied: Path, kind: str) -> None:
    if kind == "version":
        copied.write_text(json.dumps(json.loads(copied.read_text()) | {"format": 99}))
    elif kind == "damaged":
        file = copied.parent / "m7_encoder.onnx"
        file.write_bytes(file.read_bytes()[:-9])
    elif kind in ("text", "empty"):
        copied.write_text("hello" if kind == "text" else "{}")
    elif kind == "folder":
        (copied.parent / "m7_encoder.onnx").unlink()
    given = {"folder": copied.parent, "binary": copied.parent / "m7_decoder.onnx"}.get(kind, copied)
    with pytest.raises((ValueError, OSError)) as raised:
        pt.load(given)
    message = str(raised.value)
    assert str(given.parent) in message
    assert "\n" not in message
