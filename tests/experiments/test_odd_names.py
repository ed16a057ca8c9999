"""Names of instruments and data reach tables, terminals, pictures and W&B as they are, on a terminal of ASCII too."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from experiments.__main__ import main
from experiments.paths import CONFIGS
from experiments.reporting.markdown import escaped

NAMES = ["Horn [/b]", "Guitar $20_{ vs $200", "a|b <b>&amp;</b>", "Fl\u00f6te", "NA", "`x` *y* \\frac{"]
DATA = "[/b] $x_{ | <i> \u00e9"
RATE = 22_050


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Tones of instruments with such names."""
    rows = []
    t = np.arange(int(0.6 * RATE)) / RATE
    for number, name in enumerate(NAMES):
        strength = np.random.default_rng(number).uniform(0.2, 1, 12) / np.arange(1, 13)
        for midi in range(60, 66):
            hertz = 440 * 2 ** ((midi - 69) / 12)
            tone = sum(a * np.sin(2 * np.pi * hertz * k * t) for k, a in enumerate(strength, 1))
            soundfile.write(tmp_path / f"{number}_{midi}.wav", 0.2 * np.asarray(tone), RATE)
            rows.append((f"{number}_{midi}.wav", midi, name))
    with (tmp_path / "notes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("audio", "pitch", "instrument"), *rows])
    return tmp_path / "notes.csv"


def test_a_fit_of_odd_names_is_drawn_logged_and_shown(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    out, err = (io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    run = tmp_path / "grid" / "m0" / "seed_0"
    configs = ["--config", str(CONFIGS / "m0.yaml"), "--config", str(CONFIGS / "data" / "table.yaml")]
    content = {"name": DATA, "source": {"table": str(table)}, "split": {"validation_share": 0.25}, "batch_size": 16}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"data": content | {"cache_dir": str(tmp_path / "cache")}}))
    configs += ["--config", str(tmp_path / "data.yaml")]
    places = ["--run_dir", str(run), "--classifier_dir", str(tmp_path / "classifiers")]
    try:
        assert main(["fit", *configs, *places, "--trainer.max_epochs", "1"]) == 0
        assert main(["table", str(tmp_path / "grid")]) == 0
    finally:
        import wandb

        wandb.teardown()
    shown = (out.buffer.getvalue() + err.buffer.getvalue()).decode("ascii")  # type: ignore[attr-defined]
    assert "scores: " in shown
    assert set(pd.read_csv(run / "notes.csv", keep_default_na=False).instrument) == set(NAMES)
    figures = {file.stem for file in (run / "figures").glob("*.png")}
    assert {"generated", "timbre_space", "pitch_matrix", "curves"} <= figures
    assert list(run.glob("wandb/offline-run-*/*.wandb"))
    assert escaped(DATA) in (tmp_path / "grid" / "table.md").read_text()
