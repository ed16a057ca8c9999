from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from datamodules.note_pairs import NotePair
from lightning_modules import objectives
from lightning_modules.networks import BINS_PER_SEMITONE
from lightning_modules.objectives import ObjectiveWeights
from lightning_modules.pitch_timbre_vae import LearningRateSchedule, PitchAxisSettings, PitchTimbreVAE

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


def test_the_elbo_may_be_of_the_note_alone() -> None:
    module, pair = model(ObjectiveWeights(regression=1)).eval(), batch()
    module.elbo_of = "note"
    found, _ = module.objective_terms(pair)
    alone, _ = module.objective_terms(pair._replace(x_shifted=None))
    for name in ("reconstruction", "kl_z", "kl_c"):
        torch.testing.assert_close(found[name], alone[name])
    assert found["regression"] > 0


def test_without_a_pair_only_the_elbo_and_labels_are_left() -> None:
    terms, _ = model().objective_terms(batch(shifted=False))
    alone = {"pseudo_label", "cross_swap", "leakage", "aggregate", "prior_frames"}
    assert set(terms) == {"reconstruction", "kl_z", "kl_c", "supervised"} | alone


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
    torch.testing.assert_close(module._cycle(note, shifted), module._cycle(shifted, note))


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


def test_the_epochs_of_the_axis_train_the_pitch_encoder_alone_and_the_others_all_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    weights = ObjectiveWeights(alignment=1, expected_shift=0.1, balance=1, cross_swap=1)
    axis = PitchAxisSettings(margin=3, epochs=2)
    module, pair, epoch = PitchTimbreVAE(weights, n_pitches=20, n_mels=64, width=32, axis=axis), batch(), [0]
    monkeypatch.setattr(PitchTimbreVAE, "current_epoch", property(lambda self: epoch[0]))

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


def test_the_trial_that_hears_the_tones_best_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    axis, epoch = PitchAxisSettings(margin=3, epochs=2, restarts=3), [1]
    one = PitchTimbreVAE(ObjectiveWeights(alignment=1), 20, 64, width=32, axis=PitchAxisSettings(margin=3, epochs=2))
    torch.manual_seed(0)
    module, pair = PitchTimbreVAE(ObjectiveWeights(alignment=1), 20, 64, width=32, axis=axis), batch()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), module.parameters(), strict=False)), "same start"
    monkeypatch.setattr(PitchTimbreVAE, "current_epoch", property(lambda self: epoch[0]))
    module.train()
    module.terms_log._sums.clear()
    module.training_step(pair, 0)["loss"].backward()
    assert all(p.grad is not None for trial in module.trials for p in trial.parameters())
    assert module.candidate_mass.sum(1).tolist() == pytest.approx([len(pair.x)] * 3, rel=1e-4)
    module.eval()
    frames = torch.randn(60, 64)
    best = module.trials[2]
    module.calibrate(frames, best.candidates(frames).argmax(-1) - best.first + 30)  # tones that the third hears right
    assert float(module.trial_agreement[2]) == 1
    assert float(module.trial_agreement[:2].max()) < 1
    wanted = {name: value.clone() for name, value in best.state_dict().items() if name != "first"}
    module.candidate_mass.zero_()[2, 4:24] = 1.0
    epoch[0] = 2
    module.on_train_epoch_start()
    kept = module.pitch_encoder.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in wanted.items())
    assert module.pitch_encoder.first == 4, "of the mass that the trial gave to its candidates"
    assert not any(p.requires_grad for trial in module.trials for p in trial.parameters())


