"""A fit of whole notes from the command line: its scores, its pictures, and the commands that read it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml

from datamodules.synthetic_tones import moving_tone
from experiments import run_measures
from experiments.__main__ import main
from experiments.grid.keys import base_arguments
from experiments.grid.settings import GridSettings
from experiments.paths import CONFIGS
from experiments.reporting.columns import WHOLE_NOTE_METRICS
from experiments.trained_runs import open_run
from experiments.whole_note_runs import WholeNoteRun, open_any_run

RATE = 22_050


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """A finished run of few notes, two epochs and evaluators of one."""
    patch, home = pytest.MonkeyPatch(), tmp_path_factory.mktemp("home")
    for name in ("classifier_sequence_pitch", "classifier_sequence_instrument", "classifier_sequence"):
        text = (CONFIGS / f"{name}.yaml").read_text()
        (home / f"{name}.yaml").write_text(text.replace("classifier.yaml", str(CONFIGS / "classifier.yaml")))
    short = yaml.safe_load((home / "classifier_sequence.yaml").read_text())
    short["trainer"]["max_epochs"] = 2
    (home / "classifier_sequence.yaml").write_text(yaml.safe_dump(short))
    patch.setattr("experiments.classifiers.CONFIGS", home)
    patch.setenv("WANDB_MODE", "disabled")
    folder = home / "whole" / "seed_0"
    words = ["--config", str(CONFIGS / "whole_notes.yaml"), "--row", "whole", "--run_dir", str(folder)]
    words += ["--classifier_dir", str(home / "classifiers"), "--data.cache_dir", str(cache_dir)]
    words += ["--data.source.instruments", "[oboe,cello]", "--data.max_notes", "64", "--data.batch_size", "16"]
    words += ["--data.split.validation_share", "0.25", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "2"]
    words += ["--model.class_path", "WholeNoteVAE", "--model.width", "32", "--trainer.enable_progress_bar", "false"]
    assert main(["fit", *words]) == 0
    patch.undo()
    return folder


@pytest.mark.slow
def test_a_fit_leaves_the_columns_and_pictures_of_whole_notes(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    for checkpoint in ("best", "last"):
        found = metrics[checkpoint]["honest"]
        absent = {metric.name for metric in WHOLE_NOTE_METRICS} - found.keys()
        undefined = {f"note_swap_{of}_share" for of in ("pitch", "instrument") if not found[f"note_real_{of}"]}
        articulations = {f"{code}_articulation" for code in ("g", "v", "centroid")}
        assert absent == undefined | articulations | (absent & {"g_instrument_1s"})
        assert np.isfinite(list(found.values())).all()
        assert metrics[checkpoint]["published"] == {}
    assert len(metrics["evaluator_fingerprint"].split()) == 2
    assert (run / "figures" / "whole_notes.png").stat().st_size > 10_000
    notes = pd.read_csv(run / "notes.csv")
    assert 100 * notes.honest_note_acc_abs.mean() == pytest.approx(metrics["best"]["honest"]["note_acc_abs"])


@pytest.mark.slow
def test_an_opened_run_reads_sounds_as_it_reads_its_notes(run: Path) -> None:
    opened = open_any_run(run)
    assert isinstance(opened, WholeNoteRun)
    codes = opened.codes_of_notes(opened.timbre)
    assert codes.shape == (64, opened.model.n_latent)
    note = next(iter(opened.data.notes.itertuples()))
    samples, rate = opened.data.source.read_audio(opened.data.root, note, opened.maker.waveforms.duration_s)
    frames = opened.read_sound(samples, rate)
    own = opened.data.read(torch.tensor([0]), torch.tensor([0]))
    length = int(own.mask[0].sum())
    shared = min(opened.data.n_frames, frames.x.shape[1])  # a sound is read whole, a note for data.sequence.length_s
    assert abs(shared - length) <= 1
    shared = min(shared, length)
    np.testing.assert_allclose(frames.x[0, :shared], own.x[0, :shared], atol=0.02)
    with pytest.raises(ValueError, match="single frames"):
        open_run(run)


@pytest.mark.slow
def test_listeners_and_moving_pitches_are_measured(run: Path, tmp_path: Path) -> None:
    sounds = tmp_path / "ratings" / "sounds" / "Study"
    sounds.mkdir(parents=True)
    (tmp_path / "ratings" / "true_dissim").mkdir()
    for number in range(4):
        tone = moving_tone(np.full(RATE // 2, 55.0 + number), RATE, np.random.default_rng(number))
        soundfile.write(sounds / f"{number}.wav", tone, RATE)
    ratings = np.triu(np.abs(np.subtract.outer(range(4), range(4))))
    np.savetxt(tmp_path / "ratings" / "true_dissim" / "Study_dissimilarity_matrix.txt", ratings)
    words = ["--runs", str(run), "--out", str(tmp_path / "out")]
    assert run_measures.timbre([*words, "--ratings", str(tmp_path / "ratings")]) == 0
    table = pd.read_csv(tmp_path / "out" / "timbre.csv").set_index("code")
    assert table.index.tolist() == ["MFCC (30), mean", "whole/seed_0 untrained", "whole/seed_0"]
    assert table.human_spearman.between(-1, 1).all()
    assert run_measures.pitch_courses([*words, "--sounds", str(sounds)]) == 0
    courses = pd.read_csv(tmp_path / "out" / "pitch-courses.csv")
    tracker = courses[courses.reader == "pYIN"]
    assert len(tracker) == 3
    assert tracker[tracker.sound.str.startswith("glissando")].within_50.item() > 80
    assert (courses.reference == "pYIN").sum() == 4


def test_a_grid_prepares_the_evaluators_of_each_kind_of_row() -> None:
    whole = ["--config", str(CONFIGS / "whole_notes.yaml")]
    assert base_arguments(GridSettings(rows=("m6", "m7"))) == [[]]
    assert base_arguments(GridSettings(rows=("whole_notes",))) == [whole]
    assert base_arguments(GridSettings(rows=("whole_notes", "m7"))) == [[], whole]
