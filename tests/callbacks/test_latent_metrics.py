"""ACC, PM and probes, of notes that were gathered."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from callbacks.gathered_notes import NoteGatherer
from callbacks.latent_metrics import LatentMetrics
from tests.callbacks.stand_ins import K, Recorder, at_epoch, latents, of_test


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
