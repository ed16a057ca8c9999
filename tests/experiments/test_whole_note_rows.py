"""Every row of whole notes is fitted by its own configuration, and goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from experiments.__main__ import main

CONFIGS = Path(__file__).parents[2] / "configs"
ROWS = [
    *("m8", "m8_no_perturbation", "m8_no_reentry", "m8_v0", "m8_v16", "m8_v32"),
    *("sequential_vae", "ts_dsae", "v3", "m7_frames"),
]
WITHOUT_COURSE = ("m8_v0", "sequential_vae", "v3", "m7_frames")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache and one pair of classifiers for all runs of this file."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def fit(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A fit of few notes in three epochs: the axis alone, then without a course, then with it."""
    monkeypatch.setenv("WANDB_MODE", "disabled")

    def run(row: str, run_dir: Path, *more: str) -> None:
        words = ["--config", str(CONFIGS / f"{row}.yaml"), "--run_dir", str(run_dir)]
        words += ["--classifier_dir", str(home / "classifiers"), "--data.cache_dir", str(home / "cache")]
        words += [
            "--data.max_notes",
            "64",
            "--data.source.instruments",
            "[oboe,cello,flute]",
            "--data.batch_size",
            "32",
        ]
        words += ["--trainer.accelerator", "cpu", "--trainer.max_epochs", "3"]
        words += ["--data.batch_size", "32", "--model.width", "32"]
        if row != "v3":
            words += ["--model.axis.epochs", "1", "--model.axis.restarts", "2"]
        if row not in WITHOUT_COURSE:
            words += ["--model.epochs_without_course", "1"]
        main(["fit", *words, *more])

    return run


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_fitted_and_scored(row: str, fit: Callable[..., None], tmp_path: Path) -> None:
    fit(row, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())
    found = weights(tmp_path / "run")
    assert all(value.isfinite().all() for name, value in found.items() if name not in ("midi_offset",))
    settings = yaml.safe_load((CONFIGS / f"{row}.yaml").read_text())
    assert settings["row"] == row


@pytest.mark.slow
@pytest.mark.parametrize("row", ["m8", "ts_dsae"])
@pytest.mark.parametrize("stopped", [1, 2])
def test_a_fit_that_was_stopped_ends_with_the_same_weights(
    row: str, stopped: int, fit: Callable[..., None], tmp_path: Path
) -> None:
    """After the axis stage, and after the epoch without a course."""
    fit(row, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        from callbacks.epoch_seed import EpochSeed

        def stop(self: EpochSeed, trainer: object, module: object, original=EpochSeed.on_train_epoch_start) -> None:
            if trainer.current_epoch == stopped:  # type: ignore[attr-defined]
                raise RuntimeError("stopped")
            original(self, trainer, module)

        patch.setattr(EpochSeed, "on_train_epoch_start", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            fit(row, tmp_path / "stopped")
    fit(row, tmp_path / "stopped")
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(value, found[name]) for name, value in expected.items() if not value.isnan().any())