def test_notes_outside_the_categories_are_not_reconstructed() -> None:
    weights, axis = ObjectiveWeights(alignment=1), PitchAxisSettings(margin=3, epochs=1)
    pair = batch()
    module = PitchTimbreVAE(weights, n_pitches=20, n_mels=64, width=32, axis=axis).eval()
    candidates = module.pitch_encoder.candidates(torch.cat([pair.x, pair.x_shifted])).argmax(-1)
    inside = (candidates >= 3) & (candidates < 23)
    assert 0 < inside.sum() < len(inside)
    latents = module.encode(torch.cat([pair.x, pair.x_shifted]))
    assert torch.equal(latents.inside, inside)
    decoded = module.decode(latents.z, latents.c)
    expected = 2 * objectives.reconstruction(decoded[inside], torch.cat([pair.x, pair.x_shifted])[inside])
    torch.testing.assert_close(module.objective_terms(pair)[0]["reconstruction"], expected)


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


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(0, 1 / 5), (3, 4 / 5), (4, 1.0), (4 + 48, 0.5 * (1 + 0.02)), (100, 0.02), (500, 0.02)],
)
def test_the_learning_rate_warms_up_and_falls_as_a_cosine(steps: int, expected: float) -> None:
    schedule = LearningRateSchedule(warmup_steps=4, final_share=0.02)
    assert schedule.share(steps, 100) == pytest.approx(expected, abs=1e-6)


def test_what_cannot_be_learned_is_refused() -> None:
    with pytest.raises(ValueError, match=r"they learn from weights\.alignment"):
        PitchTimbreVAE(axis=PitchAxisSettings(epochs=3))
    with pytest.raises(ValueError, match=r"model\.axis\.margin 28 needs model\.axis\.epochs"):
        PitchAxisSettings(margin=28)
    with pytest.raises(ValueError, match=r"model\.n_categories is 10; .* 20 \(one a pitch\) for labels"):
        PitchTimbreVAE(ObjectiveWeights(supervised=1), n_pitches=20, n_categories=10)
    with pytest.raises(ValueError, match=r"model\.axis\.restarts is 2; .* with model\.axis\.epochs"):
        PitchAxisSettings(restarts=2)
    with pytest.raises(ValueError, match=r"model\.axis\.overblown is 1\.5; it is a share"):
        PitchAxisSettings(epochs=2, subharmonic_share=1.5)
    with pytest.raises(ValueError, match=r"model\.axis\.overblown is 0\.5, and model\.axis\.epochs, .*, 0"):
        PitchAxisSettings(subharmonic_share=0.5)
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        LearningRateSchedule(final_share=2)


@pytest.mark.parametrize(("k", "candidates", "categories"), [(None, 32, 20), (11, 33, 11), (29, 33, 29), (40, 40, 40)])
def test_the_axis_is_as_long_however_many_categories_it_has(k: int | None, candidates: int, categories: int) -> None:
    """An axis of twice the candidates does not leave its plateau in the same epochs."""
    settings = PitchAxisSettings(encoder="equivariant", margin=6, epochs=2)
    mel_hz = torch.logspace(1.8, 3.8, 64).tolist()
    made = PitchTimbreVAE(
        ObjectiveWeights(alignment=1), 20, 64, axis=settings, mel_hz=mel_hz, lowest_midi=50, n_categories=k
    )
    assert made.pitch_encoder.n_candidates == candidates
    assert made.pitch_encoder(torch.rand(4, 64)).shape == (4, categories)
    whole = PitchTimbreVAE(ObjectiveWeights(alignment=1), 20, 64, axis=settings, mel_hz=mel_hz, lowest_midi=50)
    first, second = (each.pitch_encoder.get_buffer("log_frequency") for each in (made, whole))
    shared = min(first.shape[1], second.shape[1]) - 3 * BINS_PER_SEMITONE
    if k != 40:
        moved = [first.roll(-semitones * BINS_PER_SEMITONE, 1)[:, 20:shared] for semitones in (-1, 0, 1)]
        assert any(torch.allclose(each, second[:, 20:shared]) for each in moved), "it begins at the same pitch"


def test_a_checkpoint_of_other_categories_is_refused() -> None:
    checkpoint: dict = {}
    PitchTimbreVAE(n_pitches=12, n_mels=64).on_save_checkpoint(checkpoint)
    with pytest.raises(
        ValueError, match=r"trained with \{'n_pitches': 12, .*this data and model have \{'n_pitches': 20"
    ):
        model().on_load_checkpoint(checkpoint)


def test_the_temperature_is_in_the_state() -> None:
    assert "temperature" in model().state_dict()
