"""`python -m experiments pitch-courses --runs ...`: the pitch of frames in cents where it moves within a note."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datamodules.pitch_trackers import pyin_course
from datamodules.sources.files import AUDIO_SUFFIXES
from datamodules.synthetic_tones import moving_tone
from experiments.whole_note_runs import WholeNoteRun, open_any_run
from metrics.whole_notes import pitch_errors

TRACKER = "pYIN"
WINDOW = 2048
"""Of pYIN: it follows a vibrato as a longer one does not, and hears pitches from 23 Hz."""

LASTS_S = 1.5
CENTRES = (50, 58, 66, 74)
"""MIDI pitches of the tones that are made."""

Course = Callable[[NDArray[np.float64]], NDArray[Any]]
COURSES: dict[str, Course] = {
    "vibrato (5 Hz, 40 cents)": lambda time: 0.4 * np.sin(2 * np.pi * 5 * time),
    "trill (6 Hz, 2 semitones)": lambda time: 2.0 * (np.sin(2 * np.pi * 6 * time) > 0),
    "glissando (4 semitones)": lambda time: 4 * np.clip((time - 0.2) / (LASTS_S - 0.4), 0, 1),
}
"""Semitones above the tone's pitch at times in seconds."""

COLUMNS = {"frames": "frames", "median_cents": "median error [cents]", "within_50": "within 50 cents [%]"}
COLUMNS |= {"within_20": "within 20 cents [%]"}


def measure(folders: Sequence[Path], sounds: Path | None) -> pd.DataFrame:
    """Compare each run's pitch of frames with the truth of tones that are made, and with pYIN on the files of a folder.

    Raises:
        ValueError: a run is none of whole notes, a folder has no sounds, or a file cannot be read.
    """
    rows: list[dict[str, object]] = []
    for folder in folders:
        run = open_any_run(folder)
        if not isinstance(run, WholeNoteRun):
            raise ValueError(f"{folder}: is a run of single frames, which have no course of pitch; give one as m8")
        parts = [*_made_tones(run, with_tracker=folder == folders[0])]
        rows += [*parts, *(_files(run, sounds) if sounds else ())]
    return pd.DataFrame(rows)


def _made_tones(run: WholeNoteRun, with_tracker: bool) -> Iterator[dict[str, object]]:
    """The errors of a run, and of pYIN, in the tones of each course."""
    rate, hop = run.rate, run.sequence.hop(run.rate)
    time = np.arange(round(LASTS_S * rate)) / rate
    for name, course in COURSES.items():
        random = np.random.default_rng(0)
        heard: dict[str, list[NDArray[np.float64]]] = {run.name: [], TRACKER: []}
        truth = []
        for centre in CENTRES:
            midi = centre + course(time)
            tone = moving_tone(midi, rate, random)
            frames = run.read_sound(tone, rate)
            own = run.pitch_course(frames)
            at = np.minimum(frames.first + hop * np.arange(len(own)), len(midi) - 1)
            truth.append(midi[at])
            heard[run.name].append(own)
            if with_tracker:
                heard[TRACKER].append(_tracked(tone[frames.first :], rate, hop, len(own)))
        for reader, found in heard.items():
            if found:
                errors = pitch_errors(np.concatenate(found), np.concatenate(truth))
                yield {"reader": reader, "sound": name, "reference": "truth", **asdict(errors)}


def _files(run: WholeNoteRun, folder: Path) -> Iterator[dict[str, object]]:
    """The errors of a run in each sound file of a folder, against pYIN."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not files:
        raise ValueError(f"{folder}: has no sound files ({', '.join(sorted(AUDIO_SUFFIXES))})")
    rate, hop = run.rate, run.sequence.hop(run.rate)
    for file in files:
        frames = run.read_file(file)
        own = run.pitch_course(frames)
        reference = _tracked(frames.mono, rate, hop, len(own))
        if np.isfinite(reference).any():
            errors = asdict(pitch_errors(own, reference))
            yield {"reader": run.name, "sound": str(file.relative_to(folder)), "reference": TRACKER, **errors}
        else:
            print(f"{file}: {TRACKER} hears no pitch in it; left out")


def _tracked(mono: NDArray[np.float32], rate: int, hop: int, count: int) -> NDArray[np.float64]:
    """PYIN's pitch (count,) at each hop of a sound; NaN where it hears none."""
    heard = pyin_course(np.asarray(mono, np.float32)[None], rate, hop, window=WINDOW)[0][:count]
    return np.pad(np.asarray(heard, np.float64), (0, count - len(heard)), constant_values=np.nan)


def to_markdown(scores: pd.DataFrame) -> str:
    """The table, and what its columns mean."""
    lines = ["# Pitch of frames", "", f"| sound | reference | reader | {' | '.join(COLUMNS.values())} |"]
    lines.append("|---" * (3 + len(COLUMNS)) + "|")
    for row in scores.to_dict("records"):
        numbers = (f"{row['frames']}", *(f"{row[name]:.1f}" for name in list(COLUMNS)[1:]))
        lines.append(f"| {row['sound']} | {row['reference']} | {row['reader']} | {' | '.join(numbers)} |")
    about = "Frames from the onset to the release in which the reference has a pitch; octave errors count as such."
    return "\n".join([*lines, "", about]) + "\n"
