"""Rows of honest ACC without a decoder: the plain classifier, the nearest note, and pitch trackers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules.pitch_trackers import yin
from experiments import baselines
from experiments.__main__ import main
from experiments.reporting.cells import read_cells
from experiments.reporting.row_scores import grid_rows

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid with one cell of the plain classifier, and the rows that need no training."""
    out = tmp_path_factory.mktemp("grid")
    given = [
        "--data.source.instruments",
        "[oboe,cello]",
        "--data.cache_dir",
        str(out / "cache"),
        "--seed_everything",
        "3",
    ]
    given += ["--data.split.kind", "recording", "--data.split.selection_share", "0.2", "--trainer.max_epochs", "4"]
    run = ["--config", str(CONFIGS / "plain_classifier.yaml"), "--run_dir", str(out / "plain_classifier" / "seed_3")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        main(["fit", *run, *given, "--trainer.accelerator", "cpu"])
    assert main(["baselines", str(out), "--rows", "nearest_note", "yin_tracker"]) == 0
    return out


@pytest.mark.parametrize("row", ["plain_classifier", "nearest_note", "yin_tracker"])
def test_a_row_without_a_decoder_is_a_cell_like_others(grid: Path, row: str) -> None:
    cell = grid / row / "seed_3"
    metrics, notes = json.loads((cell / "metrics.json").read_text()), pd.read_csv(cell / "notes.csv")
    split = pd.read_csv(grid / "plain_classifier" / "seed_3" / "split.csv")
    assert list(notes.note_id) == list(split.note_id[split.part == "test"])
    assert metrics["best"]["honest"]["acc"] == pytest.approx(100 * notes.honest_acc.mean())
    assert (metrics["row"], metrics["seed"], metrics["split"], metrics["selected_on"]) == (
        *(row, 3, "recording"),
        "other notes",
    )
    scores = grid_rows(grid, read_cells(grid))[row]
    assert scores.notes[3, -1].scores["honest_acc"].mean() == pytest.approx(metrics["best"]["honest"]["acc"])
    table = (grid / "table.md").read_text()
    published, honest = table.split("## Honest protocol")
    assert f"| {row}" not in published, "it has none of the published measures"
    assert f"| {row}" in honest


def test_the_nearest_note_is_the_training_note_whose_frame_is_nearest(grid: Path) -> None:
    data = baselines.data_of(grid / "plain_classifier" / "seed_3" / "config.yaml")
    data.setup()
    scored, training = (baselines.frames_of(data, part) for part in (data.parts.scored, data.parts.training))
    nearest = ((scored[:, None] - training[None]) ** 2).sum(-1).argmin(1)
    expected = data.notes.midi.to_numpy()[data.parts.training][nearest]
    assert pd.read_csv(grid / "nearest_note" / "seed_3" / "notes.csv").heard.tolist() == expected.tolist()
    assert 20 < np.mean(expected == data.notes.midi[data.parts.scored]) * 100 < 100


def test_yin_hears_tones_at_the_instant() -> None:
    time = np.arange(22_050) / 22_050
    tones = np.stack([np.sin(2 * np.pi * hz * time) + 0.5 * np.sin(4 * np.pi * hz * time) for hz in (110.0, 440.0)])
    tones[:, 11_025:] = 0
    assert yin(tones, 22_050, 4_410) == pytest.approx([45, 69], abs=0.05)


def test_a_grid_without_cells_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["baselines", str(tmp_path)]) == 2
    assert "no finished cell" in capsys.readouterr().err
