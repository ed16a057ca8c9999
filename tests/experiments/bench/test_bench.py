from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision

from callbacks.pitch_calibration import PitchCalibration
from datamodules.atomic_files import write_json
from datamodules.note_pairs import NotePairs
from experiments import bench
from experiments.bench import growth, metrics, pairs, precision, shifted_frames, sound, steps, whole_notes
from experiments.bench.measure import DisagreementError, Goal, OverLimitError, Spread, bounded, interleaved, ratios
from lightning_modules.objectives import ObjectiveWeights
from lightning_modules.pitch_timbre_vae import PitchTimbreVAE


def test_ways_take_turns_and_are_compared_round_by_round() -> None:
    turns = []

    def way(name: str, count: int, spent: float) -> object:
        def work(turn: int) -> tuple[int, float]:
            turns.append((turn, name))
            return count, spent * (turn + 1)  # the machine slows down for both

        return work

    rates = interleaved({"a": way("a", 8, 1.0), "b": way("b", 4, 1.0)}, 3, "test")  # type: ignore[dict-item]
    assert turns == [(turn, name) for turn in range(3) for name in "ab"]
    assert ratios(rates["a"], rates["b"]) == Spread(2.0, 2.0, 2.0)
    assert Spread.of([1.0, 5.0, 2.0]) == Spread(2.0, 1.0, 5.0)


@pytest.mark.parametrize(("found", "at_least", "met"), [(2.0, True, True), (0.5, True, False), (0.5, False, True)])
def test_a_goal_is_met_on_its_side_of_the_bound(found: float, at_least: bool, met: bool) -> None:
    assert Goal("part", "words", found, 1.0, at_least).met is met


def test_what_explodes_is_stopped() -> None:
    assert bounded(lambda: torch.ones(3).sum().item(), 60, 4) == 3
    with pytest.raises(OverLimitError, match=r"over 0\.1 s"):
        bounded(lambda: time.sleep(60), 0.1, 4)
    with pytest.raises(OverLimitError, match=r"over 0\.1 GB"):
        bounded(lambda: (torch.ones(80_000_000), time.sleep(60)), 60, 0.1)
    with pytest.raises(OverLimitError, match="failed"):
        bounded(lambda: 1 / 0, 60, 4)


@pytest.fixture(scope="module")
def small_bench(cache_dir: Path) -> shifted_frames.Bench:
    return shifted_frames.make_bench(-2, 2, cache_dir, n_checked=12, max_notes=130)


def test_all_ways_of_ours_agree_with_the_reference(small_bench: shifted_frames.Bench) -> None:
    pairs.check_limit(small_bench)
    each = pairs.accuracy(small_bench, range(-2, 3))
    assert max(mean for mean, _ in each.values()) < pairs.MEAN_GOAL
    assert max(tail for _, tail in each.values()) < pairs.P999_GOAL
    assert pairs.cents_off(small_bench.mel, small_bench.rate, range(-2, 3)) < pairs.CENTS_GOAL


