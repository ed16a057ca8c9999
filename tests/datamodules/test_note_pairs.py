from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch

from datamodules.epoch_sampler import EpochSampler, ShiftSettings
from datamodules.frames import FrameMaker
from datamodules.mel import FrameScale, LowBandSettings, MelSettings
from datamodules.note_pairs import NotePairs
from datamodules.sources.embedded import EmbeddedNotes, render_note
from datamodules.sources.table import TableSource
from datamodules.splits import SplitSettings
from datamodules.synthetic_tones import sum_of_partials, synthetic_tones
from datamodules.waveforms import WaveformSettings


def pairs_of(cache_dir: Path, **settings: object) -> NotePairs:
    given: dict = {"split": SplitSettings(validation_share=0.25), "max_notes": 64, "batch_size": 16} | settings
    return NotePairs(EmbeddedNotes(instruments=["oboe", "cello"]), cache_dir=cache_dir, **given)


def test_the_frame_is_librosas_scaled_to_one(small_pairs: NotePairs) -> None:
    assert small_pairs.scale is not None
    note = small_pairs.notes.iloc[5]
    samples = render_note(note.instrument, note.midi, note.dynamic, 0.35)
    samples = (samples - samples.mean()) / samples.std()
    mel = librosa.feature.melspectrogram(
        y=samples, sr=22050, n_fft=2048, hop_length=256, n_mels=256, fmin=20, fmax=11000
    )
    expected = small_pairs.scale.normalise(torch.from_numpy(np.log(mel[:, 17] + np.finfo(np.float64).eps)))
    found = small_pairs.pairs(torch.tensor([5]), torch.tensor([0])).x[0]
    torch.testing.assert_close(found, expected.float(), atol=2e-3, rtol=0)


def test_table_and_on_the_fly_give_the_same_frames(cache_dir: Path, small_pairs: NotePairs) -> None:
    fly = pairs_of(cache_dir, shifts=ShiftSettings(pairs="on_the_fly"))
    fly.setup()
    indices = torch.arange(64)
    semitones = torch.arange(64) % 5 - 2
    a, b = small_pairs.pairs(indices, semitones), fly.pairs(indices, semitones)
    torch.testing.assert_close(a.x, b.x)
    torch.testing.assert_close(a.x_shifted, b.x_shifted)
    assert not torch.equal(a.x[semitones != 0], a.x_shifted[semitones != 0])
    assert torch.equal(a.x[semitones == 0], a.x_shifted[semitones == 0])


def test_a_table_above_the_budget_gives_way_to_pairs_on_the_fly(
    cache_dir: Path, small_pairs: NotePairs, capsys: pytest.CaptureFixture
) -> None:
    indices, semitones = torch.arange(64), torch.arange(64) % 5 - 2
    expected = small_pairs.pairs(indices, semitones)
    assert expected.x_shifted is not None
    # 64 notes: the table takes 0.3 MiB, the samples 0.6 MiB; with nothing allowed they are read from the disk's cache
    for budget in (0.2, 0.0):
        tight = pairs_of(cache_dir, shifts=ShiftSettings(memory_budget_mib=budget))
        tight.setup()
        said = capsys.readouterr().out
        assert "5 shifts of 64 notes would take 0 MiB" in said
        assert f"memory_budget_mib {budget:g}: making the pairs on the fly" in said
        assert tight.shifts.pairs == "on_the_fly"
        found = tight.pairs(indices, semitones)
        torch.testing.assert_close(found.x, expected.x)
        torch.testing.assert_close(found.x_shifted, expected.x_shifted)
        assert tight.data_hash == small_pairs.data_hash


def test_samples_kept_and_samples_read_from_the_cache_are_the_same(cache_dir: Path) -> None:
    kept, read = (
        pairs_of(cache_dir, shifts=ShiftSettings(pairs="on_the_fly", memory_budget_mib=budget)) for budget in (1.0, 0.1)
    )
    kept.setup()
    read.setup()
    indices, semitones = torch.randperm(64), torch.full((64,), 2)
    a, b = kept.pairs(indices, semitones), read.pairs(indices, semitones)
    assert torch.equal(a.x_shifted, b.x_shifted)


