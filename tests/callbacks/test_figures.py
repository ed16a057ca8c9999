from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from callbacks import figures
from callbacks.figure_style import save_figure
from callbacks.figures import FrameUnits
from callbacks.gathered_notes import NoteGatherer
from callbacks.run_figures import RunFigures, choose_categories, choose_examples, frame_units
from datamodules.note_pairs import NotePairs
from lightning_modules.pitch_timbre_vae import PitchTimbreVAE
from metrics.category_mapping import matched_accuracy

F_MELS = 64
UNITS = FrameUnits(np.geomspace(60, 11_000, F_MELS), 120.0)
NAMES = [("alto_sax", 60), ("cello", 48), ("oboe", 71), ("violin", 79)]


def texts(figure: Figure) -> str:
    found = [text.get_text() for axes in figure.axes for text in (*axes.texts, axes.title)]
    return " | ".join([*found, *(text.get_text() for text in figure.texts)])


def frames(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (*shape, F_MELS))


def test_a_frame_is_shown_in_decibels_and_hertz() -> None:
    assert UNITS.level(np.array([1.0, 0.0, -1.0])).tolist() == [0, -60, -120]
    assert UNITS.band(float(UNITS.mel_hz[7])) == pytest.approx(7)


def test_frame_units_are_those_of_the_data(small_pairs: NotePairs) -> None:
    """A band's centre is where the filter bank has its peak, and 10 dB are ln 10."""
    units = frame_units(small_pairs)
    rate = small_pairs.waveform_settings.sample_rate
    mel = small_pairs.mel
    bank = librosa.filters.mel(sr=rate, n_fft=mel.n_fft, n_mels=mel.n_mels, fmin=mel.fmin_hz, fmax=mel.fmax_hz)
    peak = bank.argmax(1)[200] * rate / mel.n_fft
    assert units.mel_hz[200] == pytest.approx(peak, abs=rate / mel.n_fft)
    assert small_pairs.scale is not None
    x = small_pairs.scale.normalise(torch.tensor([small_pairs.scale.high, small_pairs.scale.high - np.log(10)]))
    assert units.level(x.numpy())[1] == pytest.approx(-10, abs=1e-4)


def test_seeds_stand_in_the_last_row_below_what_is_generated() -> None:
    categories = [(3, 48), (17, 60), (9, 72)]
    figure = figures.draw_generated(frames(4), frames(3, 4), NAMES, categories, UNITS)
    assert len(figure.axes) == len(NAMES), "one column a seed note"
    for axes, (name, _) in zip(figure.axes, NAMES, strict=True):
        spectra = [line for line in axes.lines if len(line.get_xdata()) == F_MELS]
        assert [line.get_label() for line in spectra] == ["generated"] * 3 + ["input"]
        heights = [np.mean(line.get_ydata()) for line in spectra]
        assert heights == sorted(heights, reverse=True), "each row below the one before, the seeds last"
        assert sum(name.replace("_", " ") in text.get_text() for text in axes.texts) == 4
        assert [label.get_text() for label in axes.get_xticklabels()] == ["500", "1k", "2k", "5k", "10k"]
    rows = [text.get_text() for text in figure.axes[0].texts if "category" in text.get_text()]
    assert rows == ["category 9\nmostly C5", "category 17\nmostly C4", "category 3\nmostly C3"], "high above low"
    assert {"alto sax C4", "seed notes"} <= set(texts(figure).split(" | "))
    assert "frequency [Hz]" in texts(figure)
    assert "level [dB]" in texts(figure)


def test_a_fundamental_is_marked_where_the_pitch_is() -> None:
    figure = figures.draw_swaps(frames(1, 2), frames(1, 2), frames(1, 2), [("oboe", 69), ("cello", 81)], UNITS)
    marked = [line.get_xdata()[0] for axes in figure.axes for line in axes.lines if line.get_linestyle() == ":"]
    assert marked == pytest.approx([UNITS.band(hz) for hz in (440, 880, 880, 440)])


