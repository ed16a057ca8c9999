"""The commands that read finished runs: robustness and timbre."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml

from datamodules.epoch_sampler import ShiftSettings
from datamodules.note_pairs import NotePairs
from datamodules.sources.embedded import EmbeddedNotes
from datamodules.splits import SplitSettings
from experiments import labelled_encoder, robustness, run_measures
from experiments.human_ratings import read_studies
from experiments.trained_runs import open_run
from lightning_modules.pitch_timbre_vae import PitchTimbreVAE

DATA = {
    "source": {"class_path": "EmbeddedNotes", "init_args": {"instruments": ["oboe", "cello"], "seed": "${seed}"}},
    "split": {"validation_share": 0.25},
    "shifts": {"pairs": "table"},
    "max_notes": 64,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """A run's folder as a fit leaves it, with a model that was not trained."""
    folder = tmp_path_factory.mktemp("runs") / "m0" / "seed_0"
    (folder / "checkpoints").mkdir(parents=True)
    content = {"seed": 0, "data": {**DATA, "cache_dir": str(cache_dir)}}
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    source = EmbeddedNotes(instruments=["oboe", "cello"])
    data = NotePairs(
        source, split=SplitSettings(validation_share=0.25), shifts=ShiftSettings(), max_notes=64, cache_dir=cache_dir
    )
    data.setup()
    torch.manual_seed(0)
    model = PitchTimbreVAE(n_pitches=data.n_pitches, n_mels=data.n_mels, width=16)
    checkpoint = {"state_dict": model.state_dict(), "NotePairs": data.state_dict()}
    checkpoint |= {"epoch": 0, "global_step": 0, "pytorch-lightning_version": "2.5.0"}
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, folder / "checkpoints" / "best.ckpt")
    return folder


def test_frames_of_a_runs_sounds_are_those_of_its_notes(run: Path) -> None:
    opened = open_run(run)
    indices = torch.arange(len(opened.data.notes))
    expected = opened.data.pairs(indices, torch.zeros(len(indices), dtype=torch.long)).x
    frames = opened.frames(opened.sounds(0.5))
    torch.testing.assert_close(frames.x, expected, atol=0.02, rtol=0)  # resampled once more, at the same rate
    assert frames.audible.all()
    assert opened.name == "m0/seed_0"


def test_silence_is_not_audible_and_counts_as_wrong(run: Path) -> None:
    reader = robustness.Reader.fitted(open_run(run))
    assert set(reader.score(np.zeros_like(reader.sounds)).values()) == {0.0}
    clean = reader.score(reader.sounds)
    assert clean == reader.score(reader.sounds.copy())
    assert set(clean) == set(robustness.MEASURES)


def test_yin_reads_tones_at_the_instant() -> None:
    time = np.arange(22_050) / 22_050
    tones = np.stack([np.sin(2 * np.pi * 440 * 2 ** ((midi - 69) / 12) * time) for midi in (45, 57, 69, 81)])
    assert robustness.yin_accuracy(tones, 22_050, 0.2, np.array([45, 57, 69, 82])) == 75.0


def test_robustness_writes_a_row_for_each_degradation_and_nothing_into_the_run(run: Path, tmp_path: Path) -> None:
    before = sorted(run.rglob("*"))
    assert run_measures.robustness(["--runs", str(run), "--out", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "robustness.csv")
    assert {"clean", "pink noise 20 dB", "+40 cents", "frame at 0.05 s", "second note -10 dB"} <= set(table.sounds)
    ceiling = table[table.run == labelled_encoder.NAME].set_index("sounds").instrument
    assert ceiling["clean"] > 80
    assert ceiling.index.tolist() == table[table.run == "m0/seed_0"].sounds.tolist()[1:]
    degraded = table[(table.sounds != "real frames (ceiling)") & (table.run != labelled_encoder.NAME)]
    assert degraded[list(robustness.MEASURES)].stack().between(0, 100).all()
    assert degraded.yin_pitch[degraded.sounds == "clean"].item() > 80
    assert "| pink noise 10 dB |" in (tmp_path / "robustness.md").read_text()
    assert sorted(run.rglob("*")) == before


def test_the_labelled_code_is_the_last_hidden_layer() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)), np.arange(60) % 3
    encoder = labelled_encoder.LabelledEncoder.fitted(x + y[:, None], y, n_latent=4)
    codes = encoder(x + y[:, None])
    logits = codes @ encoder.network.coefs_[-1] + encoder.network.intercepts_[-1]
    assert codes.shape == (60, 4)
    assert (logits.argmax(1) == encoder.network.predict(encoder.scaler.transform(x + y[:, None]))).all()


