"""FID, CDS and swaps against their definitions."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.precision import Precision

from callbacks.checkpoints import write_checkpoint
from callbacks.gathered_notes import NoteGatherer
from callbacks.generation_metrics import JUDGES, GenerationMetrics, classifier_file
from lightning_modules.latents import Latents
from lightning_modules.note_classifier import NoteClassifier
from metrics.consistency_diversity import consistency_diversity_score
from metrics.frechet import frechet_distance
from tests.callbacks.stand_ins import BF16, F_MELS, K, Recorder, at_epoch, latents


@pytest.fixture
def classifiers(tmp_path: Path) -> dict[str, NoteClassifier]:
    torch.manual_seed(1)
    made = {
        name: NoteClassifier(label, K, 3, F_MELS, width=24, architecture=kind)  # type: ignore[arg-type]
        for name, label, kind in (
            ("pitch", "pitch", "published"),
            ("instrument", "instrument", "published"),
            ("pitch_relu", "pitch", "relu"),
            ("pitch_conv", "pitch", "conv"),
        )
    }
    for name, classifier in made.items():
        classifier.body(torch.randn(200, F_MELS))  # moves the running statistics
        write_checkpoint(classifier.eval().kept("hash"), classifier_file(tmp_path, "hash", name))
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
    everything = torch.cat([x, x])
    made_again = torch.cat([made, made])
    features = classifiers["instrument"].features
    together = frechet_distance(features(everything), features(made_again))
    assert module.logged["honest/fid_recon_all"] == pytest.approx(together, rel=1e-4)
    assert module.logged["honest/fid_rand_mean"] != module.logged["published/fid_rand"]
    for name, measure in JUDGES.items():
        judge = classifiers[name].posterior
        p = torch.stack([judge(frames).double().mean(0) for frames in module.decode_all_pitches(encoded.mu)])
        assert module.logged[f"honest/{measure}"] == pytest.approx(float(consistency_diversity_score(p)[0]), rel=1e-5)
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
    with pytest.raises(ValueError, match=r"pitch\.ckpt: .*configs/classifier_pitch\.yaml"):
        measured(GenerationMetrics(tmp_path), Recorder(), test=False)
