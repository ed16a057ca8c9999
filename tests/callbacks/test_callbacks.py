from __future__ import annotations

from dataclasses import replace
from math import exp
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.plugins.precision import MixedPrecision, Precision

from callbacks.checkpoints import write_checkpoint
from callbacks.epoch_log import EpochLog
from callbacks.epoch_seed import EpochSeed
from callbacks.gathered_notes import NoteGatherer
from callbacks.generation_metrics import GenerationMetrics, classifier_file
from callbacks.latent_metrics import LatentMetrics
from callbacks.temperature import TemperatureAnnealing
from lightning_modules.latents import Latents
from lightning_modules.note_classifier import NoteClassifier
from metrics.consistency_diversity import consistency_diversity_score
from metrics.frechet import frechet_distance

K, F_MELS, LATENT = 5, 16, 4
BF16 = MixedPrecision("bf16-mixed", "cpu")


class Recorder:
    """Stands for the module: remembers what is logged."""

    def __init__(self) -> None:
        self.logged: dict[str, float] = {}
        self.device = torch.device("cpu")
        self.n_categories = K
        self.midi_offset = self.calibration_agreement = torch.tensor(torch.nan)
        torch.manual_seed(0)
        self.timbre, self.pitch = torch.randn(LATENT, F_MELS), torch.randn(K, F_MELS)

    def log_dict(self, values: dict[str, float]) -> None:
        self.logged |= values

    def decode(self, z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return torch.tanh(z @ self.timbre + c @ self.pitch)

    def decode_all_pitches(self, z: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.decode(z, F.one_hot(torch.full((len(z),), k), K).float()) for k in range(K)])


def at_epoch(epoch: int, **more: Any) -> Any:
    usual = {"datamodule": SimpleNamespace(lowest_midi=60), "precision_plugin": Precision()}
    return SimpleNamespace(**{"current_epoch": epoch} | usual | more)


def latents(n: int, categories: torch.Tensor) -> Latents:
    mu = torch.randn(n, LATENT)
    logits = 9.0 * F.one_hot(categories, K)
    return Latents(mu, torch.zeros_like(mu), logits, mu, F.one_hot(categories, K).float())


@pytest.mark.parametrize(("epoch", "expected"), [(0, 1.0), (100, exp(-0.346)), (1000, 0.5)])
def test_the_temperature_is_annealed(epoch: int, expected: float) -> None:
    module = SimpleNamespace(temperature=torch.tensor(7.0))
    TemperatureAnnealing().on_train_epoch_start(at_epoch(epoch), module)
    assert float(module.temperature) == pytest.approx(expected)


def test_noise_is_a_function_of_seed_and_epoch() -> None:
    def noise(seed: int, epoch: int) -> float:
        EpochSeed(seed).on_train_batch_start(at_epoch(epoch), None, None, 0)  # type: ignore[arg-type]
        return float(torch.rand(()))

    assert noise(0, 5) == noise(0, 5)
    assert len({noise(seed, epoch) for seed in range(3) for epoch in range(20)}) == 60
    EpochSeed(0).on_train_batch_start(at_epoch(5), None, None, 0)  # type: ignore[arg-type]
    first = float(torch.rand(()))
    EpochSeed(0).on_train_batch_start(at_epoch(5), None, None, 1)  # type: ignore[arg-type]
    assert float(torch.rand(())) != first, "steps of one epoch have different noise"


def of_test(module: Any, *loaders: tuple[Latents, Any]) -> Any:
    """A trainer whose gatherer has the outputs of a test: of the scored notes, and of the training notes."""
    gatherer = NoteGatherer()
    trainer = at_epoch(0, callbacks=[gatherer])
    for loader, (encoded, batch) in enumerate(loaders):
        batch.x = getattr(batch, "x", encoded.mu)
        gatherer.on_test_batch_end(trainer, module, encoded, batch, 0, loader)
    return trainer


