"""The waveform cache: tones with known truth, and every bad file that people have."""

from __future__ import annotations

import math
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import datamodules.sources.files
from datamodules.sources.files import _decode
from datamodules.sources.table import TableSource
from datamodules.waveforms import BadNotesError, Waveforms, WaveformSettings, load_waveforms, prepare_waveform
from tests.datamodules.tones import RATE, frequency, tone


def table_of(folder: Path, names):
    """A source of the files ``names`` in ``folder``, and its notes."""
    pd.DataFrame({"audio": list(names), "pitch": 69, "instrument": "sine"}).to_csv(folder / "notes.csv", index=False)
    source = TableSource(folder / "notes.csv")
    return source, source.read_notes(None)


def load(folder: Path, names, cache=None, on_bad_file="stop", **wanted) -> Waveforms:
    source, notes = table_of(folder, names)
    cache = cache or folder / "cache"
    return load_waveforms(
        source, None, notes, WaveformSettings(**wanted), cache, workers=2, progress=False, on_bad_file=on_bad_file
    )


@pytest.mark.parametrize("ending", ["wav", "aiff", "flac", "ogg", "mp3"])
def test_every_format_gives_the_tone(tmp_path, ending):
    soundfile.write(tmp_path / f"a.{ending}", tone(), 44_100)
    waveforms = load(tmp_path, [f"a.{ending}"])
    assert waveforms.lengths.tolist() == [round(0.35 * RATE)]
    assert frequency(waveforms.segments(1000, 6000)[0]) == pytest.approx(440, abs=0.5)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 48_000, 96_000, 192_000])
def test_every_rate_gives_the_same_waveform(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(rate=rate), rate, subtype="FLOAT")
    waveforms = load(tmp_path, ["a.wav"], normalise="none")
    there, wanted = waveforms.segments(500, 6000)[0], tone(rate=RATE)[500:6500]
    np.testing.assert_allclose(there, wanted, atol=2e-3)
    assert waveforms.source_rates.tolist() == [rate]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_bit_depth_gives_the_tone(tmp_path, subtype):
    soundfile.write(tmp_path / "a.wav", tone(), 44_100, subtype=subtype)
    assert frequency(load(tmp_path, ["a.wav"]).segments(0, 7000)[0]) == pytest.approx(440, abs=0.5)


def test_channels_are_averaged(tmp_path):
    channels = np.stack([tone() * gain for gain in (1.0, 0.5, 0.0, 0.0, 0.25, 0.25)], axis=1)
    soundfile.write(tmp_path / "six.wav", channels, 44_100, subtype="FLOAT")
    soundfile.write(tmp_path / "one.wav", tone() / 3, 44_100, subtype="FLOAT")
    six, one = (load(tmp_path, [name], normalise="none").segments(0, 7000) for name in ("six.wav", "one.wav"))
    np.testing.assert_allclose(six, one, atol=1e-6)


def test_zscore_peak_and_none(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone() * 0.1 + 0.3, 44_100, subtype="FLOAT")
    length = round(0.35 * RATE)
    zscore, peak, plain = (
        load(tmp_path, ["a.wav"], normalise=n).segments(0, length) for n in ("zscore", "peak", "none")
    )
    assert zscore.mean() == pytest.approx(0, abs=1e-5)
    assert zscore.std() == pytest.approx(1, abs=1e-4)
    assert np.abs(peak).max() == pytest.approx(1)
    assert plain.mean() == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize("silence_s", [0.0, 0.1, 0.5])
