"""Whole notes as batches."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from datamodules.epoch_sampler import ShiftSettings
from datamodules.mel import LowBandSettings
from datamodules.note_sequences import NoteSequences, two_segments
from datamodules.note_table import check_notes
from datamodules.sequence_batch import NoteSequenceBatch
from datamodules.sequence_frames import SequenceSettings
from datamodules.sources.embedded import EmbeddedNotes
from datamodules.sources.source import NoteSource
from datamodules.sources.table import TableSource
from datamodules.splits import SplitSettings
from datamodules.waveforms import Waveforms, WaveformSettings


def test_pairs_of_one_frame_take_the_same_instant_of_the_note_and_of_its_copy() -> None:
    x = torch.rand(3, 5, 4)
    labels = torch.tensor([7, 8, 9])
    batch = NoteSequenceBatch(
        x=x,
        mask=torch.ones(3, 5, dtype=torch.bool),
        other=x,
        other_mask=torch.ones(3, 5, dtype=torch.bool),
        x_shifted=x + 1,
        other_shifted=x + 1,
        semitones=torch.tensor([1, -1, 0]),
        pitch=labels,
        instrument=labels,
        note=labels,
        frame=torch.tensor([0, 4, 2]),
        x_pitch=x + 2,
    )
    pairs = batch.frame_pairs
    assert torch.equal(pairs.x, torch.stack([x[0, 0], x[1, 4], x[2, 2]]))
    assert torch.equal(pairs.x_shifted, pairs.x + 1)
    assert torch.equal(pairs.x_pitch, pairs.x + 2)
    assert pairs.x_pitch_shifted is None
    assert torch.equal(pairs.semitones, batch.semitones)


RATE, HOP_S, EDGE_DB = 22050, 0.02, -40.0


def write_sounds(folder: Path, sounds: dict[str, np.ndarray]) -> TableSource:
    """A table of sounds of two instruments, ``a60`` for MIDI pitch 60 of the instrument a."""
    folder.mkdir(exist_ok=True)
    for name, sound in sounds.items():
        soundfile.write(folder / f"{name}.wav", sound.astype(np.float32), RATE, subtype="FLOAT")
    lines = [f"{name}.wav,{name[1:]},{name[0]},{name}" for name in sounds]
    (folder / "notes.csv").write_text("\n".join(["audio,pitch,instrument,note_id", *lines]))
    return TableSource(folder / "notes.csv")


def tone(midi: float, seconds: float, before_s: float = 0.0, after_s: float = 0.0) -> np.ndarray:
    """A steady tone of five partials, 80 dB above noise, between silences."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = 1e-4 * np.random.default_rng(0).standard_normal(len(time))
    sound = sum(np.sin(2 * np.pi * k * 440 * 2 ** ((midi - 69) / 12) * time) / k for k in range(1, 6)) / 3
    return np.concatenate([np.zeros(round(before_s * RATE)), sound + noise, np.zeros(round(after_s * RATE))])


def tones(seconds: float = 0.8, **edges: float) -> dict[str, np.ndarray]:
    return {f"{name}{midi}": tone(midi, seconds, **edges) for name in "ab" for midi in range(60, 66)}


def sequences_of(source: NoteSource, cache_dir: Path, **settings: Any) -> NoteSequences:
    given: dict[str, Any] = {
        "sequence": SequenceSettings(length_s=0.6, hop_s=HOP_S, frames=8),
        "waveforms": WaveformSettings(duration_s=1.0),
        "split": SplitSettings(validation_share=0.25),
        "batch_size": 4,
        "cache_dir": cache_dir,
    }
    found = NoteSequences(source, **(given | settings))
    found.setup()
    return found


@pytest.fixture
def embedded(cache_dir: Path) -> NoteSequences:
    """Embedded notes that are held for 0.3 to 0.5 s, so that some are shorter than 0.6 s."""
    source = EmbeddedNotes(instruments=["flute", "trumpet"], held_s=0.4)
    return sequences_of(source, cache_dir, max_notes=24, shifts=ShiftSettings(-2, 2))


def epoch_of(data: NoteSequences, epoch: int = 0) -> list[NoteSequenceBatch]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined] # as the Trainer does
    return [data.on_after_batch_transfer(batch, 0) for batch in loader]


def whole(data: NoteSequences, semitones: int = 0) -> NoteSequenceBatch:
    indices = torch.arange(len(data.notes))
    return data.sequences(indices, torch.full_like(indices, semitones))


