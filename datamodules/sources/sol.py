"""Studio On Line and OrchideaSOL: ``Fl-ord-C4-mf-N-T14d.wav``, ``trbt-ord-A#2-pp.wav``."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from datamodules.sources.files import FileSource, notes_from_names, require_root

# The data sets' own spelling of their abbreviations. Others are taken as they are.
INSTRUMENT_NAMES = {
    "BTb": "Bass Tuba",
    "Hn": "French Horn",
    "Tbn": "Trombone",
    "trbt": "Trombone",
    "TpC": "Trumpet in C",
    "Acc": "Accordion",
    "Cb": "Contrabass",
    "Vn": "Violin",
    "Va": "Viola",
    "Vc": "Violoncello",
    "Bn": "Bassoon",
    "ClBb": "Clarinet in B-flat",
    "Fl": "Flute",
    "Ob": "Oboe",
    "ASax": "Alto Saxophone",
}


class SolSource(FileSource):
    """Notes of the SOL family, described by file names only: instrument, technique, pitch, dynamic, string, retuning.

    Args:
        techniques: the techniques to take, as abbreviated in the names; ``["ord"]`` (ordinario) where ``None``.
        instruments: the instruments to take, by full name (or abbreviation where no full name is known). All where
            ``None``.
        muted: take notes played with a mute (``TpC+S-ord-...``) as instruments of their own.
        retuned: take notes that the authors retuned digitally (``...-T14d.wav``: by 14 cents down).
    """

    where = "SOL"

    def __init__(
        self,
        techniques: list[str] | None = None,
        instruments: list[str] | None = None,
        muted: bool = False,
        retuned: bool = True,
    ) -> None:
        self.techniques = ["ord"] if techniques is None else techniques
        self.instruments = instruments
        self.muted = muted
        self.retuned = retuned

    def read_notes(self, root: Path | None) -> pd.DataFrame:
        """Read the note table from the file names.

        Raises:
            ValueError: see :func:`datamodules.sources.files.notes_from_names`.
        """
        filters = {
            "technique": self.techniques,
            "instrument": self.instruments,
            "mute": None if self.muted else [""],
            "retuned": None if self.retuned else ["no"],
        }
        return notes_from_names(require_root(root), self.where, sol_fields, filters)


def sol_fields(relative: str) -> dict[str, Any]:
    """Read one file name of the SOL family.

    Raises:
        ValueError: it does not have at least instrument, technique, pitch and dynamic.

    Examples:
        >>> fields = sol_fields("Winds/Flute/ordinario/Fl-ord-C4-mf-N-T14d.wav")
        >>> fields["instrument"], fields["technique"], fields["pitch"], fields["dynamic"], fields["retuned"]
        ('Flute', 'ord', 'C4', 'mf', 'yes')
    """
    parts = PurePosixPath(relative).stem.split("-")
    if len(parts) < 4:
        raise ValueError("not Instrument-technique-Pitch-dynamic")
    played, technique, pitch, dynamic = parts[:4]
    abbreviation, _, mute = played.partition("+")
    name = INSTRUMENT_NAMES.get(abbreviation, abbreviation)
    return {
        "instrument": f"{name} + {mute}" if mute else name,
        "mute": mute,
        "technique": technique,
        "pitch": pitch,
        "dynamic": dynamic,
        # The fifth part is the string, the sixth the retuning; older releases have neither.
        "retuned": "yes" if len(parts) > 5 and parts[5] != "N" else "no",
    }
