import hashlib
import importlib.util
import json
import multiprocessing
import pickle
import random
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile

from datamodules.note_table import NOTE_COLUMNS
from datamodules.sources import embedded
from datamodules.sources.embedded import (
    INSTRUMENTS,
    MAX_DETUNE_CENTS,
    MAX_ONSET_S,
    SAMPLE_RATE,
    EmbeddedNotes,
    choose_recording,
    render_note,
)

REPOSITORY = Path(__file__).resolve().parents[3]
EXTRACT = REPOSITORY / "datamodules" / "sources" / "fluid_r3"
SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
SAMPLES_SHA256 = "194c7e565e7406ae2a6175ba66f345bcbe4e957971125564339f91c760d83224"
JSON_SHA256 = "4317494ebed7e827d651a72abbbae807b849f94bae0d205bbce7a6ef10f164d3"
SOME_NOTES = [
    ("flute", 72, "mf"),
    ("piano", 24, "pp"),
    ("clarinet", 91, "ff"),
    ("violin", 94, "mp"),
    ("oboe", 58, "pp"),
]


def load_extractor() -> ModuleType:
    pytest.importorskip("sf2utils.sf2parse", exc_type=ImportError)
    spec = importlib.util.spec_from_file_location(
        "extract_recordings", REPOSITORY / "scripts" / "extract_recordings.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def render_all(notes: pd.DataFrame, source: EmbeddedNotes, duration_s: float = 0.35) -> np.ndarray:
    return np.stack([source.read_audio(None, note, duration_s)[0] for note in notes.itertuples()])


def cents_from_label(samples: np.ndarray, midi: int) -> float:
    """How far librosa's YIN hears the tone around 0.2 s from the label."""
    # 4096 samples hold six periods of the lowest note; 0.07 s is past every onset.
    frequencies = librosa.yin(
        samples[1_500:7_700], fmin=25, fmax=4_400, sr=SAMPLE_RATE, frame_length=4_096, hop_length=1_024, center=False
    )
    return float(1_200 * np.log2(np.median(frequencies) / librosa.midi_to_hz(midi)))


class TestNoteTable:
    def test_the_set_has_1885_notes_of_12_instruments_and_82_pitches(self):
        notes = EmbeddedNotes().read_notes(None)
        assert list(notes.columns) == list(NOTE_COLUMNS)
        assert len(notes) == 1885
        assert notes.instrument.nunique() == 12
        assert sorted(notes.midi.unique()) == list(range(24, 106))

    def test_notes_of_each_instrument(self):
        notes = EmbeddedNotes().read_notes(None)
        assert notes.instrument.value_counts().to_dict() == {
            "english_horn": 120,
            "french_horn": 176,
            "trombone": 140,
            "trumpet": 124,
            "piano": 246,
            "violin": 184,
            "cello": 184,
            "alto_sax": 128,
            "bassoon": 168,
            "clarinet": 168,
            "flute": 111,
            "oboe": 136,
        }

    def test_ids_name_instrument_pitch_dynamic_and_take(self):
        notes = EmbeddedNotes(instruments=["flute"], dynamics=["mf"], takes=2).read_notes(None)
        assert list(notes.note_id[:3]) == ["flute-060-mf", "flute-060-mf-t2", "flute-061-mf"]
        assert set(notes.fold) == {""}

    def test_the_group_is_the_recording_that_a_note_is_rendered_from(self):
        notes = EmbeddedNotes().read_notes(None)
        assert notes.group.nunique() == 142
        assert (notes.groupby("group").instrument.nunique() == 1).all()
        flute = notes.set_index("note_id").group
        assert flute["flute-060-mf"] != flute["flute-060-ff"]  # the dynamics of a pitch take turns with two recordings

    def test_takes_multiply_the_set(self):
        assert len(EmbeddedNotes(takes=10).read_notes(None)) == 18_850

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"instruments": ["flute", "kazoo"]}, r"unknown instrument 'kazoo'; known: english_horn, .*oboe"),
            ({"dynamics": ["fff"]}, r"unknown dynamic 'fff'; known: pp, mp, mf, ff"),
            ({"takes": 0}, "takes is 0"),
        ],
    )
    def test_unknown_values_are_refused(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            EmbeddedNotes(**arguments)

    def test_a_choice_without_notes_is_refused(self):
        with pytest.raises(ValueError, match="no notes found"):
            EmbeddedNotes(instruments=["piano"], dynamics=["mp"]).read_notes(None)


class TestRendering:
    @pytest.mark.parametrize("duration_s", [0.05, 0.35, 2.6, 9.0])
    def test_any_length(self, duration_s):
        for note in SOME_NOTES:
            samples = render_note(*note, duration_s)
            assert samples.shape == (round(duration_s * SAMPLE_RATE),)
            assert samples.dtype == np.float32
            assert 0 < np.abs(samples).max() <= 1

    def test_loops_sound_to_the_end(self):
        for instrument in INSTRUMENTS.keys() - {"piano"}:
            samples = render_note(instrument, 72, "ff", 5.0)
            assert np.std(samples[-SAMPLE_RATE:]) > 0.2 * np.std(samples[:SAMPLE_RATE])

    def test_a_piano_dies_away(self):
        samples = render_note("piano", 72, "ff", 5.0)
        assert np.std(samples[-SAMPLE_RATE:]) < 0.2 * np.std(samples[:SAMPLE_RATE])

    @pytest.mark.parametrize("note", SOME_NOTES)
    def test_a_short_note_is_the_beginning_of_a_long_one(self, note):
        np.testing.assert_array_equal(render_note(*note, 2.6)[: round(0.35 * SAMPLE_RATE)], render_note(*note, 0.35))

    def test_same_bits_in_any_order(self):
        source = pickle.loads(pickle.dumps(EmbeddedNotes()))
        notes = list(source.read_notes(None).itertuples())[::40]
        first = {note.note_id: source.read_audio(None, note, 0.35)[0].tobytes() for note in notes}
        random.Random(1).shuffle(notes)
        assert all(source.read_audio(None, note, 0.35)[0].tobytes() == first[note.note_id] for note in notes)

    def test_same_bits_in_another_process(self):
        columns = zip(*[(*note, 0.35) for note in SOME_NOTES], strict=True)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            there = list(pool.map(render_note, *columns))
        assert [samples.tobytes() for samples in there] == [render_note(*note, 0.35).tobytes() for note in SOME_NOTES]

    def test_a_note_does_not_depend_on_the_rest_of_the_set(self):
        few, many = EmbeddedNotes(instruments=["oboe"], dynamics=["mf"]), EmbeddedNotes(takes=2)
        note = next(few.read_notes(None).itertuples())
        (same,) = many.read_notes(None).query("note_id == @note.note_id").itertuples()
        np.testing.assert_array_equal(few.read_audio(None, note, 0.1)[0], many.read_audio(None, same, 0.1)[0])

    def test_seed_and_take_change_sound_and_key(self):
        notes = EmbeddedNotes(instruments=["oboe"], takes=2).read_notes(None)
        first, second = notes.head(2).itertuples()
        sounds, keys = set(), set()
        for seed, note in [(0, first), (0, second), (1, first), (1, second)]:
            source = EmbeddedNotes(seed=seed)
            sounds.add(source.read_audio(None, note, 0.35)[0].tobytes())
            keys.add(source.audio_key(None, note))
        assert len(sounds) == len(keys) == 4

    def test_tunings_and_onsets_stay_within_bounds(self):
        draws = [embedded._draw(0, "cello", midi, "mf", take) for midi in range(36, 82) for take in range(1, 20)]
        detunes, onsets, deviations = np.array(draws).T
        assert 14 < np.abs(detunes).max() <= MAX_DETUNE_CENTS
        assert abs(detunes.mean()) < 2
        assert 0 <= onsets.min() < onsets.max() <= MAX_ONSET_S * SAMPLE_RATE
        assert 0.24 < np.abs(deviations).max() <= embedded.MAX_HELD_DEVIATION

    def test_dynamics_take_turns_with_two_recordings(self):
        recordings = embedded._recordings()["flute"]
        mapped, other = choose_recording(recordings, 72, other=False), choose_recording(recordings, 72, other=True)
        assert (mapped.root_key, other.root_key) == (74, 71)

    def test_a_pitch_that_the_soundfont_leaves_out_plays_the_nearest_recording(self):
        assert not any(recording.maps(94) for recording in embedded._recordings()["violin"])
        assert choose_recording(embedded._recordings()["violin"], 94, other=False).root_key == 95

    @pytest.mark.parametrize(("instrument", "midi"), [("flute", 72), ("cello", 48), ("trumpet", 70), ("piano", 60)])
    def test_louder_notes_are_stronger_and_brighter(self, instrument, midi):
        # The same recording twice: only the velocity may change level and brightness.
        recording = choose_recording(embedded._recordings()[instrument], midi, other=False)
        sound = embedded._transpose(recording, 1.0, SAMPLE_RATE)
        soft, loud = (embedded._low_pass(sound, recording, velocity) for velocity in (36, 120))
        centroids = [librosa.feature.spectral_centroid(y=y, sr=SAMPLE_RATE).mean() for y in (soft, loud)]
        assert centroids[1] > 1.01 * centroids[0]
        levels = [np.std(render_note(instrument, midi, dynamic, 1.0)) for dynamic in ("pp", "mf", "ff")]
        assert levels[0] < levels[1] < levels[2]

    def test_unknown_names_are_refused(self):
        with pytest.raises(ValueError, match="unknown instrument 'kazoo'; known: english_horn"):
            render_note("kazoo", 60, "mf", 0.1)
        with pytest.raises(ValueError, match="unknown dynamic of piano 'mp'; known: pp, mf, ff"):
            render_note("piano", 60, "mp", 0.1)

    def test_golden_note(self):
        samples = render_note("oboe", 69, "mf", 0.35)[2_000::800]
        np.testing.assert_allclose(
            samples, [-0.2342, 0.1005, 0.0025, 0.1017, -0.0676, 0.2259, -0.0563, 0.2624], atol=2e-4
        )


class TestPitch:
    @pytest.mark.parametrize("instrument", INSTRUMENTS)
    def test_the_label_is_the_pitch_that_sounds(self, instrument):
        low, high = INSTRUMENTS[instrument].low, INSTRUMENTS[instrument].high
        for midi in (low, (3 * low + high) // 4, (low + 3 * high) // 4):
            assert abs(cents_from_label(render_note(instrument, midi, "ff", 0.35), midi)) < 50

    @pytest.mark.slow
    def test_every_label_is_the_pitch_that_sounds(self):
        source = EmbeddedNotes()
        notes = source.read_notes(None)
        sounds = render_all(notes, source)
        cents = np.array([cents_from_label(y, midi) for y, midi in zip(sounds, notes.midi, strict=True)])
        assert np.mean(np.abs(cents) < 50) > 0.985
        # YIN hears some bassoon notes, whose second partial is 27 dB above the first, an octave high.
        within_octave = cents - 1_200 * np.round(cents / 1_200)
        assert np.mean(np.abs(within_octave) < 50) > 0.995
        # What remains: the played vibrato of the highest violin notes and YIN's own error above 3 kHz.
        assert np.abs(within_octave).max() < 75


@pytest.mark.slow
def test_few_notes_have_a_near_copy():
    source = EmbeddedNotes()
    sounds = render_all(source.read_notes(None), source)
    sounds = (sounds - sounds.mean(axis=1, keepdims=True)) / sounds.std(axis=1, keepdims=True)
    mel = librosa.feature.melspectrogram(
        y=sounds, sr=SAMPLE_RATE, n_fft=2_048, hop_length=256, n_mels=256, fmin=20, fmax=11_000
    )
    frames = np.log(mel[:, :, 17] + np.finfo(float).eps)
    low, high = np.quantile(frames, 0.001), frames.max()
    scaled = np.clip(2 * (frames - low) / (high - low) - 1, -1, 1)
    unit = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1)
    assert np.mean(cosine.max(axis=1) > 0.999) < 0.025


class TestExtract:
    def test_what_ships_is_what_was_extracted(self):
        description = json.loads((EXTRACT / "recordings.json").read_text(encoding="utf-8"))
        samples, _ = soundfile.read(EXTRACT / "recordings.flac", dtype="int16")
        assert hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest() == SAMPLES_SHA256
        assert description["samples_sha256"] == SAMPLES_SHA256
        without_releases = re.sub(rb', "release_s": [^}]*', b"", (EXTRACT / "recordings.json").read_bytes())
        assert hashlib.sha256(without_releases).hexdigest() == JSON_SHA256
        assert sum(file.stat().st_size for file in EXTRACT.iterdir()) < 7.5e6
        assert "Frank Wen" in (EXTRACT / "LICENSE").read_text(encoding="utf-8")

    def test_the_recordings_lie_one_after_the_other(self):
        recordings = [recording for some in embedded._recordings().values() for recording in some]
        assert len(recordings) == 142
        first = 0
        for recording in recordings:
            assert recording.first == first
            assert 0 <= recording.loop_start < recording.loop_end <= recording.length <= 4 * recording.sample_rate
            first += recording.length
        assert first == len(embedded._samples())

    @pytest.mark.skipif(not SOUNDFONT.exists(), reason="Debian's fluid-soundfont-gm is not installed")
    def test_the_script_writes_what_ships(self):
        script = load_extractor()
        samples, description = script.extract(SOUNDFONT)
        assert script.hash_samples(samples) == SAMPLES_SHA256
        assert script.dump(description) == (EXTRACT / "recordings.json").read_text(encoding="utf-8")

    def test_a_moved_loop_closes_on_a_period(self):
        tone = (10_000 * np.sin(2 * np.pi * 100 / 8_000 * np.arange(16_000))).astype(np.int16)
        start = load_extractor().move_loop(tone, 4_010, 8_000)
        assert (len(tone) - start) % 80 == 0
        assert abs(len(tone) - start - 4_010) <= 401


def test_a_corrected_label_changes_the_label_alone():
    source = EmbeddedNotes(instruments=["oboe"])
    note = next(source.read_notes(None).itertuples())
    corrected = note._replace(midi=note.midi + 12)
    np.testing.assert_array_equal(source.read_audio(None, note, 0.1)[0], source.read_audio(None, corrected, 0.1)[0])
    assert source.audio_key(None, note) == source.audio_key(None, corrected)


def level_db(samples: np.ndarray, second: float) -> float:
    """The level of 20 ms."""
    first = round(second * SAMPLE_RATE)
    return 10 * np.log10(np.mean(samples[first : first + round(0.02 * SAMPLE_RATE)] ** 2) + 1e-20)


@pytest.mark.parametrize(("instrument", "release_s"), [("flute", 0.5), ("piano", 1.0), ("clarinet", 0.2)])
def test_a_released_note_falls_after_its_held_time_as_the_soundfont_says(instrument: str, release_s: float) -> None:
    sounds = [render_note(instrument, 70, "ff", 1.2, held_s=held_s) for held_s in (0.5, None)]
    held = [0.5 * (1 + share) for share in (-embedded.MAX_HELD_DEVIATION, embedded.MAX_HELD_DEVIATION)]
    falls = [level_db(sounds[1], at) - level_db(sounds[0], at) for at in np.arange(0.1, 1.15, 0.05)]
    before, after = np.arange(0.1, 1.15, 0.05) < held[0], np.arange(0.1, 1.15, 0.05) > held[1] + MAX_ONSET_S
    assert np.abs(np.array(falls)[before]).max() < 0.01
    assert np.array(falls)[after].min() > 0
    two = level_db(sounds[1], 0.8) - level_db(sounds[0], 0.8), level_db(sounds[1], 0.75) - level_db(sounds[0], 0.75)
    assert two[0] - two[1] == pytest.approx(100 * 0.05 / release_s, rel=0.1)


def test_held_times_differ_and_keep_the_notes_and_their_keys() -> None:
    plain, held = EmbeddedNotes(), EmbeddedNotes(held_s=0.5)
    notes = plain.read_notes(None)
    assert notes.equals(held.read_notes(None))
    keys = {plain.audio_key(None, note) for note in notes.iloc[:3].itertuples()}
    assert all(key.startswith(f"sampler-1/{JSON_SHA256[:12]}/0/") for key in keys)
    assert not keys & {held.audio_key(None, note) for note in notes.iloc[:3].itertuples()}
    ends = set()
    for note in notes[notes.instrument == "flute"].iloc[:8].itertuples():
        sound, whole = (source.read_audio(None, note, 0.7)[0] for source in (held, plain))
        differs = np.flatnonzero(sound != whole)[0]
        assert 0.5 * 0.75 <= differs / SAMPLE_RATE <= 0.5 * 1.25 + MAX_ONSET_S
        ends.add(differs // 100)
    assert len(ends) > 4


def test_a_note_that_is_not_held_is_refused() -> None:
    with pytest.raises(ValueError, match="held_s"):
        EmbeddedNotes(held_s=0.0)