def test_the_scale_sees_training_notes_only(small_pairs: NotePairs) -> None:
    train = small_pairs.pairs(
        torch.from_numpy(np.flatnonzero(small_pairs.parts.training)), torch.zeros(48, dtype=torch.long)
    )
    assert train.x.max() == pytest.approx(1)
    assert train.x.min() == -1


def test_epochs_differ_and_are_a_function_of_seed_and_epoch() -> None:
    def drawn(seed: int, epoch: int) -> torch.Tensor:
        sampler = EpochSampler(torch.arange(100), 32, ShiftSettings(), seed, train=True)
        sampler.set_epoch(epoch)
        return torch.cat([torch.stack(batch) for batch in sampler], dim=1)

    assert torch.equal(drawn(0, 3), drawn(0, 3))
    assert not torch.equal(drawn(0, 3), drawn(0, 4))
    assert not torch.equal(drawn(0, 3), drawn(1, 3))
    notes, semitones = drawn(0, 3)
    assert sorted(notes.tolist()) == list(range(100))
    assert set(semitones.tolist()) == {-2, -1, 0, 1, 2}


def test_a_shift_of_zero_can_be_left_out() -> None:
    shifts = ShiftSettings(-2, 3, zero=False)
    sampler = EpochSampler(torch.arange(300), 300, shifts, 0, train=True)
    drawn = next(iter(sampler))[1]
    assert sorted(set(drawn.tolist())) == [-2, -1, 1, 2, 3]
    assert all(40 <= int((drawn == shift).sum()) <= 80 for shift in (-2, -1, 1, 2, 3))


def test_other_sounds_make_the_frames_that_notes_make(small_pairs: NotePairs) -> None:
    notes = small_pairs.notes.iloc[[3, 9]]
    samples = np.stack([render_note(n.instrument, n.midi, n.dynamic, 0.35) for n in notes.itertuples()])
    expected = small_pairs.pairs(torch.tensor([3, 9]), torch.tensor([0, 0])).x
    torch.testing.assert_close(small_pairs.pitch_frames_of(samples), expected, atol=0.01, rtol=0)  # 16-bit rounding


def test_other_sounds_have_silence_before_they_begin(cache_dir: Path) -> None:
    early = pairs_of(cache_dir, mel=MelSettings(frame_s=0.02))
    early.setup()
    notes = early.notes.iloc[[3, 9]]
    samples = np.stack([render_note(n.instrument, n.midi, n.dynamic, 0.35) for n in notes.itertuples()])
    expected = early.pairs(torch.tensor([3, 9]), torch.tensor([0, 0])).x
    torch.testing.assert_close(early.pitch_frames_of(samples), expected, atol=0.02, rtol=0)


LOW = LowBandSettings(n_fft=4096, below_hz=300.0)


def low_pairs(cache_dir: Path, **settings: object) -> NotePairs:
    """With the pitch's low bands read through a longer window."""
    pairs = pairs_of(cache_dir, pitch_low_bands=LOW, **settings)
    pairs.setup()
    return pairs