def test_latent_metrics_publish_both_protocols() -> None:
    gatherer, module = NoteGatherer(), Recorder()
    trainer = at_epoch(0, callbacks=[gatherer])
    pitch = torch.arange(40) % K
    fitted = (pitch + 1) % K  # the training notes' categories are the pitches, renamed
    gatherer.on_train_epoch_start(trainer, module)  # type: ignore[arg-type]
    batch = SimpleNamespace(x=pitch, pitch=pitch, instrument=pitch % 2)
    gatherer.on_train_batch_end(trainer, module, {"category": fitted}, batch, 0)
    # the scored notes use another renaming: perfect in the published form, wrong in the honest one
    gatherer.on_validation_batch_end(trainer, module, latents(40, (pitch + 2) % K), batch, 0)
    LatentMetrics().on_validation_epoch_end(trainer, module)
    assert (module.logged["val/acc"], module.logged["val/pm"]) == (100, 100)
    assert (module.logged["val/honest/acc"], module.logged["val/honest/pm"]) == (0, 0)


def test_a_validation_without_training_has_no_honest_mapping() -> None:
    gatherer, module, pitch = NoteGatherer(), Recorder(), torch.arange(40) % K
    trainer = at_epoch(0, callbacks=[gatherer])
    batch = SimpleNamespace(x=pitch, pitch=pitch, instrument=pitch % 2)
    for _ in range(2):  # the notes of one validation are not those of the next
        gatherer.on_validation_batch_end(trainer, module, latents(40, pitch), batch, 0)
        assert len(gatherer.scored.pitch) == 40
        LatentMetrics().on_validation_epoch_end(trainer, module)
        gatherer.on_validation_end(trainer, module)  # type: ignore[arg-type]
    assert module.logged.keys() == {"val/acc", "val/pm"}


def test_metrics_without_a_gatherer_say_what_to_add() -> None:
    with pytest.raises(ValueError, match="NoteGatherer"):
        LatentMetrics().on_validation_epoch_end(at_epoch(0, callbacks=[]), Recorder())


def test_probes_run_when_testing() -> None:
    callback, module, loaders = LatentMetrics(), Recorder(), []
    for n in (60, 1500):
        pitch = torch.arange(n) % K
        encoded = latents(n, pitch)
        loaders.append((encoded, SimpleNamespace(pitch=pitch, instrument=(encoded.mu[:, 0] > 0).long())))
    callback.on_test_epoch_end(of_test(module, *loaders), module)
    for protocol in ("published", "honest"):
        found = {name.split("/")[1]: value for name, value in module.logged.items() if name.startswith(protocol)}
        assert found["instrument"] > 85
        assert found["pitch"] < 60
        assert found["combine"] == pytest.approx((found["instrument"] + 100 - found["pitch"]) / 2)
        assert found["acc"] == found["pm"] == 100
        for name in ("pitch", "instrument", "acc", "pm"):
            assert 100 * callback.notes[f"{protocol}_{name}"].mean() == pytest.approx(found[name])
    assert len(callback.notes) == 60
    assert "honest/acc_abs" not in module.logged, "it is not calibrated"


def test_a_calibrated_model_is_scored_by_absolute_pitch() -> None:
    callback, module = LatentMetrics(), Recorder()
    module.midi_offset, module.calibration_agreement = torch.tensor(61.0), torch.tensor(0.9)
    pitch = torch.arange(40) % K
    batch = SimpleNamespace(pitch=pitch, instrument=(pitch == 0).long())
    categories = pitch - 1
    categories[pitch == 0] += 12  # an octave off
    encoded = replace(latents(40, pitch), logits=one_hot(categories))
    callback.on_test_epoch_end(of_test(module, (encoded, batch), (encoded, batch)), module)
    assert module.logged["honest/acc_abs"] == pytest.approx(80)
    assert module.logged["honest/octave_error"] == pytest.approx(20)
    assert module.logged["honest/instrument_offset"] == 12
    assert module.logged["honest/calibration_agreement"] == pytest.approx(90)
    assert callback.notes.honest_octave_error.sum() == 8


def one_hot(categories: torch.Tensor) -> torch.Tensor:
    return F.one_hot(categories, 12).float()