def test_pairs_show_input_reconstruction_and_swap() -> None:
    figure = figures.draw_swaps(frames(2, 2), frames(2, 2), frames(2, 2), NAMES, UNITS)
    assert len(figure.axes) == 4
    shown = [line.get_label() for line in figure.axes[0].lines if len(line.get_xdata()) == F_MELS]
    assert shown == ["input", "reconstruction"] * 2
    assert "timbre: alto sax, pitch: C3" in texts(figure)
    assert "timbre: violin, pitch: B4" in texts(figure)


def test_the_timbre_space_names_its_variance_and_tells_instruments_apart() -> None:
    instruments = [f"instrument_{number:02d}" for number in range(12)]
    labels = np.arange(120) % 12
    mu = np.zeros((120, 4))
    mu[:, 2], mu[:, 0] = 3.0 * np.cos(np.arange(120)), np.sin(np.arange(120))
    figure = figures.draw_timbre_space(mu, labels, 40 + np.arange(120) % 50, instruments)
    by_instrument, by_pitch = figure.axes[:2]
    assert by_instrument.get_xlabel() == "first principal component (90 % of the variance)"
    assert by_instrument.get_ylabel() == "second principal component (10 %)"
    looks = {
        (tuple(points.get_edgecolor()[0]), points.get_facecolor().size > 0, points.get_paths()[0].vertices.tobytes())
        for points in by_instrument.collections
    }
    assert len(looks) == 12
    assert by_instrument.get_legend().get_texts()[0].get_text() == "instrument 00"
    assert len(by_pitch.collections[0].get_offsets()) == 120
    assert [label.get_text() for label in figure.axes[2].get_yticklabels()] == ["C3", "C4", "C5", "C6"]


def test_the_matrix_is_diagonal_where_categories_are_renamed_pitches() -> None:
    pitches = np.arange(60) % 20
    renamed = (pitches * 7 + 3) % 20
    wrong = pitches.copy()
    wrong[:30] = (wrong[:30] + 12) % 20  # the first half of the scored notes lies elsewhere
    fitted, notes = ((renamed, pitches), ((wrong * 7 + 3) % 20, pitches))
    figure = figures.draw_pitch_matrix(tensors(*fitted), tensors(*notes), 20, 60)
    training, scored = figure.axes[:2]
    assert training.get_title() == "60 training notes: 100.0 % on the diagonal"
    assert scored.get_title() == "60 scored notes: 50.0 % on the diagonal"
    assert np.ma.filled(training.images[0].get_array(), 0)[1:].tolist() == (100 * np.eye(20)).tolist()
    assert training.get_xlabel() == "true pitch"
    assert [label.get_text() for label in training.get_xticklabels()] == ["C4", "C5"]


def tensors(*labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(labels[0]), torch.from_numpy(labels[1])


def test_the_matrix_shows_the_accuracy_of_the_metric() -> None:
    """Category 2 has no match among the training notes, which have one pitch fewer than the scored ones."""
    fitted = tensors(np.array([0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1]))
    scored = tensors(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 2]))
    figure = figures.draw_pitch_matrix(fitted, scored, 3, 60)
    assert matched_accuracy(*scored, *fitted) == 0.5
    assert figure.axes[1].get_title() == "4 scored notes: 50.0 % on the diagonal"
    shares = np.ma.filled(figure.axes[1].images[0].get_array(), 0).tolist()
    assert shares == [[0, 0, 100], [100, 0, 0], [0, 100, 0], [0, 0, 0]]


