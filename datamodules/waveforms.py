"""Decode, resample, trim and normalise every note once, into a memory-mapped cache on disk."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import filelock
import numpy as np
import pandas as pd
import rich.console
import rich.progress
import soundfile
import soxr

from datamodules.bad_notes import BadNotesError, bad_notes_message, write_bad_notes
from datamodules.sources.source import NoteSource

# To be raised by every edit that gives other samples for the same file and settings: old caches are then not read.
CACHE_VERSION = 2
# Decoded beyond the kept segment, so that the resampler's ringing at the cut stays outside it.
MARGIN_S = 0.05
# How far into a note its onset and its peak are looked for.
ONSET_SEARCH_S = 4.0
# Below one step of 16-bit audio there is no note, and a z-score would only blow up rounding noise.
SILENCE_PEAK = 2.0**-15
# Above this a float file can hold no sound, and float32 sums overflow.
LARGEST_SAMPLE = 1e6
# A row of the cache has this length; nothing longer is a note.
LONGEST_S = 600.0


@dataclass(frozen=True)
class WaveformSettings:
    """How notes become waveforms.

    Args:
        sample_rate: the rate that every note is resampled to, in Hz.
        duration_s: how much of each note is kept, in seconds.
        normalise: ``zscore``: minus the mean, over the standard deviation of the kept segment; ``peak``: over the
            largest magnitude of the kept segment; ``none``.
        trim_onset_db: drop what comes before the first sample within this many dB of the note's peak (-40, say).
            ``None`` keeps the file's own start.
    """

    sample_rate: int = 22050
    duration_s: float = 0.35
    normalise: Literal["zscore", "peak", "none"] = "zscore"
    trim_onset_db: float | None = None

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if not 1_000 <= self.sample_rate <= 1_000_000:
            raise ValueError(f"data.waveforms.sample_rate is {self.sample_rate}; give 1,000 to 1,000,000 Hz")
        if not 0 < self.duration_s <= LONGEST_S:
            raise ValueError(f"data.waveforms.duration_s is {self.duration_s}; give up to {LONGEST_S:g} seconds")
        if self.normalise not in ("zscore", "peak", "none"):
            raise ValueError(f"data.waveforms.normalise must be zscore, peak or none, not {self.normalise!r}")
        if self.trim_onset_db is not None and not self.trim_onset_db < 0:
            raise ValueError(f"data.waveforms.trim_onset_db is relative to the peak: below 0, not {self.trim_onset_db}")

    @property
    def length(self) -> int:
        """The kept segment in samples."""
        return max(1, round(self.duration_s * self.sample_rate))


@dataclass(frozen=True)
class Waveforms:
    """The waveforms of N notes, memory-mapped.

    Attributes:
        samples: (total,) float32, read-only; what lies between the notes is zero.
        starts: (N,) int64, where each note starts in ``samples``.
        lengths: (N,) int64, the samples that each note has; shorter than asked where its file ends early.
        sample_rate: in Hz.
        content_hash: hexadecimal; changes when a note's id or any sample changes.
        source_rates: (N,) int64, the sample rates of the files, in Hz.
        kept: (N,) int64, the rows of the note table that these are; all, unless bad notes were dropped.
        dropped: note id -> reason, for the bad notes that were dropped.
    """

    samples: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    sample_rate: int
    content_hash: str
    source_rates: np.ndarray
    kept: np.ndarray
    dropped: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.starts)

    def segments(self, first: int | np.ndarray, count: int, notes: slice | np.ndarray = slice(None)) -> np.ndarray:
        """Return (B, count) float32 samples of B notes from ``first``, an int or (B,), on; zero outside the notes."""
        starts, lengths = self.starts[notes].tolist(), self.lengths[notes].tolist()
        firsts = np.broadcast_to(first, len(starts)).tolist()
        result = np.zeros((len(starts), count), dtype=np.float32)
        for row, (start, length, place) in enumerate(zip(starts, lengths, firsts, strict=True)):
            begin, end = max(place, 0), min(place + count, length)
            if end > begin:
                result[row, begin - place : end - place] = self.samples[start + begin : start + end]
        return result


def load_waveforms(
    source: NoteSource,
    root: Path | None,
    notes: pd.DataFrame,
    settings: WaveformSettings,
    cache_dir: Path,
    workers: int | None = None,
    progress: bool = True,
    on_bad_file: Literal["stop", "drop"] = "stop",
) -> Waveforms:
    """Return the waveforms of ``notes``, decoded now or read from the cache.

    The cache is a folder ``cache_dir / "waveforms" / key``, keyed by every note's ``audio_key`` and by ``settings``:
    another file, size, time or setting makes another folder. It is written under a temporary name and renamed, under
    a lock, so that processes that start together build it once. Every use compares the samples with their checksums
    and tries again the notes that could not be read; where either has changed, the cache is built again.

    Args:
        source: where the notes come from.
        root: the folder of the audio, or ``None`` for a source that needs none.
        notes: the note table, N rows.
        settings: sample rate, duration, trimming, level.
        cache_dir: the folder of caches.
        workers: decoding threads; one a core where ``None``.
        progress: show a progress bar on standard error.
        on_bad_file: ``stop`` raises for notes that cannot be used; ``drop`` leaves them out (see ``Waveforms.kept``).

    Raises:
        BadNotesError: notes are silent, or their files cannot be decoded; it names them all. Or none is left.
    """
    key = _cache_key(source, root, notes, settings)
    folder = Path(cache_dir).expanduser() / "waveforms" / key

    def usable() -> bool:
        return _is_whole(folder, len(notes), settings) and not _can_be_read_now(source, root, notes, settings, folder)

    if not usable():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(folder.parent / f"{key}.lock")
            lock.acquire()
        except OSError as error:
            raise ValueError(
                f"data.cache_dir {cache_dir}: cannot be written ({error.strerror}); give another folder"
            ) from error
        try:
            # Another process may have built it while this one waited for the lock.
            if not usable():
                _build(source, root, notes, settings, folder, workers, progress)
        finally:
            lock.release()
    return _open(folder, notes, settings, on_bad_file)


def prepare_waveform(samples: np.ndarray, rate: int, settings: WaveformSettings) -> np.ndarray:
    """Turn decoded audio into the kept, normalised segment: mono, resampled, trimmed, cut, levelled.

    Args:
        samples: (T,) or (T, channels), any level.
        rate: their sample rate in Hz.
        settings: sample rate, duration, trimming, level.

    Returns:
        (at most ``settings.length``,) float32.

    Raises:
        ValueError: there is no sound in it that can be used.
    """
    with np.errstate(all="ignore"):  # infinite samples are named below
        mono = samples if samples.ndim == 1 else samples.mean(axis=1)
    if len(mono) < 2:
        raise ValueError(f"holds {len(mono)} sample(s)")
    wild = ~(np.abs(mono) < LARGEST_SAMPLE)  # true for NaN as well
    if wild.any():
        raise ValueError(f"holds {np.count_nonzero(wild)} NaN, infinite or absurdly large samples")
    # A constant offset is taken out while resampling: the resampler would ring where it begins.
    offset = mono.mean(dtype=np.float64)
    mono = np.asarray(mono - offset, dtype=np.float32)
    if rate != settings.sample_rate and len(mono):
        mono = soxr.resample(mono, rate, settings.sample_rate)
    if settings.trim_onset_db is not None:
        mono = mono[onset(mono, settings.trim_onset_db) :]
    return _level(mono[: settings.length], offset, settings)


def onset(mono: np.ndarray, threshold_db: float) -> int:
    """The first sample within ``threshold_db`` of the peak of ``mono`` (T,)."""
    magnitude = np.abs(mono)
    return int(np.argmax(magnitude >= magnitude.max(initial=0.0) * 10 ** (threshold_db / 20)))


def offset(mono: np.ndarray, threshold_db: float) -> int:
    """One past the last sample within ``threshold_db`` of the peak of ``mono`` (T,)."""
    return len(mono) - onset(mono[::-1], threshold_db)


def _level(segment: np.ndarray, offset: float, settings: WaveformSettings) -> np.ndarray:
    """Normalise the level of ``segment`` (T,), from which ``offset`` was taken; refuse silence."""
    centred = segment - segment.mean(dtype=np.float64) if len(segment) else segment
    if np.abs(centred).max(initial=0.0) < SILENCE_PEAK:
        hint = "; data.waveforms.trim_onset_db -40 drops leading silence" if settings.trim_onset_db is None else ""
        raise ValueError(f"is silent in the {len(segment) / settings.sample_rate:.3f} s that are kept{hint}")
    if settings.normalise == "zscore":
        return np.asarray(centred / centred.std(dtype=np.float64), dtype=np.float32)
    segment = segment + offset
    if settings.normalise == "peak":
        segment = segment / np.abs(segment).max()
    return np.asarray(segment, dtype=np.float32)


def _cache_key(source: NoteSource, root: Path | None, notes: pd.DataFrame, settings: WaveformSettings) -> str:
    """The name of a cache: what was decoded, by what, and how."""
    libraries = {"libsndfile": soundfile.__libsndfile_version__, "soxr": soxr.__version__}
    recipe = {"version": CACHE_VERSION, "source": type(source).__name__, **libraries, **asdict(settings)}
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode())
    for note in notes.itertuples():
        digest.update(f"\n{note.note_id}|{source.audio_key(root, note)}".encode())
    return digest.hexdigest()[:24]


def _is_whole(folder: Path, count: int, settings: WaveformSettings) -> bool:
    """Whether ``folder`` holds the waveforms of ``count`` notes, all as they were written; a line says if not."""
    if not folder.exists():
        return False
    try:
        with np.load(folder / "index.npz") as index:
            lengths, digests, _ = index["lengths"], index["digests"], index["reasons"]
        samples = np.memmap(folder / "samples.f32", dtype=np.float32, mode="r").reshape(count, settings.length)
        if len(lengths) == count and all(
            digest == (_digest(row[:length]) if length else "")
            for row, length, digest in zip(samples, lengths, digests, strict=True)
        ):
            return True
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    print(f"the cache {folder} is damaged: decoding its notes again", flush=True)
    return False


def _digest(waveform: np.ndarray) -> str:
    """The checksum of a note's samples."""
    return hashlib.blake2b(waveform.tobytes(), digest_size=16).hexdigest()


