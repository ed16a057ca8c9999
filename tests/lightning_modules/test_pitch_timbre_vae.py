from __future__ import annotations

from dataclasses import fields
from typing import Any

import lightning as L
import pytest
import torch

from datamodules.batch import NotePair
from lightning_modules import objectives
from lightning_modules.objectives import ObjectiveWeights
from lightning_modules.pitch_timbre_vae import PitchTimbreVAE

ALL = ObjectiveWeights(**{field.name: 1.0 for field in fields(ObjectiveWeights)})


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


def model(weights: ObjectiveWeights = ALL) -> PitchTimbreVAE:
    torch.manual_seed(0)
    return PitchTimbreVAE(weights, n_pitches=20, n_mels=64, width=32)


def test_the_terms_are_the_fields_of_the_weights() -> None:
    terms, _ = model().objective_terms(batch())
    assert set(terms) == {field.name for field in fields(ObjectiveWeights)}
    for name in terms:
        assert hasattr(objectives, name), f"{name}: config key, term and function share one name"


def test_without_a_pair_only_the_elbo_and_labels_are_left() -> None:
    terms, _ = model().objective_terms(batch(shifted=False))
    assert set(terms) == {"reconstruction", "kl_z", "kl_c", "supervised"}


def test_terms_of_weight_zero_are_absent() -> None:
    terms, _ = model(ObjectiveWeights(contrast=1)).objective_terms(batch())
    assert set(terms) == {"reconstruction", "kl_z", "kl_c", "contrast"}


def test_each_weight_is_applied_once() -> None:
    weights = ObjectiveWeights(**{field.name: i + 2.0 for i, field in enumerate(fields(ObjectiveWeights))})
    module = model(weights)
    for i, field in enumerate(fields(ObjectiveWeights)):
        terms = {other.name: torch.tensor(float(other is field)) for other in fields(ObjectiveWeights)}
        assert module.weighted_sum(terms) == i + 2


def test_elbo_terms_are_summed_over_both_views() -> None:
    module = model(ObjectiveWeights()).eval()
    pair = batch()
    both, _ = module.objective_terms(pair)
    first, _ = module.objective_terms(pair._replace(x_shifted=None))
    second, _ = module.objective_terms(pair._replace(x=pair.x_shifted, x_shifted=None))
    for name in both:
        torch.testing.assert_close(both[name], first[name] + second[name])


def test_evaluation_has_no_noise_and_training_fresh_noise() -> None:
    module, x = model(), batch().x
    assert not torch.equal(module.encode(x).z, module.encode(x).z)
    module.eval()
    latents = module.encode(x)
    assert torch.equal(latents.z, latents.mu)
    assert torch.equal(latents.c.argmax(-1), latents.category)
    assert torch.equal(latents.c, module.encode(x).c)


def test_the_pitch_is_read_from_its_own_frames() -> None:
    module, pair = model().eval(), batch()
    other = pair.x.flip(0)
    latents, plain, flipped = module.encode(pair.x, other), module.encode(pair.x), module.encode(other)
    assert torch.equal(latents.mu, plain.mu)
    torch.testing.assert_close(latents.logits, flipped.logits)
    same, _ = module.objective_terms(pair._replace(x_pitch=pair.x, x_pitch_shifted=pair.x_shifted))
    expected, _ = module.objective_terms(pair)
    assert all(torch.equal(same[name], expected[name]) for name in expected)
    changed, note = module.objective_terms(pair._replace(x_pitch=other, x_pitch_shifted=pair.x_shifted))
    torch.testing.assert_close(note.logits, flipped.logits)
    assert not torch.equal(changed["supervised"], expected["supervised"])
    assert torch.equal(module.test_step(pair._replace(x_pitch=other), 0).category, flipped.category)


def test_c_is_hard_and_passes_gradient() -> None:
    latents = model().encode(batch().x)
    assert torch.equal(latents.c.detach().round(), latents.c.detach())
    assert (latents.c.sum(-1).detach() == 1).all()
    (latents.c * torch.randn(20)).sum().backward()


def test_swapping_the_views_swaps_the_cycle() -> None:
    """D(z, c') and D(z', c) are both there: the term does not change when x and x' change places."""
    module = model().eval()
    pair = batch()
    note, shifted = module.encode(pair.x), module.encode(pair.x_shifted)
    torch.testing.assert_close(module.swap_cycle(note, shifted), module.swap_cycle(shifted, note))


def trained_term(name: str, weight: float) -> float:
    """A term's value after some steps on one batch with the given weight."""
    module, pair = model(ObjectiveWeights(kl_z=0.1, kl_c=0.1, reconstruction=1.0, **{name: weight})), batch(64)
    module.learning_rate = 3e-3
    optimiser = module.configure_optimizers()
    for _ in range(100):
        loss = module.weighted_sum(module.objective_terms(pair)[0])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    module.eval()
    module.weights = ALL
    return float(module.objective_terms(pair)[0][name].detach())


@pytest.mark.parametrize("name", ["regression", "contrast", "cycle", "surrogate"])
def test_each_auxiliary_loss_lowers_its_term(name: str) -> None:
    assert trained_term(name, 3.0) < 0.9 * trained_term(name, 0.0)


def test_labels_do_not_reach_an_unsupervised_loss() -> None:
    weights = ObjectiveWeights(regression=1, contrast=1, cycle=1, surrogate=1)
    gradients = []
    for poison in (False, True):
        module, pair = model(weights), batch()
        if poison:
            pair = pair._replace(pitch=torch.full_like(pair.pitch, -7), instrument=torch.full_like(pair.instrument, -7))
        torch.manual_seed(3)
        module.weighted_sum(module.objective_terms(pair)[0]).backward()
        gradients.append([parameter.grad for parameter in module.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_calibration_finds_the_offset_of_the_categories() -> None:
    module = PitchTimbreVAE(n_pitches=20, n_mels=64, width=32).eval()
    frames = torch.randn(40, 64)
    heard = module.encode(frames).category
    midi = heard + 37
    midi[:6] += 12
    module.calibrate(frames, midi)
    assert module.midi_offset == 37
    assert float(module.calibration_agreement) == pytest.approx(34 / 40)
    assert module.state_dict()["midi_offset"] == 37


def test_the_temperature_is_in_the_state() -> None:
    assert "temperature" in model().state_dict()


def test_pitches_need_a_category_each_where_labels_are_learned() -> None:
    with pytest.raises(ValueError, match=r"model\.n_categories is 10 for 20 pitches"):
        PitchTimbreVAE(ObjectiveWeights(supervised=1), n_pitches=20, n_categories=10)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["learning_rate", "contrast_temperature", "width", "n_latent", "n_mels"])
def test_settings_that_no_model_can_have_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"model\.{name} is {value}"):
        PitchTimbreVAE(**{name: value})


def test_one_pitch_is_no_category() -> None:
    with pytest.raises(ValueError, match=r"model\.n_categories is 1 for 1 pitches"):
        PitchTimbreVAE(n_pitches=1)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_weights_out_of_range_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=rf"model\.weights\.cycle is {value}"):
        ObjectiveWeights(cycle=value)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_may_be_clipped(precision: Any) -> None:
    module = model(ObjectiveWeights(cycle=1))
    trainer = L.Trainer(
        accelerator="cpu",
        precision=precision,
        max_epochs=1,
        gradient_clip_val=0.5,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, torch.utils.data.DataLoader([batch(), batch()], batch_size=None))
    norm = torch.stack([p.grad.norm() for p in module.parameters() if p.grad is not None]).norm()
    assert 0 < float(norm) <= 0.5 * 1.001
