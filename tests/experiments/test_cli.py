"""The product's own door: `lightning fit|test` on a few notes."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from callbacks.generation_metrics import GenerationMetrics
from datamodules.batch import NotePair
from datamodules.note_pairs import NotePairs
from datamodules.sources.embedded import EmbeddedNotes
from experiments.__main__ import main
from experiments.classifiers import folder_of
from experiments.cli import has_bf16_arithmetic
from experiments.reporting.columns import CHANCE_LEVELS, HONEST_GENERATION, HONEST_METRICS
from lightning_modules.load import load

CONFIGS = Path(__file__).parents[2] / "configs"
METRICS = {"pitch", "instrument", "combine", "acc", "pm"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache and one pair of classifiers for all runs of this file."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def fit(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.chdir(home)  # no configuration depends on the working directory
    monkeypatch.setenv("WANDB_MODE", "disabled")

    def run(run_dir: Path, *words: str, config: str = "smoke", command: str = "fit") -> None:
        shared = ["--classifier_dir", str(home / "classifiers"), "--data.cache_dir", str(home / "cache")]
        shared += ["--trainer.accelerator", "cpu"]  # where bits are compared: a GPU's sums have no fixed order
        size = ["--data.max_notes", "64", "--data.source.instruments", "[oboe,cello,flute]"]
        main([command, "--config", str(CONFIGS / f"{config}.yaml"), *shared, *size, "--run_dir", str(run_dir), *words])

    return run


def weights(run_dir: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_fit_leaves_its_record(fit: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path)
    metrics, run = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("metrics", "run"))
    for checkpoint in ("best", "last"):
        assert METRICS | {"fid_recon", "fid_rand", "cds", "nmi"} == metrics[checkpoint]["published"].keys()
        shown = {metric.name for metric in (*HONEST_METRICS, *HONEST_GENERATION)} | CHANCE_LEVELS.keys()
        assert shown <= metrics[checkpoint]["honest"].keys()
        combine = metrics[checkpoint]["published"]
        assert combine["combine"] == pytest.approx((combine["instrument"] + 100 - combine["pitch"]) / 2, abs=1e-3)
        assert 1 <= combine["cds"] <= 82
    assert (run["row"], run["seed"], run["n_notes"]) == ("smoke", 0, 64)
    assert torch.__version__.startswith(run["versions"]["torch"])
    assert run["cudnn_deterministic"] is True
    assert len(run["data_hash"]) == len(run["config_hash"]) == 16
    split = pd.read_csv(tmp_path / "split.csv")
    assert (split.part == "validation").sum() == run["n_scored"] == 16
    log = pd.read_csv(tmp_path / "metrics.csv")
    assert list(log.epoch) == [0, 1]
    logged = {"val/fid_recon", "val/fid_rand", "val/cds", "val/acc", "val/honest/pm"}
    assert logged | {"train/loss/contrast", "val/loss/total"} <= set(log.columns)
    assert log[sorted(logged)].notna().all(axis=None)
    assert (tmp_path / "config.yaml").exists()
    for checkpoint in ("best", "last"):
        model = load(tmp_path / "checkpoints" / f"{checkpoint}.ckpt")
        assert model.origin == {"row": "smoke", "seed": 0, "git_revision": run["git_revision"]}
        assert model.data_settings["pitch_range"]
    notes, best = pd.read_csv(tmp_path / "notes.csv"), metrics["best"]
    assert list(notes.note_id) == list(split.note_id[split.part == "validation"])
    for name in METRICS - {"combine"}:
        for protocol in ("published", "honest"):
            assert 100 * notes[f"{protocol}_{name}"].mean() == pytest.approx(best[protocol][name], abs=1e-3)
    assert 100 * notes.honest_acc_abs.mean() == pytest.approx(best["honest"]["acc_abs"], abs=1e-3)
    assert not list(tmp_path.rglob(".*.tmp"))


def test_checkpoints_are_selected_on_notes_that_are_not_scored(fit: Callable[..., None], tmp_path: Path) -> None:
    """What is logged while training is of the selection, what stands in metrics.json of the test notes."""
    given = ("--data.split.kind", "recording", "--data.split.selection_share", "0.3", "--data.max_notes", "400")
    fit(tmp_path, *given, "--trainer.max_epochs", "1")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    parts = pd.read_csv(tmp_path / "split.csv").set_index("note_id").part
    groups = EmbeddedNotes().read_notes(None).set_index("note_id").group
    sizes = parts.value_counts()
    assert (metrics["split"], metrics["selected_on"]) == ("recording", "other notes")
    assert (metrics["n_scored"], metrics["n_selection"]) == (sizes["test"], sizes["selection"])
    assert (parts.groupby(groups.reindex(parts.index)).nunique() == 1).all()
    notes = pd.read_csv(tmp_path / "notes.csv", keep_default_na=False)
    assert list(notes.note_id) == list(parts.index[parts == "test"])
    assert list(notes.group) == list(groups[notes.note_id])
    logged = pd.read_csv(tmp_path / "metrics.csv")["val/acc"].iloc[-1] * sizes["selection"] / 100
    assert logged == pytest.approx(round(logged), abs=1e-3)


def test_a_fold_is_recorded(fit: Callable[..., None], tmp_path: Path) -> None:
    fit(tmp_path, "--data.split.folds", "4", "--data.split.fold", "2", "--trainer.max_epochs", "1")
    assert json.loads((tmp_path / "metrics.json").read_text())["fold"] == 2


def test_no_one_is_told_to_have_more_workers(
    fit: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loaders yield indices; on a machine of many cores Lightning would ask for processes to do so."""
    monkeypatch.setattr("lightning.pytorch.trainer.connectors.data_connector.suggested_max_num_workers", lambda n: 16)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit(tmp_path, "--trainer.max_epochs", "1")
    assert not [each for each in said if "many workers" in str(each.message)]


