"""Whole notes: the frames of each from its onset to its release, and two segments of it for training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.epoch_sampler import EpochSampler, loader_of
from datamodules.mel import FrameScale
from datamodules.note_data import NoteData, differences
from datamodules.pitch_wander import WANDER, pitch_wander
from datamodules.sequence_batch import NoteSequenceBatch
from datamodules.sequence_frames import FEWEST_FRAMES, SequenceFrames, SequenceSettings, extents
from datamodules.sources.source import NoteSource
from datamodules.waveforms import Waveforms

FRAMES_FOR_THE_SCALE = 2**15
"""Training frames, spread evenly over the notes, that the scale's bounds are taken from."""
ATTACK_S = 0.05
"""What comes before, seconds after the onset, is no frame for :attr:`NoteSequenceBatch.frame_pairs`."""
N_DRAWS = 4
"""Random numbers that a note needs in an epoch: two places, which of them is decoded, and the frame of the pair."""


class SegmentSampler(EpochSampler):
    """Batches of (notes, shifts, draws): where the segments of a note lie is a function of (seed, epoch, note)."""

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:  # type: ignore[override]
        source = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) * 2 + 1)
        source.manual_seed(int(torch.randint(2**62, (), generator=source)))  # not the numbers that order the notes
        draws = torch.rand(int(self.notes.max()) + 1, N_DRAWS, generator=source)
        for notes, semitones in super().__iter__():
            yield notes, semitones, draws[notes]


