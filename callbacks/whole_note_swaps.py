"""Whole notes decoded with the timbre of another note, and what evaluators and a pitch tracker find in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from callbacks.figures import FrameUnits
from datamodules.mel import mel_edges_hz
from datamodules.pitch_trackers import pyin_course
from lightning_modules.sequence_classifier import NoteSequenceClassifier
from metrics.frechet import frechet_distance
from metrics.whole_notes import course_correlation, levels_db, loudness_course
from pitch_timbre.render import BLOCK_S, MelBands, mel_power, render_note

Evaluators = Mapping[str, NoteSequenceClassifier]

NOTES_AT_ONCE = 64
"""Notes decoded or judged together; bounds the memory."""

TRACKED_S = (0.1, 0.8)
"""The stretch of a note that is rendered and tracked, seconds from the onset."""
LEAST_TRACKED = 5
"""Frames that must be left of it."""
TRACKER_HOP, TRACKER_RESOLUTION = 1024, 0.2
RENDERED_LEVEL = 0.1
"""Root mean square of a rendered note's loudest part."""
TRACKED_CENTS = 50


@torch.no_grad()
def decode_swaps(module: Any, latents: Any, timbre: Tensor, rest: Tensor) -> Tensor:
    """Frames (P, T, F) of the timbres of notes (P,) with the pitch, loudness and course of others (P,).

    With ``timbre`` equal to ``rest`` these are the reconstructions.
    """
    parts, pitch = zip(timbre.split(NOTES_AT_ONCE), rest.split(NOTES_AT_ONCE), strict=True), latents.c
    return torch.cat(
        [
            module.decode_notes(latents.mu[one], pitch[other], latents.loudness[other], latents.v[other])
            for one, other in parts
        ]
    ).float()


@torch.no_grad()
def features_of(evaluator: NoteSequenceClassifier, frames: Tensor, mask: Tensor) -> Tensor:
    """The evaluator's features (N, D) of notes (N, T, F) with masks (N, T)."""
    parts = zip(frames.split(NOTES_AT_ONCE), mask.split(NOTES_AT_ONCE), strict=True)
    return torch.cat([evaluator.features(x, counted) for x, counted in parts])


def judged(evaluators: Evaluators, label: str, features: Tensor) -> Tensor:
    """The labels (N,) that an evaluator gives to features (N, D)."""
    return evaluators[label].head(features).argmax(-1)


@torch.no_grad()
def swap_scores(
    evaluators: Evaluators, batch: Any, swapped: Tensor, timbre: Tensor, rest: Tensor, units: FrameUnits
) -> dict[str, float]:
    """What is found in swaps (P, T, F), beside the same of the real notes that they are made of.

    Args:
        evaluators: by label.
        batch: N real notes.
        swapped: the swaps' frames.
        timbre: (P,) which of the N notes gives the timbre.
        rest: (P,) which gives all else, the length too.
        units: of the frames.

    Returns:
        In %: ``note_swap_instrument`` (that of the timbre's note), ``note_swap_other`` (the instrument of the other
        note), ``note_swap_pitch`` (that of the other note), the ceilings ``note_real_instrument`` and
        ``note_real_pitch`` of the real notes, and ``note_swap_{instrument|pitch}_share``, the shares of the ceilings.
        And the mean correlation of the swaps' loudness with that of either note: ``loudness_rest`` and
        ``loudness_timbre``.
    """
    mask, right = batch.mask[rest], {}
    for label, note in (("instrument", timbre), ("pitch", rest)):
        truth = getattr(batch, label)
        heard = judged(evaluators, label, features_of(evaluators[label], swapped, mask))
        right[f"note_swap_{label}"] = heard == truth[note]
        real = judged(evaluators, label, features_of(evaluators[label], batch.x, batch.mask))
        right[f"note_real_{label}"] = (real == truth)[note]
        if label == "instrument":
            right["note_swap_other"] = heard == truth[rest]
    values = {name: 100 * float(each.double().mean()) for name, each in right.items()}
    for label in ("instrument", "pitch"):
        if ceiling := values[f"note_real_{label}"]:
            values[f"note_swap_{label}_share"] = 100 * values[f"note_swap_{label}"] / ceiling
    of_swaps, of_notes = (loudness_course(levels_db(x.cpu().numpy(), units.range_db)) for x in (swapped, batch.x))
    masks = batch.mask.cpu().numpy()
    own = rest.cpu().numpy()
    for name, rows in (("timbre", timbre.cpu().numpy()), ("rest", own)):
        found = course_correlation(of_swaps, of_notes[rows], masks[rows] & masks[own])
        values[f"loudness_{name}"] = float(found.mean())
    return values


