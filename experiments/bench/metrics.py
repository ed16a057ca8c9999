"""What measuring costs: the share of an epoch that its metrics take, and the Frechet distance against sqrtm."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from callbacks.gathered_notes import NoteGatherer
from callbacks.generation_metrics import GenerationMetrics
from callbacks.latent_metrics import LatentMetrics
from experiments.bench.measure import DisagreementError, Figure, Goal, Measured, Spread, interleaved, ratios, timed
from experiments.bench.steps import built
from metrics.frechet import frechet_distance

ROWS = ("b", "m0", "m6")
SHARE_GOAL = 0.15
N_FEATURES, N_NOTES = 512, 189
SQRTM_GOAL, RELATIVE_GOAL, SELF_GOAL = 10.0, 1e-6, 1e-9
HOOKS = ("on_train_epoch_start", "on_train_batch_end", "on_validation_batch_end", "on_validation_epoch_end")
TEST_HOOKS = ("on_test_batch_end", "on_test_epoch_end")


class Shares(L.Callback):
    """The time of an epoch's steps, and within the epoch the time of its metrics.

    The steps are counted from the start of an epoch to the start of its validation. The metrics are FID_recon,
    FID_rand, CDS, ACC and PM: all that their callbacks do in the epoch, logging included.

    Attributes:
        steps_s: core-seconds of each epoch's steps.
        metrics_s: core-seconds of each epoch's metrics, for each callback.
        test_s: core-seconds of the test's metrics, for each callback.
    """

    def __init__(self) -> None:
        self.steps_s: list[float] = []
        self.metrics_s: dict[str, list[float]] = {}
        self.test_s: dict[str, list[float]] = {}
        self._began = 0.0

    def watch(self, trainer: Any) -> None:
        """Time the metrics' hooks, and come first of all callbacks."""
        for callback in trainer.callbacks:
            if isinstance(callback, NoteGatherer | GenerationMetrics | LatentMetrics):
                name = type(callback).__name__
                self.metrics_s[name], self.test_s[name] = [], [0.0]
                for spent, hooks in ((self.metrics_s[name], HOOKS), (self.test_s[name], TEST_HOOKS)):
                    for hook in hooks:
                        setattr(callback, hook, self._timed(spent, getattr(callback, hook)))
        trainer.callbacks.insert(0, self)

    def _timed(self, spent: list[float], hook: Any) -> Any:
        def call(*args: Any) -> None:
            began = time.process_time()
            hook(*args)
            spent[-1] += time.process_time() - began

        return call

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """An epoch begins."""
        for spent in self.metrics_s.values():
            spent.append(0.0)
        self._began = time.process_time()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Its steps are done."""
        self.steps_s.append(time.process_time() - self._began)


def shares_of(row: str, epochs: int, *settings: str) -> Shares:
    """Fit a row for some epochs with the watch running."""
    shares = Shares()
    with built(row, epochs, *settings) as cli:
        shares.watch(cli.trainer)
        cli.trainer.fit(cli.model, cli.datamodule)
    return shares


def frechet_by_sqrtm(features_a: Tensor, features_b: Tensor) -> float:
    """The distance as it is usually written: a matrix square root of the product of the covariances."""
    a, b = (features.double().numpy() for features in (features_a, features_b))
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.real(scipy.linalg.sqrtm(cov_a @ cov_b))
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a + cov_b - 2 * root))


def features_of_notes(n_notes: int, n_features: int) -> tuple[Tensor, Tensor]:
    """Two sets of features like a tanh network's: bounded, correlated, of different means."""
    source = torch.Generator().manual_seed(0)
    mixing = torch.randn(n_features, n_features, generator=source) / n_features**0.5
    real, made = (torch.tanh(torch.randn(n_notes, n_features, generator=source) @ mixing + shift) for shift in (0, 0.2))
    return real, made


def check_frechet(real: Tensor, made: Tensor) -> tuple[float, float]:
    """How far the distance is from sqrtm's, relative, and the distance of a set from itself.

    Raises:
        DisagreementError: they do not agree.
    """
    expected = frechet_by_sqrtm(real, made)
    relative = abs(frechet_distance(real, made) - expected) / expected
    own = frechet_distance(real, real)
    if relative > RELATIVE_GOAL or own > SELF_GOAL:
        raise DisagreementError(f"frechet_distance: {relative:.2g} from sqrtm (relative), {own:.2g} from itself")
    return relative, own


def measure(quick: bool = False) -> Measured:
    """The metrics' share of an epoch for rows b, M0 and M6, and the Frechet distance's cost."""
    figures, goals = [], []
    details: dict[str, Any] = {}
    for row in ROWS:
        shares = shares_of(row, 3 if quick else 9)
        steps, metrics = shares.steps_s[1:], [sum(spent) for spent in zip(*shares.metrics_s.values(), strict=True)][1:]
        what, share = f"core-seconds of an epoch, {row}", ratios(metrics, steps)
        parts = ", ".join(f"{name} {1000 * Spread.of(s[1:]).median:.1f} ms" for name, s in shares.metrics_s.items())
        figures += [
            Figure("metrics", what, "training steps", "limit", Spread.of(steps)),
            Figure("metrics", what, "FID_recon, FID_rand, CDS, ACC, PM", "ours", Spread.of(metrics), share, note=parts),
        ]
        goals.append(Goal("metrics", f"share of {row}'s training time", share.median, SHARE_GOAL, False))
        details[row] = {"steps_s": shares.steps_s, "metrics_s": shares.metrics_s}
    return Measured(figures + _frechet(goals, 2 if quick else 5), goals, details)


def _frechet(goals: list[Goal], rounds: int) -> list[Figure]:
    real, made = features_of_notes(N_NOTES, N_FEATURES)
    relative, own = check_frechet(real, made)

    def once(distance: Any) -> Any:
        return timed(lambda: distance(real, made) is not None)

    rates = interleaved({"sqrtm": once(frechet_by_sqrtm), "ours": once(frechet_distance)}, rounds, "metrics: Frechet")
    what, ratio = (
        f"Frechet distances a core-second, {N_FEATURES} features x {N_NOTES} notes",
        ratios(rates["ours"], rates["sqrtm"]),
    )
    goals += [
        Goal("metrics", "frechet_distance is so many times as fast as sqrtm", ratio.median, SQRTM_GOAL, True),
        Goal("metrics", "and as far from it, relative", relative, RELATIVE_GOAL, False),
        Goal("metrics", "distance of a set from itself", own, SELF_GOAL, False),
    ]
    check = f"{relative:.1g} relative, self {own:.1g}"
    return [
        Figure("metrics", what, "scipy.linalg.sqrtm", "today", Spread.of(rates["sqrtm"])),
        Figure("metrics", what, "frechet_distance", "ours", Spread.of(rates["ours"]), ratio, check),
    ]
