"""The Philharmonia Orchestra's sound samples: ``oboe_As4_1_forte_normal.mp3``."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from datamodules.sources.files import FileSource, notes_from_names, require_root

_NAME = re.compile(
    r"(?P<instrument>[^_]+)_(?P<pitch>[^_]+)_(?P<length>[^_]+)_(?P<dynamic>[^_]+)_(?P<articulation>[^_]*)"
)
_SHARP = re.compile(r"([ACDFG])s(-?[0-9]+)")
_DYNAMICS = {
    "molto-pianissimo": "ppp",
    "pianissimo": "pp",
    "piano": "p",
    "mezzo-piano": "mp",
    "mezzo-forte": "mf",
    "forte": "f",
    "fortissimo": "ff",
}


class PhilharmoniaSource(FileSource):
    """Notes of the Philharmonia samples, in folders by instrument or all in one.

    Args:
        lengths: the note lengths to take, as in the file names: ``025``, ``05``, ``1``, ``15``, ``long``,
            ``very-long``, ``phrase``. All where ``None``.
        articulations: the articulations to take, as in the file names; bowed strings have ``arco-normal`` where the
            winds have ``normal``. All where ``None``.
        instruments: the instruments to take, with spaces. All where ``None``.
        rename: instrument names of the files and what to call them instead; ``None``: english horn, cor anglais.
    """

    def __init__(
        self,
        lengths: list[str] | None = None,
        articulations: list[str] | None = None,
        instruments: list[str] | None = None,
        rename: dict[str, str] | None = None,
    ) -> None:
        self.lengths = lengths
        self.articulations = articulations
        self.instruments = instruments
        # The samples' folder and their web page say "cor anglais", the files in it say "english-horn".
        self.rename = {"english horn": "cor anglais"} if rename is None else rename

    def read_notes(self, root: Path | None) -> pd.DataFrame:
        """Read the note table from the file names.

        Raises:
            ValueError: see :func:`datamodules.sources.files.notes_from_names`.
        """
        filters = {"instrument": self.instruments, "length": self.lengths, "articulation": self.articulations}
        return notes_from_names(require_root(root), "Philharmonia", self._fields, filters)

    def _fields(self, relative: str) -> dict[str, Any]:
        """Read one file name."""
        match = _NAME.fullmatch(PurePosixPath(relative).stem)
        if match is None:
            raise ValueError("not instrument_NOTE_length_dynamic_articulation")
        fields = match.groupdict()
        instrument = fields["instrument"].replace("-", " ")
        return {
            **fields,
            "pitch": _SHARP.sub(r"\1#\2", fields["pitch"]),
            "instrument": self.rename.get(instrument, instrument),
            "dynamic": _DYNAMICS.get(fields["dynamic"], fields["dynamic"]),
        }
