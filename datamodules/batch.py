"""A batch of notes, as the models read it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class NotePair(NamedTuple):
    """A batch of B notes, each with its pitch-shifted copy.

    Attributes:
        x: (B, F) log-mel frames in [-1, 1].
        x_shifted: (B, F) the same instants of the shifted notes, or ``None`` where no pairs are made.
        semitones: (B,) the shifts.
        pitch: (B,) pitch labels, 0 for the lowest pitch of the data. Unsupervised objectives never read them.
        instrument: (B,) instrument labels. No objective reads them; the instrument classifier does.
        pseudo_label: (B,) categories from a pitch tracker, -1 where it finds no pitch; ``None`` without a tracker.
        x_pitch: (B, F) the frames that the pitch is read from, where they differ from ``x``.
        x_pitch_shifted: (B, F) those of the shifted notes, where they differ from ``x_shifted``.
    """

    x: Tensor
    x_shifted: Tensor | None
    semitones: Tensor
    pitch: Tensor
    instrument: Tensor
    pseudo_label: Tensor | None = None
    x_pitch: Tensor | None = None
    x_pitch_shifted: Tensor | None = None

    @property
    def views(self) -> Tensor:
        """(B, F) the notes' frames, or (2 B, F) with the shifted notes' after them, where there are pairs."""
        return self.x if self.x_shifted is None else torch.cat([self.x, self.x_shifted])

    @property
    def pitch_views(self) -> Tensor:
        """What the pitch of the ``views`` is read from, of the same shape."""
        if self.x_pitch is None:
            return self.views
        return self.x_pitch if self.x_pitch_shifted is None else torch.cat([self.x_pitch, self.x_pitch_shifted])
