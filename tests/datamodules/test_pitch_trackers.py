from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datamodules import pitch_trackers
from datamodules.note_pairs import NotePairs
from datamodules.pitch_trackers import heard_pitches
from datamodules.sources.embedded import EmbeddedNotes
from datamodules.splits import SplitSettings
from datamodules.synthetic_tones import synthetic_tones
from datamodules.waveforms import Waveforms

RATE, LENGTH = 22050, 7717
MIDI = np.array([50, 57, 62, 69, 76, 81])


def tones() -> Waveforms:
    """Notes that are synthetic tones, one after the other, the last one half as long."""
    samples = synthetic_tones(MIDI, RATE, LENGTH, np.random.default_rng(2)).ravel()
    lengths = np.full(len(MIDI), LENGTH)
    lengths[-1] //= 2
    starts = np.arange(len(MIDI)) * LENGTH
    return Waveforms(samples, starts, lengths, RATE, "content", np.full(len(MIDI), RATE), np.arange(len(MIDI)))


@pytest.mark.parametrize("estimator", ["pyin", "pesto"])
def test_the_pitch_of_tones_is_heard(estimator: pitch_trackers.Estimator, tmp_path: Path) -> None:
    if estimator == "pesto":
        pytest.importorskip("pesto")
    heard = heard_pitches(tones(), estimator, 17 * 256 // 2, tmp_path)
    assert heard.shape == MIDI.shape
    assert np.mean(np.abs(heard - MIDI) < 0.5) > 0.8


def test_what_was_heard_is_kept_and_made_again_when_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = heard_pitches(tones(), "pyin", 2000, tmp_path)
    asked: list[int] = []
    hear = pitch_trackers._pyin
    monkeypatch.setattr(pitch_trackers, "_pyin", lambda *given: asked.append(1) or hear(*given))
    np.testing.assert_array_equal(heard_pitches(tones(), "pyin", 2000, tmp_path), first)
    assert not asked
    (file,) = (tmp_path / "heard").iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    np.testing.assert_array_equal(heard_pitches(tones(), "pyin", 2000, tmp_path), first)
    assert asked
    assert np.load(file).shape == MIDI.shape


def test_an_estimator_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise pitch_trackers.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(pitch_trackers.metadata, "version", absent)
    with pytest.raises(ValueError, match=r"pip install 'pitch-timbre\[pesto\]'"):
        heard_pitches(tones(), "pesto", 2000, tmp_path)


def test_pairs_carry_the_categories_that_are_heard(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    midi = np.linspace(30, 110, 24).astype(np.float32)
    midi[3] = np.nan
    monkeypatch.setattr("datamodules.note_data.heard_pitches", lambda *given: midi)
    source, split = EmbeddedNotes(instruments=["oboe", "cello"]), SplitSettings(validation_share=0.25)
    pairs = NotePairs(source, split=split, max_notes=24, batch_size=16, pitch_tracker="pyin", cache_dir=cache_dir)
    pairs.setup()
    indices = np.array([0, 3, 10, 23])
    found = pairs.pairs(pitch_trackers.torch.from_numpy(indices), pitch_trackers.torch.zeros(4).long()).pseudo_label
    lowest, highest = pairs.pitch_range
    for category, pitch in zip(found, midi[indices], strict=True):  # type: ignore[arg-type]
        inside = lowest <= np.round(pitch) <= highest
        assert category == (np.round(pitch) - lowest if inside else -1)
