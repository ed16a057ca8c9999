from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from matplotlib.figure import Figure

from callbacks import wandb_run
from callbacks.figure_style import save_figure
from callbacks.wandb_run import WandbRun, remove_superseded, summary, wandb_mode

CONFIGS = Path(__file__).parents[2] / "configs"
FACTS = {
    "config_hash": "c0ffee",
    "data_hash": "da7a",
    "git_revision": "abc",
    "settings": {"trainer": {"max_epochs": 4}},
}
RECORD = {
    "epochs": 4,
    "wall_s": 1.5,
    "best": {"epoch": 2, "published": {"acc": 67.19577026367188, "cds": 4.2}, "honest": {"kid_recon": -0.0598}},
    "last": {"epoch": 3, "published": {"acc": 66.0, "cds": 4.1}, "honest": {"kid_recon": 1e-9}},
}


@cache
def leet(run: Path, *words: str) -> str:
    """What the tool that W&B ships reads in an offline run."""
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", *words, "--json", str(run)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def read_summary(run: Path) -> dict[str, Any]:
    return json.loads(leet(run, "--summary"))


def records(run: Path, kind: str) -> list[dict[str, Any]]:
    found = map(json.loads, leet(run).splitlines())
    return [record[kind] for record in found if record["type"] == kind]


