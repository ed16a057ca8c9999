"""What every data module of notes shares: the notes, their labels, their split and their samples."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.batch import NotePair
from datamodules.corrections import apply_corrections
from datamodules.epoch_sampler import EpochSampler, ShiftSettings, loader_of
from datamodules.frames import FrameMaker
from datamodules.mel import FrameScale, LowBandSettings, MelSettings, mel_centres_hz
from datamodules.pitch_trackers import Estimator, heard_pitches
from datamodules.run_data import RunData
from datamodules.sequence_batch import NoteSequenceBatch
from datamodules.sources.source import NoteSource
from datamodules.splits import Split, SplitSettings, split_notes, write_split
from datamodules.table_files import clean_text
from datamodules.waveforms import Waveforms, WaveformSettings, load_waveforms


class NoteData(RunData):
    """Notes of one source, split into training and scored ones; a subclass makes batches of them.

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
        split: which notes are scored, and which ones checkpoints are selected on.
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
        parts: which notes are trained on, selected on and scored, after ``setup``.
    """

    given_to_the_model = ("n_pitches", "n_instruments", "n_mels", "mel_hz", "lowest_midi")

    def __init__(
        self,
        source: NoteSource,
        root: Path | None = None,
        corrections: Path | None = None,
        waveforms: WaveformSettings = WaveformSettings(),  # noqa: B008 - frozen
        mel: MelSettings = MelSettings(),  # noqa: B008
        pitch_low_bands: LowBandSettings | None = None,
        shifts: ShiftSettings = ShiftSettings(),  # noqa: B008
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
        if not 0 <= seed < 2**32:
            raise ValueError(f"data.seed is {seed}; it must lie in 0..{2**32 - 1}")
        if pitch_range and not 0 <= pitch_range[0] <= pitch_range[1] <= 127:
            raise ValueError(
                f"data.pitch_range is {list(pitch_range)}; give two MIDI pitches of 0..127, the lower first"
            )
        if root and not source.reads_root:
            raise ValueError(
                f"data.root is {root}, but data.source {type(source).__name__} reads no files; choose another source, "
                "or leave data.root out"
            )
        try:
            self.root, self.cache_dir = root.expanduser() if root else None, cache_dir.expanduser()
        except RuntimeError as error:
            raise ValueError(
                f"data.cache_dir {cache_dir}, data.root {root}: no home folder; give whole paths"
            ) from error
        self.source = source
        self.waveform_settings, self.mel, self.pitch_low_bands = waveforms, mel, pitch_low_bands
        self.frame_maker = FrameMaker(mel, pitch_low_bands, waveforms, shifts.highest)
        self.shifts, self.split, self.on_bad_file, self.pitch_tracker = shifts, split, on_bad_file, pitch_tracker
        self.batch_size, self.seed, self.name = batch_size, seed, clean_text(name, "data.name")
        notes = apply_corrections(self.source.read_notes(self.root), corrections)
        if max_notes is not None and max_notes < len(notes):
            notes = notes.iloc[np.linspace(0, len(notes) - 1, max_notes).astype(int)].reset_index(drop=True)
        self.notes: pd.DataFrame = notes
        self.pitch_range = pitch_range or (int(notes.midi.min()), int(notes.midi.max()))
        self.dropped: dict[str, str] = {}
        self._keep_to_the_pitch_range()
        if self.n_pitches < 2:
            raise ValueError(
                f"{self.name}: all notes have MIDI pitch {self.lowest_midi}; pitch and timbre cannot be told apart by "
                "one pitch: add notes, or set data.pitch_range"
            )
        self.instruments: list[str] = sorted(self.notes.instrument.unique())
        self.scale: FrameScale | None = None
        self.parts = Split(np.zeros(0, dtype=bool), np.zeros(0, dtype=bool))
        self._content_hash = ""
        self._labels: dict[str, Tensor] = {}

    def _keep_to_the_pitch_range(self) -> None:
        """Refuse or drop the notes outside the categories, such as those beyond a tested checkpoint's range."""
        lowest, highest = self.pitch_range
        outside = (self.notes.midi < lowest) | (self.notes.midi > highest)
        if not outside.any():
            return
        row, beyond = self.notes[outside].iloc[0], f"outside data.pitch_range {lowest}..{highest}"
        what = f"note {row.note_id!r} has MIDI pitch {row.midi}, {beyond}"
        if self.on_bad_file == "stop" or outside.all():
            raise ValueError(f"{what}; widen the range, drop the note, or set data.on_bad_file: drop")
        self._drop(outside.to_numpy(), beyond, f"{int(outside.sum())} note(s), the first: {what}")

    def _drop(self, bad: np.ndarray, reason: str, what: str) -> None:
        """Take notes, (N,) bool, out of the table; one line says so."""
        print(f"dropped, as data.on_bad_file is drop: {what}", flush=True)
        self.dropped |= dict.fromkeys(self.notes.note_id[bad], reason)
        self.notes = self.notes[~bad].reset_index(drop=True)

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
    def scored(self) -> np.ndarray:
        """(N,) bool, the notes that a test scores."""
        return self.parts.scored

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
        digest = sha256(self._content_hash.encode())
        digest.update(repr((asdict(self.mel), self.pitch_range, self.instruments)).encode())
        for column in (self.notes.note_id, self.notes.midi, self.notes.instrument):
            digest.update("\n".join(map(str, column)).encode())
        digest.update(self.parts.scored.tobytes())
        if self.parts.has_selection:
            digest.update(self.parts.selection.tobytes())
        return digest.hexdigest()[:16]

    def facts(self) -> dict[str, Any]:
        """What ``run.json`` says of the notes."""
        return {
            **({"fold": self.split.fold} if self.split.folds else {}),
            "n_notes": len(self.notes),
            "split": self.split.kind,
            "selected_on": "other notes" if self.parts.has_selection else "scored notes",
            "n_selection": int(self.parts.selection.sum()),
            "n_scored": int(self.scored.sum()),
            "n_dropped": len(self.dropped),
        }

    def write_split(self, file: Path) -> None:
        """Write which notes are trained on, selected on and scored."""
        write_split(self.notes, self.parts, file)

    # Preparation ------------------------------------------------------------------------------------------------------

    def setup(self, stage: str | None = None) -> None:
        """Decode (or read the cache), cut the split, make the frames and fit their scale. Runs once.

        Raises:
            ValueError: notes cannot be decoded or end before the frame's window, or do not make a split.
        """
        if self._labels:
            return
        waveforms = load_waveforms(
            self.source, self.root, self.notes, self.waveform_settings, self.cache_dir, on_bad_file=self.on_bad_file
        )
        self.notes = self.notes.iloc[waveforms.kept].reset_index(drop=True)
        self.dropped |= waveforms.dropped
        for note_id, reason in waveforms.dropped.items():
            print(f"dropped, as data.on_bad_file is drop: {note_id}: {reason}", flush=True)
        waveforms = self._usable(waveforms)
        self._content_hash = waveforms.content_hash
        self.parts = split_notes(self.notes, self.split)
        self._make_frames(waveforms)
        labels = {
            "pitch": torch.tensor(self.notes.midi.to_numpy() - self.lowest_midi),
            "instrument": torch.tensor([self.instruments.index(name) for name in self.notes.instrument]),
        }
        if self.pitch_tracker != "none":
            labels["pseudo_label"] = self._tracked_categories(waveforms, self.pitch_tracker)
        self._labels = labels

    @abstractmethod
    def _usable(self, waveforms: Waveforms) -> Waveforms:
        """Refuse or drop (see :meth:`_without`) the notes of which no batch can be made."""

    @abstractmethod
    def _make_frames(self, waveforms: Waveforms) -> None:
        """Make what the batches are read from, and fit the scale if none is set; notes and split are settled."""

    def _tracked_categories(self, waveforms: Waveforms, tracker: Estimator) -> Tensor:
        """(N,) categories that a pitch tracker finds at the frame's instant; -1 for none, or outside."""
        midi = torch.from_numpy(heard_pitches(waveforms, tracker, self.frame_maker.centre, self.cache_dir)).round()
        category = midi - self.lowest_midi
        return category.where((category >= 0) & (category < self.n_pitches), -1).long()

    def _without(self, waveforms: Waveforms, bad: np.ndarray, reason: str, what: str, remedy: str) -> Waveforms:
        """Drop bad notes, (N,) bool, or refuse them all.

        Args:
            waveforms: those of the notes.
            bad: (N,) bool.
            reason: what is wrong with each.
            what: what is wrong with how many and which is the first, for a person to read.
            remedy: what to do, beside dropping them.

        Raises:
            ValueError: some are bad and ``on_bad_file`` is ``stop``, or all are.
        """
        if not bad.any():
            return waveforms
        if self.on_bad_file == "stop" or bad.all():
            raise ValueError(f"{what}; set data.on_bad_file: drop, or {remedy}")
        self._drop(bad, reason, what)
        return replace(waveforms, starts=waveforms.starts[~bad], lengths=waveforms.lengths[~bad])

    # What the checkpoint keeps ----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """How a sound becomes a frame and what the labels mean: all that a checkpoint needs to be used without us."""
        assert self.scale is not None, "state_dict is taken after setup"
        return {
            "scale": asdict(self.scale),
            "mel": asdict(self.mel),
            "pitch_low_bands": asdict(self.pitch_low_bands) if self.pitch_low_bands else None,
            "waveforms": asdict(self.waveform_settings),
            "pitch_range": list(self.pitch_range),
            "instruments": list(self.instruments),
            "name": self.name,
            "data_hash": self.data_hash,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the scale of the data that a checkpoint was trained on.

        Raises:
            ValueError: the checkpoint's frames were made with other settings.
        """
        given = {"mel": self.mel, "pitch_low_bands": self.pitch_low_bands, "waveforms": self.waveform_settings}
        for name, here in given.items():
            if other := differences(state_dict.get(name), asdict(here) if here else None):
                raise ValueError(f"the checkpoint was trained with other data.{name} ({other}); give the same")
        self.scale = FrameScale(**state_dict["scale"])

    # Batches ----------------------------------------------------------------------------------------------------------

    def _loader(self, notes: np.ndarray, train: bool) -> DataLoader:
        indices = torch.from_numpy(np.flatnonzero(notes))
        return loader_of(EpochSampler(indices, self.batch_size, self.shifts, self.seed, train))

    def train_dataloader(self) -> DataLoader:
        """Training notes, in a new order with new shifts each epoch."""
        return self._loader(self.parts.training, train=True)

    def val_dataloader(self) -> DataLoader:
        """The notes that checkpoints are selected on; their order and shifts never change."""
        return self._loader(self.parts.selection, train=False)

    def test_dataloader(self) -> list[DataLoader]:
        """Scored notes, then the training notes on which honest mappings and probes are fitted."""
        return [self._loader(part, train=False) for part in (self.parts.scored, self.parts.training)]

    @abstractmethod
    def read(self, indices: Tensor, semitones: Tensor) -> NotePair | NoteSequenceBatch:
        """Read notes (B,), rows of the note table, and their copies at shifts (B,); no segments are cut."""

    def _labels_of(self, indices: Tensor) -> dict[str, Tensor]:
        """The labels of notes (B,), (B,) each, on the device of the indices."""
        if self._labels["pitch"].device != indices.device:  # moved once, for the rest of the run
            self._labels = {name: labels.to(indices.device) for name, labels in self._labels.items()}
        return {name: labels.index_select(0, indices) for name, labels in self._labels.items()}

    def pitch_frames_of(self, sounds: np.ndarray) -> Tensor:
        """What the pitch of other sounds (N, T) at the notes' sample rate is read from, (N, F), made as the notes'."""
        assert self.scale is not None, "pitch_frames_of is called after setup"
        x, x_pitch = self.frame_maker.split(self.scale.normalise(self.frame_maker.frames_of_sounds(sounds)))
        return x if x_pitch is None else x_pitch


def differences(trained: dict[str, Any] | None, here: dict[str, Any] | None) -> str:
    """The settings of a kind that differ and change frames, as ``name: trained, here ...``; none: the same."""
    if trained is None or here is None:
        return "" if trained == here else f"{trained}, here {here}"
    names = [name for name in here if name not in ("duration_s", "trim_onset_db") and trained.get(name) != here[name]]
    return ", ".join(f"{name}: {trained.get(name)}, here {here[name]}" for name in names)
