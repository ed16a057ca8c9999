"""The data module: pairs of a log-mel frame and the same frame of the pitch-shifted note."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from datamodules.corrections import apply_corrections
from datamodules.mel import FrameScale, LowBandSettings, MelSettings, log_mel, mel_centres_hz, mel_filters
from datamodules.pitch_shift import context_reach, shifted_power
from datamodules.pitch_trackers import Estimator, heard_pitches
from datamodules.sources.source import NoteSource
from datamodules.splits import SplitSettings, split_notes
from datamodules.waveforms import Waveforms, WaveformSettings, load_waveforms, prepare_waveform

BYTES, MIB = 4, 2**20
NOTES_AT_ONCE = 1024
"""Notes transformed together when frames are made ahead of the training; bounds the memory of the spectra."""


class NotePair(NamedTuple):
    """A batch of B notes.

    Attributes:
        x: (B, F) log-mel frames in [-1, 1].
        x_shifted: (B, F) the same instants of the shifted notes, or ``None`` where no pairs are made.
        semitones: (B,) the shifts.
        pitch: (B,) pitch labels, 0 for the lowest pitch of the data. Unsupervised objectives never read them.
        instrument: (B,) instrument labels. No objective reads them; the instrument classifier does.
        pseudo_label: (B,) categories that a pitch estimator hears, -1 for none; ``None`` where none is asked.
        x_pitch: (B, F) the frames that the pitch is read from, where they are others than ``x``.
        x_pitch_shifted: (B, F) those of the shifted notes, where they are others than ``x_shifted``.
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


@dataclass(frozen=True)
class ShiftSettings:
    """Which pitch shifts make the second frame of a pair.

    Attributes:
        lowest: lowest shift in semitones.
        highest: highest shift in semitones, drawn too (the authors' code never draws its own +2).
        pairs: ``table`` computes the frames of all whole semitones once; ``on_the_fly`` computes each batch from the
            samples; ``none`` makes no pairs. The range decides all the same which notes are long enough, so that rows
            with and without pairs are trained and scored on the same notes.
        continuous: draw real intervals rather than whole semitones; needs ``pairs: on_the_fly``.
        zero: whether a whole shift of 0 is drawn, which makes two equal frames.
        memory_budget_mib: memory that the table may take, MiB; where it would take more, the pairs are made on the fly,
            from samples that are kept on the device if they fit in the budget and read from the disk's cache if not.
    """

    lowest: int = -2
    highest: int = 2
    pairs: Literal["table", "on_the_fly", "none"] = "table"
    continuous: bool = False
    zero: bool = True
    memory_budget_mib: float = 2048.0

    def __post_init__(self) -> None:
        """Refuse ranges that hold no shift, and budgets below zero."""
        if self.memory_budget_mib < 0:
            raise ValueError(f"data.shifts.memory_budget_mib is {self.memory_budget_mib:g}; it must not be negative")
        if self.lowest > self.highest:
            raise ValueError(f"data.shifts: lowest {self.lowest} lies above highest {self.highest}")
        if not self.lowest <= 0 <= self.highest:
            raise ValueError(f"data.shifts: {self.lowest}..{self.highest} must hold 0, the unshifted frame")
        if not self.zero and self.lowest == self.highest:
            raise ValueError("data.shifts: lowest and highest are 0, and zero is false: no shift is left")
        if self.continuous and self.pairs != "on_the_fly":
            raise ValueError(
                "data.shifts.continuous needs data.shifts.pairs: on_the_fly; a table holds whole semitones"
            )