def test_low_bands_are_librosas_of_a_longer_window_on_the_mel_frames_level(
    cache_dir: Path, small_pairs: NotePairs
) -> None:
    low, indices = low_pairs(cache_dir), torch.arange(64)
    found, plain = low.pairs(indices, indices % 5 - 2), small_pairs.pairs(indices, indices % 5 - 2)
    assert plain.x_pitch is None
    assert plain.x_pitch_shifted is None
    assert found.x_pitch is not None
    assert found.x_pitch_shifted is not None
    assert low.scale is not None
    assert torch.equal(found.x, plain.x)
    assert torch.equal(found.x_shifted, plain.x_shifted)
    assert low.data_hash == small_pairs.data_hash, "judged by the same classifiers"
    note = low.notes.iloc[5]
    samples = render_note(note.instrument, note.midi, note.dynamic, 0.35)
    samples = (samples - samples.mean()) / samples.std()
    mel = librosa.feature.melspectrogram(
        y=samples, sr=22050, n_fft=4096, hop_length=256, n_mels=256, fmin=20, fmax=11000
    )
    expected = low.scale.normalise(torch.from_numpy(np.log(mel[:, 17] / 4 + np.finfo(np.float64).eps))).float()
    n_low = int((np.array(low.mel_hz) < 300).sum())
    assert 10 < n_low < 40
    torch.testing.assert_close(found.x_pitch[5, :n_low], expected[:n_low], atol=2e-3, rtol=0)
    assert torch.equal(found.x_pitch[:, n_low:], found.x[:, n_low:])
    assert torch.equal(found.x_pitch_shifted[:, n_low:], found.x_shifted[:, n_low:])
    assert not torch.equal(found.x_pitch_shifted[:, :n_low], found.x_shifted[:, :n_low])
    assert found.views.shape == found.pitch_views.shape == (128, 256)
    assert torch.equal(found.pitch_views[64:], found.x_pitch_shifted)
    assert torch.equal(plain.pitch_views, plain.views)


def test_low_bands_are_the_same_in_the_table_on_the_fly_and_of_other_sounds(cache_dir: Path) -> None:
    table, fly = low_pairs(cache_dir), low_pairs(cache_dir, shifts=ShiftSettings(pairs="on_the_fly"))
    indices = torch.arange(64)
    a, b = (pairs.pairs(indices, indices % 5 - 2) for pairs in (table, fly))
    torch.testing.assert_close(a.x_pitch, b.x_pitch)
    torch.testing.assert_close(a.x_pitch_shifted, b.x_pitch_shifted)
    notes = table.notes.iloc[[3, 9]]
    samples = np.stack([render_note(n.instrument, n.midi, n.dynamic, 0.35) for n in notes.itertuples()])
    assert a.x_pitch is not None
    torch.testing.assert_close(table.pitch_frames_of(samples), a.x_pitch[[3, 9]], atol=0.01, rtol=0)
    alone = low_pairs(cache_dir, shifts=ShiftSettings(pairs="none")).pairs(indices, indices)
    assert torch.equal(alone.x_pitch, a.x_pitch)
    assert alone.x_pitch_shifted is None


def test_the_longer_window_resolves_the_partials_of_the_lowest_notes(cache_dir: Path, small_pairs: NotePairs) -> None:
    """C1's partials, 32.7 Hz apart: how far the frame falls between them, in dB."""
    n, hz = np.arange(1, 33), 32.703
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, len(n))
    tone = sum_of_partials(n * hz / 22050, np.ones(len(n)), phase, 7717).astype(np.float32)

    def fall_db(pairs: NotePairs) -> float:
        assert pairs.scale is not None
        frame = pairs.pitch_frames_of(tone[np.newaxis])[0].numpy()
        partial = np.arange(2, 8)
        at, between = (np.interp(place * hz, pairs.mel_hz, frame).mean() for place in (partial, partial + 0.5))
        return float(at - between) * (pairs.scale.high - pairs.scale.low) / 2 * 10 / np.log(10)

    assert fall_db(small_pairs) < 4
    assert fall_db(low_pairs(cache_dir)) > 8