def frechet_scores(
    evaluator: NoteSequenceClassifier,
    batch: Any,
    reconstructed: Tensor,
    swapped: Tensor,
    mask: Tensor,
    training: Tensor,
) -> dict[str, float]:
    """Frechet distances to real notes, in an evaluator's features over time.

    Args:
        evaluator: whose features.
        batch: N real notes.
        reconstructed: (N, T, F) their reconstructions.
        swapped: (P, T, F) swaps.
        mask: (P, T) theirs.
        training: (M, D) features of training notes, which are what perfect generation would give.
    """
    real = features_of(evaluator, batch.x, batch.mask)
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(0)).to(real.device)
    first, second = real[order[: len(real) // 2]], real[order[len(real) // 2 :]]
    return {
        "note_fid_recon": frechet_distance(real, features_of(evaluator, reconstructed, batch.mask)),
        "note_fid_swap": frechet_distance(real, features_of(evaluator, swapped, mask)),
        "note_fid_real": frechet_distance(real, training),
        "note_fid_real_halves": frechet_distance(first, second),
    }


def tracked_correctly(frames: Tensor, mask: Tensor, midi: NDArray[np.integer], data: Any) -> NDArray[np.bool_]:
    """Whether pYIN hears the pitch, within 50 cents, in the sound of frames: (N,); false where it hears none.

    The sound is rendered as harmonics of that pitch and noise, fitted to the frames' power. That does not help: with
    another pitch given, the tracker still hears the frames' (the part that harmonics cannot make is made up bin by
    bin).

    Args:
        frames: (N, T, F) in [-1, 1].
        mask: (N, T) their own frames; notes of fewer than `LEAST_TRACKED` in `TRACKED_S` count as wrong.
        midi: (N,) pitches.
        data: the data module, for what the frames stand for.
    """
    rate = data.waveform_settings.sample_rate
    bands = MelBands(mel_edges_hz(data.mel), data.mel.n_fft, rate)
    first, last = (round(instant * data.frame_rate_hz) for instant in TRACKED_S)
    right = np.zeros(len(midi), dtype=bool)
    for place, (note, counted, pitch) in enumerate(zip(frames, mask, midi.tolist(), strict=True)):
        x = note[first:last][counted[first:last]].float().cpu().numpy()
        if len(x) >= LEAST_TRACKED:
            power = mel_power(x, data.scale.low, data.scale.high)
            sound = render_note(bands, power, pitch, pitch, _level_course(power, data.frame_rate_hz), rate)
            heard = pyin_course(sound[None], rate, TRACKER_HOP, TRACKER_RESOLUTION)[0]
            heard = heard[np.isfinite(heard)]
            right[place] = len(heard) > 0 and abs(np.median(heard) - pitch) <= TRACKED_CENTS / 100
    return right


def _level_course(power: NDArray[np.float32], frame_rate_hz: float) -> NDArray[np.float32]:
    """The root mean square of frames (T, F) in blocks of 10 ms, the loudest at `RENDERED_LEVEL`."""
    level = np.sqrt(power.mean(1))
    blocks = np.arange(round(len(power) / frame_rate_hz / BLOCK_S)) * BLOCK_S * frame_rate_hz
    return np.asarray(RENDERED_LEVEL * np.interp(blocks, np.arange(len(power)), level) / level.max(), np.float32)
