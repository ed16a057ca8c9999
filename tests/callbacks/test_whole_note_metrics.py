from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from callbacks.checkpoints import write_checkpoint
from callbacks.whole_note_codes import NoteCodes
from callbacks.whole_note_metrics import WholeNoteMetrics
from callbacks.whole_note_swaps import tracked_correctly
from datamodules.mel import FrameScale, MelSettings, mel_filters
from datamodules.synthetic_tones import moving_tone
from lightning_modules.sequence_classifier import NoteSequenceClassifier
from tests.callbacks.whole_notes import INSTRUMENTS, KnowingModel, Nearest, Notes, trainer_of


def gathered(module: KnowingModel, data: Notes, testing: bool) -> tuple[WholeNoteMetrics, Any]:
    """A callback that has seen the notes of a validation or a test."""
    callback, trainer = WholeNoteMetrics(Path("nowhere"), tracked=0), trainer_of(data)
    callback._evaluators = {label: Nearest(label, data) for label in ("pitch", "instrument")}  # type: ignore[misc]
    for loader, notes in enumerate((data.scored, ~data.scored) if testing else (data.scored,)):
        for rows in torch.from_numpy(np.flatnonzero(notes)).split(20):
            batch = data.sequences(rows, 0 * rows)
            hook = callback.on_test_batch_end if testing else callback.on_validation_batch_end
            hook(trainer, module, module.encode_notes(batch.x, batch.mask), batch, 0, loader)
    return callback, trainer


def test_a_model_that_knows_the_notes_reaches_the_ceiling() -> None:
    module, data = KnowingModel(), Notes()
    callback, trainer = gathered(module, data, testing=True)
    callback.on_test_epoch_end(trainer, module)
    found = {name.removeprefix("honest/"): value for name, value in module.logged.items()}
    assert found["note_acc"] == found["note_acc_abs"] == 100
    assert found["frame_error_db"] == pytest.approx(0, abs=0.01)
    assert found["g_instrument"] == found["g_articulation"] == 100
    assert found["g_pitch"] < 20
    assert found["c_pitch"] == 100
    assert found["note_swap_instrument"] == found["note_real_instrument"] == 100
    assert found["note_swap_pitch"] == found["note_real_pitch"] == found["note_swap_pitch_share"] == 100
    assert found["note_swap_other"] == 0
    assert found["loudness_rest"] == pytest.approx(1, abs=1e-3)
    assert found["loudness_timbre"] < 0.9
    assert found["note_fid_recon"] == pytest.approx(0, abs=1e-4)
    assert found["g_far_neighbours" if "g_far_neighbours" in found else "g_register_r2"] <= 100
    assert len(callback.notes) == data.scored.sum()
    assert callback.notes.honest_g_instrument.mean() == 1
    assert "honest_g_dynamic" not in callback.notes, "half of the notes have no dynamic"
    assert set(callback.training_notes.pitch.tolist()) == set(data.pitch.tolist())


def test_a_collapsed_timbre_shows_in_the_swaps_alone() -> None:
    module, data = KnowingModel(ignores_timbre=True), Notes()
    callback, trainer = gathered(module, data, testing=True)
    callback.on_test_epoch_end(trainer, module)
    assert module.logged["honest/g_instrument"] == 100
    assert module.logged["honest/note_swap_instrument"] == 0
    assert module.logged["honest/note_swap_other"] == 100
    assert module.logged["honest/frame_error_db"] == pytest.approx(0, abs=0.01)


def test_an_epoch_logs_the_cheap_values_and_lets_the_notes_go() -> None:
    module, data = KnowingModel(), Notes()
    callback, trainer = gathered(module, data, testing=False)
    callback.on_validation_epoch_end(trainer, module)
    callback.on_validation_end(trainer, module)  # type: ignore[arg-type]
    assert (
        module.logged["val/acc"] == module.logged["val/honest/acc_abs"] == module.logged["val/note_swap_pitch"] == 100
    )
    assert callback._parts == ([], [])


