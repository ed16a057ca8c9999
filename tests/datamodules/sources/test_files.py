"""Audio files: paths that leave the root, and decoding to the end."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from datamodules.sources.files import _decode, audio_files, path_inside
from tests.datamodules.sources.folders import write_audio
from tests.datamodules.tones import frequency, tone


def headers(whole: bytes, places: dict[int, int], order: str) -> bytes:
    """A file with 32-bit numbers of its header changed."""
    changed = bytearray(whole)
    for place, value in places.items():
        changed[place : place + 4] = struct.pack(f"{order}I", value)
    return bytes(changed)


@pytest.mark.parametrize("length", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize(("ending", "order"), [("wav", "<"), ("aiff", ">")])
def test_audio_from_a_pipe_is_decoded_to_the_end(tmp_path, ending, order, length):
    soundfile.write(tmp_path / f"a.{ending}", tone(), 44_100)
    whole = (tmp_path / f"a.{ending}").read_bytes()
    places = {4: length, whole.index(b"data" if ending == "wav" else b"SSND") + 4: length}
    if ending == "aiff":
        places[whole.index(b"COMM") + 10] = length
    (tmp_path / f"pipe.{ending}").write_bytes(headers(whole, places, order))
    for offset, left in ((0.0, 22_050), (0.2, 13_230)):
        samples, rate = _decode(tmp_path / f"pipe.{ending}", offset, math.inf)
        assert (len(samples), rate) == (left, 44_100)
        np.testing.assert_array_equal(samples, _decode(tmp_path / f"a.{ending}", offset, math.inf)[0])


def test_a_flac_stream_of_unknown_length_is_decoded_to_the_end(tmp_path):
    soundfile.write(tmp_path / "a.flac", tone(), 44_100)
    stream = bytearray((tmp_path / "a.flac").read_bytes())
    stream[21] &= 0xF0  # 36 bits of samples, then the checksum of all samples
    stream[22:42] = bytes(20)
    (tmp_path / "stream.flac").write_bytes(stream)
    for offset, seconds, there in ((0.0, 9.0, 22_050), (0.0, math.inf, 22_050), (0.25, 0.1, 4_410), (0.25, 9, 11_025)):
        samples = _decode(tmp_path / "stream.flac", offset, seconds)[0]
        assert len(samples) == there
        start = round(44_100 * offset)
        np.testing.assert_allclose(samples[:, 0], tone()[start : start + there], atol=1e-4)
    with pytest.raises(ValueError, match="ends before the note's offset 2 s"):
        _decode(tmp_path / "stream.flac", 2.0, 0.1)


@pytest.mark.parametrize("tag", [b"", b"ID3\x04\0\0\0\0\x01\x00" + bytes(128)])
def test_an_mp3_without_an_index_is_decoded_to_the_end(tmp_path, tag):
    """Its first frame has a high bit rate, so that its size stands for few seconds."""
    loud, soft = (np.random.default_rng(0).normal(size=(22_050, 1)) * 0.3, tone(seconds=4.0)[:, np.newaxis])
    parts = []
    for name, sound, level in (("loud", loud, 0.0), ("soft", soft, 0.95)):
        with soundfile.SoundFile(
            tmp_path / f"{name}.mp3", "w", 44_100, 1, format="MP3", compression_level=level, bitrate_mode="CONSTANT"
        ) as file:
            file.write(sound)
        parts.append((tmp_path / f"{name}.mp3").read_bytes())
    frames = [part[_mp3_frames(part)[1] :] for part in parts]  # without the frame that holds the index
    (tmp_path / "a.mp3").write_bytes(tag + frames[0] + frames[1])
    assert soundfile.info(tmp_path / "a.mp3").duration < 2  # libsndfile's estimate
    assert len(_decode(tmp_path / "a.mp3", 0.0, math.inf)[0]) / 44_100 == pytest.approx(4.5, abs=0.15)
    samples = _decode(tmp_path / "a.mp3", 3.0, 0.4)[0]
    assert frequency(samples[:, 0], 44_100) == pytest.approx(440, abs=1)


def _mp3_frames(content: bytes) -> list[int]:
    """Where the first frames of an mp3 file of MPEG-1 layer 3 begin."""
    rates = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    starts = [0]
    while len(starts) < 3:
        start = starts[-1]
        starts.append(start + 144 * rates[content[start + 2] >> 4] * 1000 // 44_100 + (content[start + 2] >> 1 & 1))
    return starts


@pytest.mark.parametrize("path", ["Take 1:2/a.wav", "a:b/c.wav", ":/a.wav"])
def test_a_colon_in_a_name_leads_nowhere(path: str, tmp_path: Path) -> None:
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).touch()
    assert path_inside(tmp_path, path) == tmp_path / path
    assert list(audio_files(tmp_path)) == [path]


@pytest.mark.parametrize("path", ["../a.wav", "a/../../b.wav", "/etc/passwd", "..\\a.wav", "C:\\a.wav", "c:/a.wav"])
def test_paths_that_leave_the_root_are_refused(tmp_path, path):
    with pytest.raises(ValueError, match="leaves the root"):
        path_inside(tmp_path, path)


@given(st.lists(st.sampled_from(["a", "..", ".", "b c", "", "~", "/"]), max_size=5).map("/".join))
def test_any_path_stays_inside_or_is_refused(tmp_path_factory, path):
    root = tmp_path_factory.getbasetemp()
    try:
        full = path_inside(root, path)
    except ValueError:
        return
    assert full.resolve().is_relative_to(root.resolve())


def test_links_that_lead_outside_are_refused(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    write_audio(root, "a.wav")
    write_audio(outside, "b.wav")
    (root / "b.wav").symlink_to(outside / "b.wav")
    with pytest.raises(ValueError, match="leads outside the root"):
        list(audio_files(root))
    (root / "b.wav").unlink()
    (root / "folder").symlink_to(outside)
    with pytest.raises(ValueError, match="leads outside the root"):
        list(audio_files(root))


def test_links_inside_the_root_are_followed_once(tmp_path):
    write_audio(tmp_path, "folder/a.wav")
    (tmp_path / "folder" / "circle").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "folder")
    assert list(audio_files(tmp_path)) == ["folder/a.wav"]


def test_the_root_itself_may_be_a_link(tmp_path):
    write_audio(tmp_path / "real", "a.wav")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert list(audio_files(tmp_path / "link")) == ["a.wav"]