def test_frames_are_librosas_from_the_onset_to_the_release(cache_dir: Path, tmp_path: Path) -> None:
    """Silence before and after is left out, and a frame stands every hop from the onset on."""
    source = write_sounds(tmp_path, tones(0.4, before_s=0.1, after_s=0.3) | {"a66": tone(66, 0.8)})
    data = sequences_of(source, cache_dir)
    batch = whole(data)
    row = int(np.flatnonzero(data.notes.note_id == "b62")[0])
    assert batch.x.shape == (13, 30, 256)
    assert abs(int(batch.mask[row].sum()) - 0.4 / HOP_S) <= 1
    assert batch.mask[int(np.flatnonzero(data.notes.note_id == "a66")[0])].all()
    assert torch.equal(batch.x[~batch.mask], torch.full_like(batch.x[~batch.mask], -1.0))

    sound = tone(62, 0.4, before_s=0.1, after_s=0.3)
    sound = (sound - sound.mean()) / sound.std()
    first = int(np.argmax(np.abs(sound) >= np.abs(sound).max() * 10 ** (EDGE_DB / 20)))
    hop = round(HOP_S * RATE)
    mel = librosa.feature.melspectrogram(
        y=sound[first % hop :], sr=RATE, n_fft=2048, hop_length=hop, n_mels=256, fmin=20, fmax=11000
    )[:, first // hop :][:, :20]
    assert data.scale is not None
    expected = data.scale.normalise(torch.from_numpy(np.log(mel.T + np.finfo(np.float64).eps))).float()
    torch.testing.assert_close(batch.x[row, :20], expected, atol=2e-3, rtol=0)


def test_a_shifted_note_has_its_partials_higher_and_its_course_in_time_unchanged(
    cache_dir: Path, tmp_path: Path
) -> None:
    rise = np.linspace(0.05, 1, round(0.8 * RATE)) ** 2
    source = write_sounds(tmp_path, {name: sound * rise for name, sound in tones().items()})
    data = sequences_of(source, cache_dir, shifts=ShiftSettings(-2, 2))
    batch, hz = whole(data, 2), np.array(data.mel_hz)
    assert batch.x_shifted is not None
    loud = batch.mask & (torch.arange(batch.x.shape[1]) > 5)
    low, high = (hz[frames[loud].argmax(1).numpy()] for frames in (batch.x, batch.x_shifted))
    assert np.median(high / low) == pytest.approx(2 ** (2 / 12), rel=0.04)
    course, shifted = (frames.amax(2)[loud] for frames in (batch.x, batch.x_shifted))
    assert np.corrcoef(course.numpy(), shifted.numpy())[0, 1] > 0.98
    # The level of the loudest band, in the same frames; a band is 20 times as narrow as a window is long.
    torch.testing.assert_close(course, shifted, atol=0.1, rtol=0)


def test_training_reads_two_segments_of_a_note_without_a_common_frame(embedded: NoteSequences) -> None:
    everything = whole(embedded)
    places = set()
    for epoch in range(3):
        for batch in epoch_of(embedded, epoch):
            assert batch.x.shape[1:] == batch.other.shape[1:] == (8, 256)
            assert torch.equal(batch.mask.sum(1), batch.other_mask.sum(1))
            assert bool(batch.mask[torch.arange(len(batch.x)), batch.frame].all())
            for row, note in enumerate(batch.note.tolist()):
                found = []
                for frames, mask in ((batch.x, batch.mask), (batch.other, batch.other_mask)):
                    segment = frames[row][mask[row]]
                    starts = everything.x[note].unfold(0, len(segment), 1).transpose(1, 2)
                    start = int((starts == segment).flatten(1).all(1).nonzero()[0])
                    found.append(range(start, start + len(segment)))
                assert not set(found[0]) & set(found[1])
                assert max(found[0][-1], found[1][-1]) < int(everything.mask[note].sum())
                places.add((note, found[0][0]))
    assert len(places) > 2 * len(embedded.parts.training) // 3, "segments lie elsewhere in another epoch"


@given(
    counts=st.lists(st.integers(2, 90), min_size=1, max_size=6),
    frames=st.integers(1, 40),
    seed=st.integers(0, 2**16),
)
def test_two_segments_lie_in_the_note_and_apart(counts: list[int], frames: int, seed: int) -> None:
    draws = np.random.default_rng(seed).random((len(counts), 3), dtype=np.float32)
    first, other, lengths = two_segments(np.array(counts), frames, draws)
    assert (lengths == np.minimum(frames, np.array(counts) // 2)).all()
    assert (np.minimum(first, other) >= 0).all()
    assert (np.maximum(first, other) + lengths <= counts).all()
    assert (np.abs(first - other) >= lengths).all()


def test_all_pairs_of_places_of_two_segments_are_drawn() -> None:
    draws = np.random.default_rng(0).random((4000, 3))
    first, other, _ = two_segments(np.full(4000, 8), 3, draws)
    drawn = np.unique(np.stack([first, other]), axis=1)
    assert drawn.shape[1] == 12  # 0..2 free frames before, between and after: 6 places, either order


def test_an_epoch_is_a_function_of_seed_and_epoch(cache_dir: Path, embedded: NoteSequences) -> None:
    """A run that goes on reads what a run without a break reads."""
    again = sequences_of(embedded.source, cache_dir, max_notes=24, shifts=ShiftSettings(-2, 2))
    for ours, theirs in zip(epoch_of(embedded, 5), epoch_of(again, 5), strict=True):
        assert all(a is b or torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    other = sequences_of(embedded.source, cache_dir, max_notes=24, shifts=ShiftSettings(-2, 2), seed=1)
    for different in (epoch_of(embedded, 6), epoch_of(other, 5)):
        assert not torch.equal(different[0].x, epoch_of(embedded, 5)[0].x)


def test_the_ways_within_the_budget_give_the_same_frames(cache_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """24 notes: a table of five shifts takes 1.6 MiB, of one 0.3 MiB; nothing of either is needed."""
    found = []
    for budget, pairs in ((2.0, "table"), (0.5, "on_the_fly"), (0.0, "on_the_fly")):
        shifts = ShiftSettings(-2, 2, memory_budget_mib=budget)
        source = EmbeddedNotes(instruments=["flute", "trumpet"], held_s=0.4)
        low = LowBandSettings()
        data = sequences_of(source, cache_dir, max_notes=24, shifts=shifts, pitch_low_bands=low)
        assert data.shifts.pairs == pairs
        assert ("on the fly" in capsys.readouterr().out) == (pairs != "table")
        found.append((data.data_hash, [*epoch_of(data), whole(data, -1)]))
    for data_hash, batches in found[1:]:
        assert data_hash == found[0][0]
        for ours, theirs in zip(found[0][1], batches, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                if a is not None:
                    # A table's step is 0.004 dB.
                    torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


def test_a_damaged_table_is_made_again(cache_dir: Path, tmp_path: Path) -> None:
    source = write_sounds(tmp_path, tones())
    before = whole(sequences_of(source, cache_dir)).x
    for file in (cache_dir / "frames").glob("*.i16"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
        file.write_bytes(content)
    assert torch.equal(whole(sequences_of(source, cache_dir)).x, before)


class ManyNotes(NoteSource):
    """A hundred thousand notes, none of which is decoded."""

    reads_root = False

    def read_notes(self, root: Path | None) -> pd.DataFrame:
        count = 100_000
        names = np.array(["a", "b", "c", "d"])[np.arange(count) % 4]
        rows = {"note_id": [f"n{i:06d}" for i in range(count)], "midi": 40 + np.arange(count) % 40}
        empty = dict.fromkeys(("dynamic", "group", "fold", "audio"), "")
        return check_notes(pd.DataFrame({**rows, "instrument": names, **empty, "offset_s": 0.0}), "many notes")

    def read_audio(self, root: Path | None, note: Any, duration_s: float) -> tuple[np.ndarray, int]:
        raise AssertionError

    def audio_key(self, root: Path | None, note: Any) -> str:
        return note.note_id


def test_a_hundred_thousand_notes_of_two_seconds_stay_within_the_budget(
    cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their frames would take 53 GiB at five shifts, and 10 GiB at one."""
    length, count = round(2.2 * RATE), 100_000
    sound = np.tile(tone(60, 2.2).astype(np.float32), 2)

    def waveforms(*given: Any, **named: Any) -> Waveforms:
        starts, lengths = np.arange(count) % length, np.full(count, length)
        return Waveforms(sound, starts, lengths, RATE, "many", lengths, np.arange(count))

    monkeypatch.setattr("datamodules.note_data.load_waveforms", waveforms)
    one = (np.zeros(count, np.int64), np.full(count, 100, np.int64))  # as measured note by note, in two minutes
    monkeypatch.setattr("datamodules.note_sequences.extents", lambda *given: one)
    monkeypatch.setattr("datamodules.note_sequences.FRAMES_FOR_THE_SCALE", 256)
    tracemalloc.start()
    data = sequences_of(
        ManyNotes(),
        cache_dir,
        sequence=SequenceSettings(length_s=2.0),
        waveforms=WaveformSettings(duration_s=2.2),
        shifts=ShiftSettings(memory_budget_mib=256),
        batch_size=16,
    )
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert batch.x.shape == (16, 24, 256)
    assert bool(torch.isfinite(batch.x_shifted).all())  # type: ignore[arg-type]
    assert peak < 256 * 2**20
    assert (
        not list((cache_dir / "frames").glob("*.i16"))
        or max(file.stat().st_size for file in (cache_dir / "frames").glob("*.i16")) < 256 * 2**20
    )


GLIDE = np.sin(2 * np.pi * np.cumsum(262 * 2 ** (np.linspace(0, 7, round(0.8 * RATE)) / 12)) / RATE)
SHORT = tone(66, 0.03, after_s=0.5)


@pytest.mark.parametrize(
    ("bad", "settings", "message"),
    [
        ({"a66": SHORT}, {}, "a66"),
        ({"a66": np.zeros(RATE)}, {}, "a66"),
        ({"a66": GLIDE}, {"sequence": SequenceSettings(0.6, HOP_S, 8, steady_pitch=True)}, "a66"),
    ],
    ids=["shorter than three frames", "all silence", "a glissando"],
)
def test_bad_notes_are_named_or_dropped(
    bad: dict[str, np.ndarray], settings: dict[str, Any], message: str, cache_dir: Path, tmp_path: Path
) -> None:
    source = write_sounds(tmp_path, tones() | bad)
    with pytest.raises(ValueError, match=message):
        sequences_of(source, cache_dir, **settings)
    data = sequences_of(source, cache_dir, on_bad_file="drop", **settings)
    assert set(data.dropped) == set(bad)
    assert len(data.notes) == 12
    assert whole(data).mask.any(1).all()


def test_a_glissando_is_a_note_where_one_pitch_is_not_asked_for(cache_dir: Path, tmp_path: Path) -> None:
    assert len(sequences_of(write_sounds(tmp_path, tones() | {"a66": GLIDE}), cache_dir).notes) == 13


def test_a_length_beyond_every_note_is_refused_or_cut(cache_dir: Path, tmp_path: Path) -> None:
    source = write_sounds(tmp_path, tones(0.4))
    with pytest.raises(ValueError, match=r"data\.sequence\.length_s is 0\.6"):
        sequences_of(source, cache_dir)
    assert sequences_of(source, cache_dir, on_bad_file="drop").n_frames == pytest.approx(0.4 / HOP_S, abs=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hop_s": 0.0}, "hop_s"),
        ({"length_s": 0.05}, "length_s"),
        ({"frames": 0}, "frames"),
        ({"edge_db": 1.0}, "edge_db"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"data.sequence.{message}"):
        SequenceSettings(**settings)  # type: ignore[arg-type]


def test_a_kept_segment_without_the_last_window_is_refused(cache_dir: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.waveforms\.duration_s"):
        NoteSequences(EmbeddedNotes(held_s=0.4), cache_dir=cache_dir)


def test_a_checkpoint_knows_its_frames(cache_dir: Path, embedded: NoteSequences) -> None:
    state = embedded.state_dict()
    longer = SequenceSettings(length_s=0.5, hop_s=HOP_S, frames=4)
    again = NoteSequences(
        embedded.source, longer, waveforms=WaveformSettings(duration_s=1.0), max_notes=24, cache_dir=cache_dir
    )
    again.load_state_dict(state)
    assert again.scale == embedded.scale
    state["sequence"]["hop_s"] = 0.01
    with pytest.raises(ValueError, match=r"hop_s: 0\.01, here 0\.02"):
        again.load_state_dict(state)


def test_the_hash_of_the_data_follows_its_frames_and_not_the_segments_of_training(
    cache_dir: Path, embedded: NoteSequences
) -> None:
    def hashed(**sequence: Any) -> str:
        settings = SequenceSettings(**({"length_s": 0.6, "hop_s": HOP_S, "frames": 8} | sequence))
        return sequences_of(embedded.source, cache_dir, max_notes=24, sequence=settings).data_hash

    assert hashed(frames=4) == embedded.data_hash
    assert len({hashed(), hashed(hop_s=0.03), hashed(length_s=0.5)}) == 3
