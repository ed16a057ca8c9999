"""Log-mel frames of whole notes at any pitch shift: which ones a note has, and where they are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b, sha256
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from rich.progress import track
from torch import Tensor

from datamodules.atomic_files import read_json, replacing, write_json
from datamodules.epoch_sampler import ShiftSettings
from datamodules.frames import MIB, FrameMaker
from datamodules.waveforms import Waveforms, offset, onset

TABLE_VERSION = 1
"""To be raised by every edit that gives other frames for the same samples and settings: old tables are not read."""

FRAMES_AT_ONCE = 256
"""Frames that are transformed together: their spectra stay in a core's cache."""
NOTES_AT_ONCE = 64
"""Notes of a table that are made together."""

STEPS_PER_NAT, CENTRE = 1024, -12.0
"""A table holds natural-log power in 16 bits: -44 to 20, in steps of 0.004 dB."""
BYTES = 2

Rows = np.ndarray
"""(B,) rows of the note table, or a number for each of them."""


@dataclass(frozen=True)
class SequenceSettings:
    """Which frames of a note are read.

    Attributes:
        length_s: how much of a note is read from its onset on, seconds; what a shorter note lacks is masked.
        hop_s: seconds between frames (rounded to samples).
        frames: frames of each of the two segments of a note that training reads: the one that is decoded, and the one
            that the timbre is read from. A note that is too short for two has two shorter ones.
        edge_db: a note begins and ends where it is within this many dB of its peak, as the doctor finds it.
        steady_pitch: refuse (see ``on_bad_file``) notes whose pitch changes, such as glissandi and trills. It is
            measured by YIN, which takes about 10 ms a note, and kept.
    """

    length_s: float = 1.5
    hop_s: float = 0.02
    frames: int = 24
    edge_db: float = -40.0
    steady_pitch: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that leave no frames."""
        if not 0.001 <= self.hop_s <= 1:
            raise ValueError(f"data.sequence.hop_s is {self.hop_s:g}; give 0.001 to 1 seconds")
        if not FEWEST_FRAMES * self.hop_s <= self.length_s <= 600:
            raise ValueError(
                f"data.sequence.length_s is {self.length_s:g}; give at least {FEWEST_FRAMES} hops of "
                f"{self.hop_s:g} s (data.sequence.hop_s), and at most 600 s"
            )
        if self.frames < 1:
            raise ValueError(f"data.sequence.frames is {self.frames}; it must be at least 1")
        if not self.edge_db < 0:
            raise ValueError(f"data.sequence.edge_db is relative to the peak: below 0, not {self.edge_db:g}")

    def hop(self, sample_rate: int) -> int:
        """Samples between frames."""
        return max(1, round(self.hop_s * sample_rate))

    def longest(self, sample_rate: int) -> int:
        """Frames of a note that is not shorter than ``length_s``."""
        return int(self.length_s * sample_rate / self.hop(sample_rate) + 1e-6)


FEWEST_FRAMES = 3
"""A note with fewer has no course in time."""


def extents(
    waveforms: Waveforms, settings: SequenceSettings, kept_samples: int, reach: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where the frames of each note are: from its onset to its release.

    Args:
        waveforms: the notes.
        settings: the frames.
        kept_samples: samples that are kept of a long note; the frames of one that is cut there end ``reach`` before.
        reach: samples on each side of a frame's instant.

    Returns:
        (N,) the sample of each note's first frame, and (N,) how many frames it has.
    """
    rate = waveforms.sample_rate
    hop, longest = settings.hop(rate), settings.longest(rate)
    firsts, counts = np.zeros(len(waveforms), np.int64), np.zeros(len(waveforms), np.int64)
    for row, (start, length) in enumerate(zip(waveforms.starts, waveforms.lengths, strict=True)):
        sound = waveforms.samples[start : start + length]
        sound = sound - sound.mean(dtype=np.float64)
        firsts[row], end = onset(sound, settings.edge_db), offset(sound, settings.edge_db)
        if length == kept_samples:
            end = min(end, length - reach)
        counts[row] = np.clip(-(-(end - firsts[row]) // hop), 0, longest)
    return firsts, counts


class SequenceFrames:
    """The frames of N notes: a table of all whole shifts in a memory-mapped file, or made as they are asked for.

    Of three ways, the first that the budget allows: a table of all shifts; a table of the unshifted frames, with the
    shifted ones made on the fly; all frames made on the fly, from the memory-mapped samples. A table is made once for
    the same samples and settings.

    Args:
        make: makes the frames.
        waveforms: the notes' samples.
        settings: which frames.
        shifts: which shifts are asked for.
        firsts: (N,) see :func:`extents`.
        counts: (N,) see :func:`extents`.
        cache_dir: the folder of caches.

    Attributes:
        shifts: the settings as they are used.
        counts: (N,) frames of each note.
    """

    def __init__(
        self,
        make: FrameMaker,
        waveforms: Waveforms,
        settings: SequenceSettings,
        shifts: ShiftSettings,
        firsts: np.ndarray,
        counts: np.ndarray,
        cache_dir: Path,
    ) -> None:
        self.make, self.waveforms, self.shifts, self.counts = make, waveforms, shifts, counts
        self._firsts, self._hop = firsts, settings.hop(waveforms.sample_rate)
        self._starts = np.cumsum(counts) - counts
        self._width = make.mel.n_mels + make.n_low
        self._kept = self._shifts_within_the_budget()
        identity = (TABLE_VERSION, torch.__version__, waveforms.content_hash, asdict(make.mel), make.low_bands)
        digest = sha256(repr((*identity, self._hop, list(self._kept))).encode())
        digest.update(np.concatenate([waveforms.starts, firsts, counts]).tobytes())
        self._table = self._open(cache_dir / "frames" / digest.hexdigest()[:24]) if len(self._kept) else None

    def read(self, notes: Rows, begin: Rows, mask: Tensor, semitones: Tensor | None = None) -> Tensor:
        """Natural-log mel frames, (B, T, F + low) float32; those outside the mask mean nothing.

        Args:
            notes: (B,) rows of the note table.
            begin: (B,) the first frame of each.
            mask: (B, T) the frames that are wanted, on the device where they are; all are the note's own.
            semitones: (B,) shifts, whole ones where there is a table of shifts; ``None``: unshifted.
        """
        which = np.zeros(len(notes), np.int64) if semitones is None else semitones.numpy(force=True)
        whole = self.shifts.pairs == "table" or semitones is None
        if self._table is None or not whole:
            return self._made(notes, begin, mask, torch.from_numpy(which))
        place = np.minimum(begin[:, None] + np.arange(mask.shape[1]), self.counts[notes, None] - 1)
        rows = (self._starts[notes, None] + place) * len(self._kept) + (which - self._kept[0])[:, None].astype(np.int64)
        kept = torch.from_numpy(self._table[rows.ravel()]).to(mask.device)
        return (kept.float() / STEPS_PER_NAT + CENTRE).unflatten(0, mask.shape)

    def some(self, notes: np.ndarray, most: int) -> Tensor:
        """At most ``most`` unshifted natural-log mel frames (n, F) of notes, (N,) bool, spread evenly over them."""
        chosen = np.flatnonzero(notes)
        ends = np.cumsum(self.counts[chosen])
        places = np.unique(np.linspace(0, ends[-1] - 1, min(most, ends[-1])).astype(np.int64))
        which = np.searchsorted(ends, places, side="right")
        begin = places - (ends - self.counts[chosen])[which]
        mask = torch.ones(len(places), 1, dtype=torch.bool)
        return self.read(chosen[which], begin, mask)[:, 0, : self.make.mel.n_mels]

    def _made(self, notes: Rows, begin: Rows, mask: Tensor, semitones: Tensor) -> Tensor:
        """Make frames from the samples; see :meth:`read`."""
        length, reach = mask.shape[1], self.make.reach
        frames = torch.zeros(*mask.shape, self._width, device=mask.device)
        first = self._firsts[notes] + begin * self._hop - reach
        # Notes of one shift are transformed together.
        for rows in torch.argsort(semitones, stable=True).split(max(1, FRAMES_AT_ONCE // length)):
            some = rows.numpy()
            count = (length - 1) * self._hop + 2 * reach + 1
            samples = torch.from_numpy(self.waveforms.segments(first[some], count, notes[some])).to(mask.device)
            wanted = mask[rows]
            context = samples.unfold(1, 2 * reach + 1, self._hop)[wanted]
            shifts = semitones[rows].unsqueeze(1).expand(len(rows), length)[wanted.cpu()]
            part = frames.new_zeros(*wanted.shape, self._width)
            if len(context):
                part[wanted] = self.make.log_frames(context, shifts)
            frames[rows] = part
        return frames

    def _shifts_within_the_budget(self) -> range:
        """The whole semitones whose frames are kept; says so where they are not those that were asked for."""
        budget, bytes_of_one = self.shifts.memory_budget_mib, int(self.counts.sum()) * self._width * BYTES
        wanted = range(self.shifts.lowest, self.shifts.highest + 1) if self.shifts.pairs == "table" else range(1)
        if bytes_of_one * len(wanted) / MIB <= budget:
            return wanted
        said = (
            f"the frames of {len(self.counts)} notes at {len(wanted)} shift(s) would take "
            f"{bytes_of_one * len(wanted) / MIB:.0f} MiB, more than data.shifts.memory_budget_mib {budget:g}"
        )
        if self.shifts.pairs == "table":
            self.shifts = replace(self.shifts, pairs="on_the_fly")
        fits = bytes_of_one / MIB <= budget
        print(f"{said}: making {'the shifted ones' if fits else 'all of them'} on the fly", flush=True)
        return range(1) if fits else range(0)

    def _open(self, name: Path) -> np.ndarray:
        """The table, (frames of all notes x shifts, F + low) int16, made now or before."""
        file, record = name.with_suffix(".i16"), name.with_suffix(".json")
        shape = (int(self.counts.sum()) * len(self._kept), self._width)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(name.with_suffix(".lock"))
            lock.acquire()
        except OSError as error:
            raise ValueError(f"data.cache_dir: {file.parent} cannot be written ({error.strerror})") from error
        try:
            if not _is_whole(file, record, shape):
                digest = blake2b(digest_size=16)
                with replacing(file) as temporary, temporary.open("wb") as opened:
                    for part in self._parts():
                        opened.write(part)
                        digest.update(part)
                write_json(record, {"blake2b": digest.hexdigest()})
        finally:
            lock.release()
        return np.memmap(file, np.int16, "r", shape=shape)

    def _parts(self) -> Iterator[bytes]:
        """The table's bytes, some notes at a time."""
        count, shifts = len(self.counts), len(self._kept)
        parts = range(0, count, NOTES_AT_ONCE)
        for first in track(parts, f"Making {int(self.counts.sum())} frames at {shifts} shift(s)", transient=True):
            notes = np.arange(first, min(first + NOTES_AT_ONCE, count))
            mask = torch.arange(self.counts[notes].max()) < torch.from_numpy(self.counts[notes]).unsqueeze(1)
            frames = [
                self._made(notes, np.zeros_like(notes), mask, torch.full((len(notes),), shift))[mask]
                for shift in self._kept
            ]
            steps = ((torch.stack(frames, 1) - CENTRE) * STEPS_PER_NAT).round().clamp(-(2**15), 2**15 - 1)
            yield steps.to(torch.int16).numpy().tobytes()


def _is_whole(file: Path, record: Path, shape: tuple[int, int]) -> bool:
    """Whether a table is on the disk as it was written."""
    if not file.is_file() or file.stat().st_size != shape[0] * shape[1] * BYTES:
        return False
    digest = blake2b(digest_size=16)
    with file.open("rb") as opened:
        while part := opened.read(2**24):
            digest.update(part)
    return read_json(record).get("blake2b") == digest.hexdigest()
