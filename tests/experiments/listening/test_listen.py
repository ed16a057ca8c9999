from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pitch_timbre as pt
from experiments.listening import listen, trackers
from tests.pitch_timbre.notes import RATE, tone


def test_the_vote_is_by_weight() -> None:
    hz = np.array([440.0, 441.0, 220.0, 0.0, np.nan])
    assert trackers.vote(hz, np.array([1, 1, 1.5, 9, 9])) == 69
    assert trackers.vote(hz, np.array([1, 1, 2.5, 9, 9])) == 57
    assert np.isnan(trackers.vote(hz, np.zeros(5)))


def test_trackers_read_tones_and_their_time_is_kept() -> None:
    sounds = [(tone(midi, 0.4).astype(np.float32), RATE) for midi in (50, 69.2)]
    found = trackers.compare(sounds, trackers.trackers(["pitch-timbre", "yin", "pyin"], pt.load()))
    assert found.groupby("tracker").midi.apply(list).tolist() == [[50, 69]] * 3
    assert (found.core_s > 0).all()
    assert found.lasts_s.to_numpy() == pytest.approx(0.4, abs=1e-3)


def test_trackers_that_are_missing_or_unknown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(trackers.NEEDS, "crepe", "no_such_package")
    assert list(trackers.trackers(["yin", "crepe"], pt.load())) == ["yin"]
    assert "no_such_package" in capsys.readouterr().out
    with pytest.raises(ValueError, match="swipe"):
        trackers.trackers(["swipe"], pt.load())


def table(*ids: str) -> pd.DataFrame:
    return pd.DataFrame(
        {"note_id": ids, "instrument": [i.split("_")[0] for i in ids], "midi": range(60, 60 + len(ids))}
    )


def test_notes_are_chosen_by_instrument_or_by_their_ids() -> None:
    notes = table("flute_05_a", "flute_1_b", "oboe_05_c", "oboe_05_d", "oboe_1_e", "oboe_x_f")
    assert listen.choose(notes, None, 2).note_id.tolist() == ["flute_05_a", "flute_1_b", "oboe_05_c", "oboe_x_f"]
    chosen = listen.choose(notes, r"_(05|1)_", 9)
    assert chosen.by.tolist() == ["05"] * 3 + ["1"] * 2
    for wrong in ("_(long)_", "(", "_(0)(5)_", "_05_"):
        with pytest.raises(ValueError, match="--by"):
            listen.choose(notes, wrong, 9)


def test_the_table_counts_right_pitches() -> None:
    notes = table("a_1", "a_2", "b_1").assign(by=["a", "a", "b"])
    rows = [(i, "x", midi, 0.5, 1.0) for i, midi in enumerate([60, 73, 62])]
    rows += [(i, "y", midi, 0.1, 1.0) for i, midi in enumerate([60, 61, np.nan])]
    found = listen.pitch_table(notes, pd.DataFrame(rows, columns=["sound", "tracker", "midi", "core_s", "lasts_s"]))
    assert found.loc["a"].to_dict() == {"notes": 2, "x": 50, "y": 100}
    assert found.loc["b"].to_dict() == {"notes": 1, "x": 100, "y": 0}
    assert found.loc["all, pitch class", "x"] == 100
    assert found.loc[listen.SECONDS, ["x", "y"]].tolist() == pytest.approx([30, 6])
    assert "| all | 3 | 66.7 | 66.7 |" in listen.to_markdown(found)


def test_the_command_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config", "configs/data/embedded.yaml", "--data.source.init_args.instruments", "[flute]", "--notes", "3"]
    assert listen.main([*words, "--with", "yin", "--swaps", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "listen.md").read_text()
    assert text in capsys.readouterr().out
    assert "3 swaps (`hold`), pitch by pYIN: 100.0 % within 50 cents" in text
    assert len(pd.read_csv(tmp_path / "pitches.csv")) == 6
    with pytest.raises(SystemExit) as ended:
        listen.main([*words, "--with", "swipe"])
    assert ended.value.code == 2
