from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from examples.minimal.__main__ import table
from examples.minimal.digits import DigitClassifier

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "examples" / "minimal" / "configs"


def fit(folder: Path, row: str, epochs: int) -> str:
    """Train a row as a reader does, in a process of its own."""
    environment = {**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    arguments = ["--config", str(CONFIGS / f"{row}.yaml"), "--trainer.max_epochs", str(epochs)]
    command = [sys.executable, "-m", "examples.minimal", "fit", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_another_dataset_and_model_run_on_the_projects_ground(tmp_path: Path) -> None:
    for row in ("linear", "hidden"):
        fit(tmp_path, row, epochs=12)
    out = tmp_path / "runs" / "digits"
    run = out / "linear" / "seed_0"
    record = json.loads((run / "metrics.json").read_text())
    assert (record["row"], record["data"], record["n_digits"]) == ("linear", "digits", 1797)
    assert record["best"]["honest"]["accuracy"] > 80
    assert list(pd.read_csv(run / "metrics.csv").epoch) == list(range(12))
    lines = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in table(out).splitlines()]
    assert {line[0] for line in lines[2:]} == {"linear", "hidden"}
    assert f"{record['best']['honest']['accuracy']:.1f}" in table(out)
    # Stopped after four epochs and gone on: the same weights.
    other = tmp_path / "other"
    other.mkdir()
    stopped = fit_and_stop(other, epochs=12, at=4)
    assert "going on from" in fit(other, "linear", epochs=12), stopped
    first, second = (
        DigitClassifier.load_from_checkpoint(folder / "checkpoints" / "best.ckpt").state_dict()
        for folder in (run, other / "runs" / "digits" / "linear" / "seed_0")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def fit_and_stop(folder: Path, epochs: int, at: int) -> str:
    """Train a row and end the process in the middle of an epoch."""
    code = (
        "import os, sys; from examples.minimal import digits; from examples.minimal.__main__ import main\n"
        "step = digits.DigitClassifier.training_step\n"
        "def stop(self, batch, index):\n"
        f"    os._exit(9) if self.current_epoch == {at} and index == 3 else None\n"
        "    return step(self, batch, index)\n"
        "digits.DigitClassifier.training_step = stop\n"
        "main(sys.argv[1:])\n"
    )
    arguments = ["fit", "--config", str(CONFIGS / "linear.yaml"), "--trainer.max_epochs", str(epochs)]
    environment = {**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 9, done.stderr
    return done.stdout


def test_its_configurations_are_refused_where_the_package_is_not_allowed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from experiments.__main__ import main
    from experiments.known_settings import ALLOW_CLASSES

    monkeypatch.delenv(ALLOW_CLASSES, raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", str(CONFIGS / "linear.yaml"), "--print_config"])
    assert ended.value.code == 2
    assert f"{ALLOW_CLASSES}=examples" in capsys.readouterr().err
