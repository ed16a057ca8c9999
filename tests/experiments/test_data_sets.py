"""Folders laid out as real data sets train from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from datamodules.sources.pitches import name_from_midi
from experiments.__main__ import main
from experiments.paths import CONFIGS


def write_tone(file: Path, midi: int, partials: int, rate: int) -> None:
    """Half a second of a harmonic tone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    t, hertz = np.arange(rate // 2) / rate, 440 * 2 ** ((midi - 69) / 12)
    tone = sum(np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, partials + 1) if hertz * k < rate / 2)
    soundfile.write(file, 0.3 * np.asarray(tone), rate)


def write_tinysol(root: Path) -> None:
    """A folder laid out as TinySOL."""
    for place, short, partials in (("Winds/Flute", "Fl", 2), ("Winds/Oboe", "Ob", 20)):
        for midi in range(60, 84):
            name = f"{short}-ord-{name_from_midi(midi)}-mf-N-T14d.wav"
            write_tone(root / place / "ordinario" / name, midi, partials, 44_100)


def write_nsynth(root: Path) -> None:
    """A folder laid out as a part of NSynth."""
    examples = {}
    for family, partials in (("flute", 2), ("brass", 20)):
        for midi in range(60, 84):
            name = f"{family}_acoustic_000-{midi:03d}-100"
            write_tone(root / "audio" / f"{name}.wav", midi, partials, 16_000)
            examples[name] = {
                "note_str": name,
                "pitch": midi,
                "velocity": 100,
                "sample_rate": 16_000,
                "instrument_str": f"{family}_acoustic_000",
                "instrument_family_str": family,
                "instrument_source_str": "acoustic",
                "qualities": [0] * 10,
            }
    (root / "examples.json").write_text(json.dumps(examples))


@pytest.mark.slow
@pytest.mark.parametrize(("source", "write"), [("tinysol", write_tinysol), ("nsynth", write_nsynth)])
def test_a_data_set_trains_end_to_end(
    source: str, write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more --config is all that a folder laid out as the real one needs."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    write(tmp_path / "notes")
    configs = ["--config", str(CONFIGS / "smoke.yaml"), "--config", str(CONFIGS / "data" / f"{source}.yaml")]
    places = ["--data.root", str(tmp_path / "notes"), "--data.cache_dir", str(tmp_path / "cache")]
    main(["fit", *configs, *places, "--run_dir", str(tmp_path / "run")])
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["n_notes"] == 48
    assert metrics["best"]["published"].keys() >= {"pitch", "instrument", "combine", "acc", "pm", "fid_recon", "cds"}
