"""Checkpoints, configurations and names from elsewhere run nothing, read no secret and stay in their folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks.checkpoints import AtomicCheckpointIO
from experiments.__main__ import main
from experiments.config_files import ConfigError, check_row, with_bases

CONFIGS = Path(__file__).parents[2] / "configs"
SMOKE = str(CONFIGS / "smoke.yaml")


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.fixture
def bomb(tmp_path: Path) -> Path:
    """A file that looks like a checkpoint, and leaves a mark where it is unpickled."""
    file, mark = tmp_path / "bomb.ckpt", tmp_path / "exploded"
    torch.save({"state_dict": Bomb(mark), "NotePairs": {"pitch_range": [24, 105]}, "epoch": 0}, file)
    torch.load(file, weights_only=False)
    assert mark.exists(), "it would explode"
    mark.unlink()
    return file


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def smoke(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # a user's environment does not loosen it
    monkeypatch.chdir(home)

    def run(command: str, *words: str) -> None:
        shared = ["--classifier_dir", str(home / "classifiers"), "--data.cache_dir", str(home / "cache")]
        size = ["--data.max_notes", "32", "--data.source.instruments", "[oboe,cello]"]
        main([command, "--config", SMOKE, *shared, *size, *words])

    return run


def refused(capsys: pytest.CaptureFixture[str], run: Callable[..., Any], *arguments: Any) -> str:
    """The one line of a command that ends with status 2."""
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert (ended.value.code, len(errors)) == (2, 1)
    return errors[0]


@pytest.mark.parametrize("command", ["fit", "test", "validate"])
def test_a_bomb_given_as_checkpoint_is_refused(
    command: str, bomb: Path, smoke: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [command, "--ckpt_path", str(bomb), "--run_dir", str(tmp_path / "run")]
    assert "bomb.ckpt: not a checkpoint of this project" in refused(capsys, smoke, *words)
    assert not (tmp_path / "exploded").exists()


def test_a_bomb_in_the_runs_folder_is_set_aside(
    bomb: Path, smoke: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    for name in ("last", "best"):
        (folder / f"{name}.ckpt").write_bytes(bomb.read_bytes())
    smoke("fit", "--run_dir", str(tmp_path / "run"))
    assert "set aside as *.ckpt.damaged: starting anew" in capsys.readouterr().out
    assert (tmp_path / "run" / "metrics.json").exists()
    assert not (tmp_path / "exploded").exists()


def test_lightning_itself_reads_no_bomb(bomb: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="UnpicklingError"):
        AtomicCheckpointIO().load_checkpoint(bomb, weights_only=False)
    assert not (tmp_path / "exploded").exists()


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module in the working directory that leaves a mark where it is imported; returns the mark."""
    mark = tmp_path / "imported"
    (tmp_path / "trap_module.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Thing: pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return mark


CLASSES = {
    "a shell command as callback": "trainer: {callbacks: [{class_path: os.system, init_args: {command: touch x}}]}",
    "a process as source": "data: {source: {class_path: subprocess.Popen, init_args: {args: [touch, imported]}}}",
    "a module of the working directory": "data: {source: {class_path: trap_module.Thing}}",
    "a model": "model: {class_path: trap_module.Thing}",
    "a logger": "trainer: {logger: [{class_path: trap_module.Thing}]}",
    "a plugin": "trainer: {plugins: [{class_path: trap_module.Thing}]}",
    "a function of a trusted class": "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.LambdaCallback, "
    "init_args: {on_fit_start: trap_module.Thing}}]}",
    "through a module of this project": "data: {source: {class_path: callbacks.run_record.subprocess.Popen}}",
}


@pytest.mark.parametrize("content", CLASSES.values(), ids=CLASSES)
def test_a_class_from_elsewhere_is_not_even_imported(
    content: str, trap: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("evil.yaml").write_text(content)
    error = refused(capsys, main, ["fit", "--config", SMOKE, "--config", "evil.yaml", "--run_dir", "run"])
    assert "PITCH_TIMBRE_ALLOW_CLASSES=" in error or "there is no class" in error
    assert not trap.exists()
    assert not Path("run").exists()


@pytest.mark.parametrize("option", ["--data.source", "--model", "--trainer.callbacks+", "--optimizer"])
def test_nor_is_one_of_the_command_line(option: str, trap: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, main, ["fit", "--config", SMOKE, option, "trap_module.Thing"])
    assert "trap_module.Thing" in error
    assert "PITCH_TIMBRE_ALLOW_CLASSES=trap_module" in error
    assert not trap.exists()


def test_a_package_of_ones_own_is_allowed_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_extension.py").write_text("import lightning\nclass Mine(lightning.Callback): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PITCH_TIMBRE_ALLOW_CLASSES", "my_extension")
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", SMOKE, "--trainer.callbacks+", "my_extension.Mine", "--print_config"])
    assert ended.value.code in (0, None)
    assert "class_path: my_extension.Mine" in capsys.readouterr().out


CONTENTS = {
    "a secret of the environment": ("data: {name: '${oc.env:SECRET}'}", "Unsupported interpolation type oc.env"),
    "an import by a resolver": ("data: {name: '${oc.coerce:trap_module.Thing,1}'}", "Unsupported interpolation type"),
    "a setting that is none": ("data: {name: '${nothing.there}'}", "not found"),
    "itself": ("data: {name: '${data.name}'}", "${...} takes"),
    "a Python object": ("data: !!python/object/apply:os.system [touch imported]", "could not determine a constructor"),
    "an alias": ("data: {name: &a [1], root: *a}", "alias *a; write it out"),
    "a value within itself": ("data: &a [*a]", "alias *a; write it out"),
    "nothing but depth": ("data: " + "[" * 20_000, "not a YAML file"),
}


@pytest.mark.parametrize(("content", "message"), CONTENTS.values(), ids=CONTENTS)
def test_a_configuration_says_values_alone(
    content: str,
    message: str,
    trap: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SECRET", "hush")
    Path("evil.yaml").write_text(content)
    error = refused(capsys, main, ["fit", "--config", SMOKE, "--config", "evil.yaml", "--run_dir", "run"])
    assert message in error
    assert "hush" not in error
    assert not trap.exists()


def test_a_base_is_a_file_of_a_sensible_size(tmp_path: Path) -> None:
    for base, message in (("/dev/zero", "no such configuration file"), ("large.yaml", "too large")):
        (tmp_path / "large.yaml").write_bytes(b"#" * 1_000_001)
        (tmp_path / "row.yaml").write_text(f"base: {base}\n")
        with pytest.raises(ConfigError, match=message):
            with_bases(tmp_path / "row.yaml")


@pytest.mark.parametrize("row", ["b", "sharp", "m6", "m6-long_2.0+x"])
def test_plain_names_are_rows(row: str) -> None:
    check_row(row)


@pytest.mark.parametrize(
    "row",
    ["", ".", "..", "../m6", "a/b", "/etc", "-x", "a\nb", "a\0b", "~", "$HOME", "é", "x" * 65, "1e3", "7", "true"],
)
def test_a_row_is_no_path_and_no_option(row: str) -> None:
    with pytest.raises(ValueError, match="row "):
        check_row(row)


def test_a_run_of_such_a_row_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    error = refused(capsys, main, ["fit", "--config", str(CONFIGS / "m0.yaml"), "--row", "../../escape"])
    assert "row '../../escape'" in error
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_no_secret_is_written_anywhere(tmp_path: Path) -> None:
    """Not to the output, not to any file of the run, W&B's included."""
    secrets = {
        "WANDB_API_KEY": "f00dfeed" * 5,
        "HF_TOKEN": "hf_secretsecretsecret",
        "AWS_SECRET_ACCESS_KEY": "aws0secret0",
    }
    environment = {
        **os.environ,
        **secrets,
        "WANDB_MODE": "offline",
        "HOME": str(tmp_path / "home"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "experiments", "fit", "--config", SMOKE, "--run_dir", "run"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    texts = {str(file): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert any(name.endswith(".wandb") for name in texts)
    for name, text in {**texts, "output": done.stdout + done.stderr}.items():
        for secret in secrets.values():
            assert secret.encode() not in text, name
