"""`python -m experiments rejection-rates`: how often the claims' test finds a difference where there is none.

Two rows are drawn from one distribution: recordings are as hard for both, each a little harder or easier for one of
them (the effect whose sampling the test has to count), notes of a recording alike, seeds good or bad. Whatever
difference is found is false. The same outcomes are also tested as if every note were a recording.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console
from rich.progress import track

from experiments.reporting.markdown import aligned
from experiments.reporting.row_scores import HONEST_ACC, Notes, RowScores
from experiments.reporting.statistics import FEWEST_SEEDS, compare

LEVELS = (0.05, 0.001)


@dataclass(frozen=True)
class World:
    """What two equal rows are drawn from; effects are in logits.

    Attributes:
        name: the world in words.
        folds: how many folds score the recordings, each its own.
        bad_seeds: the share of runs that are bad.
        bad: by how much.
        seed_spread: deviation of the other runs.
        recordings: of all folds together.
        notes: of each recording.
        hardness: deviation of the recordings, the same for both rows.
        own: deviation of the recordings for one row alone.
        seeds: of each row.
    """

    name: str
    folds: int = 1
    bad_seeds: float = 0.0
    bad: float = 1.5
    seed_spread: float = 0.15
    recordings: int = 140
    notes: int = 13
    hardness: float = 1.5
    own: float = 1.0
    seeds: int = FEWEST_SEEDS


WORLDS = (
    World("one split, seeds alike", recordings=30),
    World("one split, seeds differ", recordings=30, seed_spread=0.6),
    World("one split, 3 of 10 seeds bad", recordings=30, bad_seeds=0.3),
    World("five folds, seeds alike", folds=5),
    World("five folds, 3 of 10 seeds bad", folds=5, bad_seeds=0.3),
)


def draw_rows(world: World, rng: np.random.Generator) -> tuple[RowScores, RowScores]:
    """Two rows of one distribution."""
    hardness = rng.normal(2.0, world.hardness, world.recordings)
    first, second = (_draw_row(name, hardness, world, rng) for name in ("m7", "b"))
    return first, second


def _draw_row(name: str, hardness: np.ndarray, world: World, rng: np.random.Generator) -> RowScores:
    recording = np.repeat(np.arange(world.recordings), world.notes)
    fold_of = recording % world.folds
    ids = np.array([f"{i:05d}" for i in range(len(recording))])
    groups = np.array([f"recording {i}" for i in recording])
    latent = (hardness + rng.normal(0, world.own, world.recordings))[recording]
    scores, notes = {}, {}
    for fold in range(world.folds):
        own = fold_of == fold
        for seed in range(world.seeds):
            run = rng.normal(0, world.seed_spread) - world.bad * (rng.random() < world.bad_seeds)
            right = 100.0 * (rng.random(own.sum()) < 1 / (1 + np.exp(-latent[own] - run)))
            scores[seed, fold] = {HONEST_ACC.name: float(right.mean())}
            notes[seed, fold] = Notes(ids[own], ids[own], groups[own], {HONEST_ACC.name: right})
    return RowScores(name, scores, notes)


def by_note(row: RowScores) -> RowScores:
    """The row as if every note were a recording of its own."""
    return replace(row, notes={place: replace(of, groups=of.ids) for place, of in row.notes.items()})


def rejection_rates(world: World, trials: int, seed: int = 0) -> dict[str, list[float]]:
    """How often two equal rows differ "significantly" at each of :data:`LEVELS`, by the unit that is resampled."""
    p_values: dict[str, list[float]] = {"recording": [], "note": []}
    for trial in track(range(trials), world.name, console=Console(stderr=True)):
        row, rival = draw_rows(world, np.random.default_rng([seed, trial]))
        p_values["recording"].append(compare(row, rival, HONEST_ACC).p)
        p_values["note"].append(compare(by_note(row), by_note(rival), HONEST_ACC).p)
    return {unit: [float(np.mean(np.array(found) < level)) for level in LEVELS] for unit, found in p_values.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Print how often a true null hypothesis is rejected; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments rejection-rates", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument("--trials", type=int, default=2_000, help="pairs of equal rows a line")
    trials = max(1, parser.parse_args(argv).trials)
    lines = [
        ["Two equal rows", *(f"by {unit}, {100 * level:g} %" for unit in ("recording", "note") for level in LEVELS)]
    ]
    for world in WORLDS:
        rates = rejection_rates(world, trials)
        lines.append([world.name, *(f"{100 * rate:.2f} %" for unit in rates.values() for rate in unit)])
    print("\n".join(["Rejected where there is no difference, at a nominal level:", "", *aligned(lines)]))
    return 0