class NoteSequences(NoteData):
    """Notes of one source as sequences of log-mel frames, with the same instants of the shifted notes.

    In training, a batch has two segments of each note without a common frame; else it has the whole notes.

    Args:
        source: where the notes come from.
        sequence: which frames of a note are read.
        notes: all else; see :class:`datamodules.note_data.NoteData`.
    """

    def __init__(
        self,
        source: NoteSource,
        sequence: SequenceSettings = SequenceSettings(),  # noqa: B008 - frozen
        **notes: Any,
    ) -> None:
        super().__init__(source, **notes)
        self.sequence = sequence
        self._frames: SequenceFrames | None = None
        self._spans = np.zeros((2, 0), np.int64)
        rate, kept_s = self.waveform_settings.sample_rate, self.waveform_settings.duration_s
        if kept_s < (needed := sequence.length_s + self.frame_maker.reach / rate):
            raise ValueError(
                f"data.waveforms.duration_s is {kept_s:g} s, and data.sequence.length_s {sequence.length_s:g} s with "
                f"the last frame's window {needed:.3f} s; set data.waveforms.duration_s to at least "
                f"{np.ceil(needed * 100) / 100:g}"
            )

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""
        rate = self.waveform_settings.sample_rate
        return rate / self.sequence.hop(rate)

    @property
    def n_frames(self) -> int:
        """T, the frames of a whole note in a batch; after ``setup``, those of the longest note."""
        if self._frames is not None:
            return int(self._frames.counts.max())
        return self.sequence.longest(self.waveform_settings.sample_rate)

    @property
    def data_hash(self) -> str:
        """A hash of all that a trained evaluator depends on; the segments of training are not among it."""
        kept = {name: value for name, value in asdict(self.sequence).items() if name != "frames"}
        return sha256(f"{super().data_hash} {kept}".encode()).hexdigest()[:16]

    # Preparation ------------------------------------------------------------------------------------------------------

    def _usable(self, waveforms: Waveforms) -> Waveforms:
        """Refuse or drop notes with too few frames or, if asked for, a changing pitch; see that one is long enough."""
        rate, hop_s = waveforms.sample_rate, self.sequence.hop_s
        spans = np.stack(extents(waveforms, self.sequence, self.waveform_settings.length, self.frame_maker.reach))
        short = spans[1] < FEWEST_FRAMES
        what = (
            f"{int(short.sum())} note(s) have fewer than {FEWEST_FRAMES} frames of data.sequence.hop_s {hop_s:g} s "
            f"between onset and release; the first is {self.notes.note_id[int(np.argmax(short))]!r}"
        )
        reason = f"has fewer than {FEWEST_FRAMES} frames"
        waveforms = self._without(waveforms, short, reason, what, "a smaller data.sequence.hop_s")
        self._spans = spans[:, ~short]
        longest, wanted = int(spans[1].max()), self.sequence.longest(rate)
        if longest < wanted:
            said = (
                f"data.sequence.length_s is {self.sequence.length_s:g}, longer than every note; the longest has "
                f"{longest * hop_s:.2f} s from its onset to its release"
            )
            if self.on_bad_file == "stop":
                raise ValueError(f"{said}: set it to that at most, or data.on_bad_file: drop to go on with that")
            print(f"{said}: going on with that, as data.on_bad_file is drop", flush=True)
        if not self.sequence.steady_pitch:
            return waveforms
        wander = pitch_wander(waveforms, self.cache_dir)
        moves = wander > WANDER
        first = int(np.argmax(moves))
        what = (
            f"{int(moves.sum())} note(s) change their pitch by more than {WANDER:g} semitones and "
            f"data.sequence.steady_pitch asks for one pitch; the first is {self.notes.note_id[first]!r} "
            f"({wander[first]:.1f} semitones)"
        )
        reason = f"its pitch moves by more than {WANDER:g} semitones"
        waveforms = self._without(waveforms, moves, reason, what, "data.sequence.steady_pitch: false")
        self._spans = self._spans[:, ~moves]
        return waveforms

    def _make_frames(self, waveforms: Waveforms) -> None:
        frames = SequenceFrames(
            self.frame_maker, waveforms, self.sequence, self.shifts, self._spans[0], self._spans[1], self.cache_dir
        )
        self.shifts = frames.shifts
        self.scale = self.scale or FrameScale.fit(frames.some(self.parts.training, FRAMES_FOR_THE_SCALE), self.mel)
        self._frames = frames

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to be used without us; see :meth:`NoteData.state_dict`."""
        return super().state_dict() | {"sequence": asdict(self.sequence)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the scale of the data that a checkpoint was trained on.

        Raises:
            ValueError: the checkpoint's frames were made with other settings.
        """
        super().load_state_dict(state_dict)
        if other := differences(state_dict.get("sequence"), {"hop_s": self.sequence.hop_s}):
            raise ValueError(f"the checkpoint was trained with other data.sequence ({other}); give the same")

    # Batches ----------------------------------------------------------------------------------------------------------

    def _loader(self, notes: np.ndarray, train: bool) -> DataLoader:
        if not train:
            return super()._loader(notes, train)
        indices = torch.from_numpy(np.flatnonzero(notes))
        return loader_of(SegmentSampler(indices, self.batch_size, self.shifts, self.seed, train))

    def on_after_batch_transfer(self, batch: tuple[Tensor, ...], dataloader_idx: int) -> NoteSequenceBatch:
        """Read the frames for the device that the batch is on."""
        return self.sequences(*batch)

    def read(self, indices: Tensor, semitones: Tensor) -> NoteSequenceBatch:
        """Whole notes; see :meth:`sequences`."""
        return self.sequences(indices, semitones)

    def sequences(self, indices: Tensor, semitones: Tensor, draws: Tensor | None = None) -> NoteSequenceBatch:
        """Read some notes.

        Args:
            indices: (B,) rows of the note table.
            semitones: (B,) shifts; whole numbers unless the shifted frames are made on the fly.
            draws: (B, N_DRAWS) in [0, 1), which place two segments in each note; ``None``: whole notes.
        """
        if self._frames is None:
            raise RuntimeError("call setup() before sequences()")
        notes = indices.numpy(force=True)
        counts = self._frames.counts[notes]
        if draws is None:
            begin = other_begin = np.zeros_like(counts)
            lengths, longest = counts, self.n_frames
        else:
            drawn = draws.numpy(force=True)
            begin, other_begin, lengths = two_segments(counts, self.sequence.frames, drawn)
            longest = int(min(self.sequence.frames, self._frames.counts.max() // 2))
        mask = torch.arange(longest, device=indices.device) < torch.from_numpy(lengths).to(indices.device).unsqueeze(1)
        begins = [begin] if draws is None else [begin, other_begin]
        (x, x_pitch), *rest = self._segments(notes, begins, mask, None)
        batch = NoteSequenceBatch(
            x=x,
            mask=mask,
            other=rest[0][0] if rest else x,
            other_mask=mask,
            x_shifted=None,
            other_shifted=None,
            semitones=semitones,
            note=indices,
            frame=self._frame(x, mask, begin, lengths, draws),
            x_pitch=x_pitch,
            **self._labels_of(indices),
        )
        if self.shifts.pairs == "none":
            return batch
        (shifted, shifted_pitch), *rest = self._segments(notes, begins, mask, semitones)
        other = rest[0][0] if rest else shifted
        return batch._replace(x_shifted=shifted, other_shifted=other, x_pitch_shifted=shifted_pitch)

    def _segments(
        self, notes: np.ndarray, begins: list[np.ndarray], mask: Tensor, semitones: Tensor | None
    ) -> list[tuple[Tensor, Tensor | None]]:
        """The frames of some segments of notes, each (B, T, F), and what the pitch is read from where that differs."""
        assert self._frames is not None
        assert self.scale is not None
        k = len(begins)
        shifts = None if semitones is None else semitones.repeat(k)
        masks = mask.repeat(k, 1)
        frames = self._frames.read(np.tile(notes, k), np.concatenate(begins), masks, shifts)
        frames = self.scale.normalise(frames).masked_fill(~masks.unsqueeze(2), -1.0)
        found = []
        for part in frames.split(len(notes)):
            x, x_pitch = self.frame_maker.split(part.flatten(0, 1))
            shape = part.shape[:2]
            found.append((x.unflatten(0, shape), None if x_pitch is None else x_pitch.unflatten(0, shape)))
        return found

    def _frame(self, x: Tensor, mask: Tensor, begin: np.ndarray, lengths: np.ndarray, draws: Tensor | None) -> Tensor:
        """(B,) the frame of each note for pairs of one frame.

        In training, a random one after the attack; else the one at ``mel.frame_s``, or the loudest of a shorter note.
        """
        if draws is None:
            rate = self.waveform_settings.sample_rate
            place = round(self.mel.centre(rate) * self.frame_rate_hz / rate)
            loudest = x.mean(2).masked_fill(~mask, -torch.inf).argmax(1)
            return torch.where(torch.from_numpy(lengths > place).to(x.device), place, loudest)
        attack = round(ATTACK_S * self.frame_rate_hz)
        first = np.clip(attack - begin, 0, lengths - 1)
        frame = first + (draws[:, 3].numpy(force=True) * (lengths - first)).astype(np.int64)
        return torch.from_numpy(frame).to(x.device)


def two_segments(counts: np.ndarray, frames: int, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two segments of each note that have no frame in common, all pairs of places equally probable.

    Args:
        counts: (B,) frames of each note, at least 2.
        frames: frames of a segment; half of those of a note that has too few.
        draws: (B, 3) in [0, 1).

    Returns:
        (B,) first frame of the one segment, of the other, and how many frames each of the two has.
    """
    lengths = np.minimum(frames, counts // 2)
    free = counts - 2 * lengths
    early, late = (np.sort(draws[:, :2], 1).astype(np.float64) * (free + 1)[:, None]).astype(np.int64).T
    late = late + lengths
    swapped = draws[:, 2] < 0.5
    return np.where(swapped, late, early), np.where(swapped, early, late), lengths
