"""The evaluation classifiers are the same whichever row asks for them first."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.classifiers import LABELS, folder_of
from experiments.cli import train_classifiers
from experiments.paths import CONFIGS
from lightning_modules.note_classifier import NoteClassifier

SIZE = ["--data.max_notes", "32", "--data.source.instruments", "[oboe,cello]", "--data.split.validation_share", "0.25"]


def test_a_row_gives_them_nothing_but_its_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """M7 differs from M0 in batch size, shifts, bands and stages; neither precision nor seed is the classifiers'."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    asked = {
        "m0": [],
        "m7": ["--data.batch_size", "8", "--trainer.precision", "32-true", "--seed_everything", "5"],
    }
    fingerprints = []
    for row, more in asked.items():
        home = ["--classifier_dir", str(tmp_path / row), "--data.cache_dir", str(tmp_path / "cache")]
        words = ["--config", str(CONFIGS / f"{row}.yaml"), *SIZE, *home, *more]
        data_hash = train_classifiers(words).partition("-")[0]
        files = {label: folder_of(tmp_path / row) / data_hash / f"{label}.ckpt" for label in LABELS}
        fingerprints.append(
            [NoteClassifier.load(file, data_hash, label).fingerprint() for label, file in files.items()]
        )
    assert fingerprints[0] == fingerprints[1]
    files["pitch"].replace(files["instrument"])
    with pytest.raises(ValueError, match=r"instrument\.ckpt: trained on other data or labels"):
        NoteClassifier.load(files["instrument"], data_hash, "instrument")
