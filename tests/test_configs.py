"""Every YAML file that ships is parsed, and the rows are the rows of the method."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.__main__ import main

CONFIGS = Path(__file__).parents[1] / "configs"
AUXILIARY = ("regression", "contrast", "cycle", "surrogate", "supervised")
# regression, contrast, cycle, surrogate, supervised; whether there are shifted pairs
ROWS = {
    "b": ((0, 0, 0, 0, 1), False),
    "sharp": ((0, 0, 0, 0, 0), False),
    "m0": ((0, 0, 0, 0, 0), True),
    "m1": ((1, 0, 0, 0, 0), True),
    "m2": ((0, 1, 0, 0, 0), True),
    "m3": ((0, 0, 1, 0, 0), True),
    "m4": ((0, 0, 0, 1, 0), True),
    "m5": ((1, 1, 1, 0, 0), True),
    "m6": ((1, 1, 1, 1, 0), True),
}


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    """The settings that a command line amounts to."""
    with pytest.raises(SystemExit) as ended:
        main(["fit", *words, "--print_config"])
    out, err = capsys.readouterr()
    assert ended.value.code in (0, None), err
    return yaml.safe_load(out)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_its_weights(row: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = printed(capsys, "--config", str(CONFIGS / f"{row}.yaml"))
    weights, shifted = ROWS[row]
    found = settings["model"]["init_args"]["weights"]
    assert tuple(found[name] for name in AUXILIARY) == weights
    assert (found["reconstruction"], found["kl_z"], found["kl_c"]) == (10, 1, 1)
    shifts = settings["data"]["shifts"]
    assert (shifts["lowest"], shifts["highest"]) == (-2, 2)
    assert shifts["pairs"] == ("table" if shifted else "none")
    assert settings["row"] == row


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_each_configuration_parses(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = printed(capsys, "--config", str(file))
    assert settings["trainer"]["max_epochs"] > 0


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("data/*.yaml")), ids=lambda file: file.stem)
def test_each_data_configuration_parses_beside_a_row(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = printed(capsys, "--config", str(CONFIGS / "m6.yaml"), "--config", str(file), "--data.root", "somewhere")
    assert settings["data"]["root"] == "somewhere"
    assert settings["model"]["init_args"]["weights"]["surrogate"] == 1


def test_a_row_is_a_few_lines() -> None:
    for row in ROWS:
        assert len((CONFIGS / f"{row}.yaml").read_text().splitlines()) <= 9


def test_overrides_reach_what_is_interpolated_from_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--row", "mine", "--seed_everything", "3", "--model.weights.surrogate", "0.25"]
    settings = printed(capsys, "--config", str(CONFIGS / "m6.yaml"), *words)
    assert settings["run_dir"] == "runs/mine/seed_3"
    record = next(c for c in settings["trainer"]["callbacks"] if c["class_path"].endswith("RunRecord"))
    assert record["init_args"] == {"run_dir": "runs/mine/seed_3", "row": "mine", "seed": 3}
    assert settings["model"]["init_args"]["weights"]["surrogate"] == 0.25
    assert settings["model"]["init_args"]["weights"]["cycle"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.weights.regresion", "1"], "model.weights.regresion"),
        (["--trainer.max_epoch", "3"], "did you mean trainer.max_epochs?"),
        (["--config", "typo.yaml"], "did you mean model.weights.cycle?"),
        (["--config", "top.yaml"], "did you mean trainer?"),
        (["--config", "lost.yaml"], "nowhere.yaml"),
        (["--config", "circle.yaml"], "circle.yaml"),
        (["--config", "list.yaml"], "list.yaml"),
        (["--config", "broken.yaml"], "broken.yaml"),
        (["--config", "absent.yaml"], "absent.yaml"),
        (["--data.mel.n_mels", "many"], "data.mel.n_mels"),
        (["--model.weights.cycle", "-1"], "model.weights.cycle is -1"),
        (["--model.weights.heard", "1"], "model.weights.pseudo_label"),
        (["--model.axis.trials", "3"], "model.axis.restarts"),
        (["--model.axis.epochs", "3"], "model.class_path: TwoStageVAE"),
        (["--model.weights.leakage", "1"], "model.class_path: TwoStageVAE"),
        (["--model.schedule.warmup_steps", "4"], "class_path: WarmupCosine"),
        (["--model.learning_rate", "-1"], "model.learning_rate is -1"),
        (["--data.batch_size", "1"], "data.batch_size is 1"),
        (["--config", str(CONFIGS / "m7.yaml"), "--data.shifts.pairs", "none"], "data.shifts.pairs is none"),
        (["--data.source.instruments", "[kazoo]"], "'kazoo'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_status_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    Path("typo.yaml").write_text("model:\n  init_args:\n    weights: {cycel: 1}\n")
    Path("top.yaml").write_text("trainr:\n  max_epochs: 3\n")
    Path("lost.yaml").write_text("base: nowhere.yaml\n")
    Path("circle.yaml").write_text("base: circle.yaml\n")
    Path("list.yaml").write_text("- 1\n")
    Path("broken.yaml").write_text("a: [\n")
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", str(CONFIGS / "m6.yaml"), *words])
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert ended.value.code == 2
    assert len(errors) == 1
    assert message in errors[0]
    assert not list(tmp_path.glob("runs/*/*/metrics.json"))


@pytest.mark.parametrize("file", sorted((CONFIGS / "sweeps").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_sweep_varies_what_the_command_line_takes(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its command with the lowest values of its parameters, as W&B's agent fills them in; the metric reads no label."""
    monkeypatch.chdir(CONFIGS.parent)
    (tmp_path / "python").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    (tmp_path / "python").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "WANDB_RUN_ID": "trial7"}
    sweep = yaml.safe_load(file.read_text())
    chosen = {name: given.get("min", given.get("values", [0])[0]) for name, given in sweep["parameters"].items()}
    first, *command, last = sweep["command"]
    assert (first, last) == ("${env}", "${args}")
    command += [f"--{name}={value}" for name, value in chosen.items()]
    words = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert words[:3] == ["-m", "experiments", "fit"]
    settings = printed(capsys, *words[3:])
    assert settings["run_dir"] == "runs/sweep/trial7"
    for name, value in chosen.items():
        found: Any = settings
        for key in name.split("."):
            found = found.get("init_args", found)[key]
        assert str(value) in str(found), name
    assert sweep["metric"] == {"name": "val/loss/negative_elbo", "goal": "minimize"}