def test_low_bands_drop_no_note(cache_dir: Path, tmp_path: Path) -> None:
    """All rows score the same notes: one that ends within the longer window alone is read with silence after it."""
    lines = ["audio,pitch,instrument"]
    for i in range(8):
        length = 5800 if i == 3 else 8000  # the mel frame ends at sample 5701, the longer window at 7051
        soundfile.write(
            tmp_path / f"{i}.wav",
            synthetic_tones(np.array([50 + i]), 22050, length, np.random.default_rng(i))[0] / 9,
            22050,
        )
        lines.append(f"{i}.wav,{50 + i},{'ab'[i % 2]}")
    (tmp_path / "notes.csv").write_text("\n".join(lines))
    given = {"root": tmp_path, "cache_dir": cache_dir, "split": SplitSettings(validation_share=0.25)}
    pairs = NotePairs(TableSource(tmp_path / "notes.csv"), pitch_low_bands=LOW, **given)  # type: ignore[arg-type]
    pairs.setup()
    assert len(pairs.notes) == 8
    x_pitch = pairs.pairs(torch.tensor([3]), torch.tensor([2])).x_pitch
    assert x_pitch is not None
    assert x_pitch.isfinite().all()


def test_impossible_low_bands_are_refused(cache_dir: Path, small_pairs: NotePairs) -> None:
    with pytest.raises(ValueError, match=r"data\.pitch_low_bands: n_fft 0 must be at least 1"):
        LowBandSettings(n_fft=0)
    with pytest.raises(ValueError, match=r"below_hz is 20 Hz, and the lowest mel band's centre .*: no band"):
        pairs_of(cache_dir, pitch_low_bands=LowBandSettings(below_hz=20.0))
    with pytest.raises(ValueError, match=r"needs 0\.406 s; set data\.waveforms\.duration_s to at least 0\.41"):
        pairs_of(cache_dir, pitch_low_bands=LowBandSettings(n_fft=8192)).setup()
    low = low_pairs(cache_dir)
    with pytest.raises(ValueError, match=r"data\.pitch_low_bands \(None, here \{'n_fft': 4096"):
        low.load_state_dict(small_pairs.state_dict())
    with pytest.raises(ValueError, match=r"data\.pitch_low_bands \(\{'n_fft': 4096.*here None"):
        small_pairs.load_state_dict(low.state_dict())
    low.load_state_dict(low.state_dict())


def test_scored_notes_keep_their_order_and_shifts() -> None:
    sampler = EpochSampler(torch.arange(50), 32, ShiftSettings(), 0, train=False)
    first = [torch.stack(batch) for batch in sampler]
    sampler.set_epoch(9)
    assert all(torch.equal(a, torch.stack(b)) for a, b in zip(first, sampler, strict=True))


def test_a_last_training_batch_of_one_note_is_left_out() -> None:
    assert [len(n) for n, _ in EpochSampler(torch.arange(33), 16, ShiftSettings(), 0, train=True)] == [16, 16]
    assert [len(n) for n, _ in EpochSampler(torch.arange(33), 16, ShiftSettings(), 0, train=False)] == [16, 16, 1]


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
    "wrong",
    [{"lowest": 1, "highest": -1}, {"lowest": 1, "highest": 2}, {"continuous": True}, {"memory_budget_mib": -1.0}],
)
def test_impossible_shifts_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"data\.shifts"):
        ShiftSettings(**wrong)


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


def write_tones(folder: Path, pitches: range, seconds: float = 0.5, silence_s: float = 0.0) -> TableSource:
    """Tones of two instruments at each pitch, behind silence."""
    lines = ["audio,pitch,instrument"]
    for pitch in pitches:
        for name in "ab":
            tone = synthetic_tones(np.array([pitch]), 22050, round(seconds * 22050), np.random.default_rng(pitch))[0]
            silence = np.zeros(round(silence_s * 22050), np.float32)
            soundfile.write(folder / f"{name}{pitch}.wav", np.concatenate([silence, tone / 9]), 22050)
            lines.append(f"{name}{pitch}.wav,{pitch},{name}")
    (folder / "notes.csv").write_text("\n".join(lines))
    return TableSource(folder / "notes.csv")


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


def test_a_batch_of_any_size_holds_the_notes_at_most() -> None:
    for size in (50, 51, 2**70):
        for train in (True, False):
            (batch,) = EpochSampler(torch.arange(50), size, ShiftSettings(), 0, train)
            assert sorted(batch[0].tolist()) == list(range(50))


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