def _can_be_read_now(
    source: NoteSource, root: Path | None, notes: pd.DataFrame, settings: WaveformSettings, folder: Path
) -> bool:
    """Whether a note that was bad can be read: a disk or a network may fail for a moment."""
    with np.load(folder / "index.npz") as index:
        bad = index["reasons"] != ""
    for note in notes[bad].itertuples():
        try:
            _read_one(source, root, note, settings)
            return True
        except ValueError:
            continue
    return False


def _build(
    source: NoteSource,
    root: Path | None,
    notes: pd.DataFrame,
    settings: WaveformSettings,
    folder: Path,
    workers: int | None,
    progress: bool,
) -> None:
    """Decode every note into a folder with a temporary name, then give it its name. The lock is held."""
    for leftover in folder.parent.glob(f"{folder.name}.tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.tmp-", dir=folder.parent))
    try:
        index = _decode_all(source, root, notes, settings, temporary / "samples.f32", workers, progress)
        np.savez(temporary / "index.npz", **index)
        write_bad_notes(temporary / "bad_notes.csv", notes, index["reasons"])
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _decode_all(
    source: NoteSource,
    root: Path | None,
    notes: pd.DataFrame,
    settings: WaveformSettings,
    path: Path,
    workers: int | None,
    progress: bool,
) -> dict[str, Any]:
    """Decode every note into ``path``, one row of ``settings.length`` samples a note.

    Returns:
        the index, N of each: ``lengths``, ``source_rates``, ``digests`` of the samples, ``reasons`` (empty: good).
    """
    count, row_bytes = len(notes), settings.length * 4
    lengths, rates = np.zeros(count, np.int64), np.zeros(count, np.int64)
    digests, reasons = [""] * count, [""] * count
    writing = threading.Lock()

    with path.open("wb", buffering=0) as file:
        # The rows of short notes keep holes, which cost no disk. Written rather than mapped: a full disk is then an
        # error with a name and not a crash.
        file.truncate(count * row_bytes)

        def work(row: int, note: Any) -> None:
            try:
                waveform, rates[row] = _read_one(source, root, note, settings)
            except ValueError as error:
                reasons[row] = str(error)
                return
            lengths[row] = len(waveform)
            digests[row] = _digest(waveform)
            with writing:
                file.seek(row * row_bytes)
                if file.write(waveform.tobytes()) != waveform.nbytes:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

        _run_all(work, list(notes.itertuples()), workers, progress)
        os.fsync(file.fileno())  # a power cut would leave the right size, and silence
    return {"lengths": lengths, "source_rates": rates, "digests": np.array(digests), "reasons": np.array(reasons)}


