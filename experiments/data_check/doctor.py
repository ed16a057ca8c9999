"""`python -m experiments doctor --config ...`: checks the labels and the audio of a data set before it is used.

Nothing is corrected here: the doctor reports, and writes a corrections file that a person reads and then passes as
``--data.corrections``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import rich.console
import rich.progress
import rich.table
import rich.text

from datamodules.atomic_files import replacing
from datamodules.corrections import CORRECTION_COLUMNS
from datamodules.pitch_wander import WANDER
from datamodules.sources.files import NAMED_AT_MOST
from datamodules.sources.pitches import name_from_midi
from datamodules.sources.source import NoteSource
from experiments.busy import busy
from experiments.data_check.audio_checks import EXAMINED_S, compile_yin, examine_notes

NOTES_A_TASK = 32

# Measured pitches that lie closer than this (semitones) are the same.
_SAME = 0.5
# In a note of one pitch at least this share of the frames lies within half a semitone of their median.
_STEADY = 0.6
# A suspect lies this near (semitones, after its instrument's tuning) to its corrected label.
_SURE = 0.4
# A pitch further than this (semitones) from every semitone is between two: neither label would be right.
_BETWEEN = 0.35
# Rumble and clicks below this pitch (A0, a piano's lowest), or further than an octave below the lowest label of the
# instrument, are not the note's pitch.
_LOWEST_MIDI = 20.5
_BELOW_LABELS = 12.5
# A label's own partials below this level are absent. Weak fundamentals lie at -15 to -28 dB, noise below -35 dB.
_ABSENT_DB = -30.0
_DETUNED_CENTS = 15.0
# A note that begins this late (seconds) has less of itself before the frame than its neighbours.
_LATE_S = 0.1


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor found.

    Attributes:
        notes: one row a note: the note table's ``note_id``, ``midi``, ``instrument``, ``audio``; what
            :func:`experiments.data_check.audio_checks.examine_note` measured; ``verdict`` of the label (``agrees``,
            ``suspect``: the note has another pitch; ``between``: a pitch between two semitones; ``unsteady``: a trill
            or a glissando; ``unclear``; ``unusable``), ``semitones`` (measured minus labelled, after the tuning,
            rounded), ``short``, ``late`` and ``copy_of``.
        tuning: instrument -> its tuning in cents relative to A4 = 440 Hz, the median of its notes.
        needed_s: how long a note must be, in seconds.
    """

    notes: pd.DataFrame
    tuning: pd.Series
    needed_s: float

    def corrections(self) -> pd.DataFrame:
        """The corrections that the findings suggest, one row a note, with the columns of a corrections file.

        Suspects are relabelled, always to a pitch nearer to the measured one; notes that cannot be used, end too early
        or are copies of another are dropped. All others stay as they are.
        """
        rows = []
        for note in _rows(self.notes):
            drop = note.fault or (f"ends at {note.duration_s:.3f} s" if note.short else "")
            drop = drop or (f"same samples as {note.copy_of}" if note.copy_of else "")
            if drop:
                rows.append((note.note_id, "drop", "", drop))
            elif note.verdict == "suspect":
                found = int(note.midi + note.semitones)
                names = f"labelled {name_from_midi(note.midi)}, sounds as {name_from_midi(found)}"
                rows.append((note.note_id, "relabel", str(found), f"{names} ({note.semitones:+.0f})"))
        return pd.DataFrame(rows, columns=list(CORRECTION_COLUMNS))

    def write_corrections(self, path: Path) -> pd.DataFrame:
        """Write :meth:`corrections` to a CSV file, in one step, and return them."""
        corrections = self.corrections()
        with replacing(path) as temporary:
            corrections.to_csv(temporary, index=False)
        return corrections

    def print(self, console: rich.console.Console | None = None) -> None:
        """Print a table by instrument, then every kind of finding with its notes."""
        # A file or a pipe has no width of its own, and the table would be squeezed into 80 columns.
        console = console or rich.console.Console(width=None if sys.stdout.isatty() else 160)
        notes = self.notes
        console.print(
            f"{len(notes)} notes, {notes.instrument.nunique()} instruments, {notes.midi.nunique()} pitches "
            f"{name_from_midi(notes.midi.min())} to {name_from_midi(notes.midi.max())} "
            f"(MIDI {notes.midi.min()} to {notes.midi.max()}); file rates "
            f"{', '.join(f'{rate:g} Hz' for rate in sorted(notes.rate.dropna().unique())) or 'unknown'}"
        )
        console.print(_instrument_table(self))
        for finding in self.findings():
            if len(finding.notes):
                console.print(f"{finding.title}: {len(finding.notes)}", style="bold", highlight=False)
                console.print("  " + "\n  ".join(finding.named()), highlight=False, markup=False)
        for instrument, cents in self.tuning.items():
            if abs(cents) > _DETUNED_CENTS:
                direction = "sharp" if cents > 0 else "flat"
                console.print(f"detuned: {instrument} is {abs(cents):.0f} cents {direction}", markup=False)

    def findings(self) -> list[Finding]:
        """Each kind of finding, and the notes that have it."""
        notes = self.notes
        suspect = notes.verdict == "suspect"
        octave = suspect & (notes.semitones % 12 == 0)
        early = f"end before {self.needed_s:.3f} s, where the frame's window ends"
        late = f"begin later than {_LATE_S:g} s (data.waveforms.trim_onset_db -40 drops what is before)"
        return [
            Finding("cannot be used", notes[notes.fault != ""], lambda note: note.fault),
            Finding(early, notes[notes.short], lambda note: f"{note.duration_s:.3f} s"),
            Finding(late, notes[notes.late], lambda note: f"at {note.onset_s:.3f} s"),
            Finding("have the samples of another note", notes[notes.copy_of != ""], lambda note: note.copy_of),
            Finding("clipped", notes[notes.clipped], lambda note: f"peak {note.peak_db:+.1f} dB"),
            Finding("labels an octave off", notes[octave], _measured),
            Finding("labels off by another interval", notes[suspect & ~octave], _measured),
            Finding("pitch between two semitones (not corrected)", notes[notes.verdict == "between"], _cents),
            Finding("unsteady pitch: trill, glissando (not corrected)", notes[notes.verdict == "unsteady"], _wander),
            Finding("pitch unclear (not corrected)", notes[notes.verdict == "unclear"], _measured),
        ]


