"""Log-mel frames of notes at any pitch shift: how samples become frames, and where the frames of all notes are kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from datamodules.epoch_sampler import ShiftSettings
from datamodules.mel import FrameScale, LowBandSettings, MelSettings, log_mel, mel_centres_hz, mel_filters
from datamodules.pitch_shift import context_reach, shifted_power
from datamodules.waveforms import Waveforms, WaveformSettings, prepare_waveform

BYTES, MIB = 4, 2**20
NOTES_AT_ONCE = 1024
"""Notes transformed together when frames are made ahead of the training; bounds the memory of the spectra."""


@dataclass(frozen=True)
class FrameMaker:
    """Makes frames of samples: F bands of the mel frame and, behind them, the low bands of a longer window.

    Attributes:
        mel: the mel frame.
        low_bands: which bands are read through a longer window too, for the pitch; ``None`` for none.
        waveforms: how the samples were prepared.
        highest_shift: the highest shift that is asked for, semitones.
    """

    mel: MelSettings
    low_bands: LowBandSettings | None
    waveforms: WaveformSettings
    highest_shift: float = 0.0

    def __post_init__(self) -> None:
        """Refuse low bands below the lowest band, and bands or a frame outside the audio."""
        low, rate, kept_s = self.low_bands, self.waveforms.sample_rate, self.waveforms.duration_s
        if low and not self.n_low:
            raise ValueError(
                f"data.pitch_low_bands.below_hz is {low.below_hz:g} Hz, and the lowest mel band's centre "
                f"{mel_centres_hz(self.mel)[0]:.1f} Hz: no band would be read otherwise; raise it, or set "
                "data.pitch_low_bands: null"
            )
        mel_filters(self.mel, rate)
        if kept_s * rate < (needed := self.centre + self.reach):
            raise ValueError(
                f"data.waveforms.duration_s is {kept_s:g} s, but the frame at {self.centre / rate:.3f} s needs "
                f"{needed / rate:.3f} s; set data.waveforms.duration_s to at least "
                f"{np.ceil(needed / rate * 100) / 100:g}"
            )

    @property
    def centre(self) -> int:
        """The frame's instant in samples."""
        return self.mel.centre(self.waveforms.sample_rate)

    @property
    def reach(self) -> int:
        """R, samples on each side of the frame's instant."""
        low = self.low_bands
        return context_reach(max(self.mel.n_fft, low.n_fft if low else 0), self.highest_shift)

    @property
    def needed(self) -> int:
        """Samples that a note must have: those of the mel frame, so that all rows use the same notes."""
        return self.centre + context_reach(self.mel.n_fft, self.highest_shift)

    @cached_property
    def n_low(self) -> int:
        """How many bands are read through the longer window too."""
        low = self.low_bands
        return sum(hz < low.below_hz for hz in mel_centres_hz(self.mel)) if low else 0

    def log_frames(self, context: Tensor, semitones: Tensor) -> Tensor:
        """Natural-log mel frames, (B, F + low) float32 even under autocast.

        Args:
            context: (B, 2 R + 1) samples, the frame's instant in the middle.
            semitones: (B,) shifts.
        """
        rate, low = self.waveforms.sample_rate, self.low_bands
        filters = mel_filters(self.mel, rate, context.device)
        frames = log_mel(shifted_power(context, semitones, self.mel.n_fft, filters))
        if low is None:
            return frames
        filters = mel_filters(replace(self.mel, n_fft=low.n_fft), rate, context.device)
        power = shifted_power(context, semitones, low.n_fft, filters)[:, : self.n_low]
        # A band's power grows as the square of the window's length: on one level, the bands of both make one frame.
        return torch.cat([frames, log_mel(power * (self.mel.n_fft / low.n_fft) ** 2)], 1)

    def frames_of_sounds(self, sounds: np.ndarray) -> Tensor:
        """Natural-log mel frames, (N, F + low), of sounds (N, T) at the notes' sample rate, prepared as the notes."""
        rate, reach = self.waveforms.sample_rate, self.reach
        padded = torch.zeros(len(sounds), max(sounds.shape[1], self.centre + reach + 1) + 2 * reach)
        for row, sound in zip(padded, sounds, strict=True):
            prepared = torch.from_numpy(prepare_waveform(sound, rate, self.waveforms))
            row[reach : reach + len(prepared)] = prepared
        context = padded[:, self.centre : self.centre + 2 * reach + 1]
        return self.log_frames(context, torch.zeros(len(context)))

    def split(self, frames: Tensor) -> tuple[Tensor, Tensor | None]:
        """Frames (B, F + low) to x (B, F), and what the pitch is read from (B, F) where that differs."""
        x, low = frames[:, : self.mel.n_mels], frames[:, self.mel.n_mels :]
        return x, torch.cat([low, x[:, low.shape[1] :]], 1) if low.shape[1] else None