def _run_all(work: Any, rows: Sequence[Any], workers: int | None, progress: bool) -> None:
    """Run ``work(row, note)`` for every note in threads, behind a progress bar.

    Threads, because decoding and resampling leave the interpreter lock, and nothing is pickled.
    """
    console = rich.console.Console(stderr=True, quiet=not progress)
    columns = [*rich.progress.Progress.get_default_columns(), rich.progress.MofNCompleteColumn()]
    bar = rich.progress.Progress(*columns, console=console, transient=True, disable=not progress)
    with bar, ThreadPoolExecutor(workers or _cores()) as pool:
        task = bar.add_task("Decoding notes", total=len(rows))
        futures = [pool.submit(work, row, note) for row, note in enumerate(rows)]
        try:
            for future in as_completed(futures):
                future.result()
                bar.advance(task)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read_one(source: NoteSource, root: Path | None, note: Any, settings: WaveformSettings) -> tuple[np.ndarray, int]:
    """Decode one note: (at most ``settings.length``,) float32 and the file's sample rate in Hz."""
    search_s = 0.0 if settings.trim_onset_db is None else ONSET_SEARCH_S
    samples, rate = source.read_audio(root, note, settings.duration_s + search_s + MARGIN_S)
    return prepare_waveform(samples, rate, settings), rate


def _open(folder: Path, notes: pd.DataFrame, settings: WaveformSettings, on_bad_file: str) -> Waveforms:
    """Map a complete cache; stop for its bad notes, or leave them out."""
    with np.load(folder / "index.npz") as index:
        lengths, rates, digests, reasons = (index[name] for name in ("lengths", "source_rates", "digests", "reasons"))
    bad = np.flatnonzero(reasons != "")
    dropped = {str(notes.note_id.iloc[row]): str(reasons[row]) for row in bad}
    if len(bad) and (on_bad_file == "stop" or len(bad) == len(notes)):
        raise BadNotesError(bad_notes_message(notes, reasons, bad, folder), dropped)
    kept = np.flatnonzero(reasons == "")
    content = hashlib.sha256(f"{settings.sample_rate}".encode())
    for row in kept:
        content.update(f"\n{notes.note_id.iloc[row]} {digests[row]}".encode())
    return Waveforms(
        samples=np.memmap(folder / "samples.f32", dtype=np.float32, mode="r"),
        starts=kept * settings.length,
        lengths=lengths[kept],
        sample_rate=settings.sample_rate,
        content_hash=content.hexdigest(),
        source_rates=rates[kept],
        kept=kept,
        dropped=dropped,
    )
