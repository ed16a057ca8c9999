"""A checkpoint whose weights are right may say anything of the training: a fit that goes on from it checks that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.__main__ import main

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def fit(home: Path) -> Callable[..., None]:
    def run(run_dir: Path, *words: str) -> None:
        shared = ["--classifier_dir", str(home / "classifiers"), "--data.cache_dir", str(home / "cache")]
        size = ["--data.max_notes", "32", "--data.source.instruments", "[oboe,cello]", "--trainer.precision", "32-true"]
        main(["fit", "--config", str(CONFIGS / "smoke.yaml"), *shared, *size, "--run_dir", str(run_dir), *words])

    return run


@pytest.fixture(scope="module")
def last(fit: Callable[..., None], home: Path) -> dict[str, Any]:
    """What a run of one epoch keeps."""
    fit(home / "run", "--trainer.max_epochs", "1")
    return torch.load(home / "run" / "checkpoints" / "last.ckpt", weights_only=True)


def optimiser(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda content: change(content["optimizer_states"][0])


def callback(name: str, **values: Any) -> Callable[[dict[str, Any]], Any]:
    def change(content: dict[str, Any]) -> None:
        (key,) = (key for key in content["callbacks"] if key.startswith(name))
        content["callbacks"][key] |= values

    return change


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "moments of another shape": optimiser(lambda state: state["state"][0].update(exp_avg=torch.zeros(3))),
    "moments in words": optimiser(lambda state: state["state"][0].update(exp_avg="x")),
    "no groups": optimiser(lambda state: state.update(param_groups=[])),
    "no state": optimiser(lambda state: state.pop("state")),
    "groups of other weights": optimiser(lambda state: state["param_groups"][0]["params"].pop()),
    "no optimiser": lambda content: content.update(optimizer_states=[]),
    "one scheduler too many": lambda content: content.update(lr_schedulers=[{"last_epoch": 1}]),
    "no loops": lambda content: content.update(loops={}),
    "loops of other names": lambda content: content["loops"]["fit_loop"].pop("epoch_progress"),
    "sessions in words": callback("RunRecord", sessions=["x"]),
    "a time in words": callback("RunRecord", wall_s="long"),
    "patience in words": callback("EarlyStopping", patience="endless"),
    "a best loss in words": callback("EarlyStopping", best_score="low"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_no_fit_goes_on_from_it(
    name: str,
    last: dict[str, Any],
    fit: Callable[..., None],
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = torch.load(home / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    CHANGES[name](content)
    torch.save(content, tmp_path / "odd.ckpt")
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        fit(tmp_path / "run", "--ckpt_path", str(tmp_path / "odd.ckpt"))
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert (ended.value.code, len(errors)) == (2, 1)
    assert "odd.ckpt: " in errors[0]
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_fit_goes_on_from_what_a_run_has_written(last: dict[str, Any], fit: Callable[..., None], home: Path) -> None:
    fit(home / "longer", "--ckpt_path", str(home / "run" / "checkpoints" / "last.ckpt"))
    assert (home / "longer" / "metrics.json").exists()


def test_a_model_larger_than_the_memory_is_one_line(
    fit: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        fit(tmp_path, "--model.width", "10000000")
    assert ended.value.code == 2
    assert "memory" in capsys.readouterr().err.splitlines()[-1]
