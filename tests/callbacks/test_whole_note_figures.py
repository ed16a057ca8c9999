from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from callbacks.whole_note_figures import WholeNoteFigures
from tests.callbacks.whole_notes import LOWEST, KnowingModel, Notes, trainer_of


def test_a_pair_of_notes_is_drawn_with_its_swaps_and_courses() -> None:
    data, module = Notes(), KnowingModel()
    drawn = WholeNoteFigures(Path("nowhere"), "m8", 0).draw(data, module)
    assert set(drawn) == {"timbre_space", "whole_notes"}
    axes = drawn["whole_notes"].axes
    images = [each.get_images()[0].get_array() for each in axes if each.get_images()]
    assert len(images) == 5
    note, reconstruction, swap, other_swap, other = images
    assert note.shape == reconstruction.shape == swap.shape
    assert other_swap.shape == other.shape
    np.testing.assert_allclose(reconstruction, note, atol=1e-2)
    assert np.abs(swap - note).max() > 1, "the timbre is another one"
    pitch, level, course = axes[-3:]
    label, read = (line.get_ydata() for line in pitch.get_lines())
    assert label[0] >= LOWEST
    np.testing.assert_allclose(read, label[0])
    assert [line.get_label() for line in level.get_lines()] == ["note", "reconstruction", "swap"]
    assert len(course.get_lines()) == module.n_course


def test_pictures_are_drawn_of_the_fits_best_checkpoint_alone(tmp_path: Path) -> None:
    callback, data, module = WholeNoteFigures(tmp_path, "m8", 0), Notes(), KnowingModel()
    callback.on_test_epoch_end(trainer_of(data, ckpt_path="best.ckpt"), module)
    callback.on_fit_end(trainer_of(data), module)  # type: ignore[arg-type]
    callback.on_test_epoch_end(trainer_of(data, ckpt_path=None), module)
    assert not list(tmp_path.iterdir())
    callback.on_test_epoch_end(trainer_of(data, ckpt_path="best.ckpt"), module)
    assert {file.name for file in (tmp_path / "figures").iterdir()} == {"timbre_space.png", "whole_notes.png"}


@pytest.mark.parametrize("calibrated", [True, False])
def test_the_pitch_is_shown_with_or_without_a_calibration(calibrated: bool) -> None:
    data, module = Notes(), KnowingModel()
    module.midi_offset.fill_(LOWEST - 1 if calibrated else np.nan)
    pitch = WholeNoteFigures(Path("nowhere"), "m8", 0).draw(data, module)["whole_notes"].axes[-3]
    label, read = (line.get_ydata() for line in pitch.get_lines())
    np.testing.assert_allclose(read, label[0] - calibrated)
