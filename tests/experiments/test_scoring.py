"""Commands that read a checkpoint write beside its run, and change nothing in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from experiments.__main__ import main
from experiments.paths import CONFIGS


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., int]:
    home = tmp_path_factory.mktemp("home")

    def run(name: str, *words: str) -> int:
        shared = ["--classifier_dir", str(home / "classifiers"), "--data.cache_dir", str(home / "cache")]
        size = ["--data.max_notes", "32", "--data.source.instruments", "[oboe,cello]", "--trainer.max_epochs", "1"]
        return main([name, "--config", str(CONFIGS / "smoke.yaml"), *shared, *size, *words])

    return run


@pytest.fixture(scope="module")
def run_dir(command: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "seed_0"
    command("fit", "--run_dir", str(folder))
    return folder


@pytest.mark.parametrize("name", ["validate", "test", "predict"])
def test_reading_commands_leave_the_run_as_it_is(
    name: str, command: Callable[..., int], run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file: file.read_bytes() for file in run_dir.rglob("*") if file.is_file()}
    monkeypatch.chdir(run_dir / "checkpoints")
    assert command(name, "--ckpt_path", "best.ckpt", "--run_dir", str(run_dir)) == 0
    assert {file: file.read_bytes() for file in run_dir.rglob("*") if file.is_file()} == before
    assert {path.name for path in run_dir.parent.iterdir()} <= {"seed_0", "tested"}


def test_predictions_are_one_row_a_note(command: Callable[..., int], run_dir: Path) -> None:
    command("predict", "--ckpt_path", str(run_dir / "checkpoints" / "best.ckpt"))
    (file,) = (run_dir.parent / "tested").glob("seed_0_best_on_*_notes.csv")
    notes, split = pd.read_csv(file), pd.read_csv(run_dir / "split.csv")
    assert list(notes.note_id) == list(split.note_id)
    assert list(notes.columns[:5]) == ["note_id", "instrument", "midi", "predicted_category", "predicted_midi"]
    assert [name for name in notes.columns if name.startswith("z_")] == [f"z_{place}" for place in range(8)]
    scored = pd.read_csv(run_dir / "notes.csv").set_index("note_id")
    assert list(scored.instrument) == list(notes.set_index("note_id").instrument[scored.index])


@pytest.mark.parametrize("name", ["validate", "test", "predict"])
def test_they_need_a_checkpoint(name: str, command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command(name)
    assert ended.value.code == 2
    assert "--ckpt_path" in capsys.readouterr().err


def test_the_scores_of_a_test_say_on_what(command: Callable[..., int], run_dir: Path) -> None:
    command("test", "--ckpt_path", str(run_dir / "checkpoints" / "best.ckpt"))
    (file,) = (run_dir.parent / "tested").glob("seed_0_best_on_*.json")
    found, fitted = json.loads(file.read_text()), json.loads((run_dir / "metrics.json").read_text())
    assert found["data_hash"] == fitted["data_hash"]
    assert found["published"]["acc"] == pytest.approx(fitted["best"]["published"]["acc"])