def test_notes_that_cannot_be_swapped_have_no_swaps() -> None:
    module, data = KnowingModel(), Notes()
    data.scored = data.scored & (data.instrument == 0).numpy()
    callback, trainer = gathered(module, data, testing=True)
    callback.on_test_epoch_end(trainer, module)
    assert not any(name.startswith("honest/note_swap") for name in module.logged)
    assert module.logged["honest/note_acc"] == 100


def test_the_timbre_of_an_instant_is_read_from_frames_around_it() -> None:
    module, data, seen = KnowingModel(), Notes(), []
    batch = data.sequences(torch.tensor([0, 1, 2]), torch.zeros(3, dtype=torch.long))
    time = torch.arange(batch.x.shape[1]).float()[None, :, None].expand_as(batch.x)
    batch = batch._replace(x=time, mask=torch.arange(time.shape[1]) < torch.tensor([40, 12, 5])[:, None])

    def encode(x: torch.Tensor, mask: torch.Tensor, *_: Any) -> Any:
        seen.append(x[:, :, 0].tolist())
        return KnowingModel.encode_notes(module, x, mask)

    module.encode_notes = encode  # type: ignore[method-assign]
    latents = KnowingModel.encode_notes(module, batch.x, batch.mask)
    units = type("Units", (), {"range_db": 80.0, "mel_hz": np.array(data.mel_hz)})
    codes = NoteCodes.of(module, batch, latents, units, data.frame_rate_hz)  # type: ignore[arg-type]
    assert seen == [[[0, 1, 2, 3, 4]] * 3, [[8, 9, 10, 11, 12]]], "no note lasts a second"
    assert np.isfinite(codes.instants["200ms"]).all(1).tolist() == [True, False, False]
    assert codes.instants["1s"].shape == (3, INSTRUMENTS)
    assert np.isnan(codes.instants["1s"]).all()


def test_the_tracker_hears_the_pitch_of_frames_and_not_that_of_the_renderer() -> None:
    class Data(Notes):
        mel = MelSettings()
        frame_rate_hz = 22_050 / 441

    midi, random = np.array([50, 64, 77]), np.random.default_rng(0)
    scale, filters = FrameScale(-16.0, 4.0), mel_filters(Data.mel, 22_050).to_dense()
    Data.scale = scale
    frames = []
    for pitch in midi:
        tone = torch.from_numpy(moving_tone(np.full(22_050, float(pitch)), 22_050, random))
        spectrum = torch.stft(tone, 2048, 441, window=torch.hann_window(2048), return_complex=True).abs() ** 2
        frames.append(scale.normalise((filters @ spectrum + 1e-16).log().T))
    x, mask = torch.stack(frames), torch.ones(3, len(frames[0]), dtype=torch.bool)
    assert tracked_correctly(x, mask, midi, Data()).all()
    assert not tracked_correctly(x, mask, midi + 1, Data()).any()
    mask[1, 8:] = False
    assert tracked_correctly(x, mask, midi, Data()).tolist() == [True, False, True]


def test_evaluators_that_are_lacking_or_of_frames_are_refused(tmp_path: Path) -> None:
    callback, trainer = WholeNoteMetrics(tmp_path), trainer_of(Notes())
    with pytest.raises(ValueError, match="classifiers"):
        callback.setup(trainer, KnowingModel(), "test")  # type: ignore[arg-type]
    for label in ("pitch", "instrument"):
        kept = NoteSequenceClassifier(label, 12, 3, 48, width=8).kept("hash")  # type: ignore[arg-type]
        write_checkpoint(kept, tmp_path / "hash" / f"{label}.ckpt")
    callback.setup(trainer, KnowingModel(), "test")  # type: ignore[arg-type]
    assert len(set(callback.fingerprints().values())) == 2
    with pytest.raises(ValueError, match="tracked"):
        WholeNoteMetrics(tmp_path, tracked=-1)