@pytest.fixture
def classifiers(tmp_path: Path) -> dict[str, NoteClassifier]:
    torch.manual_seed(1)
    made = {
        label: NoteClassifier(label, n_pitches=K, n_instruments=3, n_mels=F_MELS, width=24)  # type: ignore[arg-type]
        for label in ("pitch", "instrument")
    }
    for label, classifier in made.items():
        classifier.body(torch.randn(200, F_MELS))  # moves the running statistics
        write_checkpoint(classifier.eval().kept("hash"), classifier_file(tmp_path, "hash", label))
    return made


def measured(callback: GenerationMetrics, module: Recorder, test: bool, **more: Any) -> tuple[torch.Tensor, Latents]:
    gatherer = NoteGatherer()
    trainer = at_epoch(0, datamodule=SimpleNamespace(data_hash="hash"), callbacks=[gatherer], **more)
    callback.setup(trainer, module, "fit")  # type: ignore[arg-type]
    x, encoded = torch.tanh(torch.randn(40, F_MELS)), latents(40, torch.arange(40) % K)
    batch = SimpleNamespace(x=x, pitch=(torch.arange(40) + 1) % K, instrument=torch.arange(40) % 3)
    if test:
        gatherer.on_test_batch_end(trainer, module, encoded, batch, 0, 0)
        gatherer.on_test_batch_end(trainer, module, encoded, batch, 0, 1)  # the training notes are not scored
        callback.on_test_epoch_end(trainer, module)
    else:
        gatherer.on_validation_batch_end(trainer, module, encoded, batch, 0)
        callback.on_validation_epoch_end(trainer, module)
    return x, encoded


def test_generation_metrics_are_their_definitions(tmp_path: Path, classifiers: dict[str, NoteClassifier]) -> None:
    module = Recorder()
    x, encoded = measured(GenerationMetrics(tmp_path), module, test=True)
    made = module.decode(encoded.mu, encoded.c)
    for label, name in (("instrument", "published/fid_recon"), ("pitch", "honest/pitch_fid_recon")):
        features = classifiers[label].features
        assert module.logged[name] == pytest.approx(frechet_distance(features(x), features(made)), rel=1e-6)
    posterior = classifiers["pitch"].posterior
    p = torch.stack([posterior(frames).double().mean(0) for frames in module.decode_all_pitches(encoded.mu)])
    assert module.logged["published/cds"] == pytest.approx(consistency_diversity_score(p)[0], rel=1e-5)
    assert {"published/fid_rand", "honest/kid_rand", "honest/fid_real_halves"} <= module.logged.keys()
    # The training notes here are the scored ones, in another order.
    assert module.logged["honest/fid_real"] == pytest.approx(0, abs=1e-6)


