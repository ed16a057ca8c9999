from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Any

import pytest
import torch

from datamodules.batch import NotePair
from lightning_modules import objectives, own_objectives
from lightning_modules.axis_stage import AxisStage
from lightning_modules.own_objectives import TwoStageWeights
from lightning_modules.pitch_axis import BINS_PER_SEMITONE, EquivariantPitchEncoder, HarmonicComb, MelPitchAxis
from lightning_modules.two_stage_vae import TwoStageVAE

ALL = TwoStageWeights(**{field.name: 1.0 for field in fields(TwoStageWeights)})
MEL_HZ = torch.logspace(1.8, 3.8, 64).tolist()
WITH_MARGIN = partial(MelPitchAxis, margin=3)


def batch(n: int = 16, shifted: bool = True) -> NotePair:
    torch.manual_seed(1)
    x = torch.rand(n, 64) * 2 - 1
    return NotePair(
        x,
        x.roll(1, 1) if shifted else None,
        torch.randint(-2, 3, (n,)),
        torch.arange(n) % 20,
        torch.arange(n) % 3,
        torch.arange(n) % 21 - 1,
    )


def model(weights: TwoStageWeights = ALL, **more: Any) -> TwoStageVAE:
    torch.manual_seed(0)
    return TwoStageVAE(weights, n_pitches=20, n_mels=64, width=32, **more)


def test_the_terms_are_the_fields_of_the_weights() -> None:
    terms, _ = model(ALL).objective_terms(batch())
    assert set(terms) == {field.name for field in fields(TwoStageWeights)}
    for name in terms:
        assert hasattr(objectives, name) or hasattr(own_objectives, name), (
            f"{name}: config key, term and function share one name"
        )


def test_the_elbo_may_be_of_the_note_alone() -> None:
    module, pair = model(TwoStageWeights(regression=1)).eval(), batch()
    module.elbo_of = "note"
    found, _ = module.objective_terms(pair)
    alone, _ = module.objective_terms(pair._replace(x_shifted=None))
    for name in ("reconstruction", "kl_z", "kl_c"):
        torch.testing.assert_close(found[name], alone[name])
    assert found["regression"] > 0


def test_without_a_pair_only_the_elbo_and_labels_are_left() -> None:
    terms, _ = model(ALL).objective_terms(batch(shifted=False))
    alone = {"pseudo_label", "cross_swap", "leakage", "aggregate", "prior_frames"}
    assert set(terms) == {"reconstruction", "kl_z", "kl_c", "supervised"} | alone


def test_the_epochs_of_the_axis_train_the_pitch_encoder_alone_and_the_others_all_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = TwoStageWeights(alignment=1, expected_shift=0.1, balance=1, cross_swap=1)
    module, pair, epoch = model(weights, axis=AxisStage(epochs=2), pitch_encoder=WITH_MARGIN), batch(), [0]
    monkeypatch.setattr(TwoStageVAE, "current_epoch", property(lambda self: epoch[0]))

    def trained() -> set[str]:
        module.zero_grad(set_to_none=True)
        module.train()
        module.on_train_epoch_start()
        module.terms_log._sums.clear()
        module.training_step(pair, 0)["loss"].backward()
        return {name.partition(".")[0] for name, p in module.named_parameters() if p.grad is not None}

    assert trained() == {"pitch_encoder"}
    assert module.candidate_mass.sum() == 0
    epoch[0] = 1
    trained()
    assert float(module.candidate_mass.sum()) == pytest.approx(len(pair.x), rel=1e-4)
    module.candidate_mass.zero_()[:, 1:21] = 1.0
    epoch[0] = 2
    assert trained() == {"timbre_encoder", "decoder"}
    assert module.pitch_encoder.first == 1
    assert not module.pitch_encoder.training
    state = {name: value.clone() for name, value in module.pitch_encoder.state_dict().items()}
    trained()
    assert all(torch.equal(value, state[name]) for name, value in module.pitch_encoder.state_dict().items())


def test_the_restart_that_reads_the_tones_best_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    one = model(TwoStageWeights(alignment=1), axis=AxisStage(epochs=2), pitch_encoder=WITH_MARGIN)
    axis, epoch, pair = AxisStage(epochs=2, restarts=3), [1], batch()
    module = model(TwoStageWeights(alignment=1), axis=axis, pitch_encoder=WITH_MARGIN)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), module.parameters(), strict=False)), "same start"
    monkeypatch.setattr(TwoStageVAE, "current_epoch", property(lambda self: epoch[0]))
    module.train()
    module.terms_log._sums.clear()
    module.training_step(pair, 0)["loss"].backward()
    assert all(p.grad is not None for restart in module.restarts for p in restart.parameters())
    assert module.candidate_mass.sum(1).tolist() == pytest.approx([len(pair.x)] * 3, rel=1e-4)
    module.eval()
    frames = torch.randn(60, 64)
    best = module.restarts[2]
    module.calibrate(frames, best.candidates(frames).argmax(-1) - best.first + 30)  # tones that the third reads right
    assert float(module.restart_agreement[2]) == 1
    assert float(module.restart_agreement[:2].max()) < 1
    wanted = {name: value.clone() for name, value in best.state_dict().items() if name != "first"}
    module.candidate_mass.zero_()[2, 4:24] = 1.0
    epoch[0] = 2
    module.on_train_epoch_start()
    kept = module.pitch_encoder.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in wanted.items())
    assert module.pitch_encoder.first == 4, "of the mass that the restart gave to its candidates"
    assert not any(p.requires_grad for restart in module.restarts for p in restart.parameters())


