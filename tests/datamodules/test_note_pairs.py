from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.epoch_sampler import ShiftSettings
from datamodules.frames import FrameMaker
from datamodules.mel import FrameScale, MelSettings
from datamodules.note_pairs import NotePairs
from datamodules.sources.embedded import render_note
from datamodules.splits import SplitSettings
from datamodules.synthetic_tones import synthetic_tones
from datamodules.waveforms import WaveformSettings
from tests.datamodules.small_sets import pairs_of, write_tones


def test_the_scale_sees_training_notes_only(small_pairs: NotePairs) -> None:
    train = small_pairs.pairs(
        torch.from_numpy(np.flatnonzero(small_pairs.parts.training)), torch.zeros(48, dtype=torch.long)
    )
    assert train.x.max() == pytest.approx(1)
    assert train.x.min() == -1


def test_continuous_shifts_are_real_numbers(cache_dir: Path) -> None:
    fly = pairs_of(cache_dir, shifts=ShiftSettings(-3, 3, pairs="on_the_fly", continuous=True))
    fly.setup()
    batch = next(iter(fly.train_dataloader()))
    pair = fly.on_after_batch_transfer(batch, 0)
    assert (pair.semitones != pair.semitones.round()).all()
    assert pair.x_shifted is not None
    assert pair.x_shifted.shape == pair.x.shape == (16, 256)


def test_without_pairs_there_is_no_second_frame(cache_dir: Path, small_pairs: NotePairs) -> None:
    pairs = pairs_of(cache_dir, shifts=ShiftSettings(pairs="none"))
    pairs.setup()
    alone = pairs.pairs(torch.arange(4), torch.zeros(4))
    assert alone.x_shifted is None
    assert torch.equal(alone.x, small_pairs.pairs(torch.arange(4), torch.zeros(4, dtype=torch.long)).x)
    assert pairs.data_hash == small_pairs.data_hash, "rows with and without pairs share notes and classifiers"


def test_categories_come_from_the_notes_or_a_setting(cache_dir: Path, small_pairs: NotePairs) -> None:
    assert small_pairs.pitch_range == (small_pairs.notes.midi.min(), small_pairs.notes.midi.max())
    assert pairs_of(cache_dir, pitch_range=(21, 108)).n_pitches == 88
    with pytest.raises(ValueError, match=r"has MIDI pitch \d+, outside data.pitch_range 60..61"):
        pairs_of(cache_dir, pitch_range=(60, 61))


