"""The commands, through the door that a shell uses."""

from __future__ import annotations

import csv
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pitch_timbre import picture
from pitch_timbre.analysis import Analysis
from pitch_timbre.cli import COMMANDS, main
from pitch_timbre.model import Model
from tests.pitch_timbre.notes import RATE, tone


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name, midi in (("low", 45), ("high", 72.2)):
        soundfile.write(tmp_path / "in" / f"{name}.wav", tone(midi, 0.6), RATE)
    return tmp_path / "in"


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_analyse_writes_a_row_a_file(folder: Path, tmp_path: Path) -> None:
    (folder / "text.wav").write_text("this is no sound")
    soundfile.write(folder / "silence.flac", np.zeros(RATE), RATE)
    soundfile.write(folder / "short.wav", tone(60, 0.02), RATE)
    (folder / "notes.txt").write_text("not looked at")
    assert main(["analyse", str(folder), str(tmp_path / "missing.wav"), "-o", str(tmp_path / "notes.csv")]) == 0
    found = {Path(row["file"]).name: row for row in rows(tmp_path / "notes.csv")}
    assert {name: row["status"] for name, row in found.items()} == {
        "low.wav": "ok",
        "high.wav": "ok",
        "text.wav": "unreadable",
        "silence.flac": "silent",
        "short.wav": "short",
        "missing.wav": "unreadable",
    }
    assert (found["high.wav"]["note"], found["high.wav"]["midi"]) == ("C5", "72")
    assert float(found["high.wav"]["cents"]) == pytest.approx(20, abs=3)


def test_analyse_as_json_and_by_frames(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyse", str(folder), "--json", "--frames"]) == 0
    frames = json.loads(capsys.readouterr().out)
    assert len(frames) > 10
    assert {row["midi"] for row in frames} == {45, 72}


def test_no_file_of_use_is_status_1(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("text")
    assert main(["analyse", str(tmp_path / "a.wav"), "-o", str(tmp_path / "out.csv")]) == 1


def test_many_files_have_a_bar_and_can_be_stopped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(20):
        (folder / f"text_{number:02d}.wav").write_text("text")
    (folder / "folder.wav").mkdir()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    out = tmp_path / "notes.json"
    assert main(["analyse", str(folder), "--json", "-o", str(out)]) == 0
    assert [row["status"] for row in json.loads(out.read_text())] == ["ok"] * 2 + ["unreadable"] * 20
    shown = capsys.readouterr().err
    assert re.search(r"11/22, \d+:\d\d left", shown)
    assert "20 of 22 files could not be read" in shown
    read = Model.try_to_analyse

    def stopped(model: Model, file: Path) -> Analysis:
        if file.stem == "text_05":
            raise KeyboardInterrupt
        return read(model, file)

    monkeypatch.setattr(Model, "try_to_analyse", stopped)
    assert main(["analyse", str(folder), "--json", "-o", str(out)]) == 130
    assert len(json.loads(out.read_text())) == 7, "what was read is kept"


def test_names_that_are_no_utf_8(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        (folder / "low.wav").rename(folder / os.fsdecode(b"l\xe4w.wav"))
    except OSError:
        pytest.skip("this file system takes no such names")
    out = tmp_path / "notes.csv"
    assert main(["analyse", str(folder), "-o", str(out)]) == 0
    assert b"l\xe4w.wav,ok" in out.read_bytes()
    assert main(["map", str(folder), "-o", str(tmp_path / "map.html")]) == 0
    assert (tmp_path / "map.html").read_text().count("<circle ") == 2


def test_swap(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["swap", str(folder / "low.wav"), str(folder / "high.wav"), "-o", str(out), "--json"]) == 0
    files = [Path(file) for file in json.loads(capsys.readouterr().out)["files"]]
    assert [file.exists() for file in files] == [True] * 3
    assert files[2].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert main(["analyse", *map(str, files[:2]), "-o", str(tmp_path / "swapped.csv")]) == 0
    assert [row["midi"] for row in rows(tmp_path / "swapped.csv")] == ["45", "72"]


def test_render_a_scale(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "scale.wav"
    assert main(["render", "--timbre", str(folder / "low.wav"), "--scale", "C4 D4", "-o", str(out)]) == 0
    samples, rate = soundfile.read(out)
    assert len(samples) / rate == pytest.approx(1.2, abs=0.1)
    assert main(["render", "--timbre", "flute", "--pitch", "A4", "-o", str(out)]) == 0


def test_map_is_one_file_without_a_network(folder: Path, tmp_path: Path) -> None:
    odd = folder / '"><script>alert(1)<'
    try:
        odd.mkdir()
    except OSError:
        odd = folder
    soundfile.write(odd / "x.wav", tone(50, 0.5), RATE)
    out = tmp_path / "map.html"
    for colour in ("folder", "pitch"):
        assert main(["map", str(folder), "-o", str(out), "--colour", colour]) == 0
        text = out.read_text()
        assert text.count("<circle ") == text.count("data:audio/ogg") == 3
        assert "://" not in text
        assert "<script>alert" not in text


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["analyse"],
        ["sing", "x.wav"],
        ["analyse", "FOLDER", "--model", "FOLDER/low.wav"],
        ["analyse", "FOLDER", "--model", "FOLDER/none"],
        ["analyse", "FOLDER", "--model", "FOLDER"],
        ["analyse", "FOLDER", "-o", "FOLDER/none/notes.csv"],
        ["analyse", "FOLDER", "-o", "FOLDER"],
        ["map", "EMPTY"],
        ["swap", "FOLDER/low.wav", "FOLDER/none.wav"],
        ["render", "--timbre", "kazoo", "--pitch", "C4", "-o", "FOLDER/x.wav"],
        ["render", "--timbre", "flute", "--pitch", "H9", "-o", "FOLDER/x.wav"],
        ["render", "--timbre", "flute", "--scale", " ", "-o", "FOLDER/x.wav"],
        ["render", "--timbre", "flute", "--pitch", "C4", "-o", "FOLDER/x.txt"],
        ["render", "--timbre", "flute", "-o", "FOLDER/x.wav"],
    ],
)
def test_bad_arguments_are_one_line_and_status_2(
    words: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    given = [word.replace("FOLDER", str(folder)).replace("EMPTY", str(tmp_path / "empty")) for word in words]
    try:
        status = main(given)
    except SystemExit as ended:  # argparse's
        status = int(ended.code or 0)
    assert status == 2
    error = capsys.readouterr().err
    assert "error: " in error.splitlines()[-1]
    assert "Traceback" not in error


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"pitch-timbre {command} " in " ".join(capsys.readouterr().out.split("example:")[1].split())


def test_imports_nothing_of_the_training() -> None:
    code = "import pitch_timbre.cli, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "lightning", "librosa", "scipy", "pandas", "experiments", "datamodules"} & set(loaded)


def test_swap_picture_has_the_notes_beside_their_swaps() -> None:
    image = picture.spectrograms([[tone(60, 0.5), tone(60, 0.3)], [tone(72, 0.4), tone(72, 0.5)]], RATE)
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", image[16:24])
    assert height == 2 * (picture.HEIGHT + picture.GAP)
    assert width == 2 * (1 + (RATE // 2 - picture.N_FFT) // picture.HOP + picture.GAP)
