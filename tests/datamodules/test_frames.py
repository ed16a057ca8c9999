"""Frames from the table, on the fly and of other sounds, and those with low bands of a longer window."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch

from datamodules.epoch_sampler import ShiftSettings
from datamodules.mel import LowBandSettings, MelSettings
from datamodules.note_pairs import NotePairs
from datamodules.sources.embedded import render_note
from datamodules.sources.table import TableSource
from datamodules.splits import SplitSettings
from datamodules.synthetic_tones import sum_of_partials, synthetic_tones
from tests.datamodules.small_sets import pairs_of


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