@pytest.mark.parametrize("name", ["Guitar $20_{ vs $200", "[/b]", "$x_{", "_hidden", "<b>&amp;", "100 %\\", "a\nb"])
def test_marks_in_a_name_are_drawn_as_they_are(name: str, tmp_path: Path) -> None:
    notes = [(name, 60), (name, 72)]
    figure = figures.draw_swaps(frames(1, 2), frames(1, 2), frames(1, 2), notes, UNITS)
    save_figure(figure, tmp_path / "swaps.png")
    space = figures.draw_timbre_space(np.eye(4), np.zeros(4, int), 60 + np.arange(4), [name])
    save_figure(space, tmp_path / "space.png")
    [label] = space.axes[0].get_legend().get_texts()
    assert label.get_text().replace("\\$", "$") == name.replace("_", " ")


def test_seeds_are_of_different_instruments() -> None:
    instruments = [0] * 10 + [1] * 10 + [2] * 2 + [3] * 10
    pitches = [*range(10), *range(10), 5, 6, *range(10)]
    chosen = choose_examples(instruments, pitches)
    assert [instruments[note] for note in chosen[:4]] == [0, 1, 2, 3]
    assert len(set(chosen)) == len(chosen) == 6
    assert pitches[chosen[0]] < pitches[chosen[1]]
    assert choose_examples([0], [60]) == [0]


def test_categories_are_spread_over_the_pitches() -> None:
    pitches = np.arange(400) % 40
    chosen = choose_categories((pitches + 5) % 40, pitches)
    assert [(category - 5) % 40 for category, _ in chosen] == [pitch for _, pitch in chosen]
    assert len(chosen) == 4
    assert np.diff([pitch for _, pitch in chosen]).min() >= 8
    assert choose_categories(np.zeros(9, int), np.full(9, 3)) == [(0, 3)], "a code that never woke"


def test_a_figure_is_saved_whole(tmp_path: Path) -> None:
    file = save_figure(Figure(), tmp_path / "new" / "figure.png")
    assert file.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in file.parent.iterdir()] == ["figure.png"]


@pytest.fixture
def test_stage(small_pairs: NotePairs, tmp_path: Path) -> Callable[..., Path]:
    """The hooks of a fit and of the test of a checkpoint, with a tiny model."""

    def run(fitted: bool, ckpt_path: str | None) -> Path:
        module = PitchTimbreVAE(n_pitches=small_pairs.n_pitches, width=16).eval()
        gatherer = NoteGatherer()
        trainer: Any = SimpleNamespace(ckpt_path=ckpt_path, datamodule=small_pairs, loggers=[], callbacks=[gatherer])
        (tmp_path / "metrics.csv").write_text("epoch,train/loss/kl_c,val/acc\n0,0.3,1\n1,2.0,5\n")
        callback = RunFigures(tmp_path, "m6", 0)
        if fitted:
            callback.on_fit_end(trainer, module)
        before = torch.get_rng_state()
        with torch.inference_mode():
            for loader, notes in enumerate((small_pairs.scored, small_pairs.parts.training)):
                indices = torch.from_numpy(np.flatnonzero(notes))
                batch = small_pairs.pairs(indices, torch.zeros(len(indices), dtype=torch.long))
                gatherer.on_test_batch_end(trainer, module, module.encode(batch.x), batch, 0, loader)
            callback.on_test_epoch_end(trainer, module)
        assert torch.equal(torch.get_rng_state(), before), "drawing takes none of the training's random numbers"
        return tmp_path / "figures"

    return run


def test_a_fit_draws_its_best_checkpoint(test_stage: Callable[..., Path]) -> None:
    folder = test_stage(fitted=True, ckpt_path="best.ckpt")
    names = {"generated", "swaps", "timbre_space", "pitch_matrix", "curves"}
    assert {file.name for file in folder.iterdir()} == {f"{name}.png" for name in names}


@pytest.mark.parametrize(("fitted", "ckpt_path"), [(True, None), (False, "best.ckpt")])
def test_nothing_else_is_drawn(fitted: bool, ckpt_path: str | None, test_stage: Callable[..., Path]) -> None:
    """Neither the last epoch, nor a checkpoint that another run tests."""
    folder = test_stage(fitted=fitted, ckpt_path=ckpt_path)
    assert not folder.exists()
