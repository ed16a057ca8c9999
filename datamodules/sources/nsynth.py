"""NSynth: four-second notes at 16 kHz, described by examples.json."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from datamodules.note_table import check_notes
from datamodules.sources.files import FileSource, check_choice, first_few, require_root
from datamodules.table_files import read_json

SAMPLE_RATE = 16_000
_FIELDS = {
    "pitch": int,
    "velocity": int,
    "instrument_str": str,
    "instrument_family_str": str,
    "instrument_source_str": str,
}


class NSynthSource(FileSource):
    """Notes of NSynth: a folder with ``examples.json`` and ``audio/``, or a folder of such folders.

    ``fold`` is the name of the folder that holds a note (``nsynth-train`` ...); ``dynamic`` is the MIDI velocity.

    Args:
        sources: which of ``acoustic``, ``electronic``, ``synthetic`` to take. All where ``None``.
        families: the instrument families to take (``flute``, ``brass`` ...). All where ``None``.
        instrument: what counts as the instrument: its ``family`` (11) or the ``individual`` one (1,006).
        velocities: the MIDI velocities to take (25, 50, 75, 100, 127). All where ``None``.
    """

    def __init__(
        self,
        sources: list[str] | None = None,
        families: list[str] | None = None,
        instrument: Literal["family", "individual"] = "family",
        velocities: list[int] | None = None,
    ) -> None:
        self.sources = sources
        self.families = families
        self.instrument = instrument
        self.velocities = None if velocities is None else [str(velocity) for velocity in velocities]

    def read_notes(self, root: Path | None) -> pd.DataFrame:
        """Read the note table from examples.json, and say what 16 kHz means for the frames.

        Raises:
            ValueError: there is no examples.json, it lacks a field, or the filters leave nothing.
        """
        root = require_root(root)
        table = pd.DataFrame(_examples(root))
        filters = {
            "instrument_source_str": self.sources,
            "instrument_family_str": self.families,
            "velocity": self.velocities,
        }
        for column, wanted in filters.items():
            check_choice(wanted, set(table[column]), column, "NSynth")
        for column, wanted in filters.items():
            table = table[table[column].isin(wanted)] if wanted is not None else table
        name = "instrument_family_str" if self.instrument == "family" else "instrument_str"
        notes = pd.DataFrame(
            {
                "note_id": table.note_id,
                "midi": table.pitch,
                "instrument": table[name],
                "dynamic": table.velocity,
                "group": table.note_id,
                "fold": table.fold,
                "audio": table.audio,
                "offset_s": 0.0,
            }
        )
        print(
            f"NSynth: recorded at {SAMPLE_RATE:,} Hz, so there is nothing above {SAMPLE_RATE // 2:,} Hz: "
            f"keep data.mel.fmax_hz at or below that"
        )
        return check_notes(notes, "NSynth")


def _examples(root: Path) -> Iterator[dict[str, Any]]:
    """Yield the fields of every note of every examples.json in ``root`` or one folder below."""
    files = [root / "examples.json"] if (root / "examples.json").is_file() else sorted(root.glob("*/examples.json"))
    if not files:
        raise ValueError(f"NSynth: no examples.json in {root} nor in a folder below it; check --data.root")
    for file in files:
        folder = file.parent.relative_to(root)
        for note_id, example in _read_examples(file).items():
            fields = {name: example[name] for name in _FIELDS}
            fields["velocity"] = str(fields["velocity"])
            audio = (folder / "audio" / f"{note_id}.wav").as_posix()
            yield {**fields, "note_id": note_id, "audio": audio, "fold": file.parent.resolve().name}


def _read_examples(file: Path) -> dict[str, dict[str, Any]]:
    """Read one examples.json; refuse one that lacks what is needed."""
    examples = read_json(file)
    if not isinstance(examples, dict) or not examples:
        raise ValueError(f"{file}: holds no notes by name; is it NSynth's examples.json?")
    poor = [name for name, example in examples.items() if not isinstance(example, dict) or not _is_whole(example)]
    if poor:
        needed = ", ".join(f"{name} ({kind.__name__})" for name, kind in _FIELDS.items())
        raise ValueError(f"{file}: {len(poor)} notes lack one of {needed}: {first_few(poor)}")
    return examples


def _is_whole(example: dict[str, Any]) -> bool:
    """Whether a note has every field, of its type."""
    return all(type(example.get(name)) is kind for name, kind in _FIELDS.items())
