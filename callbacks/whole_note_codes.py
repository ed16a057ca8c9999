"""Whole notes as the probes read them: a vector for the timbre, the pitch and the course of each note, and floors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from callbacks.figures import FrameUnits
from metrics.whole_notes import centroid_course, course_summary, levels_db, loudness_course

Floats = NDArray[np.float64]

INSTANTS_S = {"50ms": 0.05, "200ms": 0.2, "1s": 1.0}
"""Where the timbre is read from a few frames alone: name -> seconds from the onset."""

INSTANT_FRAMES = 5
"""Frames around such an instant."""


@dataclass(frozen=True)
class NoteCodes:
    """N notes, in order.

    Attributes:
        note: (N,) rows of the note table.
        category: (N,) the pitch category of the whole note.
        pitch: (N,) true pitches, 0 for the lowest of the data.
        instrument: (N,) instrument labels.
        codes: name -> (N, D): ``g`` the timbre's mean; ``c`` the mean posterior of the pitch over the frames; ``v`` a
            summary of the local course; ``envelope`` a summary of the course of the level, and ``centroid`` of both
            level and spectral centroid: what is known of a note without any model.
        instants: name -> (N, G) the timbre read from a few frames; NaN for notes that end before.
    """

    note: NDArray[np.int64]
    category: NDArray[np.int64]
    pitch: NDArray[np.int64]
    instrument: NDArray[np.int64]
    codes: dict[str, Floats]
    instants: dict[str, Floats]

    @classmethod
    def of(cls, module: Any, batch: Any, latents: Any, units: FrameUnits, frame_rate_hz: float | None) -> NoteCodes:
        """Those of a batch; the timbre at instants where a frame rate is given."""
        mask = batch.mask.cpu().numpy()
        levels = levels_db(batch.x.float().cpu().numpy(), units.range_db)
        courses = np.stack([loudness_course(levels), centroid_course(levels, units.mel_hz)], axis=-1)
        posterior = latents.logits.float().softmax(-1) * batch.mask.unsqueeze(-1)
        codes = {
            "g": _array(latents.mu),
            "c": _array(posterior.sum(1) / batch.mask.sum(1, keepdim=True)),
            "v": course_summary(_array(latents.v), mask),
            "envelope": course_summary(courses[..., :1], mask),
            "centroid": course_summary(courses, mask),
        }
        instants = {} if frame_rate_hz is None else _at_instants(module, batch, frame_rate_hz)
        found = {"note": batch.note, "category": latents.category}
        found |= {"pitch": batch.pitch, "instrument": batch.instrument}
        return cls(**{name: label.cpu().numpy() for name, label in found.items()}, codes=codes, instants=instants)

    @classmethod
    def joined(cls, parts: Sequence[NoteCodes]) -> NoteCodes:
        """Batches, one after the other."""
        names = ("note", "category", "pitch", "instrument")
        labels = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        codes, instants = (
            {name: np.concatenate([of[name] for of in each]) for name in each[0]}
            for each in ([part.codes for part in parts], [part.instants for part in parts])
        )
        return cls(**labels, codes=codes, instants=instants)


@torch.no_grad()
def _at_instants(module: Any, batch: Any, frame_rate_hz: float) -> dict[str, Floats]:
    """The timbre of notes (B, G) from the frames around each instant."""
    found = {}
    for name, instant in INSTANTS_S.items():
        first = max(0, round(instant * frame_rate_hz) - INSTANT_FRAMES // 2)
        part = slice(first, first + INSTANT_FRAMES)
        mask = batch.mask[:, part]
        there = mask.sum(1) == INSTANT_FRAMES
        codes = np.full((len(mask), module.n_latent), np.nan)
        if there.any():
            x_pitch = None if batch.x_pitch is None else batch.x_pitch[there, part]
            codes[there.cpu().numpy()] = _array(module.encode_notes(batch.x[there, part], mask[there], x_pitch).mu)
        found[name] = codes
    return found


def _array(values: torch.Tensor) -> Floats:
    return values.double().cpu().numpy()