def offline_runs(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    yield
    import wandb

    wandb.teardown()


def begin(folder: Path, **facts: str) -> WandbRun:
    run = WandbRun(folder, "m6", 3)
    run.begin({**FACTS, **facts})
    return run


def log(run: WandbRun, epochs: range) -> None:
    """As Lightning does: validation and training of an epoch apart."""
    for epoch in epochs:
        run.log_metrics({"epoch": epoch, "val/loss/total": 9.0 - epoch}, step=7 * epoch)
        run.log_metrics({"epoch": epoch, "train/loss/kl_c": epoch / 3}, step=7 * epoch)


@pytest.mark.parametrize(
    ("asked", "key", "expected"),
    [
        ("disabled", True, "disabled"),
        ("offline", True, "offline"),
        ("online", True, "online"),
        (None, True, "online"),
        (None, False, "offline"),
    ],
)
def test_the_mode_is_asked_for_or_follows_the_key(
    asked: str | None, key: bool, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_MODE") if asked is None else monkeypatch.setenv("WANDB_MODE", asked)
    monkeypatch.setattr(wandb_run, "key_is_known", lambda: key)
    wandb_run._say_offline.cache_clear()
    assert [wandb_mode() for _ in range(2)] == [expected] * 2
    lines = [line for line in capsys.readouterr().out.splitlines() if "W&B: no key found" in line]
    assert len(lines) == (asked is None and not key), "said once"


@pytest.mark.parametrize(
    ("asked", "said"), [("online", "there is no W&B key"), ("onlin", "must be one of online, offline, disabled")]
)
def test_what_cannot_be_is_refused(asked: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", asked)
    monkeypatch.setattr(wandb_run, "key_is_known", lambda: False)
    with pytest.raises(ValueError, match=said):
        wandb_mode()


@pytest.mark.parametrize("key", ["1" * 40 + "\n", "short", "1" * 39 + " ", "clé" * 14])
def test_a_key_that_is_none_is_refused_in_one_line(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", key)
    try:
        with pytest.raises(ValueError, match=r"the W&B key: .*set WANDB_MODE to offline") as refused:
            wandb_mode()
    finally:
        wandb.teardown()
    assert "\n" not in str(refused.value)
    assert key.strip() not in str(refused.value)


def test_disabled_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run = begin(tmp_path)
    log(run, range(2))
    run.close(RECORD)
    assert not list(tmp_path.iterdir())


def test_an_offline_run_is_read_back_value_by_value(offline: None, tmp_path: Path) -> None:
    run = begin(tmp_path)
    log(run, range(4))
    picture = save_figure(Figure(), tmp_path / "figures" / "empty.png")
    run.log_metrics({"epoch": 4, "published/acc": 1.0}, step=99)  # a test's: its scores come with the record
    run.log_images({"figures/empty": picture})
    run.close(RECORD)
    [folder] = offline_runs(tmp_path)
    kept = read_summary(folder)
    assert (kept["name"], kept["state"], kept["exit_code"]) == ("m6 seed 3", "finished", 0)
    assert kept["config"].items() >= FACTS.items()
    expected = summary(RECORD)
    assert {"published/acc", "honest/kid_recon", "last/published/cds", "last/honest/kid_recon"} <= expected.keys()
    assert {name: kept["summary"][name] for name in expected} == expected
    assert kept["summary"]["val/loss/total"] == {"min": 6.0}
    [about] = records(folder, "run")[:1]
    assert (about["run_group"], about["job_type"]) == ("m6", "row")
    assert any(axis.get("glob_name") == "*" and axis["step_metric"] == "epoch" for axis in records(folder, "metric"))
    rows = [row["item"] for row in records(folder, "history")]
    assert [(row["_step"], row["epoch"]) for row in rows] == [(epoch, epoch) for epoch in range(4)]
    assert all({"val/loss/total", "train/loss/kl_c"} <= row.keys() for row in rows)
    assert list((folder / "files" / "media" / "images" / "figures").glob("empty*.png"))


def test_a_run_says_what_it_is_and_what_it_was_made_of(
    offline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb"))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.ckpt").write_bytes(b"weights")
    pd.DataFrame({"note_id": ["a", "b"], "category": [1, 2]}).to_csv(tmp_path / "notes.csv", index=False)
    facts = {"data": "some notes", "split": "random", "overrides": {"model.weights.cycle": "0.5"}}
    run = begin(tmp_path, **facts)  # type: ignore[arg-type]
    log(run, range(2))
    run.log_learning_rates(1, {"learning_rate/0": 0.25})
    identity = {"row": "m6+k41", "seed": 3, "data": "some notes", "data_hash": "da7a", "config_hash": "c0ffee"}
    run.close({**RECORD, **identity, "evaluator_fingerprint": "classifier_pitch=f1 classifier_pitch_relu=f2"})
    [folder] = offline_runs(tmp_path)
    [about] = records(folder, "run")[:1]
    assert (about["display_name"], about["run_group"]) == ("m6 seed 3 cycle=0.5", "m6 cycle=0.5")
    assert {"m6", "some notes", "random", "overridden"} == set(about["tags"])
    assert "da7a" in about["notes"]
    assert read_summary(folder)["summary"]["learning_rate/0"] == 0.25
    found = {each["name"]: each for each in records(folder, "artifact") if each["type"] in ("data", "classifier")}
    assert {name for name, each in found.items() if each["use_after_commit"]} == {
        *("data-da7a", "classifier_pitch-da7a", "classifier_pitch_relu-da7a")
    }
    for row, fingerprint in (("classifier_pitch", "f1"), ("classifier_pitch_relu", "f2")):
        assert json.loads(found[f"{row}-da7a"]["metadata"])["fingerprint"] == fingerprint
    [made] = [each for each in records(folder, "artifact") if each["type"] == "checkpoint"]
    assert made["name"] == "m6_k41-seed_3"
    assert not made.get("use_after_commit")
    [content] = made["manifest"]["contents"]
    assert content["local_path"] == str(tmp_path / "checkpoints" / "best.ckpt"), "named, not copied"
    [table] = (folder / "files" / "media" / "table").glob("notes_*.json")
    assert json.loads(table.read_text())["data"] == [["a", 1], ["b", 2]]


def test_what_a_classifier_makes_is_what_a_row_uses(offline: None, tmp_path: Path) -> None:
    """The same bytes, so that W&B counts them as one artifact."""
    digests = []
    own = "classifier_pitch=f1"
    for row, job, fingerprints in (("classifier_pitch", "classifier", own), ("m6", "row", f"{own} classifier_x=f2")):
        folder = tmp_path / row
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "best.ckpt").write_bytes(b"weights")
        run = WandbRun(folder, row, 0, job)
        run.begin(FACTS)
        record = {"row": row, "seed": 0, "data": "some notes", "data_hash": "da7a"}
        run.close({**record, "evaluator_fingerprint": fingerprints})
        kept = records(offline_runs(folder)[0], "artifact")
        digests.append({each["name"]: each["digest"] for each in kept})
    assert digests[0] == {name: digests[1][name] for name in ("data-da7a", "classifier_pitch-da7a")}


def test_chance_levels_stand_apart_from_scores() -> None:
    record = {"best": {"epoch": 1, "honest": {"acc": 5.0, "floor_honest_acc": 1.0}}}
    assert summary(record) == {"best/epoch": 1, "honest/acc": 5.0, "chance_level/honest_acc": 1.0}


def test_a_name_that_is_too_long_is_cut() -> None:
    name = wandb_run.shorten({f"data.setting_{place}": "value" for place in range(20)})
    assert len(name) == wandb_run.LONGEST_NAME
    assert name.startswith("setting_0=value setting_1=value")


def test_sounds_are_kept_with_their_epochs(offline: None, tmp_path: Path) -> None:
    run = begin(tmp_path)
    for epoch, level in enumerate((0.1, 0.2)):
        soundfile.write(tmp_path / "tone.flac", level * np.sin(np.arange(9000) / 9), 22050)
        run.log_sounds({"sounds/tone": tmp_path / "tone.flac"}, epoch)
        log(run, range(epoch, epoch + 1))
    run.close({})
    [folder] = offline_runs(tmp_path)
    kept = sorted((folder / "files" / "media" / "audio" / "sounds").glob("tone*.flac"))
    assert [np.abs(soundfile.read(file)[0]).max().round(2) for file in kept] == [0.1, 0.2]
    rows = [row["item"] for row in records(folder, "history")]
    assert ["sounds/tone" in "".join(row) for row in rows] == [True, True]


def test_a_resumed_run_keeps_its_id_and_its_axis(offline: None, tmp_path: Path) -> None:
    """W&B cannot go on with an offline run: the new folder alone is the whole run."""
    stopped = begin(tmp_path)
    log(stopped, range(3))
    run_id = stopped.version
    stopped.finalize("failed")
    [first] = offline_runs(tmp_path)
    assert read_summary(first)["exit_code"] == 1
    rows = [{"epoch": epoch, "val/loss/total": 9.0 - epoch, "train/loss/kl_c": epoch / 3} for epoch in range(3)]
    pd.DataFrame(rows).to_csv(tmp_path / "metrics.csv", index=False)
    resumed = begin(tmp_path)
    assert resumed.version == run_id
    log(resumed, range(2, 4))
    resumed.close(RECORD)
    [second] = offline_runs(tmp_path)
    assert second != first
    history = [row["item"] for row in records(second, "history")]
    assert [row["epoch"] for row in history] == [row["_step"] for row in history] == [0, 1, 2, 3]
    assert [row["train/loss/kl_c"] for row in history] == [epoch / 3 for epoch in range(4)]
    again = begin(tmp_path)  # a finished run that is scored again trains no epoch
    again.close(RECORD)
    assert [row["item"]["epoch"] for row in records(offline_runs(tmp_path)[-1], "history")] == [0, 1, 2]
    other = begin(tmp_path, config_hash="other")
    assert other.version != run_id
    other.finalize("failed")
    assert len(offline_runs(tmp_path)) == 2, "a run of other settings is another run"


def test_only_the_own_earlier_attempts_are_removed(tmp_path: Path) -> None:
    """W&B numbers the folders of one second: `...-ID` and `...-ID-1` are one run, `...-OTHER` is another."""
    names = ["20261128_051500-abc", "20261128_051500-abc-1", "20261128_051501-abc", "20261128_051500-abcd"]
    for name in names:
        (tmp_path / "wandb" / f"offline-run-{name}").mkdir(parents=True)
    run = SimpleNamespace(id="abc", sync_dir=str(tmp_path / "wandb" / f"offline-run-{names[1]}"))
    remove_superseded(tmp_path, run)
    assert [folder.name for folder in offline_runs(tmp_path)] == [f"offline-run-{names[place]}" for place in (1, 3)]


class Listener:
    """Stands where W&B's server would: counts who calls."""

    def __init__(self) -> None:
        self.calls = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            self._socket.accept()
            self.calls += 1


@pytest.fixture
def smoke(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def fit(run_dir: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        plain = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
        plain |= {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1", **environment}
        shared = ["--classifier_dir", str(tmp_path / "classifiers"), "--run_dir", run_dir, *words]
        command = [sys.executable, "-m", "experiments", "fit", "--config", str(CONFIGS / "smoke.yaml"), *shared]
        return subprocess.run(
            command, cwd=tmp_path, env=plain, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
        )

    return fit


@pytest.mark.slow
def test_a_fit_without_account_asks_nobody_and_says_what_metrics_json_says(
    smoke: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    server = Listener()
    done = smoke("run", WANDB_BASE_URL=server.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("W&B: no key found, so this run is kept offline") == 1
    assert server.calls == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    [folder] = offline_runs(tmp_path / "run")
    kept = read_summary(folder)
    expected = summary(metrics)
    assert len(expected) > 40
    assert {name: kept["summary"][name] for name in expected} == expected
    log = pd.read_csv(tmp_path / "run" / "metrics.csv").to_dict("records")
    rows = [row["item"] for row in records(folder, "history")]
    assert [{name: row[name] for name in values} for row, values in zip(rows, log, strict=True)] == log
    for row in rows:  # what a sweep of the weights is judged by
        elbo = 10 * row["val/loss/reconstruction"] + row["val/loss/kl_z"] + row["val/loss/kl_c"]
        assert row["val/loss/negative_elbo"] == pytest.approx(elbo, rel=1e-5)
    assert kept["config"]["settings"]["model"]["init_args"]["weights"]["cycle"] == 1
    assert kept["config"]["data_hash"] == metrics["data_hash"]
    pictures = {file.stem for file in (tmp_path / "run" / "figures").glob("*.png")}
    assert pictures == {"generated", "swaps", "timbre_space", "pitch_matrix", "curves"}
    assert {f"figures/{name}" for name in pictures} <= kept["summary"].keys()
    for label in ("pitch", "instrument"):
        [trained] = (tmp_path / "classifiers").glob(f"*/*/{label}/wandb/offline-run-*")
        [about] = records(trained, "run")[:1]
        assert (about["job_type"], about["run_group"]) == ("classifier", f"classifier_{label}")
        assert read_summary(trained)["state"] == "finished"
    # The same fit without W&B: not one bit of the weights depends on it.
    assert smoke("plain", WANDB_MODE="disabled").returncode == 0
    a, b = (
        torch.load(tmp_path / name / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
        for name in ("run", "plain")
    )
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not (tmp_path / "plain" / "wandb").exists()


@pytest.mark.slow
def test_online_without_a_key_ends_before_training(
    smoke: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = smoke("run", WANDB_MODE="online")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 2
    assert len(errors) == 1
    assert "there is no W&B key" in errors[0]
    assert not (tmp_path / "classifiers").exists()


@pytest.mark.slow
def test_online_without_a_network_is_kept_offline(tmp_path: Path) -> None:
    """A key, but nobody answers."""
    script = (
        "from pathlib import Path; from callbacks import wandb_run; wandb_run.CONNECT_S = 2.0\n"
        "run = wandb_run.WandbRun(Path('run'), 'm6', 0); run.begin({})\n"
        "run.log_metrics({'epoch': 0, 'val/acc': 5.0}); run.close({})"
    )
    environment = {
        **os.environ,
        "WANDB_API_KEY": "a" * 40,
        "WANDB_BASE_URL": "http://127.0.0.1:9",
        "HOME": str(tmp_path),
    }
    environment |= {"WANDB_MODE": "online", "PYTHONPATH": str(CONFIGS.parent)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "W&B: no answer within 2 s, so this run is kept offline" in done.stdout
    assert "a" * 40 not in done.stdout + done.stderr
    [folder] = offline_runs(tmp_path / "run")
    assert read_summary(folder)["summary"]["val/acc"] == 5