def test_swaps_are_judged_by_the_classifiers(
    tmp_path: Path, classifiers: dict[str, NoteClassifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted over all pairs of notes, one by one, instead of drawn ones."""
    module = Recorder()
    everything = torch.cartesian_prod(torch.arange(40), torch.arange(40)).T
    drawn = iter(everything)
    monkeypatch.setattr(torch, "randint", lambda *args, **kwargs: next(drawn))
    _, encoded = measured(GenerationMetrics(tmp_path), module, test=True)
    right = {"pitch": 0, "instrument": 0}
    for i, j in everything.T.tolist():
        frame = module.decode(encoded.mu[i : i + 1], encoded.c[j : j + 1])
        predicted = {label: int(classifiers[label].posterior(frame).argmax()) for label in right}
        right["pitch"] += predicted["pitch"] == (j + 1) % K  # the training notes' pitch is their category and one
        right["instrument"] += predicted["instrument"] == i % 3
    for label, count in right.items():
        assert module.logged[f"honest/swap_{label}"] == pytest.approx(100 * count / 1600, abs=0.1)


def test_an_epoch_measures_fewer_timbres_and_repeats(tmp_path: Path, classifiers: dict[str, NoteClassifier]) -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, second = Recorder(), Recorder()
    for module in (first, second):
        torch.set_rng_state(state)
        measured(GenerationMetrics(tmp_path), module, test=False)
    assert first.logged == second.logged
    assert first.logged.keys() == {"val/fid_recon", "val/fid_rand", "val/cds"}


def test_an_epoch_is_measured_in_the_precision_of_the_training(
    tmp_path: Path, classifiers: dict[str, NoteClassifier]
) -> None:
    exact, mixed, tested = Recorder(), Recorder(), Recorder()
    for module, plugin, test in ((exact, Precision(), False), (mixed, BF16, False), (tested, BF16, True)):
        torch.manual_seed(5)
        measured(GenerationMetrics(tmp_path), module, test, precision_plugin=plugin)
    for name, value in exact.logged.items():
        assert mixed.logged[name] != value
        assert mixed.logged[name] == pytest.approx(value, rel=0.02)
    for name in ("fid_recon", "fid_rand"):
        assert tested.logged[f"published/{name}"] == exact.logged[f"val/{name}"], "what is reported is in float32"


def test_other_notes_are_not_taken_for_the_last_ones(tmp_path: Path, classifiers: dict[str, NoteClassifier]) -> None:
    torch.manual_seed(4)
    callback, module = GenerationMetrics(tmp_path), Recorder()
    x, encoded = measured(callback, module, test=False)
    features = classifiers["instrument"].features
    for frames in (x, torch.tanh(torch.randn_like(x))):  # the features of the real notes are kept between epochs
        gatherer = NoteGatherer()
        trainer, labels = at_epoch(0, callbacks=[gatherer]), torch.zeros(40)
        batch = SimpleNamespace(x=frames, pitch=labels, instrument=labels)
        gatherer.on_validation_batch_end(trainer, module, encoded, batch, 0)
        callback.on_validation_epoch_end(trainer, module)
        expected = frechet_distance(features(frames), features(module.decode(encoded.mu, encoded.c)))
        assert module.logged["val/fid_recon"] == pytest.approx(expected, rel=1e-6)


def test_a_missing_classifier_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pitch\.ckpt: there is no pitch classifier for this data; train it by"):
        measured(GenerationMetrics(tmp_path), Recorder(), test=False)


def test_the_log_writes_in_a_fit_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A validation of a finished run leaves its log; a rank in the environment hinders no fit."""
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.setenv(name, "1")
    (tmp_path / "metrics.csv").write_text("epoch,val/acc\n0,1\n")
    log = EpochLog(tmp_path)
    log.log_hyperparams({"a": 1})
    log.log_metrics({"epoch": 7, "val/acc": 9.0})
    log.save()
    log.finalize("success")
    assert (tmp_path / "metrics.csv").read_text() == "epoch,val/acc\n0,1\n"
    log.begin({})
    log.log_metrics({"epoch": 7, "val/acc": 9.0})
    log.finalize("success")
    assert (tmp_path / "metrics.csv").read_text() == "epoch,val/acc\n7,9.0\n"


def test_the_log_has_one_row_an_epoch_and_follows_a_checkpoint(tmp_path: Path) -> None:
    log = EpochLog(tmp_path)
    log.begin({})
    for epoch in range(4):
        log.log_metrics({"epoch": epoch, "val/acc": epoch / 3}, step=epoch)
        if epoch == 1:
            kept = log.rows_with(epoch, {"train/loss/total": 8.0})  # before these are logged
        log.log_metrics({"epoch": epoch, "train/loss/total": 9.0 - epoch}, step=epoch)
    log.log_metrics({"epoch": 4, "published/acc": 1.0}, step=9)  # scores belong in metrics.json
    log.finalize("success")
    whole = (tmp_path / "metrics.csv").read_text()
    assert list(pd.read_csv(tmp_path / "metrics.csv").epoch) == [0, 1, 2, 3]
    resumed = EpochLog(tmp_path)
    resumed.restore(kept)
    resumed.begin({})
    assert (tmp_path / "metrics.csv").read_text().splitlines() == whole.splitlines()[:3]
    for epoch in (2, 3):
        resumed.log_metrics({"epoch": epoch, "val/acc": epoch / 3, "train/loss/total": 9.0 - epoch}, step=epoch)
    resumed.finalize("success")
    assert (tmp_path / "metrics.csv").read_text() == whole
