"""Fits that are killed at random points, by signals in processes of their own: what is left of them is the same."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.experiments.small_fits import TWO_STAGES, digest, leftovers, result, words

KILLED = Path(__file__).with_name("killed_fits.py")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache and one pair of classifiers for all runs of this file."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def killed_fit() -> Iterator[Callable[..., int]]:
    """Run a fit in a process of its own that may die at a point; see `killed_fits.py`."""
    environment = {**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, str(KILLED)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def run(words: list[str], log: Path, death: tuple[str, int, str] | None = None) -> int:
            print(json.dumps({"words": words, "log": str(log), "death": death}), file=server.stdin, flush=True)
            return int(server.stdout.readline())  # type: ignore[union-attr]

        yield run
        server.stdin.close()


# point, the calls of it among which the fatal one is drawn
DEATHS = {
    "a step": 6,
    "validation": 3,
    "before a checkpoint is copied": 4,
    "in the middle of a checkpoint's write": 4,
    "before a checkpoint has its name": 12,
    "the log": 5,
    "the log's write": 2,
    "the final test": 6,
    "metrics.json": 1,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "pairs", "seed"),
    [("smoke", "table", 0), ("smoke", "on_the_fly", 1), ("m7", "on_the_fly", 2), ("b_two_stage", "table", 3)],
)
def test_kills_at_random_points_change_nothing(
    row: str, pairs: str, seed: int, home: Path, tmp_path: Path, killed_fit: Callable[..., int]
) -> None:
    """Runs are killed at each kind of point in turn, by one of the signals, as often in one run as it comes to them."""
    draw = random.Random(f"{pairs} {seed}")
    settings = ["--data.shifts.pairs", pairs, "--seed_everything", str(seed)]
    settings += [] if row == "smoke" else TWO_STAGES
    first, again, killed = (tmp_path / name for name in ("first", "again", "killed"))
    for run_dir in (first, again):
        assert killed_fit(words(home, run_dir, *settings, config=row), tmp_path / "log.txt") == 0, (
            tmp_path / "log.txt"
        ).read_text()
    assert result(first) == result(again), "two identical commands"
    points, met, new = list(DEATHS), 0, True
    draw.shuffle(points)
    while points:
        point = points[-1]
        death = (point, draw.randint(1, DEATHS[point]), draw.choice(["SIGKILL", "SIGKILL", "SIGTERM", "SIGINT"]))
        status = killed_fit(words(home, killed, *settings, config=row), tmp_path / "killed.txt", death)
        expected = {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130}[death[2]]
        assert status in (expected, 0), (death, (tmp_path / "killed.txt").read_text())
        met += status == expected
        if status == expected or new:  # a quick run may never come to the drawn call
            points.pop()
        new = status == 0  # the rest of the run did not come to the point: the next run is a new one
        if new:
            assert result(killed) == result(first), (met, points)
            killed = tmp_path / f"killed with {len(points)} points to come {draw.random()}"
    assert killed_fit(words(home, killed, *settings, config=row), tmp_path / "killed.txt") == 0
    assert met >= 6
    assert result(killed) == result(first), met
    assert not leftovers(killed)
    print(f"{pairs}, seed {seed}: {met} kills, {result(killed)['last weights']} {result(killed)['optimiser']}")


@pytest.mark.slow
@pytest.mark.parametrize(("point", "name"), [("a classifier's step", "SIGTERM"), ("a classifier's keeping", "SIGKILL")])
def test_a_kill_while_a_classifier_is_trained(
    point: str, name: str, tmp_path: Path, killed_fit: Callable[..., int]
) -> None:
    for home in (tmp_path / "killed", tmp_path / "whole"):
        home.mkdir()
        arguments = words(home, home / "run", "--trainer.max_epochs", "1")
        if home.name == "killed":
            assert killed_fit(arguments, tmp_path / "log.txt", (point, 5 if "step" in point else 1, name)) != 0
            assert not list((home / "classifiers").rglob("pitch.ckpt"))
        assert killed_fit(arguments, tmp_path / "log.txt") == 0
    kept = [sorted((tmp_path / name / "classifiers").rglob("*.ckpt")) for name in ("killed", "whole")]
    weights = [[torch.load(file, weights_only=True)["state_dict"] for file in files] for files in kept]
    assert digest(weights[0], tmp_path) == digest(weights[1], tmp_path)
    assert result(tmp_path / "killed" / "run")["scores"] == result(tmp_path / "whole" / "run")["scores"]