def ratings_folder(folder: Path) -> Path:
    """Four tones whose ratings are the differences of their brightness."""
    (folder / "sounds" / "Study").mkdir(parents=True)
    (folder / "true_dissim").mkdir()
    time, brightness = np.arange(22_050) / 22_050, np.array([0.2, 0.5, 1.0, 2.0])
    for number, share in enumerate(brightness):
        tone = sum(share**order * np.sin(2 * np.pi * 220 * order * time) / 2 for order in range(1, 6))
        soundfile.write(folder / "sounds" / "Study" / f"{number}.aiff", 0.1 * tone / np.abs(tone).max(), 22_050)
    ratings = np.triu(np.abs(brightness[:, None] - brightness))
    np.savetxt(folder / "true_dissim" / "Study_dissimilarity_matrix.txt", ratings)
    return folder


def test_timbre_compares_codes_with_mfcc_an_untrained_encoder_and_listeners(run: Path, tmp_path: Path) -> None:
    ratings = ratings_folder(tmp_path / "ratings")
    assert run_measures.timbre(["--runs", str(run), "--ratings", str(ratings), "--out", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "timbre.csv").set_index("code")
    assert table.index.tolist() == ["MFCC (30)", "m0/seed_0 untrained", labelled_encoder.NAME, "m0/seed_0"]
    assert table.far_neighbours[labelled_encoder.NAME] > 90
    assert table.human_spearman["MFCC (30)"] > 0.7
    assert table.human_triplets.between(0, 100).all()
    assert (table.register_r2 <= 1).all()


def test_ratings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="true_dissim"):
        read_studies(tmp_path)
    folder = ratings_folder(tmp_path / "ratings")
    study = read_studies(folder)[0]
    assert (study.ratings == study.ratings.T).all()
    study.files[2].unlink()
    with pytest.raises(ValueError, match=r"3 sounds, .* 4"):
        read_studies(folder)
    matrix = folder / "true_dissim" / "Study_dissimilarity_matrix.txt"
    for wrong in ("1 2\n3 x\n", "1 2 3\n4 5 6\n", "1 2 3\n4 5 nan\n4 5 nan\n"):
        matrix.write_text(wrong)
        with pytest.raises(ValueError, match=matrix.name):
            read_studies(folder)


@pytest.mark.parametrize("command", [run_measures.robustness, run_measures.timbre])
@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (None, "config.yaml"),
        ("data: {source: {class_path: os.system}, shifts: {}}", "config.yaml"),
        ("data: {source: {class_path: EmbeddedNotes}, shifts: {}, name: '${oc.env:HOME}'}", "config.yaml"),
        ("a: &a [x]\ndata: *a", "config.yaml"),
        ("data: [", "config.yaml"),
    ],
)
def test_a_folder_that_is_no_run_is_one_line(run, tmp_path, capsys, command, damage, named) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.ckpt").write_bytes((run / "checkpoints" / "best.ckpt").read_bytes())
    if damage is not None:
        (tmp_path / "config.yaml").write_text(damage)
    with pytest.raises(SystemExit) as ended:
        command(["--runs", str(tmp_path), "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert named in error
    assert not (tmp_path / "out").exists()
