"""What the sources of audio files share: finding files, refusing paths that leave the root, decoding a part of one."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from datamodules.note_table import check_notes
from datamodules.sources.pitches import midi_from_name
from datamodules.sources.source import NoteSource

AUDIO_SUFFIXES = (".wav", ".aif", ".aiff", ".flac", ".ogg", ".mp3")
NAMED_AT_MOST = 5
# What libsndfile logs of a wav or aiff file that holds less than its header declares.
_DECLARED_BYTES = re.compile(r"(?:data|SSND) : (\d+) \(should be (\d+)\)")
# Programs that write to a pipe cannot know the length; these stand for "to the end of the file".
_BYTES_OF_A_STREAM = (0, 0x7FFFFFFF, 0xFFFFFFFF)


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
        """Path, offset, size and modification time; a missing or unreadable file has a key of its own."""
        path = path_inside(require_root(root), note.audio)
        try:
            status = path.stat()
        except OSError as error:
            return f"{note.audio}|{type(error).__name__}"
        return f"{note.audio}|{note.offset_s}|{status.st_size}|{status.st_mtime_ns}|{os.access(path, os.R_OK)}"


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
    if path.is_absolute() or ".." in path.parts or Path(relative).is_absolute() or ":" in (path.parts or ("",))[0]:
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
        raise ValueError(f"{full}: cannot be read ({error.strerror}); mend its permissions") from error
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
    basis = {"note_id": PurePosixPath(relative).stem, "dynamic": "", "group": "", "offset_s": 0.0, "audio": relative}
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


def _decode(path: Path, offset_s: float, duration_s: float) -> tuple[np.ndarray, int]:
    """Decode a part of a file: samples (T, channels), float32, and the sample rate in Hz."""
    with soundfile.SoundFile(path) as file:
        # An mp3 file does not say its length: libsndfile's figure is an estimate from the file's size.
        exact = file.format != "MP3"
        declared = _DECLARED_BYTES.search(file.extra_info)
        if declared and int(declared[1]) not in _BYTES_OF_A_STREAM and int(declared[1]) > int(declared[2]):
            raise ValueError(f"is truncated: {declared[2]} of the {declared[1]} bytes that it declares are there")
        start = round(offset_s * file.samplerate)
        if start and start >= file.frames:
            raise ValueError(f"ends at {file.frames / file.samplerate:.3f} s, before the note's offset {offset_s:g} s")
        there = file.frames - start
        wanted = there if math.isinf(duration_s) else min(there, math.ceil(duration_s * file.samplerate))
        file.seek(start)
        samples = file.read(wanted, dtype="float32", always_2d=True)
        if exact and len(samples) < wanted:
            raise ValueError(f"is truncated: {len(samples)} of {wanted} samples could be decoded")
        return samples, file.samplerate


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
