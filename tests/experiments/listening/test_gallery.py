from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from experiments.listening import gallery
from experiments.listening.measures import fundamental_midi, mel_error_db, mel_power, pyin_midi, spectrum_error_db
from tests.pitch_timbre.notes import RATE, tone


def test_errors_are_in_db() -> None:
    power = mel_power(tone(60), RATE)
    assert mel_error_db(power, power) == 0
    assert mel_error_db(power, 10 * power) > 7, "bands below the floor count as the floor"
    loud = np.full((4, 9), 2.0)
    assert mel_error_db(loud, 10 * loud) == pytest.approx(10)
    assert spectrum_error_db(tone(60), 0.01 * tone(60), RATE) < 0.01, "the level does not matter"
    assert spectrum_error_db(tone(60, fall=1), tone(60, fall=2), RATE) > 3


@pytest.mark.parametrize("midi", [33.2, 60.5, 88])
def test_pitch_by_pyin(midi: float) -> None:
    assert pyin_midi(tone(midi, 0.5), RATE) == pytest.approx(midi, abs=0.1)
    assert fundamental_midi(tone(midi, 0.5), RATE, midi + 0.4) == pytest.approx(midi, abs=1e-3)
    assert np.isnan(pyin_midi(np.zeros(RATE), RATE))


def test_gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "PAIRS", gallery.PAIRS[1:2])
    assert gallery.main(["--out", str(tmp_path / "a")]) == gallery.main(["--out", str(tmp_path / "b")]) == 0
    files = {file.name: file.read_bytes() for file in (tmp_path / "a").iterdir()}
    assert files == {file.name: file.read_bytes() for file in (tmp_path / "b").iterdir()}, "the same files each time"
    sounds = {name for name in files if name.endswith(".flac")}
    assert len(sounds) == 8
    assert set(re.findall(r"\((\w+\.flac)\)", files["README.md"].decode())) == sounds
    assert set(re.findall(r'src="(\w+\.flac)"', files["index.html"].decode())) == sounds
    rows = [line.split(" | ") for line in files["README.md"].decode().splitlines() if "[listen]" in line]
    for row in rows:
        assert abs(float(row[-1].strip(" |"))) < 50
        assert 0 < float(row[-3]) < 12