def test_lightnings_profiler_is_heard(
    fit: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.getLogger("lightning.pytorch.profilers.profiler")
    monkeypatch.setattr(log, "handlers", [caplog.handler])
    fit(tmp_path, "--trainer.max_epochs", "1", "--trainer.profiler", "simple")
    assert "run_training_epoch" in caplog.text


def test_classifiers_are_trained_once_and_kept(
    fit: Callable[..., None], home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path / "a")
    capsys.readouterr()
    fit(tmp_path / "b")
    assert "training the pitch classifier" not in capsys.readouterr().out
    data_hash = json.loads((tmp_path / "a" / "run.json").read_text())["data_hash"]
    kept = folder_of(home / "classifiers") / data_hash
    assert {"pitch.ckpt", "instrument.ckpt"} <= {file.name for file in kept.iterdir()}


def test_a_finished_run_is_scored_again_without_training(fit: Callable[..., None], tmp_path: Path) -> None:
    words = ["--trainer.max_epochs", "10"]
    fit(tmp_path, *words)
    before, trained = json.loads((tmp_path / "metrics.json").read_text()), weights(tmp_path)
    (tmp_path / "metrics.json").unlink()
    fit(tmp_path, *words)
    after = json.loads((tmp_path / "metrics.json").read_text())
    assert (after["best"], after["last"], after["epochs"]) == (before["best"], before["last"], 10)
    assert same(weights(tmp_path), trained)
    assert len(pd.read_csv(tmp_path / "metrics.csv")) == 10


def test_a_finished_run_of_other_settings_is_never_replaced(
    fit: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    for words in (["--model.learning_rate", "1e-3"], ["--seed_everything", "3"], ["--data.max_notes", "48"]):
        with pytest.raises(SystemExit) as ended:
            fit(tmp_path, *words)
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert words[0].rpartition(".")[2].removeprefix("--") in error
        assert "--run_dir" in error
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_a_written_configuration_follows_the_seed_and_the_folder(fit: Callable[..., None], tmp_path: Path) -> None:
    """Read again with another seed or folder, it writes all of its files there and none into the run it comes from."""
    fit(tmp_path / "smoke" / "seed_0")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    config = str(tmp_path / "smoke" / "seed_0" / "config.yaml")
    main(["fit", "--config", config, "--seed_everything", "3"])
    main(["fit", "--config", config, "--run_dir", str(tmp_path / "new")])
    assert {file: file.read_bytes() for file in before} == before
    run, first = (json.loads((tmp_path / "smoke" / f"seed_{n}" / "run.json").read_text()) for n in (3, 0))
    assert run["seed"] == 3
    assert run["data_hash"] == first["data_hash"]  # the split has a seed of its own
    files = [
        {file.relative_to(folder) for file in folder.rglob("*") if file.is_file()}
        for folder in (tmp_path / "smoke" / "seed_0", tmp_path / "smoke" / "seed_3", tmp_path / "new")
    ]
    assert files[0] == files[1] == files[2]
    assert same(weights(tmp_path / "smoke" / "seed_0"), weights(tmp_path / "new"))


def test_seeds_differ_and_a_seed_repeats(fit: Callable[..., None], tmp_path: Path) -> None:
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        fit(tmp_path / name, "--seed_everything", seed)
    assert same(weights(tmp_path / "a", "best"), weights(tmp_path / "b", "best"))
    assert not same(weights(tmp_path / "a", "best"), weights(tmp_path / "c", "best"))


UNSUPERVISED = ["sharp", *(f"m{i}" for i in range(8)), "m7_swap", "m7_comb"]


@pytest.mark.parametrize("row", UNSUPERVISED)
def test_poisoned_labels_change_nothing_of_an_unsupervised_row(
    row: str, fit: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training, and the choice of the checkpoint, are the same bits when every label is wrong."""
    words = ["--trainer.max_epochs", "3", "--data.batch_size", "16", "--data.split.validation_share", "0.25"]
    if row in ("m7", "m7_swap"):
        words += ["--model.axis.epochs", "1"]  # both stages are trained
    fit(tmp_path / "clean", *words, config=row)
    pairs = NotePairs.pairs

    def poisoned(self: NotePairs, indices: torch.Tensor, semitones: torch.Tensor) -> NotePair:
        batch = pairs(self, indices, semitones)
        return batch._replace(pitch=(batch.pitch * 7 + 3) % 20, instrument=(batch.instrument + 1) % 3)

    monkeypatch.setattr(NotePairs, "pairs", poisoned)
    fit(tmp_path / "poisoned", *words, config=row)
    assert same(weights(tmp_path / "clean", "best"), weights(tmp_path / "poisoned", "best"))
    losses = [pd.read_csv(tmp_path / name / "metrics.csv").filter(regex="epoch|loss") for name in ("clean", "poisoned")]
    pd.testing.assert_frame_equal(losses[0], losses[1])


def test_measuring_does_not_change_the_training(
    fit: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(tmp_path / "measured")
    monkeypatch.setattr(GenerationMetrics, "on_validation_epoch_end", lambda self, trainer, module: None)
    fit(tmp_path / "unmeasured")
    assert same(weights(tmp_path / "measured", "best"), weights(tmp_path / "unmeasured", "best"))


def test_a_checkpoint_is_tested_with_its_own_scale(
    fit: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same notes give the fit's scores; other notes are read with the checkpoint's scale and categories."""
    fit(tmp_path)
    best = tmp_path / "checkpoints" / "best.ckpt"
    capsys.readouterr()
    fit(tmp_path / "again", "--ckpt_path", str(best), command="test")
    expected = json.loads((tmp_path / "metrics.json").read_text())["best"]["published"]["acc"]
    assert f"{expected:.6f}".rstrip("0") in capsys.readouterr().out
    fit(tmp_path / "other", "--ckpt_path", str(best), "--data.source.instruments", "[oboe,flute]", command="test")
    assert "transfer/acc" in capsys.readouterr().out, "other notes are scored by the run's own mapping too"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.mel.n_mels", "128"], "n_mels: 256"),
        (["--data.pitch_range", "[24,110]"], "model.n_pitches"),
        (["--data.mel.fmin_hz", "30"], "data.mel (fmin_hz: 20.0, here 30.0)"),
        (["--model.weights.cycle", "2"], "model.weights"),
        ([], "a fit goes on from a last.ckpt"),
    ],
)
def test_a_checkpoint_of_other_frames_is_refused(
    words: list[str], message: str, fit: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path)
    with pytest.raises(SystemExit) as ended:
        fit(tmp_path / "x", "--ckpt_path", str(tmp_path / "checkpoints" / "best.ckpt"), *words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_no_checkpoint_is_refused(
    fit: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "junk.ckpt").write_bytes(b"junk")
    with pytest.raises(SystemExit) as ended:
        fit(tmp_path / "x", "--ckpt_path", str(tmp_path / "junk.ckpt"))
    assert ended.value.code == 2
    assert "junk.ckpt: not a checkpoint of this project" in capsys.readouterr().err


def test_on_the_fly_pairs_train_too(fit: Callable[..., None], tmp_path: Path) -> None:
    fit(tmp_path, "--data.shifts.pairs", "on_the_fly", "--data.shifts.continuous", "true")
    assert (tmp_path / "metrics.json").exists()


def test_where_files_are_kept_does_not_change_the_settings_hash(fit: Callable[..., None], tmp_path: Path) -> None:
    for name, words in (("a", []), ("b", []), ("c", ["--model.weights.cycle", "2"])):
        fit(tmp_path / name, *words)
    a, b, c = (json.loads((tmp_path / name / "run.json").read_text())["config_hash"] for name in "abc")
    assert a == b != c


def test_the_progress_bar_can_be_switched_off(fit: Callable[..., None], tmp_path: Path) -> None:
    fit(tmp_path, "--trainer.enable_progress_bar", "false")
    assert (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize(
    ("flag", "there"), [("avx512_bf16", True), ("amx_bf16", True), ("bf16", True), ("avx2", False)]
)
def test_bf16_is_taken_only_where_the_processor_has_it(flag: str, there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulated, it is three times as slow as float32."""
    flags = {"architecture": "any", "avx512_bf16": False, "amx_bf16": False} | {flag: True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    assert has_bf16_arithmetic() is there


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("precision", ["32-true", "16-mixed", "bf16-mixed"])
def test_a_gpu_trains_in_each_precision(precision: str, fit: Callable[..., None], tmp_path: Path) -> None:
    fit(tmp_path, "--trainer.accelerator", "gpu", "--trainer.precision", precision)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["precision"] == precision
    assert torch.cuda.get_device_name(0) in metrics["machine"]
    assert all(np.isfinite(value) for of in metrics["best"].values() if isinstance(of, dict) for value in of.values())


@pytest.mark.parametrize("k", [11, 40])
def test_there_may_be_fewer_or_more_categories_than_pitches(k: int, fit: Callable[..., None], tmp_path: Path) -> None:
    words = ["--model.n_categories", str(k), "--model.axis.epochs", "1", "--trainer.max_epochs", "2"]
    fit(tmp_path, *words, "--data.batch_size", "16", "--data.split.validation_share", "0.25", config="m7")
    scores = json.loads((tmp_path / "metrics.json").read_text())["best"]["published"]
    assert 1 <= scores["cds"] <= k
    assert weights(tmp_path)["decoder.first.weight"].shape[1] == 8 + k


def test_epochs_of_the_axis_alone_are_refused(
    fit: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        fit(tmp_path, "--trainer.max_epochs", "20", config="m7")
    assert ended.value.code == 2
    assert "model.axis.epochs is 60 and trainer.max_epochs 20" in capsys.readouterr().err


def test_a_row_that_learns_from_an_estimator_needs_one(
    fit: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        fit(tmp_path, "--data.pitch_tracker", "none", config="pesto")
    assert ended.value.code == 2
    assert "data.pitch_tracker is none" in capsys.readouterr().err


@pytest.mark.parametrize("weight", ["cycle", "cross_swap"])
def test_pitches_of_decoded_frames_need_one_window(
    weight: str, fit: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        fit(tmp_path, f"--model.weights.{weight}", "1", "--trainer.max_epochs", "62", config="m7")
    assert ended.value.code == 2
    assert "data.pitch_low_bands: null" in capsys.readouterr().err


def test_a_classifier_is_the_same_whatever_the_threads_of_the_run_that_asked_for_it(
    fit: Callable[..., None], tmp_path: Path
) -> None:
    fingerprints = []
    for threads, name in ((1, "one"), (2, "two")):
        torch.set_num_threads(threads)
        fit(tmp_path / name, "--classifier_dir", str(tmp_path / name / "classifiers"), "--trainer.max_epochs", "1")
        assert torch.get_num_threads() == threads, "the run's own threads are left alone"
        fingerprints.append(json.loads((tmp_path / name / "metrics.json").read_text())["evaluator_fingerprint"])
    torch.set_num_threads(1)
    assert fingerprints[0] == fingerprints[1]
