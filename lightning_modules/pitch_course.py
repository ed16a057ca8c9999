"""What is read of a note without learning: its loudness, the note's pitch from that of its frames, and its course."""

from __future__ import annotations

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

NATS_PER_UNIT = 22.9
"""Natural-log power that a unit of the [-1, 1] scale stands for: half of the published bounds, near the fitted ones."""

NEAR = 2
"""Candidates on each side of the most probable one whose posteriors tell the cents."""

REACH = 7
"""Semitones from the note's pitch within which a frame's is believed: beyond lie the octave's and twelfth's errors."""


def loudness(x: Tensor) -> Tensor:
    """Frames (..., F) in [-1, 1] to the log of their mean power, on the same scale, (...)."""
    return ((NATS_PER_UNIT * x.float()).logsumexp(-1) - log(x.shape[-1])) / NATS_PER_UNIT


def vote(logits: Tensor, level: Tensor, mask: Tensor) -> Tensor:
    """The note's category by the frames' posteriors, each weighted by its power, (B,).

    Args:
        logits: (B, T, K) of the frames.
        level: (B, T) loudness, see :func:`loudness`.
        mask: (B, T) bool, the frames that vote; at least one a note.
    """
    weight = (NATS_PER_UNIT * level).masked_fill(~mask, -torch.inf).softmax(-1)
    return (weight.unsqueeze(-1) * logits.softmax(-1)).sum(1).argmax(-1)


def cents(logits: Tensor) -> Tensor:
    """Deviation of the pitch from the most probable category in cents, by a soft-argmax; (..., K) to (...)."""
    offsets = torch.arange(-NEAR, NEAR + 1, device=logits.device)
    places = logits.argmax(-1, keepdim=True) + offsets
    inside = (places >= 0) & (places < logits.shape[-1])
    near = logits.gather(-1, places.clamp(0, logits.shape[-1] - 1)).masked_fill(~inside, -torch.inf).softmax(-1)
    return 100 * (near * offsets).sum(-1)


def course(logits: Tensor, category: Tensor) -> Tensor:
    """The pitch that each frame is decoded from: its own where that lies near the note's, else the note's.

    Args:
        logits: (..., K) of the frames.
        category: (...) their notes'.

    Returns:
        (..., K), each frame's two neighbouring categories weighted by how near its pitch lies to them.
    """
    k = logits.shape[-1]
    note = category.to(logits.dtype)
    own = logits.argmax(-1) + cents(logits) / 100
    pitch = torch.where((own - note).abs() <= REACH, own, note).clamp(0, k - 1)
    below = pitch.floor()
    share = (pitch - below).unsqueeze(-1)
    lower = below.long()
    return (1 - share) * F.one_hot(lower, k) + share * F.one_hot((lower + 1).clamp(max=k - 1), k)
