"""What follows a fit, a test and a prediction: the scores of checkpoints, and the files that hold them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from callbacks.checkpoints import read_checkpoint
from callbacks.generation_metrics import GenerationMetrics
from callbacks.latent_metrics import LatentMetrics
from callbacks.provenance import git_revision
from callbacks.run_record import RunRecord
from callbacks.wandb_run import WandbRun
from callbacks.whole_note_metrics import WholeNoteMetrics
from datamodules.atomic_files import replacing, write_json
from datamodules.note_pairs import NotePairs
from datamodules.note_sequences import NoteSequences
from datamodules.sequence_batch import NoteSequenceBatch
from experiments.busy import busy
from experiments.paths import GRID_KEY
from experiments.run import Run
from experiments.run_folder import results_file
from lightning_modules.checkpoint_file import data_state

CATEGORIES = "categories.csv"
"""In a run's folder: category and pitch (0 for the lowest of the data) of each training note at the best checkpoint."""

NOTES = "notes.csv"
"""In a run's folder: each scored note at the best checkpoint."""

PROTOCOLS = ("published", "honest", "transfer")


def report_early_stopping(trainer: Any) -> None:
    """Print why a fit stopped early, if it did.

    Raises:
        FloatingPointError: for a loss that is not finite.
    """
    for callback in trainer.early_stopping_callbacks:
        if isinstance(callback, EarlyStopping) and (reason := callback.stopping_reason_message):
            if callback.stopping_reason is EarlyStoppingReason.NON_FINITE_METRIC:
                raise FloatingPointError(f"{reason} Lower model.learning_rate")
            print(f"stopped early: {reason}", flush=True)


def score_fit(run: Run) -> None:
    """Score a fit at its last epoch and its best checkpoint, and write ``metrics.json``, `NOTES` and `CATEGORIES`."""
    run_dir, best = run.settings.run_dir, run.best_checkpoint.best_model_path
    last = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")
    # From the file, so that a run that had only this to do finds what the one that trained would have found.
    run.model.load_state_dict(last["state_dict"])
    epochs = last["epoch"] + 1
    best_epoch = read_checkpoint(best)["epoch"]
    print(f"scoring the last epoch and the best one ({best_epoch})", flush=True)
    with busy("scoring"):
        scores = {
            "last": {"epoch": epochs - 1, **_scores(run, None)},
            "best": {"epoch": best_epoch, **_scores(run, best)},
        }
    content = {
        **run.callback(RunRecord).facts(run.trainer),
        "epochs": epochs,
        **(_write_notes(run) if run.of_notes else {}),
        "grid_key": os.environ.get(GRID_KEY),
        **scores,
    }
    write_json(run_dir / "metrics.json", content)
    close_wandb(run, content)
    print(f"scores: {run_dir / 'metrics.json'}", flush=True)


def _write_notes(run: Run) -> dict[str, str]:
    """Write `NOTES` and `CATEGORIES` of a test; the fingerprint of the classifiers that judged it."""
    run_dir, latents = run.settings.run_dir, reader_of(run)
    categories, pitches = latents.training_notes
    _write_table(pd.DataFrame({"category": categories, "pitch": pitches}), run_dir / CATEGORIES)
    scored = run.datamodule.notes.loc[run.datamodule.scored, ["note_id", "instrument", "midi", "group"]]
    _write_table(pd.concat([scored.reset_index(drop=True), latents.notes], axis=1), run_dir / NOTES)
    return _fingerprint(run)


def _fingerprint(run: Run) -> dict[str, str]:
    return {"evaluator_fingerprint": " ".join(f"{row}={of}" for row, of in judge_of(run).fingerprints().items())}


@torch.no_grad()
def score_classifier(run: Run) -> None:
    """Score a plain classifier of the pitch as a row without a decoder: ``metrics.json`` and `NOTES`."""
    run_dir, data, model = run.settings.run_dir, run.datamodule, run.model.cpu().eval()
    assert isinstance(data, NotePairs), "classifiers read frames"
    notes = torch.from_numpy(np.flatnonzero(data.parts.scored))
    batch = data.pairs(notes, torch.zeros(len(notes), dtype=torch.long))
    best = read_checkpoint(run.best_checkpoint.best_model_path)
    weights = {"last": (run.trainer.current_epoch - 1, model.state_dict()), "best": (best["epoch"], best["state_dict"])}
    scores = {}
    for name, (epoch, state) in weights.items():
        model.load_state_dict(state)
        right = (model.posterior(batch.x).argmax(-1) == batch.pitch).numpy().astype(int)
        accuracy = 100 * float(right.mean())
        scores[name] = {"epoch": epoch, "honest": {"acc": accuracy, "acc_abs": accuracy}}
    table = data.notes.loc[data.parts.scored, ["note_id", "instrument", "midi", "group"]]
    _write_table(table.assign(honest_acc=right, honest_acc_abs=right), run_dir / NOTES)
    facts = run.callback(RunRecord).facts(run.trainer)
    epochs = {"epochs": scores["last"]["epoch"] + 1, "grid_key": os.environ.get(GRID_KEY)}
    write_json(run_dir / "metrics.json", {**facts, **epochs, **scores})
    close_wandb(run, {**facts, **epochs, **scores})
    print(f"scores: {run_dir / 'metrics.json'}", flush=True)


