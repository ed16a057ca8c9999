"""What the sources of audio files share: finding files, refusing paths that leave the root, decoding a part of one."""

from __future__ import annotations

import io
import math
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from datamodules.atomic_files import regular_file
from datamodules.note_table import check_notes
from datamodules.sources.pitches import midi_from_name
from datamodules.sources.source import NoteSource

AUDIO_SUFFIXES = (".wav", ".aif", ".aiff", ".flac", ".ogg", ".mp3")
NAMED_AT_MOST = 5
# What libsndfile logs of a wav or aiff file that holds less than its header declares.
_DECLARED_BYTES = re.compile(r"(?:data|SSND) : (\d+) \(should be (\d+)\)")
# Programs that write to a pipe cannot know the length: they write the largest number, or one near it.
_UNKNOWN_BYTES, _UNKNOWN_FRAMES = 0x7F000000, 2**40
# libsndfile takes the length of an mp3 file without an index from its size and the bit rate of its first frame: with so
# many times the size it reads to the end of any file (320 kbit/s are 40 times 8 kbit/s).
_SIZES_OF_AN_MP3 = 64
_SAMPLE_RATES = (1_000, 1_000_000)


class FileSource(NoteSource):
    """A source whose notes are audio files, or parts of them, under a root folder."""

    def read_audio(self, root: Path | None, note: Any, duration_s: float) -> tuple[np.ndarray, int]:
        """Decode at most ``duration_s`` seconds (``inf``: the rest of the file) from ``note.offset_s`` on.

        Returns:
            samples (T, channels), float32, and the file's sample rate in Hz.

        Raises:
            ValueError: the path leaves the root, or the file cannot be decoded, or it ends before its header says.
        """
        path = path_inside(require_root(root), note.audio)
        try:
            return _decode(path, float(note.offset_s), duration_s)
        except (soundfile.LibsndfileError, OSError) as error:
            raise ValueError(f"cannot be decoded ({_reason(path, error)})") from error

    def audio_key(self, root: Path | None, note: Any) -> str:
        """Path, offset, size, times of writing and of change; a missing file has a key of its own.

        The whole path, and the time of change that no program can set: archives give their files sizes and times of
        writing that another data set, or another version of it, may have too.
        """
        path = path_inside(require_root(root).resolve(), note.audio)
        try:
            status = path.stat()
        except OSError as error:
            return f"{path}|{type(error).__name__}"
        return f"{path}|{note.offset_s}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}"


def require_root(root: Path | None) -> Path:
    """Return ``root`` with ``~`` expanded.

    Raises:
        ValueError: no root is given, or it is no folder.
    """
    if root is None:
        raise ValueError("this source reads audio files: give their folder by --data.root")
    root = Path(root).expanduser()
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder; give the folder of the audio files by --data.root")
    return root


