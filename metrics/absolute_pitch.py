"""Absolute pitch of categories that are one semitone apart: an offset, and no mapping fitted on labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def pitch_errors(categories: Tensor, midi_offset: float, midi: Tensor) -> NDArray[np.int64]:
    """Heard less true pitch of each note, (N,) in semitones.

    Args:
        categories: (N,) the notes' categories.
        midi_offset: the MIDI pitch of category 0, found without these notes.
        midi: (N,) the notes' true MIDI pitches.

    Raises:
        ValueError: lengths differ, there are no notes, or the offset is not finite.

    Example:
        >>> import torch
        >>> pitch_errors(torch.tensor([0, 40, 52]), 24.0, torch.tensor([24, 64, 64])).tolist()
        [0, 0, 12]
    """
    if categories.ndim != 1 or categories.shape != midi.shape or not len(midi):
        raise ValueError(
            f"categories and midi have shapes {tuple(categories.shape)} and {tuple(midi.shape)}; give (N,)"
        )
    if not np.isfinite(midi_offset):
        raise ValueError(f"midi_offset is {midi_offset}; calibrate the model first")
    errors: NDArray[np.int64] = (categories.cpu() + round(midi_offset) - midi.cpu()).numpy().astype(np.int64)
    return errors


def is_octave_error(errors: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the errors (N,), in semitones, are whole octaves other than none.

    Example:
        >>> is_octave_error(np.array([0, 12, -24, 7])).tolist()
        [False, True, True, False]
    """
    found: NDArray[np.bool_] = (errors != 0) & (errors % 12 == 0)
    return found


def largest_instrument_offset(errors: NDArray[np.int64], instruments: Tensor) -> float:
    """The median error, in semitones, of the instrument whose median lies farthest from 0; instruments (N,).

    An instrument that is heard a whole octave off shows here, and not in an accuracy after a mapping of its own.

    Example:
        >>> import torch
        >>> largest_instrument_offset(np.array([0, 1, 0, -12, -12, 0]), torch.tensor([0, 0, 0, 1, 1, 1]))
        -12.0
    """
    labels = instruments.cpu().numpy()
    return max((float(np.median(errors[labels == label])) for label in np.unique(labels)), key=abs)
