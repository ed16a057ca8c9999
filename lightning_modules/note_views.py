"""Views of whole notes in which all is destroyed but what a latent should know.

Source of the idea, for speech: Choi et al., "Neural Analysis and Synthesis: Reconstructing Speech from Self-Supervised
Representations", NeurIPS 2021.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_modules.augmentation import random_filters
from lightning_modules.note_networks import few_or_all, mean_over_frames

RECOLOURING = 0.12
"""Deviation of the slowest ripple of the filters that the course is read through, on the [-1, 1] scale."""

FEW_FRAMES_SHARE = 0.5
"""Share of the notes whose timbre is read from few frames, so that any number of them gives the same one."""


class Views(NamedTuple):
    """What the latents of B notes are read from.

    Attributes:
        timbre: (B, T2, F) what g is read from.
        timbre_mask: (B, T2) bool.
        course: (B, T, F) what v is read from.
        course_mean: (B, F) mean of the whole notes' frames there; ``None`` for that of ``course``.
    """

    timbre: Tensor
    timbre_mask: Tensor
    course: Tensor
    course_mean: Tensor | None = None


def perturbed_views(batch: Any) -> Views:
    """Of shifted notes: g from some frames of the other segment, v from the same segment through a random filter.

    Args:
        batch: as :class:`datamodules.sequence_batch.NoteSequenceBatch` names its parts.

    Raises:
        ValueError: there are no shifted notes.
    """
    x, other = batch.x_shifted, batch.other_shifted
    if x is None:
        raise ValueError("model.perturbation reads shifted notes, and data.shifts.pairs is none; set it to table")
    filters = random_filters(x, RECOLOURING).unsqueeze(1)
    course, rest = ((part + filters).clamp(-1, 1) for part in (x, other))
    whole, mask = torch.cat([course, rest], 1), torch.cat([batch.mask, batch.other_mask], 1)
    return Views(other, few_or_all(batch.other_mask, FEW_FRAMES_SHARE), course, mean_over_frames(whole[mask], mask))
