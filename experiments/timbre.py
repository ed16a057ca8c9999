"""`python -m experiments timbre --runs ...`: whether z is a timbre.

Beside it stand MFCCs, an untrained encoder, and as the ceiling a code that was learned with the instruments' labels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import soundfile
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy.fft import dct
from scipy.spatial.distance import pdist, squareform
from torch import Tensor

from experiments.human_ratings import Study, read_studies
from experiments.labelled_encoder import NAME, LabelledEncoder
from experiments.trained_runs import Frames, Sounds, TrainedRun
from experiments.whole_note_runs import NoteCode, WholeNoteRun, open_any_run
from metrics.degradations import move_instant
from metrics.timbre import far_neighbour_agreement, rank_agreement, register_r2, triplet_agreement

Codes = Callable[[Frames], NDArray[np.float64]]
CodeOfFile = Callable[[Path], NDArray[np.float64]]
AnyRun = TypeVar("AnyRun", bound=TrainedRun)

N_MFCC = 30
HOP_S, LONGEST_S = 0.05, 3.0
HEADER = {
    "register_r2": "R squared of the pitch read from the code within an instrument; lower is better",
    "far_neighbours": "per cent of notes whose nearest code at least 12 semitones away is of their instrument",
    "human_spearman": "Spearman correlation with dissimilarity ratings, codes averaged over the sound",
    "human_triplets": "per cent of triplets ordered as by listeners; 50 is chance",
}


def mfcc(frames: Frames) -> NDArray[np.float64]:
    """(N, 30) cepstral coefficients of frames, without the level."""
    return np.asarray(dct(frames.x.double().numpy(), norm="ortho")[:, 1 : N_MFCC + 1])


def untrained(run: AnyRun) -> AnyRun:
    """The run's model with weights that no training has changed."""
    model = copy.deepcopy(run.model)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for module in model.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
    return replace(run, name=f"{run.name} untrained", model=model)


def coded_by(run: TrainedRun) -> Codes:
    """The mean of q(z|x), (N, L), as a code."""
    return lambda frames: run.encode(frames).mu.double().numpy()


def labelled(run: TrainedRun, sounds: Sounds) -> Codes:
    """A code of the size of z that was learned from the training notes' instruments."""
    training = run.data.parts.training
    instruments = run.data.notes.instrument.to_numpy(str)[training]
    encoder = LabelledEncoder.fitted(run.frames(sounds[training]).x.numpy(), instruments, run.model.n_latent)
    return lambda frames: encoder(frames.x.numpy())


def scores_of(
    notes: pd.DataFrame, codes: NDArray[np.float64], code_of: CodeOfFile, studies: Sequence[Study]
) -> dict[str, float]:
    """The measures of one code (N, D) of notes, and of the same code of the sounds of the studies."""
    midi, instruments = notes.midi.to_numpy(), notes.instrument.to_numpy(str)
    found = {
        "register_r2": register_r2(codes, midi, instruments),
        "far_neighbours": 100 * far_neighbour_agreement(codes, midi, instruments),
    }
    if studies:
        each = [_agreement(code_of, study) for study in studies]
        weights = [len(study.files) for study in studies]
        spearman, triplets = np.average(each, axis=0, weights=weights)
        found |= {"human_spearman": float(spearman), "human_triplets": 100 * float(triplets)}
    return found


def _agreement(code_of: CodeOfFile, study: Study) -> tuple[float, float]:
    """How one study's ratings agree with the distances of codes: the mean over anchors, by rank and by triplet."""
    codes = np.stack([code_of(file) for file in study.files])
    distances = squareform(pdist(codes))
    return rank_agreement(distances, study.ratings), triplet_agreement(distances, study.ratings)


def code_of_file(run: TrainedRun, code: Codes, file: Path) -> NDArray[np.float64]:
    """The mean code (L,) of a sound's frames, one every 50 ms; of its middle where it is shorter than that.

    Raises:
        ValueError: the file cannot be decoded, or is silent.
    """
    try:
        mono = run.prepared(*soundfile.read(file, dtype="float32"))
    except (soundfile.LibsndfileError, OSError) as error:
        raise ValueError(f"{file}: cannot be decoded ({error})") from error
    duration_s, frame_s = min(len(mono) / run.rate, LONGEST_S), run.maker.centre / run.rate
    instants = np.arange(HOP_S, duration_s, HOP_S) if duration_s > HOP_S else np.array([duration_s / 2])
    length = max(len(mono), run.maker.waveforms.length)
    padded = np.pad(mono, (0, length - len(mono)))[None]
    moved = np.concatenate([move_instant(padded, run.rate, instant, frame_s) for instant in instants])
    frames = run.frames(moved[:, : run.maker.waveforms.length])
    if not frames.audible.any():
        raise ValueError(f"{file}: is silent; remove it with its row of the ratings")
    return np.asarray(code(frames)[frames.audible].mean(0))


def measure(folders: Sequence[Path], ratings: Path | None) -> pd.DataFrame:
    """Score the codes of every run; on the notes of the first also MFCCs, an untrained encoder and the ceiling."""
    studies = read_studies(ratings) if ratings else []
    rows: list[dict[str, Any]] = []
    for folder in track(folders, "runs", console=Console(stderr=True)):
        run = open_any_run(folder)
        if isinstance(run, WholeNoteRun):
            rows += _of_whole_notes(run, studies, with_others=not rows)
            continue
        sounds = run.sounds(run.maker.waveforms.duration_s)
        codes = {run.name: coded_by(run)}
        if not rows:
            bare = untrained(run)
            codes = {f"MFCC ({N_MFCC})": mfcc, bare.name: coded_by(bare), NAME: labelled(run, sounds), **codes}
        for name, code in codes.items():
            found = scores_of(run.data.notes, code(run.frames(sounds)), partial(code_of_file, run, code), studies)
            rows.append({"code": name, **found})
    return pd.DataFrame(rows)


def mean_mfcc(x: Tensor, mask: Tensor, x_pitch: Tensor | None) -> NDArray[np.float64]:
    """(B, 30) the mean of :func:`mfcc` over the frames of notes (B, T, F)."""
    counted = mask.double().numpy()[..., None]
    each = np.asarray(dct(x.double().numpy(), norm="ortho")[..., 1 : N_MFCC + 1])
    return np.asarray((each * counted).sum(1) / counted.sum(1))


def _of_whole_notes(run: WholeNoteRun, studies: Sequence[Study], with_others: bool) -> list[dict[str, Any]]:
    """The lines of a run of whole notes, whose code is one of all frames of a sound."""
    codes: dict[str, NoteCode] = {run.name: run.timbre}
    if with_others:
        bare = untrained(run)
        codes = {f"MFCC ({N_MFCC}), mean": mean_mfcc, bare.name: bare.timbre, **codes}
    lines = []
    for name, code in codes.items():
        of_file = lambda file, code=code: code(*run.read_file(file)[:3])[0]  # noqa: E731
        lines.append({"code": name, **scores_of(run.data.notes, run.codes_of_notes(code), of_file, studies)})
    return lines


def to_markdown(scores: pd.DataFrame) -> str:
    """The table, and what its columns mean."""
    measures = [name for name in HEADER if name in scores]
    lines = ["# Timbre", "", f"| code | {' | '.join(measures)} |", "|---" * (1 + len(measures)) + "|"]
    for row in scores.itertuples():
        lines.append(f"| {row.code} | {' | '.join(f'{getattr(row, name):.2f}' for name in measures)} |")
    return "\n".join([*lines, "", *(f"* `{name}`: {HEADER[name]}." for name in measures)]) + "\n"