def test_a_wrong_table_is_noticed(small_bench: shifted_frames.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    read = small_bench.table.pairs
    monkeypatch.setattr(small_bench.table, "pairs", lambda notes, shifts: read(notes, -shifts))
    with pytest.raises(DisagreementError, match=r"the table's frames at -2"):
        pairs.accuracy(small_bench, range(-2, 3))


def test_the_ways_of_today_read_the_same_instant_of_the_same_notes(small_bench: shifted_frames.Bench) -> None:
    """Without a shift, all of them make the unshifted frames."""
    which, none = np.arange(4), np.zeros(4)
    expected = small_bench.fly.pairs(torch.from_numpy(small_bench.rows[which]), torch.zeros(4, dtype=torch.long)).x
    for name, way in shifted_frames.shifters(small_bench).items():
        error = (way(which, none) - expected).abs().mean()
        assert error < 0.03, name
    assert {"librosa pitch_shift", "linear resampling, whole note as written"} <= shifted_frames.shifters(
        small_bench
    ).keys()


def test_an_exploding_way_counts_up_to_its_limit(
    small_bench: shifted_frames.Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shift(notes: torch.Tensor, semitones: int) -> torch.Tensor:
        time.sleep(60 if semitones > 0 else 0)
        return notes

    monkeypatch.setattr(shifted_frames, "LIMIT_S", 0.5)
    way = shifted_frames.BoundedWay(small_bench, shift, [-1, 1])
    (few, quick), (many, slow) = way(0), way(1)
    assert few == many == shifted_frames.BOUNDED_NOTES
    assert quick < 0.5 <= slow
    assert way.over == {1: "over 0.5 s"}
    assert len(way.errors) == 1
    assert way.errors[0].mean() > 0.01  # it did not shift anything, and is seen not to


def test_the_way_by_items_computes_the_same_terms(small_pairs: NotePairs) -> None:
    torch.manual_seed(0)
    weights = ObjectiveWeights(regression=1, contrast=1, cycle=1, surrogate=1)
    model = PitchTimbreVAE(weights, small_pairs.n_pitches, small_pairs.n_mels, 3)
    steps.check_same_terms(small_pairs, model)


def test_other_terms_by_item_are_noticed(small_pairs: NotePairs, monkeypatch: pytest.MonkeyPatch) -> None:
    model = PitchTimbreVAE(n_pitches=small_pairs.n_pitches, n_mels=small_pairs.n_mels)
    read = steps.ItemByItem.pair
    monkeypatch.setattr(steps.ItemByItem, "pair", lambda items, note, _semitones: read(items, note, 0))
    with pytest.raises(DisagreementError, match="the terms differ by item"):
        steps.check_same_terms(small_pairs, model)


def test_the_frechet_distance_is_sqrtms() -> None:
    relative, own = metrics.check_frechet(*metrics.features_of_notes(40, 24))
    assert relative <= metrics.RELATIVE_GOAL
    assert own <= metrics.SELF_GOAL


def test_a_wrong_frechet_distance_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "frechet_distance", lambda a, b: 1.0)
    with pytest.raises(DisagreementError, match="frechet_distance"):
        metrics.check_frechet(*metrics.features_of_notes(40, 24))


def test_the_bare_loop_hears_the_tones_in_the_precision_that_the_trainer_hears_them_in() -> None:
    """In another, a few of the tones are heard otherwise, and the two do not end alike."""

    class Twin(PitchTimbreVAE):
        def calibrate(self, frames: torch.Tensor, midi: torch.Tensor) -> None:
            heard.append((self.training, torch.is_autocast_enabled("cpu"), len(frames)))

        def log(self, *_: object) -> None:
            """No trainer is attached."""

    heard: list[tuple[bool, bool, int]] = []
    calibration, twin = PitchCalibration(), Twin(n_mels=32, width=8)
    calibration.tones = torch.rand(3, 32), torch.tensor([60, 61, 62])
    trainer: Any = SimpleNamespace(callbacks=[calibration], precision_plugin=MixedPrecision("bf16-mixed", "cpu"))
    calibration.on_validation_epoch_end(trainer, twin.eval())
    steps.BareLoop(twin).on_train_end(trainer, twin)
    assert heard == [(False, True, 3), (False, True, 3)]


@pytest.mark.slow
def test_the_trainer_and_the_bare_loop_end_with_the_same_weights(tmp_path: Path) -> None:
    small = ("--data.max_notes", "96", "--data.batch_size", "32", "--data.split.validation_share", "0.25")
    loop = steps.steps_of("m6", 3, *small, "--data.cache_dir", str(tmp_path), "--classifier_dir", str(tmp_path))
    assert len(loop.bare_s) == len(loop.steps_s) == len(loop.epochs_s) == 3
    assert all(whole > part for whole, part in zip(loop.epochs_s, loop.steps_s, strict=True))


def test_the_renderer_is_measured_beside_librosa() -> None:
    found = sound.measure(quick=True)
    values = {(figure.way, figure.what): figure.value.median for figure in found.figures}
    for way in (sound.OURS, sound.LIBROSA):
        assert 0.5 < values[way, "error against the own mel power, dB"] < 4
        assert values[way, "fundamental from the note's, cents"] < 30, "a stiff string has no one fundamental"
        assert values[way, "seconds of sound a core-second"] > 0
    assert len(found.goals) == 3


@pytest.mark.slow
def test_the_command_prints_its_table_and_writes_it(
    tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "CACHE", cache_dir)
    monkeypatch.setattr(pairs, "RANGES", ((-2, 2),))
    monkeypatch.setattr(shifted_frames, "LIMIT_S", 0.5)
    assert bench.main(["--parts", "pairs", "--quick", "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "bench.json").read_text())
    ways = {figure["way"]: figure for figure in written["parts"]["pairs"]["figures"]}
    assert {"ours, on the fly", "ours, from the table", "librosa pitch_shift"} <= ways.keys()
    assert all(figure["value"]["low"] > 0 for figure in ways.values())
    assert written["parts"]["pairs"]["details"]["-2..2"]["error_by_shift"].keys() == {"-2", "-1", "+0", "+1", "+2"}
    printed = capsys.readouterr().out
    assert "ours, on the fly" in printed
    assert all(goal["wanted"] in printed for goal in written["parts"]["pairs"]["goals"])


@pytest.mark.slow
def test_a_size_of_the_growth_figure_is_measured(tmp_path: Path) -> None:
    rows = []
    for case in (growth.Case(1), growth.Case(1, budget_mib=0.0)):
        found = growth.measure_case(case, tmp_path)
        rows.append({**found, "line": case.line, "rendered": True})
    assert [row["pairs"] for row in rows] == ["table", "on_the_fly"]
    assert all(row[key] > 0 for row in rows for key in growth.KEYS)
    growth.draw(rows, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_slopes_are_exponents_of_the_largest_sizes() -> None:
    assert growth.slope([10, 1, 100], [5.0, 4.0, 50.0]) == pytest.approx(1)
    assert growth.slope([1, 10], [1.0, 100.0]) == pytest.approx(2)


def grid_of(folder: Path, precision_: str, scores: dict[int, float]) -> Path:
    for seed, acc in scores.items():
        cell = {"row": "m0", "seed": seed, "precision": precision_, "best": {"published": {"acc": acc, "pm": 90.0}}}
        write_json(folder / "m0" / f"seed_{seed}" / "metrics.json", cell)
    return folder


def test_two_precisions_are_compared_within_the_noise_of_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = grid_of(tmp_path / "a", "32-true", {0: 80.0, 1: 82.0})
    close = grid_of(tmp_path / "b", "bf16-mixed", {0: 81.0, 1: 83.0})
    acc, pm = precision.compare(precision.scores(first), precision.scores(close))
    assert (acc.difference, acc.error, acc.seeds) == (pytest.approx(1), pytest.approx(2**0.5), 2)
    assert (pm.difference, pm.error) == (0, 0)
    assert bench.main(["--runs", str(first), str(close), "--out", str(tmp_path / "out")]) == 0
    figures = json.loads((tmp_path / "out" / "bench.json").read_text())["parts"]["precision"]["figures"]
    assert figures[0]["what"] == "m0: bf16-mixed less 32-true"
    assert figures[0]["check"].startswith("within 2 standard errors")
    far = grid_of(tmp_path / "c", "bf16-mixed", {0: 60.0, 1: 61.0})
    assert "BEYOND" in precision.measure((first, far)).figures[0].check
    assert bench.main(["--runs", str(first), str(tmp_path / "none")]) == 2
    assert "no finished cell" in capsys.readouterr().err


@pytest.mark.slow
def test_an_epoch_of_whole_notes_is_measured_both_ways_and_with_the_model(cache_dir: Path) -> None:
    found = whole_notes.measure(cache_dir, quick=True)
    assert [figure.way for figure in found.figures] == [
        "data from the table",
        "data on the fly",
        "m8: data and model",
    ]
    assert all(figure.value.low > 0 for figure in found.figures)
    (goal,) = found.goals
    spent = found.details["core_seconds"]["m8: data and model"]
    assert len(spent) == whole_notes.QUICK_EPOCHS
    assert goal.found == pytest.approx(np.median(spent) * 1885 / whole_notes.QUICK_NOTES)