def test_the_axis_may_be_learned_from_true_labels() -> None:
    """Of both views: the shifted note's label is the note's plus the shift, where that is a category."""
    weights = TwoStageWeights(supervised=1)
    axis = partial(EquivariantPitchEncoder, margin=0)
    module, pair = model(weights, axis=AxisStage(epochs=1), pitch_encoder=axis, mel_hz=MEL_HZ), batch()
    module.augmentation = torch.nn.Identity()
    result = module.training_step(pair, 0)
    note, shifted = module.pitch_encoder(pair.views).split(len(pair.x))
    label = pair.pitch + pair.semitones
    inside = (label >= 0) & (label < 20)
    expected = torch.nn.functional.cross_entropy(note, pair.pitch)
    expected += torch.nn.functional.cross_entropy(shifted[inside], label[inside])
    torch.testing.assert_close(result["loss"], expected / 2)


def test_notes_outside_the_categories_are_not_reconstructed() -> None:
    pair = batch()
    module = model(TwoStageWeights(alignment=1), axis=AxisStage(epochs=1), pitch_encoder=WITH_MARGIN).eval()
    candidates = module.pitch_encoder.candidates(torch.cat([pair.x, pair.x_shifted])).argmax(-1)
    inside = (candidates >= 3) & (candidates < 23)
    assert 0 < inside.sum() < len(inside)
    latents = module.encode(torch.cat([pair.x, pair.x_shifted]))
    assert torch.equal(latents.inside, inside)
    decoded = module.decode(latents.z, latents.c)
    expected = 2 * objectives.reconstruction(decoded[inside], torch.cat([pair.x, pair.x_shifted])[inside])
    torch.testing.assert_close(module.objective_terms(pair)[0]["reconstruction"], expected)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"axis": AxisStage(epochs=3)}, r"model\.axis\.epochs is 3, and weights\.alignment and weights\.supervised"),
        ({"axis": AxisStage(epochs=3), "pitch_encoder": HarmonicComb}, r"HarmonicComb has no parameters"),
        ({"pitch_encoder": WITH_MARGIN}, r"model\.pitch_encoder\.margin is 3"),
        ({"pitch_encoder": partial(MelPitchAxis, margin=-1)}, r"margin is -1"),
    ],
)
def test_what_cannot_be_learned_is_refused(settings: dict, named: str) -> None:
    weights = TwoStageWeights(alignment=float("pitch_encoder" in settings))
    with pytest.raises(ValueError, match=named):
        model(weights, mel_hz=MEL_HZ, **settings)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"restarts": 2}, r"model\.axis\.restarts 2: they need model\.axis\.epochs"),
        ({"restarts": 0}, r"model\.axis\.restarts is 0"),
        ({"restarts": 10**9}, r"model\.axis\.restarts is 1000000000"),
        ({"epochs": -1}, r"model\.axis\.epochs is -1"),
        ({"epochs": 2, "learning_rate": float("nan")}, r"model\.axis\.learning_rate is nan"),
        ({"epochs": 2, "subharmonic_share": 1.5}, r"model\.axis\.subharmonic_share is 1\.5"),
        ({"subharmonic_share": 0.5}, r"model\.axis\.subharmonic_share is 0\.5"),
    ],
)
def test_settings_of_the_axis_out_of_range_are_refused(settings: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        AxisStage(**settings)


@pytest.mark.parametrize(("k", "candidates", "categories"), [(None, 32, 20), (11, 33, 11), (29, 33, 29), (40, 40, 40)])
def test_the_axis_is_as_long_however_many_categories_it_has(k: int | None, candidates: int, categories: int) -> None:
    """An axis of twice the candidates does not leave its plateau in the same epochs."""
    settings = {
        "axis": AxisStage(epochs=2),
        "pitch_encoder": partial(EquivariantPitchEncoder, margin=6),
        "mel_hz": MEL_HZ,
        "lowest_midi": 50,
    }
    made = model(TwoStageWeights(alignment=1), n_categories=k, **settings)
    assert made.pitch_encoder.n_candidates == candidates
    assert made.pitch_encoder(torch.rand(4, 64)).shape == (4, categories)
    whole = model(TwoStageWeights(alignment=1), **settings)
    first, second = (each.pitch_encoder.get_buffer("log_frequency") for each in (made, whole))
    shared = min(first.shape[1], second.shape[1]) - 3 * BINS_PER_SEMITONE
    if k != 40:
        moved = [first.roll(-semitones * BINS_PER_SEMITONE, 1)[:, 20:shared] for semitones in (-1, 0, 1)]
        assert any(torch.allclose(each, second[:, 20:shared]) for each in moved), "it begins at the same pitch"
