"""Notes as pairs of a log-mel frame and the same frame of the pitch-shifted note."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from datamodules.batch import NotePair
from datamodules.epoch_sampler import Drawn
from datamodules.frames import NoteFrames
from datamodules.mel import FrameScale
from datamodules.note_data import NoteData
from datamodules.waveforms import Waveforms


class NotePairs(NoteData):
    """Notes of one source as pairs (x, x') of log-mel frames: one frame a note, at ``mel.frame_s``."""

    _frames: NoteFrames | None = None

    def _usable(self, waveforms: Waveforms) -> Waveforms:
        """Refuse or drop the notes that end before the frame's window."""
        rate, needed = waveforms.sample_rate, self.frame_maker.needed
        short = waveforms.lengths < needed
        first = int(np.argmax(short))
        what = (
            f"{int(short.sum())} note(s) end before the frame's longest (shifted) window, {needed / rate:.3f} s; the "
            f"first is {self.notes.note_id[first]!r} of {waveforms.lengths[first] / rate:.3f} s"
        )
        reason = "ends before the frame's longest window"
        return self._without(waveforms, short, reason, what, "an earlier data.mel.frame_s")

    def _make_frames(self, waveforms: Waveforms) -> None:
        frames = NoteFrames(self.frame_maker, waveforms, self.shifts)
        self.shifts = frames.shifts
        self.scale = self.scale or FrameScale.fit(frames.unscaled(self.parts.training), self.mel)
        frames.set_scale(self.scale)
        self._frames = frames

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the scale of the data that a checkpoint was trained on; see :meth:`NoteData.load_state_dict`."""
        super().load_state_dict(state_dict)
        if self._frames is not None and self.scale is not None:
            self._frames.set_scale(self.scale)

    def on_after_batch_transfer(self, batch: Drawn, dataloader_idx: int) -> NotePair:
        """Read the pairs on the device that the batch is on."""
        return self.pairs(*batch)

    def read(self, indices: Tensor, semitones: Tensor) -> NotePair:
        """See :meth:`pairs`."""
        return self.pairs(indices, semitones)

    def pairs(self, indices: Tensor, semitones: Tensor) -> NotePair:
        """Read the pairs of some notes.

        Args:
            indices: (B,) rows of the note table.
            semitones: (B,) shifts; whole numbers unless the pairs are made on the fly.
        """
        if self._frames is None:
            raise RuntimeError("call setup() before pairs()")
        self._frames.to(indices.device)
        x, x_pitch = self.frame_maker.split(self._frames.unshifted(indices))
        note = NotePair(x, None, semitones, x_pitch=x_pitch, **self._labels_of(indices))
        if self.shifts.pairs == "none":
            return note
        x_shifted, x_pitch_shifted = self.frame_maker.split(self._frames.shifted(indices, semitones))
        return note._replace(x_shifted=x_shifted, x_pitch_shifted=x_pitch_shifted)