class EpochSampler(Sampler):
    """Batches of (note indices, shifts), drawn afresh each epoch from (seed, epoch) alone.

    Nothing but the epoch's number decides an epoch's batches, so a resumed run sees what an undisturbed one sees.
    """

    def __init__(self, notes: Tensor, batch_size: int, shifts: ShiftSettings, seed: int, train: bool) -> None:
        self.notes, self.batch_size, self.shifts, self.seed, self.train = notes, batch_size, shifts, seed, train
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this at each epoch's start. Scored notes keep their order and shifts."""
        self.epoch = epoch if self.train else 0

    def __len__(self) -> int:
        # A last batch of one note would have no variance to normalise by.
        full, rest = divmod(len(self.notes), self.batch_size)
        return full + (rest > (1 if self.train and full else 0))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        source = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) * 2 + self.train)
        order = torch.randperm(len(self.notes), generator=source) if self.train else torch.arange(len(self.notes))
        for batch in order.split(self.batch_size)[: len(self)]:
            if self.shifts.continuous:
                span = self.shifts.highest - self.shifts.lowest
                semitones = self.shifts.lowest + span * torch.rand(len(batch), generator=source)
            else:
                highest = self.shifts.highest + self.shifts.zero
                semitones = torch.randint(self.shifts.lowest, highest, (len(batch),), generator=source)
                if not self.shifts.zero:
                    semitones += semitones >= 0
            yield self.notes[batch], semitones