def reader_of(run: Run) -> LatentMetrics | WholeNoteMetrics:
    """The callback that scores what the model reads of the notes."""
    whole = isinstance(run.datamodule, NoteSequences)
    return run.callback(WholeNoteMetrics) if whole else run.callback(LatentMetrics)


def judge_of(run: Run) -> GenerationMetrics | WholeNoteMetrics:
    """The callback that scores what the model decodes, and holds the evaluation classifiers."""
    whole = isinstance(run.datamodule, NoteSequences)
    return run.callback(WholeNoteMetrics) if whole else run.callback(GenerationMetrics)


def close_wandb(run: Run, content: dict[str, Any]) -> None:
    """End the W&B runs of a fit with its numbers."""
    for logger in run.trainer.loggers:
        if isinstance(logger, WandbRun):
            logger.close(content)


def write_test(run: Run) -> None:
    """Write the scores of a tested checkpoint into a file of their own; see `results_file`."""
    checkpoint, data = run.tested, run.datamodule
    content = {
        "checkpoint": str(checkpoint),
        "row": run.settings.row,
        "data": data.name,
        "data_hash": data.data_hash,
        "n_scored": data.facts()["n_scored"],
        "git_revision": git_revision(),
        **(_fingerprint(run) if run.of_notes else {}),
        **{protocol: values for protocol, values in _logged(run).items() if values},
    }
    file = results_file(run_of(checkpoint), checkpoint.stem, data, ".json")
    write_json(file, content)
    print(f"scores: {file}", flush=True)


@torch.no_grad()
def write_predictions(run: Run) -> None:
    """Write what a checkpoint reads of each note: category, MIDI pitch, and the timbre z; see `results_file`."""
    model, data, checkpoint = run.model, run.datamodule, run.tested
    kept = read_checkpoint(checkpoint)
    model.load_state_dict(kept["state_dict"])
    data.load_state_dict(data_state(kept))
    model.eval()
    print(f"reading {len(data.notes)} notes", flush=True)
    parts = []
    for notes in torch.arange(len(data.notes)).split(data.batch_size):
        batch = data.read(notes, torch.zeros(len(notes), dtype=torch.long))
        whole = isinstance(batch, NoteSequenceBatch)
        latents = model.encode_notes(*batch[:2], batch.x_pitch) if whole else model.encode(batch.x, batch.x_pitch)
        parts.append((latents.category, latents.mu))
    category, z = (torch.cat(each).numpy() for each in zip(*parts, strict=True))
    table = data.notes[["note_id", "instrument", "midi"]].reset_index(drop=True)
    table["predicted_category"] = category
    table["predicted_midi"] = category + float(model.midi_offset)  # empty where the axis is not calibrated
    timbre = pd.DataFrame(z, columns=[f"z_{place}" for place in range(z.shape[1])])
    file = results_file(run_of(checkpoint), checkpoint.stem, data, "_notes.csv")
    _write_table(pd.concat([table, timbre], axis=1), file)
    right = float(np.mean(table.predicted_midi == table.midi))
    print(f"notes: {file} ({len(table)} notes, {100 * right:.1f} % with the MIDI pitch of their label)", flush=True)


def run_of(checkpoint: Path) -> Path:
    """The folder of the run that a checkpoint belongs to."""
    folder = checkpoint.resolve().parent
    return folder.parent if folder.name == "checkpoints" else folder


def own_mapping(checkpoint: Path) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Categories and pitches of the training notes of a checkpoint's run, where its folder has them.

    Raises:
        ValueError: the file is damaged.
    """
    file = run_of(checkpoint) / CATEGORIES
    if not file.is_file():
        return None
    try:
        notes = pd.read_csv(file)
        category, pitch = (torch.tensor(notes[name].to_numpy(dtype=np.int64)) for name in ("category", "pitch"))
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{file}: not a table of categories and pitches ({error}); remove it, or fit again") from error
    return category, pitch


def _scores(run: Run, checkpoint: str | None) -> dict[str, dict[str, float]]:
    """The table's metrics of the model as it is, or of a checkpoint: {published: {...}, honest: {...}}."""
    run.trainer.test(run.model, datamodule=run.datamodule, ckpt_path=checkpoint, verbose=False)
    found = _logged(run)
    return {protocol: found[protocol] for protocol in PROTOCOLS[:2]}


def _logged(run: Run) -> dict[str, dict[str, float]]:
    """The scores that the last test logged, by protocol."""
    scores: dict[str, dict[str, float]] = {protocol: {} for protocol in PROTOCOLS}
    for name, value in run.trainer.callback_metrics.items():
        protocol, _, metric = name.partition("/")
        if protocol in scores:
            scores[protocol][metric] = float(value)
    return scores


def _write_table(table: pd.DataFrame, file: Path) -> None:
    with replacing(file) as temporary:
        table.to_csv(temporary, index=False)