class NoteFrames:
    """The frames of N notes: a table of all whole shifts, or the unshifted frames with the others made on the fly.

    Args:
        make: makes the frames.
        waveforms: the notes' samples.
        shifts: which shifts are asked for; where their table would take more than the budget, they are made on the fly.

    Attributes:
        shifts: the settings as they are used.
    """

    def __init__(self, make: FrameMaker, waveforms: Waveforms, shifts: ShiftSettings) -> None:
        self.make, self.waveforms, self.shifts = make, waveforms, shifts
        self._context: Tensor | None = None
        self._keep_to_the_budget()
        self._scale: FrameScale | None = None
        self._frames = self._log_frames()

    def unscaled(self, notes: np.ndarray) -> Tensor:
        """The unshifted natural-log mel frames (n, F) of some notes, (N,) bool; before a scale is set."""
        assert self._scale is None, "the frames are scaled in place"
        return self._frames[torch.from_numpy(notes), self._origin, : self.make.mel.n_mels]

    def set_scale(self, scale: FrameScale) -> None:
        """Bring the frames to [-1, 1] by a scale."""
        if scale == self._scale:
            return
        if self._scale is not None:
            self._frames = self._log_frames().to(self._frames.device)
        for part in self._frames.split(NOTES_AT_ONCE):  # in place: the table is the largest thing in memory
            part.copy_(scale.normalise(part))
        self._scale = scale

    def to(self, device: torch.device) -> None:
        """Keep frames (or samples) where the batches are."""
        self._frames = self._frames.to(device)
        self._context = None if self._context is None else self._context.to(device)

    def unshifted(self, indices: Tensor) -> Tensor:
        """(B, F + low) frames of notes (B,)."""
        return self._rows(indices, self._origin)

    def shifted(self, indices: Tensor, semitones: Tensor) -> Tensor:
        """(B, F + low) frames of notes (B,) shifted by (B,) semitones; whole ones where there is a table."""
        if self.shifts.pairs == "table":
            return self._rows(indices, semitones - self.shifts.lowest)
        assert self._scale is not None, "a scale is set before pairs are made"
        if self._context is None:
            samples = self._samples(indices.numpy(force=True)).to(indices.device)
        else:
            samples = self._context.index_select(0, indices)
        return self._scale.normalise(self.make.log_frames(samples, semitones))

    def _rows(self, indices: Tensor, which: Tensor | int) -> Tensor:
        """Frames of notes at one of the kept shifts each. One flat index is three times as fast as two."""
        return self._frames.flatten(0, 1).index_select(0, indices * self._frames.shape[1] + which)

    @property
    def _kept_shifts(self) -> range:
        """The whole semitones whose frames are kept."""
        table = self.shifts.pairs == "table"
        return range(self.shifts.lowest, self.shifts.highest + 1) if table else range(1)

    @property
    def _origin(self) -> int:
        """Where the unshifted frames stand among those kept."""
        return self._kept_shifts.index(0)

    @property
    def _width(self) -> int:
        return self.make.mel.n_mels + self.make.n_low

    def _keep_to_the_budget(self) -> None:
        """Make the pairs on the fly where the table of shifts would not fit; keep the samples if they do."""
        notes, budget = len(self.waveforms), self.shifts.memory_budget_mib
        table = notes * len(self._kept_shifts) * self._width * BYTES / MIB
        if self.shifts.pairs == "table" and table > budget:
            print(
                f"the table of {len(self._kept_shifts)} shifts of {notes} notes would take {table:.0f} MiB, more than "
                f"data.shifts.memory_budget_mib {budget:g}: making the pairs on the fly",
                flush=True,
            )
            self.shifts = replace(self.shifts, pairs="on_the_fly")
        if self.shifts.pairs == "on_the_fly" and notes * (2 * self.make.reach + 1) * BYTES / MIB <= budget:
            self._context = self._samples(slice(None))

    def _samples(self, notes: slice | np.ndarray) -> Tensor:
        """(B, 2 R + 1) samples around the frames' instants of some notes, from the cache on disk."""
        first = self.make.centre - self.make.reach
        return torch.from_numpy(self.waveforms.segments(first, 2 * self.make.reach + 1, notes))

    def _log_frames(self) -> Tensor:
        """(N, shifts kept, F + low) natural-log mel frames of all notes."""
        frames = torch.empty(len(self.waveforms), len(self._kept_shifts), self._width)
        for first in range(0, len(frames), NOTES_AT_ONCE):
            part = slice(first, first + NOTES_AT_ONCE)
            samples = self._samples(part)
            for index, shift in enumerate(self._kept_shifts):
                frames[part, index] = self.make.log_frames(samples, torch.full((len(samples),), shift))
        return frames