class _AsDrawn(torch.utils.data.Dataset):
    """What the sampler draws is the batch: frames are read on the device, after the transfer."""

    def __getitem__(self, drawn: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return drawn


class NotePairs(L.LightningDataModule):
    """Notes of one source as pairs (x, x') of log-mel frames.

    Args:
        source: where the notes come from.
        root: folder of the source's audio, where it needs one.
        corrections: CSV of labels to change and notes to drop, as the doctor writes it.
        waveforms: how audio is decoded and normalised.
        mel: how frames are made.
        pitch_low_bands: bands that are read otherwise where the pitch is read; ``None``: the pitch is read from the
            same frame as all else. No classifier sees them: rows with and without are judged alike. What a note that
            ends within the longer window lacks of it is silence.
        shifts: which pitch shifts make pairs.
        split: which notes are scored.
        pitch_range: lowest and highest MIDI pitch of the categories; ``None`` takes them from the notes.
        on_bad_file: what to do with notes that cannot be decoded, are silent, end before the frame's longest window or
            lie outside the pitch range: stop and name them, or drop them and say so.
        max_notes: keep this many notes, spread evenly over the table (smoke runs).
        batch_size: notes a batch.
        pitch_tracker: a pitch tracker whose reading of each note is learned from, in place of a label.
        cache_dir: where decoded audio, and what was heard, is kept.
        seed: seed of the order and the shifts; the CLI links it to ``seed_everything``.
        name: what the data is called in records and tables.

    Attributes:
        notes: the note table, without the notes that were dropped.
        dropped: note id -> reason, of the notes that ``on_bad_file: drop`` left out.
        scale: the bounds of the frames' scale, after ``setup``.
    """

    def __init__(
        self,
        source: NoteSource,
        root: Path | None = None,
        corrections: Path | None = None,
        waveforms: WaveformSettings = WaveformSettings(),  # noqa: B008 - frozen
        mel: MelSettings = MelSettings(),  # noqa: B008
        pitch_low_bands: LowBandSettings | None = None,
        shifts: ShiftSettings = ShiftSettings(),
        split: SplitSettings = SplitSettings(),  # noqa: B008
        pitch_range: tuple[int, int] | None = None,
        on_bad_file: Literal["stop", "drop"] = "stop",
        max_notes: int | None = None,
        batch_size: int = 256,
        pitch_tracker: Literal["none", "pesto", "pyin"] = "none",
        cache_dir: Path = Path("~/.cache/pitch-timbre"),
        seed: int = 0,
        name: str = "notes",
    ) -> None:
        super().__init__()
        if batch_size < 2:
            raise ValueError(f"data.batch_size is {batch_size}; batch normalisation needs at least 2 notes")
        if max_notes is not None and max_notes < 4:
            raise ValueError(f"data.max_notes is {max_notes}; give at least 4")
        self.source, self.root = source, root.expanduser() if root else None
        self.waveform_settings, self.mel, self.shifts, self.split = waveforms, mel, shifts, split
        self.pitch_low_bands = pitch_low_bands
        if pitch_low_bands and not self._n_low:
            raise ValueError(
                f"data.pitch_low_bands.below_hz is {pitch_low_bands.below_hz:g} Hz, and the lowest mel band's centre "
                f"{self.mel_hz[0]:.1f} Hz: no band would be read otherwise; raise it, or set data.pitch_low_bands: null"
            )
        self.on_bad_file, self.batch_size, self.seed, self.name = on_bad_file, batch_size, seed, name
        self.pitch_tracker = pitch_tracker
        self.cache_dir = cache_dir.expanduser()
        notes = apply_corrections(self.source.read_notes(self.root), corrections)
        if max_notes is not None and max_notes < len(notes):
            notes = notes.iloc[np.linspace(0, len(notes) - 1, max_notes).astype(int)].reset_index(drop=True)
        self.notes: pd.DataFrame = notes
        self.pitch_range = pitch_range or (int(notes.midi.min()), int(notes.midi.max()))
        self.dropped: dict[str, str] = {}
        self._keep_to_the_pitch_range()
        self.instruments: list[str] = sorted(self.notes.instrument.unique())
        self.scale: FrameScale | None = None
        self._scored: np.ndarray = np.zeros(0, dtype=bool)
        self._waveforms: Waveforms | None = None
        self._frames: Tensor | None = None
        self._context: Tensor | None = None
        self._labels: tuple[Tensor, Tensor] | None = None
        self._heard: Tensor | None = None

    def _keep_to_the_pitch_range(self) -> None:
        """Refuse or drop the notes that no category is for, such as those beyond a tested checkpoint's range."""
        lowest, highest = self.pitch_range
        outside = (self.notes.midi < lowest) | (self.notes.midi > highest)
        if not outside.any():
            return
        row, beyond = self.notes[outside].iloc[0], f"outside data.pitch_range {lowest}..{highest}"
        what = f"note {row.note_id!r} has MIDI pitch {row.midi}, {beyond}"
        if self.on_bad_file == "stop" or outside.all():
            raise ValueError(f"{what}; widen the range, drop the note, or set data.on_bad_file: drop")
        print(f"dropped, as data.on_bad_file says: {int(outside.sum())} note(s), the first: {what}", flush=True)
        self.dropped = dict.fromkeys(self.notes.note_id[outside], beyond)
        self.notes = self.notes[~outside].reset_index(drop=True)

    # What the models need to know -------------------------------------------------------------------------------------

    @property
    def n_pitches(self) -> int:
        """K, the number of pitch categories."""
        return self.pitch_range[1] - self.pitch_range[0] + 1

    @property
    def n_instruments(self) -> int:
        """How many instruments the notes have."""
        return len(self.instruments)

    @property
    def n_mels(self) -> int:
        """F, the number of mel bands."""
        return self.mel.n_mels

    @property
    def lowest_midi(self) -> int:
        """The MIDI pitch of label 0."""
        return self.pitch_range[0]

    @property
    def mel_hz(self) -> tuple[float, ...]:
        """(F,) centre frequencies of the mel bands, Hz."""
        return mel_centres_hz(self.mel)

    @property
    def data_hash(self) -> str:
        """A hash of all that a trained evaluator depends on: sound, labels, frames and split."""
        digest = sha256(self._waveforms.content_hash.encode() if self._waveforms else b"")
        digest.update(repr((asdict(self.mel), self.pitch_range, self.instruments)).encode())
        for column in (self.notes.note_id, self.notes.midi, self.notes.instrument):
            digest.update("\n".join(map(str, column)).encode())
        digest.update(self._scored.tobytes())
        return digest.hexdigest()[:16]

    @property
    def scored(self) -> np.ndarray:
        """(N,) bool, true for a scored (validation) note."""
        return self._scored

    # Preparation ------------------------------------------------------------------------------------------------------

    def setup(self, stage: str | None = None) -> None:
        """Decode (or read the cache), cut the frames, fit the scale and cut the split. Runs once.

        Raises:
            ValueError: notes that end before the frame's context, or that do not make a split.
        """
        if self._frames is not None:
            return
        rate = self.waveform_settings.sample_rate
        mel_filters(self.mel, rate)  # refuses an impossible band before anything is decoded
        centre = self.mel.centre(rate)
        self._check_duration(centre + self._reach)
        waveforms = load_waveforms(
            self.source, self.root, self.notes, self.waveform_settings, self.cache_dir, on_bad_file=self.on_bad_file
        )
        # Whose notes are long enough is the mel frame's to say: all rows are trained and scored on the same notes.
        self._waveforms = self._keep_good(waveforms, centre + context_reach(self.mel.n_fft, self.shifts.highest))
        self._scored = split_notes(self.notes, self.split)
        self._keep_to_the_budget()
        frames = self._log_frames()
        fitted = frames[torch.from_numpy(~self._scored), self._origin, : self.n_mels]
        self.scale = self.scale or FrameScale.fit(fitted, self.mel)
        self._frames = _normalised(frames, self.scale)
        pitch = torch.tensor(self.notes.midi.to_numpy() - self.pitch_range[0])
        instrument = torch.tensor([self.instruments.index(name) for name in self.notes.instrument])
        self._labels = (pitch, instrument)
        if self.pitch_tracker != "none":
            self._heard = self._heard_categories(self.pitch_tracker)

    def _heard_categories(self, estimator: Estimator) -> Tensor:
        """(N,) categories of the pitches that an estimator hears at the frame's instant; -1 for none, or outside."""
        assert self._waveforms is not None
        instant = self.mel.centre(self.waveform_settings.sample_rate)
        midi = torch.from_numpy(heard_pitches(self._waveforms, estimator, instant, self.cache_dir)).round()
        category = midi - self.lowest_midi
        return category.where((category >= 0) & (category < self.n_pitches), -1).long()

    @property
    def _reach(self) -> int:
        """Samples on each side of a frame's instant."""
        low = self.pitch_low_bands
        return context_reach(max(self.mel.n_fft, low.n_fft if low else 0), self.shifts.highest)

    @property
    def _low_bands(self) -> dict[str, Any] | None:
        """The settings of the low bands as a checkpoint keeps them."""
        return asdict(self.pitch_low_bands) if self.pitch_low_bands else None

    @cached_property
    def _n_low(self) -> int:
        """How many bands are read through the longer window too; they are kept behind the F of the mel frame."""
        low = self.pitch_low_bands
        return sum(hz < low.below_hz for hz in self.mel_hz) if low else 0

    @property
    def _kept_shifts(self) -> range:
        """The whole semitones whose frames are kept."""
        table = self.shifts.pairs == "table"
        return range(self.shifts.lowest, self.shifts.highest + 1) if table else range(1)

    @property
    def _origin(self) -> int:
        """Where the unshifted frames stand among those kept."""
        return self._kept_shifts.index(0)

    def _keep_to_the_budget(self) -> None:
        """Make the pairs on the fly where the table of shifts would not fit; keep the samples if they do."""
        notes, budget = len(self.notes), self.shifts.memory_budget_mib
        table = notes * len(self._kept_shifts) * (self.n_mels + self._n_low) * BYTES / MIB
        if self.shifts.pairs == "table" and table > budget:
            print(
                f"the table of {len(self._kept_shifts)} shifts of {notes} notes would take {table:.0f} MiB, more than "
                f"data.shifts.memory_budget_mib {budget:g}: making the pairs on the fly",
                flush=True,
            )
            self.shifts = replace(self.shifts, pairs="on_the_fly")
        if self.shifts.pairs == "on_the_fly" and notes * (2 * self._reach + 1) * BYTES / MIB <= budget:
            self._context = self._samples(slice(None))

    def _samples(self, notes: slice | np.ndarray) -> Tensor:
        """(B, 2 R + 1) samples around the frames' instants of some notes, from the cache on disk."""
        assert self._waveforms is not None
        first = self.mel.centre(self.waveform_settings.sample_rate) - self._reach
        return torch.from_numpy(self._waveforms.segments(first, 2 * self._reach + 1, notes))

    def _log_frames(self) -> Tensor:
        """(N, shifts kept, F + low) natural-log mel frames of all notes."""
        frames = torch.empty(len(self.notes), len(self._kept_shifts), self.n_mels + self._n_low)
        for first in range(0, len(frames), NOTES_AT_ONCE):
            part = slice(first, first + NOTES_AT_ONCE)
            samples = self._samples(part)
            for index, shift in enumerate(self._kept_shifts):
                frames[part, index] = self._log_mel(samples, torch.full((len(samples),), shift))
        return frames

    def _check_duration(self, needed: int) -> None:
        rate, kept = self.waveform_settings.sample_rate, self.waveform_settings.duration_s
        if kept * rate < needed:
            raise ValueError(
                f"data.waveforms.duration_s is {kept:g} s, but the frame at {self.mel.centre(rate) / rate:.3f} s needs "
                f"{needed / rate:.3f} s; set data.waveforms.duration_s to at least "
                f"{np.ceil(needed / rate * 100) / 100:g}"
            )

    def _keep_good(self, waveforms: Waveforms, needed: int) -> Waveforms:
        """Refuse or drop the notes that end before the frame's longest window; follow what was dropped on decoding."""
        self.notes = self.notes.iloc[waveforms.kept].reset_index(drop=True)
        rate, short = self.waveform_settings.sample_rate, waveforms.lengths < needed
        self.dropped |= waveforms.dropped
        for note_id, reason in waveforms.dropped.items():
            print(f"dropped, as data.on_bad_file says: {note_id}: {reason}", flush=True)
        if not short.any():
            return waveforms
        first = int(np.flatnonzero(short)[0])
        what = (
            f"{int(short.sum())} note(s) end before the frame's longest (shifted) window, {needed / rate:.3f} s; the "
            f"first is {self.notes.note_id[first]!r} of {waveforms.lengths[first] / rate:.3f} s"
        )
        if self.on_bad_file == "stop" or short.all():
            raise ValueError(f"{what}; set data.on_bad_file: drop, or an earlier data.mel.frame_s")
        print(f"dropped, as data.on_bad_file says: {what}", flush=True)
        self.dropped |= dict.fromkeys(self.notes.note_id[short], "ends before the frame's longest window")
        self.notes = self.notes[~short].reset_index(drop=True)
        return replace(waveforms, starts=waveforms.starts[~short], lengths=waveforms.lengths[~short])

    def _log_mel(self, context: Tensor, semitones: Tensor) -> Tensor:
        """(B, 2 R + 1) samples and (B,) shifts to (B, F + low) natural-log mel frames, float32 even under autocast."""
        rate, low = self.waveform_settings.sample_rate, self.pitch_low_bands
        filters = mel_filters(self.mel, rate, context.device)
        frames = log_mel(shifted_power(context, semitones, self.mel.n_fft, filters))
        if low is None:
            return frames
        filters = mel_filters(replace(self.mel, n_fft=low.n_fft), rate, context.device)
        power = shifted_power(context, semitones, low.n_fft, filters)[:, : self._n_low]
        # A band's power grows as the square of the window's length: on one level, the bands of both make one frame.
        return torch.cat([frames, log_mel(power * (self.mel.n_fft / low.n_fft) ** 2)], 1)

    # What the checkpoint keeps ----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The scale and what it was fitted for."""
        assert self.scale is not None, "state_dict is taken after setup"
        return {
            "scale": asdict(self.scale),
            "mel": asdict(self.mel),
            "pitch_low_bands": self._low_bands,
            "pitch_range": list(self.pitch_range),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the scale of the data that a checkpoint was trained on.

        Raises:
            ValueError: the checkpoint's frames were made with other settings.
        """
        other = {k: v for k, v in state_dict["mel"].items() if v != asdict(self.mel)[k]}
        if other:
            raise ValueError(
                f"the checkpoint was trained with other mel settings "
                f"({', '.join(f'{k}: {v}' for k, v in other.items())}); give the same under data.mel"
            )
        if (low := state_dict.get("pitch_low_bands")) != self._low_bands:
            raise ValueError(
                f"the checkpoint was trained with data.pitch_low_bands {low}, they are {self._low_bands}; give the same"
            )
        scale = FrameScale(**state_dict["scale"])
        if self._frames is not None and scale != self.scale:
            self._frames = _normalised(self._log_frames(), scale).to(self._frames.device)
        self.scale = scale

    # Batches ----------------------------------------------------------------------------------------------------------

    def _loader(self, notes: np.ndarray, train: bool) -> DataLoader:
        indices = torch.from_numpy(np.flatnonzero(notes))
        sampler = EpochSampler(indices, self.batch_size, self.shifts, self.seed, train)
        return DataLoader(_AsDrawn(), batch_size=None, sampler=sampler)

    def train_dataloader(self) -> DataLoader:
        """Training notes, in a new order with new shifts each epoch."""
        return self._loader(~self._scored, train=True)

    def val_dataloader(self) -> DataLoader:
        """Scored notes; their order and shifts never change."""
        return self._loader(self._scored, train=False)

    def test_dataloader(self) -> list[DataLoader]:
        """Scored notes, then the training notes on which honest mappings and probes are fitted."""
        return [self._loader(self._scored, train=False), self._loader(~self._scored, train=False)]

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> NotePair:
        """Read the pairs on the device that the batch is on."""
        return self.pairs(*batch)

    def pairs(self, indices: Tensor, semitones: Tensor) -> NotePair:
        """Read the pairs of some notes.

        Args:
            indices: (B,) rows of the note table.
            semitones: (B,) shifts; whole numbers unless the pairs are made on the fly.
        """
        if self._frames is None or self._labels is None or self.scale is None:
            raise RuntimeError("call setup() before pairs()")
        if self._frames.device != indices.device:
            self._move(indices.device)
        x, x_pitch = self._as_read(self._frames_of(indices, self._origin))
        pitch, instrument = (labels.index_select(0, indices) for labels in self._labels)
        heard = None if self._heard is None else self._heard.index_select(0, indices)
        alone = NotePair(x, None, semitones, pitch, instrument, heard, x_pitch)
        if self.shifts.pairs == "none":
            return alone
        if self.shifts.pairs == "table":
            shifted = self._frames_of(indices, semitones - self.shifts.lowest)
        else:
            if self._context is None:
                samples = self._samples(indices.numpy(force=True)).to(indices.device)
            else:
                samples = self._context.index_select(0, indices)
            shifted = self.scale.normalise(self._log_mel(samples, semitones))
        x_shifted, x_pitch_shifted = self._as_read(shifted)
        return alone._replace(x_shifted=x_shifted, x_pitch_shifted=x_pitch_shifted)

    def pitch_frames_of(self, samples: np.ndarray) -> Tensor:
        """What the pitch of other sounds (N, T) at the notes' sample rate is read from, (N, F), made as the notes'."""
        assert self.scale is not None, "pitch_frames_of is called after setup"
        rate, reach = self.waveform_settings.sample_rate, self._reach
        sounds = np.stack([prepare_waveform(sound, rate, self.waveform_settings) for sound in samples])
        first = self.mel.centre(rate)  # in sounds that begin after ``reach`` samples of silence
        context = torch.nn.functional.pad(torch.from_numpy(sounds), (reach, reach))[:, first : first + 2 * reach + 1]
        x, x_pitch = self._as_read(self.scale.normalise(self._log_mel(context, torch.zeros(len(context)))))
        return x if x_pitch is None else x_pitch

    def _as_read(self, frames: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, F + low) frames as they are kept to x (B, F), and what the pitch is read from where that is another."""
        x, low = frames[:, : self.n_mels], frames[:, self.n_mels :]
        return x, torch.cat([low, x[:, low.shape[1] :]], 1) if low.shape[1] else None

    def _frames_of(self, indices: Tensor, which: Tensor | int) -> Tensor:
        """(B, F + low) frames of notes at one of the kept shifts each. One flat index is three times as fast as two."""
        assert self._frames is not None
        return self._frames.flatten(0, 1).index_select(0, indices * self._frames.shape[1] + which)

    def _move(self, device: torch.device) -> None:
        """Keep frames (or samples) and labels where the batches are, for the rest of the run."""
        assert self._frames is not None
        assert self._labels is not None
        self._frames = self._frames.to(device)
        self._labels = (self._labels[0].to(device), self._labels[1].to(device))
        self._context = None if self._context is None else self._context.to(device)
        self._heard = None if self._heard is None else self._heard.to(device)


def _normalised(frames: Tensor, scale: FrameScale) -> Tensor:
    """Frames brought to [-1, 1] in place, a part at a time: the table is the largest thing in memory."""
    for part in frames.split(NOTES_AT_ONCE):
        part.copy_(scale.normalise(part))
    return frames