def test_notes_outside_the_pitch_range_are_dropped_where_that_is_asked_for(
    cache_dir: Path, small_pairs: NotePairs, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint of fewer pitches is tested on the notes that it has categories for."""
    lowest, highest = small_pairs.pitch_range[0] + 5, small_pairs.pitch_range[1]
    inside = small_pairs.notes[small_pairs.notes.midi >= lowest]
    kept = pairs_of(cache_dir, pitch_range=(lowest, highest), on_bad_file="drop")
    kept.setup()
    assert list(kept.notes.note_id) == list(inside.note_id)
    assert set(kept.dropped) == set(small_pairs.notes.note_id) - set(inside.note_id)
    assert set(kept.dropped.values()) == {f"outside data.pitch_range {lowest}..{highest}"}
    assert f"{len(kept.dropped)} note(s), the first: note " in capsys.readouterr().out
    assert int(kept.pairs(torch.arange(len(inside)), torch.zeros(len(inside), dtype=torch.long)).pitch.min()) >= 0
    with pytest.raises(ValueError, match=r"outside data\.pitch_range 0\.\.1; widen"):
        pairs_of(cache_dir, pitch_range=(0, 1), on_bad_file="drop")


def test_a_late_frame_needs_longer_notes(cache_dir: Path) -> None:
    with pytest.raises(ValueError, match=r"needs 2\.374 s; set data\.waveforms\.duration_s to at least 2\.38"):
        pairs_of(cache_dir, mel=MelSettings(frame_index=200)).setup()
    late = pairs_of(cache_dir, mel=MelSettings(frame_index=200), waveforms=WaveformSettings(duration_s=2.4))
    late.setup()
    assert late.pairs(torch.arange(3), torch.zeros(3, dtype=torch.long)).x.isfinite().all()


def test_the_scale_survives_in_the_checkpoint(cache_dir: Path, small_pairs: NotePairs) -> None:
    state = small_pairs.state_dict()
    other = pairs_of(cache_dir, split=SplitSettings(validation_share=0.25, seed=5))
    other.setup()
    other.load_state_dict(state)
    assert other.scale == small_pairs.scale
    a, b = (p.pairs(torch.arange(9), torch.zeros(9, dtype=torch.long)).x for p in (small_pairs, other))
    torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match=r"data\.mel \(n_mels: 256, here 128\)"):
        pairs_of(cache_dir, mel=MelSettings(n_mels=128)).load_state_dict(state)
    with pytest.raises(ValueError, match=r"data\.waveforms \(sample_rate: 22050, here 44100\)"):
        pairs_of(cache_dir, waveforms=WaveformSettings(sample_rate=44100)).load_state_dict(state)
    trimmed = pairs_of(cache_dir, waveforms=WaveformSettings(duration_s=0.5, trim_onset_db=-40.0))
    trimmed.load_state_dict(state)  # other notes may begin later and last longer: their frames are made the same way


def test_the_data_hash_follows_sound_labels_frames_and_split(cache_dir: Path, small_pairs: NotePairs) -> None:
    again = pairs_of(cache_dir)
    again.setup()
    assert again.data_hash == small_pairs.data_hash
    for changed in (
        pairs_of(cache_dir, mel=MelSettings(n_mels=128)),
        pairs_of(cache_dir, split=SplitSettings(validation_share=0.25, seed=1)),
        pairs_of(cache_dir, max_notes=60),
    ):
        changed.setup()
        assert changed.data_hash != small_pairs.data_hash


@pytest.mark.parametrize(
    ("wrong", "setting"),
    [
        ({"batch_size": 1}, r"data\.batch_size is 1"),
        ({"max_notes": 3}, r"data\.max_notes is 3"),
        ({"seed": -1}, r"data\.seed is -1"),
        ({"seed": 2**32}, r"data\.seed"),
        ({"pitch_range": (80, 60)}, r"data\.pitch_range is \[80, 60\]"),
        ({"pitch_range": (0, 200)}, r"data\.pitch_range"),
        ({"root": Path("/somewhere")}, r"data\.root is /somewhere, .*EmbeddedNotes"),
        ({"name": "a\nb"}, r"data\.name"),
    ],
)
def test_impossible_settings_are_refused(cache_dir: Path, wrong: dict, setting: str) -> None:
    with pytest.raises(ValueError, match=setting):
        pairs_of(cache_dir, **wrong)


def test_notes_of_one_pitch_are_refused(cache_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="all notes have MIDI pitch 60"):
        NotePairs(write_tones(tmp_path, range(60, 61)), cache_dir=cache_dir)


def test_synthetic_tones_make_frames_where_onsets_are_trimmed(cache_dir: Path, tmp_path: Path) -> None:
    """Each tone loses another few samples; what is left makes nearly the frame of the whole one."""
    source = write_tones(tmp_path, range(60, 68), silence_s=0.4)
    given: dict = {"cache_dir": cache_dir, "split": SplitSettings(validation_share=0.25)}
    trimmed = NotePairs(source, waveforms=WaveformSettings(trim_onset_db=-40.0), **given)
    trimmed.setup()
    pitches = np.arange(40, 80)
    tones = synthetic_tones(pitches, 22050, trimmed.waveform_settings.length, np.random.default_rng(0))
    frames = trimmed.pitch_frames_of(tones)
    assert frames.shape == (40, 256)
    assert frames.isfinite().all()
    (tmp_path / "whole").mkdir()
    plain = NotePairs(write_tones(tmp_path / "whole", range(60, 68)), **given)
    plain.setup()
    plain.load_state_dict(trimmed.state_dict())
    notes = torch.arange(16)
    difference = (trimmed.pairs(notes, notes * 0).x - plain.pairs(notes, notes * 0).x).abs().mean()
    assert difference < 0.02, "the notes' silence is trimmed"
    assert (frames - plain.pitch_frames_of(tones)).abs().mean() < 0.02


@pytest.mark.parametrize("wrong", [{"frame_s": np.nan}, {"frame_s": np.inf}, {"frame_s": -1.0}, {"floor_db": np.inf}])
def test_frames_that_cannot_be_made_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"data\.mel"):
        MelSettings(**wrong)


def test_a_floor_in_db_is_the_same_for_every_set_of_notes(cache_dir: Path) -> None:
    """The fitted floor follows the quietest bands of the notes; one in dB makes frames of several sets comparable."""
    pairs = pairs_of(cache_dir, mel=MelSettings(floor_db=80.0))
    pairs.setup()
    assert pairs.scale is not None
    assert 10 / np.log(10) * (pairs.scale.high - pairs.scale.low) == pytest.approx(80)


def test_a_checkpoint_says_what_its_frames_and_labels_are(cache_dir: Path, small_pairs: NotePairs) -> None:
    """A model needs no note table: sounds make the frames that the notes make."""
    state = small_pairs.state_dict()
    assert state["pitch_range"] == list(small_pairs.pitch_range)
    assert state["instruments"] == ["cello", "oboe"]
    assert (state["name"], state["data_hash"]) == (small_pairs.name, small_pairs.data_hash)
    maker = FrameMaker(MelSettings(**state["mel"]), None, WaveformSettings(**state["waveforms"]))
    note = small_pairs.notes.iloc[3]
    frames = maker.frames_of_sounds(render_note(note.instrument, note.midi, note.dynamic, 0.35)[np.newaxis])
    expected = small_pairs.pairs(torch.tensor([3]), torch.tensor([0])).x
    torch.testing.assert_close(FrameScale(**state["scale"]).normalise(frames), expected, atol=0.01, rtol=0)


@pytest.mark.slow
def test_librosa_is_used_without_a_home_in_read_only_packages(tmp_path: Path) -> None:
    """Where no folder can be written, numba gets one of the process's own, which is removed at its end."""
    code = (
        "import os; os.access = lambda place, mode: False\n"
        "import datamodules; print(os.environ['NUMBA_CACHE_DIR'])\n"
        "import librosa, numpy; librosa.pyin(numpy.ones(4096), fmin=60, fmax=500)"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    environment |= {"HOME": "/nonexistent", "TMPDIR": str(tmp_path)}
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert Path(run.stdout.strip()).parent == tmp_path
    assert not list(tmp_path.iterdir())