def test_onset_is_trimmed_before_the_level_is_taken(tmp_path, silence_s):
    quiet = np.full(round(silence_s * 44_100), 1e-5, np.float32)
    soundfile.write(tmp_path / "a.wav", np.concatenate([quiet, tone()]), 44_100, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", tone(), 44_100, subtype="FLOAT")
    trimmed = load(tmp_path, ["a.wav"], trim_onset_db=-40.0).segments(0, 7000)
    wanted = load(tmp_path, ["b.wav"]).segments(0, 7000)
    # The onset is a sample: within one of them either way.
    shifts = [np.abs(np.roll(trimmed, shift) - wanted)[:, 100:-100].max() for shift in (-1, 0, 1, 2)]
    assert min(shifts) < 0.1


def test_offsets_choose_a_part_of_a_file(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.concatenate([tone(440), tone(880)]), 44_100)
    rows = {"audio": ["a.wav", "a.wav"], "pitch": [69, 81], "instrument": "sine", "offset_s": [0, 0.5]}
    pd.DataFrame(rows).to_csv(tmp_path / "notes.csv", index=False)
    source = TableSource(tmp_path / "notes.csv")
    notes = source.read_notes(None)
    waveforms = load_waveforms(source, None, notes, WaveformSettings(), tmp_path / "c", progress=False)
    assert [round(frequency(row)) for row in waveforms.segments(0, 7000)] == [440, 880]


def test_segments_are_zero_outside_the_note(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(seconds=0.1, rate=RATE), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", tone(seconds=0.5, rate=RATE), RATE, subtype="FLOAT")
    waveforms = load(tmp_path, ["a.wav", "b.wav"], normalise="none")
    assert waveforms.lengths.tolist() == [2205, 7717]
    before, past = waveforms.segments(-10, 20), waveforms.segments(2200, 10)
    assert not before[:, :10].any()
    np.testing.assert_allclose(before[1, 10:], tone(rate=RATE)[:10], atol=1e-6)
    assert not past[0, 5:].any()
    assert past[1].all()
    assert waveforms.segments(10_000, 5).tolist() == [[0.0] * 5] * 2


def bad_files(folder: Path) -> dict[str, str]:
    """Write one of each bad file; the name of each, and what must be said of it."""
    soundfile.write(folder / "whole.wav", tone(), 44_100)
    soundfile.write(folder / "whole.flac", tone() + 0.1 * np.random.default_rng(0).random(22_050), 44_100)
    (folder / "cut.wav").write_bytes((folder / "whole.wav").read_bytes()[:20_000])
    (folder / "cut.flac").write_bytes((folder / "whole.flac").read_bytes()[:9_000])
    (folder / "empty.wav").touch()
    (folder / "empty.mp3").touch()
    (folder / "text.wav").write_text("this is no sound\n" * 100)
    (folder / "text.mp3").write_text("this is no sound\n" * 100)
    (folder / "folder.wav").mkdir()
    for name, value in (("nan", np.nan), ("inf", np.inf), ("huge", 1e30)):
        wild = tone()
        wild[1000] = value
        soundfile.write(folder / f"{name}.wav", wild, 44_100, subtype="FLOAT")
    soundfile.write(folder / "silent.wav", np.zeros(22_050), 44_100)
    soundfile.write(folder / "constant.wav", np.full(22_050, 0.5), 44_100)
    soundfile.write(folder / "late.wav", np.concatenate([np.zeros(22_050), tone()]), 44_100)
    soundfile.write(folder / "one.wav", np.ones(1), 44_100)
    soundfile.write(folder / "none.wav", np.ones(0), 44_100)
    (folder / "loop.wav").symlink_to("loop.wav")
    decode = "cannot be decoded"
    return {
        "cut.wav": "truncated", "cut.flac": decode, "empty.wav": "the file is empty", "empty.mp3": "the file is empty",
        "text.wav": decode, "text.mp3": decode, "folder.wav": "is a folder", "missing.wav": "No such file",
        "nan.wav": "NaN", "inf.wav": "infinite", "huge.wav": "large", "silent.wav": "silent", "constant.wav": "silent",
        "late.wav": "silent", "one.wav": "1 sample", "none.wav": "0 sample",
    }  # fmt: skip


def test_bad_files_are_all_named_at_once_with_the_mend(tmp_path):
    expected = bad_files(tmp_path)
    with pytest.raises(BadNotesError) as caught:
        load(tmp_path, [*expected, "whole.wav", "whole.flac"])
    message = str(caught.value)
    assert message.startswith(f"{len(expected)} of {len(expected) + 2} notes cannot be used")
    for name, reason in expected.items():
        assert reason in caught.value.reasons[name], (name, caught.value.reasons[name])
        assert name in message
    assert "--data.corrections" in message
    assert "--data.on_bad_file drop" in message


def test_a_long_list_of_bad_files_is_counted(tmp_path):
    with pytest.raises(BadNotesError, match="30 of 30 notes") as caught:
        load(tmp_path, [f"missing_{number}.wav" for number in range(30)])
    assert "and 10 more" in str(caught.value)
    assert len(caught.value.reasons) == 30


def test_the_message_names_a_corrections_file_that_mends_it(tmp_path):
    from datamodules.corrections import apply_corrections

    names = [*bad_files(tmp_path), "whole.wav"]
    with pytest.raises(BadNotesError):
        load(tmp_path, names)
    (corrections,) = (tmp_path / "cache").rglob("bad_notes.csv")
    source, notes = table_of(tmp_path, names)
    notes = apply_corrections(notes, corrections)
    assert notes.note_id.tolist() == ["whole.wav"]
    assert len(load_waveforms(source, None, notes, WaveformSettings(), tmp_path / "cache", progress=False)) == 1


def test_bad_files_are_dropped_on_request(tmp_path):
    expected = bad_files(tmp_path)
    waveforms = load(tmp_path, [*expected, "whole.wav"], on_bad_file="drop")
    assert len(waveforms) == 1
    assert set(waveforms.dropped) == set(expected)
    assert waveforms.kept.tolist() == [sorted([*expected, "whole.wav"]).index("whole.wav")]
    alone = load(tmp_path, ["whole.wav"])
    np.testing.assert_array_equal(waveforms.segments(0, 100), alone.segments(0, 100))
    assert waveforms.content_hash == alone.content_hash


def test_dropping_every_note_is_an_error(tmp_path):
    (tmp_path / "empty.wav").touch()
    with pytest.raises(BadNotesError, match="1 of 1 notes"):
        load(tmp_path, ["empty.wav"], on_bad_file="drop")


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="the superuser reads everything")
def test_a_file_without_permission_is_named_and_read_once_it_is_mended(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), 44_100)
    (tmp_path / "a.wav").chmod(0)
    with pytest.raises(BadNotesError, match="no permission"):
        load(tmp_path, ["a.wav"])
    (tmp_path / "a.wav").chmod(0o644)
    assert len(load(tmp_path, ["a.wav"])) == 1


