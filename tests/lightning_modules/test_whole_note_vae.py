from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_modules import (
    note_views,
    objectives,
    own_objectives,
    pitch_course,
    sequence_objectives,
    whole_note_vae,
)
from lightning_modules.pitch_axis import EquivariantPitchEncoder
from lightning_modules.sequence_objectives import WholeNoteWeights
from lightning_modules.whole_note_module import NoteLatents
from lightning_modules.whole_note_vae import WholeNoteVAE
from tests.lightning_modules.whole_notes import SIZES, STAGE, batch, padded_otherwise

ALL = WholeNoteWeights(**{field.name: 1.0 for field in fields(WholeNoteWeights)})
AXIS = partial(EquivariantPitchEncoder, margin=6)
OF_THE_AXIS = {"alignment", "expected_shift", "balance"}


def model(weights: WholeNoteWeights = ALL, **more: Any) -> WholeNoteVAE:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"n_latent": 5, "n_course": 3, "channels": 8, "axis": STAGE, "pitch_encoder": AXIS}
    return WholeNoteVAE(weights, **SIZES, **(settings | more))


@pytest.fixture
def epoch(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epoch that the models take for the current one; the first after the axis stage."""
    now = [1]
    monkeypatch.setattr(WholeNoteVAE, "current_epoch", property(lambda self: now[0]))
    return now


def trained(module: WholeNoteVAE, notes: Any) -> set[str]:
    """The parts of a model that a step has a gradient for."""
    module.zero_grad(set_to_none=True)
    module.train()
    module.on_train_epoch_start()
    module.terms_log._sums.clear()
    module.training_step(notes, 0)["loss"].backward()
    grads = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    return {name.partition(".")[0] for name, grad in grads.items() if grad.abs().sum() > 0}


def test_the_terms_are_the_fields_of_the_weights() -> None:
    terms, _ = model().objective_terms(batch())
    assert set(terms) == {field.name for field in fields(WholeNoteWeights)} - OF_THE_AXIS
    for name in set(terms) - {"kl_g"}:
        assert any(hasattr(module, name) for module in (objectives, own_objectives, sequence_objectives)), name


def test_latents_have_the_shapes_of_their_notes() -> None:
    notes, module = batch(), model().eval()
    q = module.encode_notes(notes.x, notes.mask)
    sizes = {name: tuple(value.shape) for name, value in vars(q).items()}
    note, course = (6, 5), (6, 9, 3)
    assert sizes == {
        **dict.fromkeys(("mu", "logvar", "g"), note),
        **dict.fromkeys(("v", "v_mu", "v_logvar"), course),
        **dict.fromkeys(("cents", "loudness"), (6, 9)),
        "logits": (6, 9, 20),
        "category": (6,),
    }
    by_note, by_frame = (module.decode_notes(q.g, pitch, q.loudness, q.v) for pitch in (q.category, q.c))
    assert by_note.shape == by_frame.shape == (6, 9, 64)
    assert torch.equal(q.g, q.mu)
    assert torch.equal(q.category, pitch_course.vote(q.logits, q.loudness, notes.mask))


@pytest.mark.parametrize("perturbation", [True, False])
def test_frames_that_a_note_does_not_have_change_nothing(perturbation: bool) -> None:
    notes, module = batch(), model(perturbation=perturbation).eval()
    padded = padded_otherwise(notes)
    first, second = (module.validation_step(each, 0) for each in (notes, padded))
    for name, value in vars(first).items():
        other: Tensor = getattr(second, name)
        if value.ndim > 1 and value.shape[1] == notes.x.shape[1]:
            value, other = value[notes.mask], other[padded.mask]
        torch.testing.assert_close(value, other, msg=name)
    terms, other_terms = (module.objective_terms(each)[0] for each in (notes, padded))
    for name, term in terms.items():
        torch.testing.assert_close(term, other_terms[name], msg=name)


def test_padding_changes_no_training_step_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(note_views, "random_filters", lambda x, deviation: torch.zeros(len(x), x.shape[-1]))
    monkeypatch.setattr(note_views, "few_or_all", lambda mask, share: mask)
    monkeypatch.setattr(whole_note_vae, "some_frames", lambda mask, n: mask)
    monkeypatch.setattr(whole_note_vae, "gaussian_draw", lambda mu, logvar, training: mu)
    module, notes = model(replace(ALL, reentry=0, prior_frames=0)).train(), batch()
    first, second = (module.objective_terms(each)[0] for each in (notes, padded_otherwise(notes)))
    for name, term in first.items():
        torch.testing.assert_close(term, second[name], msg=name)


@pytest.mark.parametrize("frames", [1, 2, 40])
def test_any_number_of_frames_is_read(frames: int) -> None:
    module = model().eval()
    x = torch.rand(3, frames, 64) * 2 - 1
    q = module.encode_notes(x, torch.ones(3, frames, dtype=torch.bool))
    assert module.decode_notes(q.g, q.category, q.loudness, q.v).isfinite().all()


def test_the_timbre_is_read_from_the_other_segment_and_does_not_know_the_order() -> None:
    notes, module = batch(), model().eval()
    q = module.encode_notes(notes.x, notes.mask, None, notes.other, notes.other_mask)
    alone = module.encode_notes(notes.other, notes.other_mask)
    torch.testing.assert_close(q.mu, alone.mu)
    full = notes.other[:1].flip(1)
    torch.testing.assert_close(module.encode_notes(full, notes.other_mask[:1]).mu, alone.mu[:1])


def test_the_course_does_not_see_a_static_filter() -> None:
    notes, module = batch(), model().eval()
    filtered = 0.8 * notes.x + 0.05 * torch.linspace(-1, 1, 64)
    plain = module.encode_notes(0.8 * notes.x, notes.mask)
    assert torch.allclose(module.encode_notes(filtered, notes.mask).v, plain.v, atol=1e-5)
    assert not torch.allclose(module.encode_notes(filtered, notes.mask).mu, plain.mu, atol=1e-3)


def test_the_axis_is_learned_first_then_frozen_and_the_course_is_learned_last(epoch: list[int]) -> None:
    module, notes = model(epochs_without_course=1), batch()
    epoch[0] = 0
    assert trained(module, notes) == {"pitch_encoder"}
    module.candidate_mass[0, 6:26] = 1.0
    epoch[0] = 1
    rest = {"timbre_encoder", "decoder"}
    assert trained(module, notes) == rest
    module.eval()
    assert module.validation_step(notes, 0).v.abs().sum() == 0
    state = {name: value.clone() for name, value in module.pitch_encoder.state_dict().items()}
    epoch[0] = 2
    assert trained(module, notes) == rest | {"course_encoder", "persistence"}
    assert all(torch.equal(value, state[name]) for name, value in module.pitch_encoder.state_dict().items())
    module.eval()
    assert module.validation_step(notes, 0).v.abs().sum() > 0


def test_reentry_teaches_the_decoder_and_the_timbre_encoder_together(epoch: list[int]) -> None:
    only = WholeNoteWeights(reconstruction=0, kl_g=0, kl_v=0, reentry=1)
    assert trained(model(only), batch()) == {"timbre_encoder", "decoder", "course_encoder"}


def test_true_labels_are_never_read(epoch: list[int]) -> None:
    def weights_after(notes: Any) -> dict[str, Tensor]:
        module = model()
        optimiser = torch.optim.Adam(module.parameters())
        torch.manual_seed(5)
        for epoch[0] in (0, 1, 2):
            trained(module, notes)
            optimiser.step()
        return module.state_dict()

    notes = batch()
    poisoned = notes._replace(pitch=notes.pitch.flip(0), instrument=notes.instrument + 7)
    first, second = weights_after(notes), weights_after(poisoned)
    assert all(torch.equal(value, second[name]) for name, value in first.items() if not value.isnan().any())


def test_a_model_without_a_course_has_none() -> None:
    module, notes = model(n_course=0).eval(), batch()
    q = module.validation_step(notes, 0)
    assert isinstance(q, NoteLatents)
    assert q.v.shape == (6, 9, 0)
    assert "kl_v" not in module.objective_terms(notes)[0]
    assert not any(name.startswith("course_encoder") for name, _ in module.named_parameters())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"n_course": -1}, r"model\.n_course is -1"),
        ({"n_course": 0, "epochs_without_course": 2}, r"model\.epochs_without_course 2"),
        ({"decoded_frames": 0}, r"model\.decoded_frames is 0"),
        ({"learning_rate": 0.0}, r"model\.learning_rate is 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        model(**settings)
