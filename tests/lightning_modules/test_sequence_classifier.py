from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks.checkpoints import write_checkpoint
from datamodules.sequence_batch import NoteSequenceBatch
from lightning_modules.note_classifier import NoteClassifier
from lightning_modules.sequence_classifier import NoteSequenceClassifier, is_held_out

N_MELS = 16


def batch_of(x: torch.Tensor, mask: torch.Tensor, instrument: torch.Tensor) -> NoteSequenceBatch:
    n = torch.arange(len(x))
    return NoteSequenceBatch(x, mask, x, mask, None, None, 0 * n, 0 * n, instrument, n, 0 * n)


@pytest.fixture
def classifier() -> NoteSequenceClassifier:
    torch.manual_seed(0)
    return NoteSequenceClassifier("instrument", n_instruments=3, n_mels=N_MELS, width=24).eval()


def test_frames_that_a_note_does_not_have_change_nothing(classifier: NoteSequenceClassifier) -> None:
    x, mask = torch.randn(4, 9, N_MELS), torch.arange(9) < torch.tensor([9, 3, 5, 1])[:, None]
    features = classifier.features(x, mask)
    assert features.shape == (4, 24)
    torch.testing.assert_close(classifier.posterior(x, mask).sum(-1), torch.ones(4))
    other = torch.where(mask[..., None], x, torch.full_like(x, -1))
    torch.testing.assert_close(classifier.features(other, mask), features)
    for note, length in enumerate([9, 3, 5, 1]):
        alone = classifier.features(x[note : note + 1, :length], torch.ones(1, length, dtype=torch.bool))
        torch.testing.assert_close(alone[0], features[note])


def test_a_tenth_of_the_notes_is_held_out_in_any_stretch_of_the_table() -> None:
    held = is_held_out(torch.arange(10_000))
    assert held.double().mean() == pytest.approx(0.1, abs=1e-3)
    for step in (1, 2, 4, 12):  # notes of one instrument, or every so many dynamics
        shares = held[::step].double().unfold(0, 100, 100).mean(1)
        assert shares.min() >= 0.05
        assert shares.max() <= 0.15


def test_held_out_notes_teach_nothing_and_are_logged_apart(classifier: NoteSequenceClassifier) -> None:
    logged: dict[str, float] = {}
    classifier.terms_log._log = logged.update  # type: ignore[assignment]
    x, mask = torch.randn(40, 6, N_MELS), torch.ones(40, 6, dtype=torch.bool)
    instrument, held = torch.arange(40) % 3, is_held_out(torch.arange(40))
    assert held.any()
    wrong = torch.where(held, (instrument + 1) % 3, instrument)
    losses: list[Any] = [classifier.training_step(batch_of(x, mask, labels), 0) for labels in (instrument, wrong)]
    assert losses[0] == losses[1]
    expected = torch.nn.functional.cross_entropy(classifier.posterior(x, mask)[~held].log(), instrument[~held])
    torch.testing.assert_close(losses[0], expected)
    classifier.validation_step(batch_of(x, mask, instrument), 0)
    classifier.on_validation_epoch_end()
    assert logged.keys() == {f"{stage}/{name}" for stage in ("val", "selection") for name in ("loss/total", "accuracy")}


def test_it_learns_a_course_that_no_single_frame_shows(classifier: NoteSequenceClassifier) -> None:
    """Notes of two instruments have the same frames in another order."""
    torch.manual_seed(1)
    rise = torch.linspace(-1, 1, 12)
    course = torch.stack([rise, rise.flip(0)])[torch.arange(64) % 2]
    x = course[..., None] + 0.1 * torch.randn(64, 12, N_MELS)
    mask, optimizer = torch.ones(64, 12, dtype=torch.bool), torch.optim.Adam(classifier.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        classifier.training_step(batch_of(x, mask, torch.arange(64) % 2), 0).backward()  # type: ignore[union-attr]
        optimizer.step()
    held = is_held_out(torch.arange(64))
    assert (classifier.posterior(x, mask).argmax(-1) == torch.arange(64) % 2)[held].all()


def test_a_kept_evaluator_is_the_same_and_is_none_of_frames(tmp_path: Path, classifier: NoteSequenceClassifier) -> None:
    file = tmp_path / "instrument.ckpt"
    write_checkpoint(classifier.kept("abc"), file)
    again = NoteSequenceClassifier.load(file, "abc", "instrument")
    assert again.fingerprint() == classifier.fingerprint()
    with pytest.raises(ValueError, match="not a classifier checkpoint"):
        NoteClassifier.load(file, "abc", "instrument")