def path_inside(root: Path, relative: str) -> Path:
    """Return ``root / relative``, refusing what leaves the root: ``..``, absolute paths and links that lead outside.

    Raises:
        ValueError: the path leaves the root, or its links run in a circle.
    """
    path = PurePosixPath(relative.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(relative).is_absolute():
        raise ValueError(f"{relative!r} leaves the root {root}; write paths relative to the root, without '..'")
    full = root / path
    try:
        inside = full.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{full}: its links run in a circle; remove the link") from error
    if not inside:
        raise ValueError(
            f"{full} is a link that leads outside the root {root}; copy the audio there, or choose that root"
        )
    return full


def audio_files(root: Path, suffixes: Sequence[str] = AUDIO_SUFFIXES) -> Iterator[str]:
    """Yield the audio files under ``root`` as sorted paths relative to it, with forward slashes.

    Hidden files (``._name.wav`` of some archives) are passed over. Links inside the root are followed, each folder
    once, so that a circle of links ends.

    Raises:
        ValueError: a folder cannot be read, or a link leads outside the root.
    """
    yield from sorted(_walk(root, "", suffixes, set()))


def _walk(root: Path, folder: str, suffixes: Sequence[str], seen: set[Path]) -> Iterator[str]:
    """Yield the audio files of one folder and of those below it that were not seen before."""
    full = path_inside(root, folder) if folder else root
    real = full.resolve()
    if real in seen:
        return
    seen.add(real)
    try:
        entries = sorted(os.scandir(full), key=lambda entry: (entry.is_symlink(), entry.name))
    except OSError as error:
        raise ValueError(f"{full}: cannot be read ({error.strerror}); correct its permissions") from error
    for entry in entries:
        name = f"{folder}/{entry.name}" if folder else entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(root, name, suffixes, seen)
        elif entry.name.lower().endswith(tuple(suffixes)):
            path_inside(root, name)
            yield name


def notes_from_names(
    root: Path,
    where: str,
    parse: Callable[[str], dict[str, Any]],
    filters: Mapping[str, Sequence[str] | None],
    suffixes: Sequence[str] = AUDIO_SUFFIXES,
) -> pd.DataFrame:
    """Read a note table from the names of the audio files under ``root``.

    Names that cannot be read are counted and named in one warning.

    Args:
        root: the folder of the audio.
        where: the source, named in every error.
        parse: turns a relative path into fields: ``pitch`` (a note name), the columns of the note table, and what the
            filters look at; raises ValueError for a name that it cannot read.
        filters: field -> the values to take, or ``None`` for all.
        suffixes: the endings of the files that are looked at.

    Returns:
        the checked note table. A row's ``note_id`` is the file name without folder and ending.

    Raises:
        ValueError: no file is found, no name can be read, a filter names what no file has, the filters leave nothing,
            or two files have the same note id.
    """
    rows, unread, total = [], [], 0
    found: dict[str, set[str]] = {name: set() for name in filters}
    for relative in audio_files(root, suffixes):
        total += 1
        try:
            fields = parse(relative)
            for name, values in found.items():
                values.add(fields[name])
            # The pitch is read after the filters: percussion and noises have none, and are rarely wanted.
            if all(wanted is None or fields[name] in wanted for name, wanted in filters.items()):
                rows.append(_row(relative, fields))
        except ValueError as error:
            unread.append(f"{relative} ({error})")
    if total == 0:
        raise ValueError(f"{where}: no audio files ({', '.join(suffixes)}) under {root}; check --data.root")
    if len(unread) == total:
        raise ValueError(f"{where}: none of the {total} names under {root} can be read: {first_few(unread)}")
    for name, wanted in filters.items():
        check_choice(wanted, found[name], name, where)
    if not rows:
        raise ValueError(f"{where}: the filters leave none of the {total} files under {root}; widen them")
    if unread:
        warnings.warn(f"{where}: {len(unread)} of {total} names cannot be read: {first_few(unread)}", stacklevel=3)
    return check_notes(_refuse_twins(pd.DataFrame(rows), where), where)


def _row(relative: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Complete the fields of a file name to a row of the note table."""
    basis = {
        "note_id": PurePosixPath(relative).stem,
        "dynamic": "",
        "group": relative,
        "offset_s": 0.0,
        "audio": relative,
    }
    return {**basis, "midi": midi_from_name(fields["pitch"]), **fields}


def _refuse_twins(notes: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return ``notes``, or name the files that share a note id."""
    twins = notes[notes.note_id.duplicated(keep=False)].sort_values("note_id", kind="stable")
    if len(twins):
        raise ValueError(
            f"{where}: {twins.note_id.nunique()} note ids occur more than once: {first_few(list(twins.audio))}; "
            "remove or rename the copies"
        )
    return notes


def check_choice(wanted: Sequence[str] | None, found: set[str], what: str, where: str) -> None:
    """Raise ValueError for a wanted name that the data does not have (a typo, or another spelling)."""
    absent = sorted(set(wanted or ()) - found)
    if absent:
        raise ValueError(f"{where}: no {what} named {', '.join(absent)}; there are: {', '.join(sorted(found))}")


def first_few(names: Sequence[str], most: int = NAMED_AT_MOST) -> str:
    """Join the first few names and count the rest.

    Examples:
        >>> first_few(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


class _SoundFile(soundfile.SoundFile):
    """Reads on to the file's end: the length in a header is an estimate, and no position behind it can be sought."""

    def seekable(self) -> bool:
        return False


class _Audio(io.FileIO):
    """A file for libsndfile, with what its readers of headers need corrected.

    Attributes:
        size_factor: how many times its size the file claims to have.
        fill: place -> bytes that are read in place of those in the file.
    """

    size_factor = 1
    fill: Mapping[int, bytes] = {}
    _asked_for_size = False

    def seek(self, offset: int, whence: int = 0) -> int:
        self._asked_for_size = (offset, whence) == (0, io.SEEK_END)
        return super().seek(offset, whence)

    def tell(self) -> int:
        return super().tell() * (self.size_factor if self._asked_for_size else 1)

    def readinto(self, buffer: Any) -> int:
        self._asked_for_size = False
        first = self.tell()
        count = super().readinto(buffer) or 0
        view = memoryview(buffer).cast("B")
        for place, value in self.fill.items():
            for index in range(max(place, first), min(place + len(value), first + count)):
                view[index - first] = value[index - place]
        return count


def _open_audio(path: Path) -> _Audio:
    """Open an ordinary file, with the headers of streams corrected."""
    file = _Audio(regular_file(path))
    head = file.read(65_536) or b""
    if head[:4] == b"RIFF" and (data := head.find(b"data", 12)) > 0 and head[data + 4 : data + 8] == bytes(4):
        file.fill = {data + 4: b"\xff" * 4}  # a length of 0, with sound after it, is an unknown one
    elif head[:4] == b"FORM" and (sound := head.find(b"SSND", 12)) > 0 and head[sound + 4 : sound + 8] <= b"\0\0\0\x08":
        file.fill = {sound + 4: b"\xff" * 4}
    elif head[:3] == b"ID3" or head[:2] >= b"\xff\xe0":
        if head[:3] == b"ID3":
            file.seek(10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False)))
            head = file.read(4_096) or b""
        if not any(index in head[:4_096] for index in (b"Xing", b"Info", b"VBRI")):
            file.size_factor = _SIZES_OF_AN_MP3
    file.seek(0)
    return file