@dataclass(frozen=True)
class Finding:
    """One kind of finding.

    Attributes:
        title: what was found.
        notes: the rows of :attr:`Diagnosis.notes` that have it.
        describe: the details of one row.
    """

    title: str
    notes: pd.DataFrame
    describe: Callable[[Any], str]

    def named(self) -> Iterator[str]:
        """Name the first few notes and count the rest."""
        for note in _rows(self.notes.head(NAMED_AT_MOST)):
            yield f"{one_printable_line(note.note_id)}: {self.describe(note)}"
        if len(self.notes) > NAMED_AT_MOST:
            yield f"and {len(self.notes) - NAMED_AT_MOST} more"


def examine(
    source: NoteSource,
    root: Path | None,
    notes: pd.DataFrame,
    needed_s: float,
    trims_onset: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> Diagnosis:
    """Examine every note of a data set.

    Args:
        source: where the notes come from.
        root: the folder of the audio, or ``None`` for a source that needs none.
        notes: the note table.
        needed_s: how long a note must be, in seconds: the end of the frame's longest window.
        trims_onset: whether that time is counted from a note's onset rather than from the start of its file.
        workers: processes; one a core where ``None``.
        progress: show a progress bar on standard error.
    """
    tasks = [notes.iloc[first : first + NOTES_A_TASK] for first in range(0, len(notes), NOTES_A_TASK)]
    workers = min(workers or joblib.cpu_count(), len(tasks))
    if progress:
        print(f"examining {len(notes)} notes in {workers} processes", file=sys.stderr, flush=True)
    compile_yin()
    parallel = joblib.Parallel(workers, return_as="generator_unordered")
    results = parallel(joblib.delayed(examine_notes)(source, root, task) for task in tasks)
    measured = pd.DataFrame([row for task in _with_bar(results, len(tasks), progress) for row in task])
    return diagnose(notes, measured, needed_s, trims_onset)


def diagnose(notes: pd.DataFrame, measured: pd.DataFrame, needed_s: float, trims_onset: bool = False) -> Diagnosis:
    """Draw the conclusions from what was measured.

    Args:
        notes: the note table.
        measured: a row a note, in any order, as of :func:`experiments.data_check.audio_checks.examine_note`.
        needed_s: how long a note must be, in seconds.
        trims_onset: whether that time is counted from a note's onset.
    """
    columns = ["duration_s", "onset_s", "rate", "peak_db", "level_db", "lenient", "strict", "steadiness"]
    columns += ["wander", "hidden_db"]
    table = notes[["note_id", "midi", "instrument", "audio"]].merge(
        measured.reindex(columns=["note_id", "fault", "clipped", "content", *columns]), on="note_id"
    )
    table[columns] = table[columns].astype(float)
    table["clipped"] = table.clipped.eq(True)
    # Notes are read up to EXAMINED_S: one that fills it may be longer.
    start_s = table.onset_s if trims_onset else 0.0
    whole = table.duration_s >= EXAMINED_S
    table["short"] = (table.duration_s - start_s < needed_s) & ~whole & (table.fault == "")
    table["late"] = (table.onset_s > _LATE_S) & (not trims_onset)
    lenient, strict = table.lenient - table.midi, table.strict - table.midi
    sure = ((lenient - strict).abs() < _SAME) & (table.steadiness > _STEADY)
    right = sure & (lenient.abs() < _SAME)
    tuning = lenient[right].groupby(table.instrument[right]).median()
    # An instrument without a note that agrees with its label has no tuning to take off.
    offset = table.instrument.map(tuning).fillna(0.0)
    table["semitones"] = np.round(lenient - offset)
    lowest = table.midi.groupby(table.instrument).transform("min") - _BELOW_LABELS
    plausible = table.lenient >= np.maximum(lowest, _LOWEST_MIDI)
    agrees = ((lenient - offset).abs() <= _SAME) | ((strict - offset).abs() <= _SAME)
    # Partials of the label that a higher note could not have confirm the label.
    agrees |= table.hidden_db > _ABSENT_DB
    ambiguous = ((lenient - offset - table.semitones).abs() > _SURE) & ~agrees
    between = sure & (ambiguous | ((lenient - np.round(lenient)).abs() > _BETWEEN))
    # With the tuning taken off, the next semitone may be further from the measured pitch than the label is.
    nearer = (lenient - table.semitones).abs() < lenient.abs()
    verdicts = {
        "unusable": table.fault != "",
        "unclear": ~plausible & ~agrees,
        "unsteady": (table.wander > WANDER) & ~agrees,
        "between": between,
        "agrees": agrees | (sure & ~nearer),
        "suspect": sure,
    }
    table["verdict"] = np.select(list(verdicts.values()), list(verdicts), "unclear")
    table["copy_of"] = _copies(table)
    return Diagnosis(table, 100 * tuning, needed_s)


def _copies(table: pd.DataFrame) -> pd.Series:
    """For each note, the id of another note with the same samples that is better kept, or nothing."""
    usable = table[(table.fault == "") & table.content.notna()]
    usable = usable.assign(doubt=usable.verdict != "agrees").sort_values(["doubt", "note_id"])
    best = usable.drop_duplicates("content").set_index("content").note_id
    copy_of = table.content.where(table.index.isin(usable.index)).map(best).astype(object).fillna("")
    return copy_of.where(copy_of != table.note_id, "")


def _instrument_table(diagnosis: Diagnosis) -> rich.table.Table:
    """The findings by instrument."""
    table = rich.table.Table(
        "instrument", "notes", "pitches", "seconds", "level dB", "tuning cents",
        "octave", "other", "between", "unsteady", "unclear", "short", "late", "clipped", "copies", "unusable",
    )  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    for instrument, notes in diagnosis.notes.groupby("instrument"):
        suspect = notes.verdict == "suspect"
        octave = suspect & (notes.semitones % 12 == 0)
        counts = [octave, suspect & ~octave]
        counts += [notes.verdict == name for name in ("between", "unsteady", "unclear")]
        counts += [notes.short, notes.late, notes.clipped, notes.copy_of != "", notes.fault != ""]
        level = notes.level_db.dropna()
        table.add_row(
            rich.text.Text(str(instrument)),
            str(len(notes)),
            f"{name_from_midi(notes.midi.min())}-{name_from_midi(notes.midi.max())}",
            f"{notes.duration_s.min():.2f}-{notes.duration_s.max():.2f}" if len(level) else "",
            f"{level.min():.0f} to {level.max():.0f}" if len(level) else "",
            f"{diagnosis.tuning[instrument]:+.0f}" if instrument in diagnosis.tuning else "",
            *(str(count) if (count := int(chosen.sum())) else "" for chosen in counts),
        )
    return table


def _rows(notes: pd.DataFrame) -> Iterator[Any]:
    """The rows of a table, with its columns as attributes."""
    yield from notes.itertuples()


def _measured(note: Any) -> str:
    """The pitch of a note against its label."""
    if np.isnan(note.lenient):
        return "too short to measure a pitch"
    return f"measured {note.lenient - note.midi:+.2f} semitones from {name_from_midi(note.midi)}"


def _cents(note: Any) -> str:
    """How far a note lies from the nearest semitone."""
    nearest = round(note.lenient)
    return f"{100 * (note.lenient - nearest):+.0f} cents from {name_from_midi(nearest)}, {_label(note)}"


def _wander(note: Any) -> str:
    """Over how many semitones a note moves."""
    return f"moves over {note.wander:.1f} semitones, {_label(note)}"


def one_printable_line(name: str) -> str:
    """A name with its control characters (a newline, an escape sequence) written as codes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)


def _label(note: Any) -> str:
    """The label of a note."""
    return f"labelled {name_from_midi(note.midi)}"


def _with_bar(results: Iterable[list], total: int, progress: bool) -> Iterable[list]:
    """Yield the results behind a progress bar on standard error."""
    return rich.progress.track(
        results,
        "Examining notes",
        total=total,
        console=rich.console.Console(stderr=True),
        transient=True,
        disable=not progress,
    )


def main(argv: Sequence[str]) -> int:
    """Check the data of a configuration; the arguments are those of ``--help``.

    Returns:
        the exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m experiments doctor",
        description="Check the labels and the audio of a data set: wrong octaves, pitches between two semitones, "
        "trills, silent, short, late, clipped and copied notes. Other "
        "arguments are those of fit (--config, --data.root ...).",
        epilog="example: python -m experiments doctor --config configs/data/philharmonia.yaml --data.root samples "
        "--write corrections.csv; then fit with --data.corrections corrections.csv. The report is printed.",
        allow_abbrev=False,
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the suggested corrections to this CSV file")
    parser.add_argument("--notes", type=Path, metavar="FILE", help="write what was measured of each note to this CSV")
    parser.add_argument("--workers", type=int, metavar="N", help="processes; one a core by default")
    own, rest = parser.parse_known_args(list(argv))

    with busy("loading torch and Lightning"):
        from experiments.cli import PitchTimbreCLI
    from datamodules.pitch_shift import context_reach
    from experiments.exit_codes import one_line_errors
    from experiments.paths import CONFIGS

    with one_line_errors():
        if own.workers is not None and own.workers < 1:
            raise ValueError(f"give 1 or more --workers, not {own.workers}")
        # They may have been edited by hand, and the notes that they correct may look right now.
        for option, file in (("--write", own.write), ("--notes", own.notes)):
            if file and file.exists():
                raise ValueError(f"{file} exists; give {option} another file, or delete it")
    data = PitchTimbreCLI(["--config", str(CONFIGS / "base.yaml"), *rest], run=False).datamodule
    rate = data.waveform_settings.sample_rate
    needed_s = (data.mel.centre(rate) + context_reach(data.mel.n_fft, data.shifts.highest)) / rate
    with one_line_errors():
        trims_onset = data.waveform_settings.trim_onset_db is not None
        diagnosis = examine(data.source, data.root, data.notes, needed_s, trims_onset, own.workers)
        diagnosis.print()
        if own.notes:
            with replacing(own.notes) as temporary:
                diagnosis.notes.drop(columns="content").to_csv(temporary, index=False)
        corrections = diagnosis.write_corrections(own.write) if own.write else diagnosis.corrections()
    actions = corrections.action.value_counts()
    print(f"suggested: relabel {actions.get('relabel', 0)}, drop {actions.get('drop', 0)}; ", end="")
    if own.write:
        print(f"written to {own.write}: read it, then pass it as --data.corrections")
    else:
        print("--write FILE saves them")
    return 0
