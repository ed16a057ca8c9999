"""Finished runs of whole notes: the latents of their notes, and of any sound, whose frames are made as theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.note_sequences import NoteSequences
from datamodules.sequence_frames import SequenceSettings
from datamodules.waveforms import offset, onset, prepare_waveform
from experiments.trained_runs import TrainedRun, model_and_notes, open_run
from lightning_modules.whole_note_module import NoteLatents, WholeNoteModule

NOTES_AT_ONCE = 64
LONGEST_S = 10.0
"""What is read of a sound, from its start."""


class NoteFrames(NamedTuple):
    """The frames of one sound from its onset to its release.

    Attributes:
        x: (1, T, F) in [-1, 1].
        mask: (1, T) bool, all true.
        x_pitch: (1, T, F) what the pitch is read from, where that is not ``x``.
        first: the sample of the first frame in the sound, at the notes' rate.
        mono: (S,) the sound from there; frame t stands at sample t * hop of it.
    """

    x: Tensor
    mask: Tensor
    x_pitch: Tensor | None
    first: int
    mono: NDArray[np.float32]


NoteCode = Callable[[Tensor, Tensor, Tensor | None], NDArray[np.float64]]
"""Notes (B, T, F), their masks (B, T), and what their pitch is read from, to codes (B, D)."""


@dataclass(frozen=True)
class WholeNoteRun(TrainedRun):
    """A finished run of a row of whole notes."""

    model: WholeNoteModule  # type: ignore[assignment]
    data: NoteSequences

    @property
    def sequence(self) -> SequenceSettings:
        """Which frames of a sound are read."""
        return self.data.sequence

    @torch.no_grad()
    def timbre(self, x: Tensor, mask: Tensor, x_pitch: Tensor | None) -> NDArray[np.float64]:
        """(B, G) the timbre of notes (B, T, F)."""
        return self.model.encode_notes(x, mask, x_pitch).mu.double().numpy()

    def codes_of_notes(self, code: NoteCode) -> NDArray[np.float64]:
        """(N, D) a code of each of the run's notes."""
        parts = []
        for rows in torch.arange(len(self.data.notes)).split(NOTES_AT_ONCE):
            batch = self.data.read(rows, torch.zeros_like(rows))
            parts.append(code(batch.x, batch.mask, batch.x_pitch))
        return np.concatenate(parts)

    def read_file(self, file: Path) -> NoteFrames:
        """The frames of a sound file.

        Raises:
            ValueError: it cannot be decoded, or is silent.
        """
        try:
            return self.read_sound(*soundfile.read(file, dtype="float32"))
        except (soundfile.LibsndfileError, OSError, ValueError) as error:
            raise ValueError(f"{file}: cannot be read as a note ({error}); remove it") from error

    def read_sound(self, samples: NDArray[Any], rate: int) -> NoteFrames:
        """The frames of decoded samples, (S,) or (S, channels); at most those of `LONGEST_S`.

        Raises:
            ValueError: there is no sound in it.
        """
        mono = prepare_waveform(samples, rate, replace(self.maker.waveforms, duration_s=LONGEST_S))
        first, end = onset(mono, self.sequence.edge_db), offset(mono, self.sequence.edge_db)
        hop, reach = self.sequence.hop(self.rate), self.maker.reach
        count = max(1, -(-(end - first) // hop))
        padded = np.pad(mono, (reach, reach + count * hop))
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)[first : first + count * hop : hop]
        frames = self.maker.log_frames(torch.from_numpy(windows.copy()), torch.zeros(count))
        x, x_pitch = self.maker.split(self.scale.normalise(frames))
        mask = torch.ones(1, count, dtype=torch.bool)
        return NoteFrames(x[None], mask, None if x_pitch is None else x_pitch[None], first, mono[first:end])

    @torch.no_grad()
    def latents_of(self, frames: NoteFrames) -> NoteLatents:
        """What the model reads of a sound."""
        return self.model.encode_notes(frames.x, frames.mask, frames.x_pitch)

    def pitch_course(self, frames: NoteFrames) -> NDArray[np.float64]:
        """(T,) the fractional MIDI pitch of each frame of a sound.

        Raises:
            ValueError: the model is not calibrated: it knows no MIDI pitches.
        """
        shift = float(self.model.midi_offset)
        if not np.isfinite(shift):
            raise ValueError(f"{self.name}: the model is not calibrated, so that its categories have no MIDI pitch")
        latents = self.latents_of(frames)
        return (latents.logits.argmax(-1) + latents.cents / 100)[0].double().numpy() + shift


def open_any_run(folder: Path) -> TrainedRun:
    """Open a run's folder, whether it is of whole notes (a `WholeNoteRun`) or of single frames.

    Raises:
        ValueError: the folder is no run of a row, or its settings or its notes cannot be read.
    """
    name, model, data = model_and_notes(folder)
    if not isinstance(data, NoteSequences) or not isinstance(model, WholeNoteModule):
        return open_run(folder)
    data.load_state_dict(model.data_settings)
    data.setup()
    return WholeNoteRun(name, model, data)