def test_the_cache_is_used_until_a_file_or_a_setting_changes(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", tone(440), 44_100)
    first = load(tmp_path, ["a.wav"])
    decoded = []
    original = TableSource.read_audio
    monkeypatch.setattr(TableSource, "read_audio", lambda *args: decoded.append(1) or original(*args))
    again = load(tmp_path, ["a.wav"])
    assert not decoded
    assert again.content_hash == first.content_hash
    assert load(tmp_path, ["a.wav"], duration_s=0.2).lengths.tolist() == [4410]
    assert len(decoded) == 1
    soundfile.write(tmp_path / "a.wav", tone(880), 44_100)
    os.utime(tmp_path / "a.wav", ns=(time.time_ns(), time.time_ns() + 1_000_000))
    changed = load(tmp_path, ["a.wav"])
    assert len(decoded) == 2
    assert changed.content_hash != first.content_hash
    assert frequency(changed.segments(0, 7000)[0]) == pytest.approx(880, abs=0.5)


def test_the_content_hash_follows_samples_and_note_ids(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(440), 44_100)
    (tmp_path / "b.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    assert load(tmp_path, ["a.wav"]).content_hash != load(tmp_path, ["b.wav"]).content_hash
    before = load(tmp_path, ["a.wav"]).content_hash
    os.utime(tmp_path / "a.wav", ns=(1, 1))  # touched, and yet the same sound
    assert load(tmp_path, ["a.wav"]).content_hash == before


def test_a_cache_cut_short_is_built_again_and_leftovers_are_removed(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), 44_100)
    wanted = load(tmp_path, ["a.wav"]).segments(0, 5000)
    (samples,) = (tmp_path / "cache").rglob("samples.f32")
    samples.write_bytes(samples.read_bytes()[:100])
    leftover = samples.parent.with_name(samples.parent.name + ".tmp-killed")
    leftover.mkdir()
    np.testing.assert_array_equal(load(tmp_path, ["a.wav"]).segments(0, 5000), wanted)
    assert not leftover.exists()
    for damage in (b"", samples.with_name("index.npz").read_bytes()[:-50]):
        samples.with_name("index.npz").write_bytes(damage)
        np.testing.assert_array_equal(load(tmp_path, ["a.wav"]).segments(0, 5000), wanted)


def test_a_cache_that_was_damaged_in_its_middle_is_built_again(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", tone(), 44_100)
    soundfile.write(tmp_path / "b.wav", tone(880), 44_100)
    wanted = load(tmp_path, ["a.wav", "b.wav"])
    before = wanted.segments(0, 7000).copy()
    (samples,) = (tmp_path / "cache").rglob("samples.f32")
    content = bytearray(samples.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) // 2)
    samples.write_bytes(content)
    capsys.readouterr()
    again = load(tmp_path, ["a.wav", "b.wav"])
    assert str(samples.parent) in capsys.readouterr().out
    np.testing.assert_array_equal(again.segments(0, 7000), before)
    assert again.content_hash == wanted.content_hash


def test_two_roots_with_the_same_names_sizes_and_times_have_a_cache_each(tmp_path):
    found = []
    for name, hertz in (("one", 440.0), ("two", 220.0)):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", tone(hertz), 44_100)
        os.utime(tmp_path / name / "a.wav", (315532800, 315532800))
        found.append(frequency(load(tmp_path / name, ["a.wav"], tmp_path / "cache").segments(0, 7000)[0]))
    assert found == pytest.approx([440, 220], abs=0.5)
    # another sound in the same place, with the times of the first as an archive sets them
    soundfile.write(tmp_path / "one" / "a.wav", tone(880), 44_100)
    os.utime(tmp_path / "one" / "a.wav", (315532800, 315532800))
    other = load(tmp_path / "one", ["a.wav"], tmp_path / "cache").segments(0, 7000)[0]
    assert frequency(other) == pytest.approx(880, abs=0.5)


@pytest.mark.parametrize("on_bad_file", ["stop", "drop"])
def test_a_passing_read_error_is_not_kept(tmp_path, monkeypatch, on_bad_file):
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, tone(), 44_100)

    def failing(path, offset_s, duration_s):
        if path.name == "a.wav":
            raise OSError(5, "Input/output error")
        return _decode(path, offset_s, duration_s)

    with monkeypatch.context() as patched:
        patched.setattr(datamodules.sources.files, "_decode", failing)
        if on_bad_file == "stop":
            with pytest.raises(BadNotesError, match=r"a\.wav"):
                load(tmp_path, ["a.wav", "b.wav"])
        else:
            assert len(load(tmp_path, ["a.wav", "b.wav"], on_bad_file=on_bad_file)) == 1
    assert len(load(tmp_path, ["a.wav", "b.wav"], on_bad_file=on_bad_file)) == 2


def test_only_ordinary_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo.wav")
    with pytest.raises(BadNotesError, match="fifo"):
        load(tmp_path, ["fifo.wav"])


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), 44_100)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"data\.cache_dir .*file.*cannot be written"):
        load(tmp_path, ["a.wav"], tmp_path / "file")


