"""A batch of whole notes, as the models of whole notes read it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.batch import NotePair


class NoteSequenceBatch(NamedTuple):
    """A batch of B notes, each with T frames, with T2 frames of another segment, and with a pitch-shifted copy of both.

    Attributes:
        x: (B, T, F) log-mel frames in [-1, 1] of the segment that is decoded: a crop of the note in training, else all
            of it.
        mask: (B, T) bool, the frames that the note has; the others hold -1, silence. They follow the note's own.
        other: (B, T2, F) frames of another segment of the same note, which has no frame of ``x`` where the note is long
            enough for both: what the timbre is read from. ``x`` itself outside training.
        other_mask: (B, T2) bool, the frames that ``other`` has.
        x_shifted: (B, T, F) the same instants of the shifted notes, or ``None`` where no pairs are made.
        other_shifted: (B, T2, F) the same instants as ``other`` of the shifted notes, or ``None``.
        semitones: (B,) the shifts.
        pitch: (B,) pitch labels, 0 for the lowest pitch of the data. Unsupervised objectives never read them.
        instrument: (B,) instrument labels. No objective reads them; the instrument classifier does.
        note: (B,) rows of the note table.
        frame: (B,) a place in T: the frame of each note that :attr:`frame_pairs` takes.
        x_pitch: (B, T, F) the frames that the pitch is read from, where they differ from ``x``.
        x_pitch_shifted: (B, T, F) those of the shifted notes, where they differ from ``x_shifted``.
        pseudo_label: (B,) categories from a pitch tracker, -1 where it finds no pitch; ``None`` without a tracker.
    """

    x: Tensor
    mask: Tensor
    other: Tensor
    other_mask: Tensor
    x_shifted: Tensor | None
    other_shifted: Tensor | None
    semitones: Tensor
    pitch: Tensor
    instrument: Tensor
    note: Tensor
    frame: Tensor
    x_pitch: Tensor | None = None
    x_pitch_shifted: Tensor | None = None
    pseudo_label: Tensor | None = None

    @property
    def frame_pairs(self) -> NotePair:
        """The pairs of one frame of each note, for what reads frames; a random frame of the crop in training."""
        return NotePair(
            x=self._at_frame(self.x),
            x_shifted=None if self.x_shifted is None else self._at_frame(self.x_shifted),
            semitones=self.semitones,
            pitch=self.pitch,
            instrument=self.instrument,
            pseudo_label=self.pseudo_label,
            x_pitch=None if self.x_pitch is None else self._at_frame(self.x_pitch),
            x_pitch_shifted=None if self.x_pitch_shifted is None else self._at_frame(self.x_pitch_shifted),
        )

    def _at_frame(self, frames: Tensor) -> Tensor:
        """(B, F) the frame of each note."""
        return frames[torch.arange(len(frames), device=frames.device), self.frame]