def _decode(path: Path, offset_s: float, duration_s: float) -> tuple[np.ndarray, int]:
    """Decode a part of a file: samples (T, channels), float32, and the sample rate in Hz.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no ordinary file, is truncated, or ends before the offset.
        soundfile.LibsndfileError: it is no sound, or damaged.
    """
    with _open_audio(path) as opened, _SoundFile(opened) as file:
        rate = file.samplerate
        if not _SAMPLE_RATES[0] <= rate <= _SAMPLE_RATES[1]:
            raise ValueError(f"declares a sample rate of {rate} Hz")
        declared = _DECLARED_BYTES.search(file.extra_info)
        if declared and int(declared[2]) < int(declared[1]) < _UNKNOWN_BYTES:
            raise ValueError(f"is truncated: {declared[2]} of the {declared[1]} bytes that it declares are there")
        # The length of an mp3 file is an estimate, whatever is asked.
        known = file.format != "MP3" and file.frames < _UNKNOWN_FRAMES
        start = round(offset_s * rate)
        if start and known and start >= file.frames:
            raise ValueError(f"ends at {file.frames / rate:.3f} s, before the note's offset {offset_s:g} s")
        try:
            if start:
                file.seek(start)
        except soundfile.LibsndfileError:
            if known:
                raise
            raise ValueError(f"ends before the note's offset {offset_s:g} s") from None
        wanted = math.inf if math.isinf(duration_s) else math.ceil(duration_s * rate)
        samples = _read(file, min(wanted, max(file.frames - start, 0)), rate)
        if known and len(samples) < min(wanted, file.frames - start):
            raise ValueError(f"is truncated: {len(samples)} of {min(wanted, file.frames - start)} samples are there")
        return samples, rate


def _read(file: soundfile.SoundFile, count: float, block: int) -> np.ndarray:
    """At most ``count`` samples (T, channels) from where the file stands, in blocks: it may end before."""
    parts: list[np.ndarray] = []
    while count > 0 and (not parts or len(parts[-1]) == block):
        parts.append(file.read(int(min(block, count)), dtype="float32", always_2d=True))
        count -= len(parts[-1])
    return np.concatenate(parts) if parts else np.zeros((0, file.channels), np.float32)


def _reason(path: Path, error: Exception) -> str:
    """Say in a few words why a file cannot be decoded."""
    try:
        if path.stat().st_size == 0:
            return "the file is empty"
    except OSError as failure:
        return str(failure.strerror)
    if not os.access(path, os.R_OK):
        return "no permission to read it"
    reason = str(getattr(error, "error_string", error)).rstrip(".")
    # What libsndfile says of an mp3 file that breaks off in its first frame.
    return "the file holds no sound" if reason.startswith("File does not exist") else reason
