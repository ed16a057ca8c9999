from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from experiments import dashboard


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "my runs"
    for cell in ("m6/seed_0", "m6/seed_1", "m6/seed_0/older/0"):
        (folder / cell / "wandb" / "offline-run-20260101_000000-abc").mkdir(parents=True)
    done = folder / "m6" / "seed_1" / "wandb" / "offline-run-20260101_000000-abc"
    (done / "run-abc.wandb.synced").touch()
    return folder


def test_what_is_to_be_uploaded_is_listed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dashboard.main(["--runs", str(runs)]) == 0
    out = capsys.readouterr().out
    assert "2 offline runs" in out
    assert "; 1 to be uploaded" in out
    [command] = [line for line in out.splitlines() if line.startswith("  wandb sync")]
    [path] = shlex.split(command)[2:]
    assert Path(path) == runs / "m6" / "seed_0" / "wandb" / "offline-run-20260101_000000-abc"
    assert "group by Group" in out


def test_an_upload_needs_a_key(runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "key_is_known", lambda: False)
    assert dashboard.main(["--runs", str(runs), "--sync"]) == 2
    assert capsys.readouterr().err == "error: there is no W&B key; `wandb login` once\n"


def test_an_upload_takes_what_is_not_uploaded(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def run(command: list[str], env: dict[str, str], check: bool) -> object:
        called.append((command, env))
        return type("Done", (), {"returncode": 3})

    monkeypatch.setattr(dashboard, "key_is_known", lambda: True)
    monkeypatch.setattr(dashboard.subprocess, "run", run)
    assert dashboard.main(["--runs", str(runs), "--sync"]) == 3
    [(command, environment)] = called
    assert command[1:4] == ["-m", "wandb", "sync"]
    assert [Path(word).parts[-4:-2] for word in command[4:]] == [("m6", "seed_0")]
    assert "WANDB_MODE" not in environment, "it would keep the upload offline"
