"""The rivals of M8 offer the same protocol, learn what they should, and never read a label."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_modules.framewise_vae import FramewiseVAE
from lightning_modules.own_objectives import TwoStageWeights
from lightning_modules.pitch_axis import EquivariantPitchEncoder
from lightning_modules.sequence_objectives import kl_between
from lightning_modules.ts_dsae import TwoStageSequenceVAE
from lightning_modules.variance_invariance import VarianceInvarianceAE
from lightning_modules.whole_note_module import WholeNoteModule
from tests.lightning_modules.whole_notes import SIZES, STAGE, batch, padded_otherwise

AXIS = partial(EquivariantPitchEncoder, margin=6)


def ts_dsae() -> TwoStageSequenceVAE:
    sizes: dict[str, Any] = {"n_latent": 5, "n_course": 4, "channels": 8, "epochs_without_course": 1}
    return TwoStageSequenceVAE(axis=STAGE, pitch_encoder=AXIS, perturbation=False, **SIZES, **sizes)


def m7_frames() -> FramewiseVAE:
    weights = TwoStageWeights(alignment=1, expected_shift=0.1, balance=1, regression=1, leakage=1)
    return FramewiseVAE(weights=weights, axis=STAGE, pitch_encoder=AXIS, elbo_of="note", amsgrad=False, **SIZES)


def v3() -> VarianceInvarianceAE:
    return VarianceInvarianceAE(n_latent=5, n_content=4, **SIZES)


RIVALS = [ts_dsae, m7_frames, v3]


@pytest.fixture
def epoch(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epoch that the models take for the current one."""
    now = [3]
    monkeypatch.setattr(WholeNoteModule, "current_epoch", property(lambda self: now[0]))
    return now


def step(module: Any, notes: Any) -> set[str]:
    """The parts of a model that a training step has a gradient for."""
    module.zero_grad(set_to_none=True)
    module.train()
    module.on_train_epoch_start()
    module.terms_log._sums.clear()
    module.training_step(notes, 0)["loss"].backward()
    grads = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    return {name.partition(".")[0] for name, grad in grads.items() if grad.abs().sum() > 0}


@pytest.mark.parametrize("make", RIVALS)
@pytest.mark.parametrize("frames", [1, 12])
def test_rivals_read_and_decode_notes_of_any_length(make: Callable[[], Any], frames: int) -> None:
    module = make().eval()
    x = torch.rand(3, frames, 64) * 2 - 1
    q = module.encode_notes(x, torch.ones(3, frames, dtype=torch.bool))
    assert q.logits.shape == (3, frames, 20)
    assert q.g.shape == (3, module.n_latent)
    assert q.v.shape == (3, frames, module.n_course)
    for pitch in (q.category, q.c):
        decoded = module.decode_notes(q.g, pitch, q.loudness, q.v)
        assert decoded.shape == x.shape
        assert decoded.isfinite().all()


@pytest.mark.parametrize("make", RIVALS)
def test_frames_that_a_note_does_not_have_change_nothing(make: Callable[[], Any], epoch: list[int]) -> None:
    notes, module = batch(), make().eval()
    padded = padded_otherwise(notes)
    first, second = (module.validation_step(each, 0) for each in (notes, padded))
    for name in ("mu", "g", "category"):
        torch.testing.assert_close(getattr(first, name), getattr(second, name), msg=name)
    torch.testing.assert_close(first.v[notes.mask], second.v[padded.mask])
    terms, other = (module.objective_terms(each)[0] for each in (notes, padded))
    for name in set(terms) - {"prior_global", "prior_local"}:  # their noise is as long as the batch
        torch.testing.assert_close(terms[name], other[name], msg=name)


@pytest.mark.parametrize("make", RIVALS)
def test_true_labels_are_never_read(make: Callable[[], Any], epoch: list[int]) -> None:
    def weights_after(notes: Any) -> dict[str, Tensor]:
        torch.manual_seed(0)
        module = make()
        optimiser = torch.optim.Adam(module.parameters())
        for epoch[0] in (0, 1, 2):
            step(module, notes)
            optimiser.step()
        return module.state_dict()

    notes = batch()
    first, second = (weights_after(each) for each in (notes, notes._replace(pitch=notes.pitch.flip(0))))
    assert all(torch.equal(value, second[name]) for name, value in first.items() if not value.isnan().any())


def test_ts_dsae_learns_the_axis_then_the_global_latent_then_all(epoch: list[int]) -> None:
    module, notes = ts_dsae(), batch()
    learned = []
    for epoch[0] in (0, 1, 2):
        learned.append(step(module, notes))
    rest = {"timbre_encoder", "decoder"}
    assert learned == [{"pitch_encoder"}, rest, rest | {"course_encoder", "persistence"}]


def test_ts_dsae_takes_the_first_stage_for_the_prior(epoch: list[int]) -> None:
    module, notes = ts_dsae(), batch()
    epoch[0] = 2
    step(module, notes)
    kept, own = module.prior_encoder.state_dict(), module.timbre_encoder.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in kept.items() if name.endswith(("weight", "bias")))
    torch.nn.init.normal_(module.timbre_encoder.head.weight)
    epoch[0] = 3
    step(module, notes)
    assert not torch.equal(module.prior_encoder.head.weight, module.timbre_encoder.head.weight)
    module.eval()
    terms, q = module.objective_terms(notes)
    prior = module.prior_encoder(notes.other, notes.other_mask)
    torch.testing.assert_close(terms["kl_g"], kl_between(q.mu, q.logvar, *prior))


def test_ts_dsae_decodes_from_its_two_latents_alone() -> None:
    notes, module = batch(), ts_dsae().eval()
    q = module.encode_notes(notes.x, notes.mask)
    decoded = module.decode_notes(q.g, q.category, q.loudness, q.v)
    assert torch.equal(module.decode_notes(q.g, q.category.flip(0), q.loudness + 1, q.v), decoded)
    with pytest.raises(ValueError, match=r"model\.perturbation"):
        TwoStageSequenceVAE(**SIZES)


def test_m7_by_frames_is_m7_on_one_frame_and_averages_its_timbre(epoch: list[int]) -> None:
    notes, module = batch(), m7_frames().eval()
    pairs = notes.frame_pairs
    latents = module.encode(pairs.x)
    expected = module.elbo_terms(latents, pairs.x, 1, latents.inside)["reconstruction"]
    torch.testing.assert_close(module.objective_terms(notes)[0]["reconstruction"], expected)
    q = module.encode_notes(notes.x, notes.mask)
    torch.testing.assert_close(q.mu[2], module.encode(notes.x[2, notes.mask[2]]).mu.mean(0))


def test_v3_decodes_from_the_nearest_code(epoch: list[int]) -> None:
    notes, module = batch(), v3()
    assert step(module, notes) == {"timbre_encoder", "pitch_encoder", "decoder"}
    module.eval()
    x = notes.x[:, 0]
    content = module.pitch_encoder.content(x)
    nearest = torch.cdist(content, module.pitch_encoder.codes).argmin(-1)
    assert torch.equal(module.pitch_encoder(x).argmax(-1), nearest)
    module.calibrate(x, nearest + 40)
    assert module.midi_offset == 40
    assert module.calibration_agreement == 1