def test_nothing_half_written_stays_when_building_is_interrupted(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", tone(), 44_100)

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(TableSource, "read_audio", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load(tmp_path, ["a.wav"])
    assert not [path for path in (tmp_path / "cache" / "waveforms").iterdir() if path.is_dir()]


def _load_elsewhere(folder: Path) -> str:
    source = TableSource(folder / "notes.csv")
    notes = source.read_notes(None)
    return load_waveforms(source, None, notes, WaveformSettings(), folder / "cache", progress=False).content_hash


def test_processes_that_start_together_build_one_cache(tmp_path):
    for number in range(40):
        soundfile.write(tmp_path / f"{number}.wav", tone(200 + number, seconds=0.4), 44_100)
    table_of(tmp_path, [f"{number}.wav" for number in range(40)])
    with ProcessPoolExecutor(3) as pool:
        hashes = set(pool.map(_load_elsewhere, [tmp_path] * 3))
    assert hashes == {_load_elsewhere(tmp_path)}
    assert len([path for path in (tmp_path / "cache" / "waveforms").iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"sample_rate": 0},
        {"sample_rate": 10**9},
        {"duration_s": 0.0},
        {"duration_s": math.nan},
        {"duration_s": math.inf},
        {"normalise": "loud"},
        {"trim_onset_db": 3.0},
        {"trim_onset_db": math.nan},
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        WaveformSettings(**wrong)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rate=st.sampled_from([8_000, 11_025, 22_050, 44_100, 192_000]),
    count=st.integers(0, 6_000),
    channels=st.integers(1, 6),
    level=st.sampled_from([0.0, 1e-30, 1e-6, 1e-3, 1.0, 100.0, 1e20, np.inf, np.nan]),
    offset=st.sampled_from([0.0, 1.0, -1000.0]),
    normalise=st.sampled_from(["zscore", "peak", "none"]),
    trim=st.sampled_from([None, -6.0, -60.0]),
    seed=st.integers(0, 1000),
)
def test_any_audio_gives_finite_samples_or_a_value_error(rate, count, channels, level, offset, normalise, trim, seed):
    with np.errstate(all="ignore"):
        noise = (level * np.random.default_rng(seed).normal(size=(count, channels)) + offset).astype(np.float32)
    wanted = WaveformSettings(duration_s=0.1, normalise=normalise, trim_onset_db=trim)
    try:
        waveform = prepare_waveform(noise, rate, wanted)
    except ValueError:
        return
    assert waveform.dtype == np.float32
    assert 0 < len(waveform) <= wanted.length
    assert np.isfinite(waveform).all()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=400), ending=st.sampled_from(["wav", "aiff", "flac", "ogg", "mp3"]), cut=st.floats(0, 1)
)
def test_any_bytes_are_a_note_or_a_named_error(tmp_path, content, ending, cut):
    folder = tmp_path / "bytes"
    folder.mkdir(exist_ok=True)
    file = folder / f"a.{ending}"
    soundfile.write(file, tone(seconds=0.05), 44_100)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(cut * len(whole))] + content)
    try:
        waveforms = load(folder, [file.name], cache=folder / "cache")
    except BadNotesError:
        return
    assert np.isfinite(waveforms.segments(0, 1000)).all()
