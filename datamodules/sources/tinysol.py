"""TinySOL: 2,913 ordinary notes of 14 instruments (Zenodo record 3685367), from a folder or downloaded by mirdata."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pandas as pd

from datamodules.note_table import check_notes
from datamodules.sources.files import FileSource, notes_from_names, require_root
from datamodules.sources.mirdata_extra import download
from datamodules.sources.sol import sol_fields
from datamodules.table_files import read_csv

_METADATA_PLACES = ("TinySOL_metadata.csv", "annotation/TinySOL_metadata.csv")
_METADATA_COLUMNS = ("Path", "Fold", "Instrument (in full)", "Pitch ID")


class TinySolSource(FileSource):
    """Notes of TinySOL; their names tell all but the official folds, which are read from TinySOL_metadata.csv.

    Args:
        instruments: the instruments to take, by full name. All where ``None``.
        retuned: take the notes that needed digital retuning.
        metadata: TinySOL_metadata.csv; where ``None`` it is looked for in the root and in its folder ``annotation``.
            Without it there are no folds.
        download: let mirdata download the set into the root (and check its checksums), once.
    """

    def __init__(
        self,
        instruments: list[str] | None = None,
        retuned: bool = True,
        metadata: Path | None = None,
        download: bool = False,
    ) -> None:
        self.instruments = instruments
        self.retuned = retuned
        self.metadata = metadata
        self.download = download

    def read_notes(self, root: Path | None) -> pd.DataFrame:
        """Read the note table from the file names; ``fold`` is the official fold ("0" .. "4") where it is known.

        Raises:
            ValueError: the metadata and the file names contradict each other, or see
                :func:`datamodules.sources.files.notes_from_names`.
        """
        if self.download:
            download("tinysol", root, ["audio", "annotations"])
        root = require_root(root)
        filters = {"instrument": self.instruments, "retuned": None if self.retuned else ["no"]}
        notes = notes_from_names(root, "TinySOL", sol_fields, filters)
        metadata = self._metadata_file(root)
        return notes if metadata is None else check_notes(_with_folds(notes, metadata), "TinySOL")

    def _metadata_file(self, root: Path) -> Path | None:
        """The metadata table, if there is one."""
        if self.metadata is not None:
            return self.metadata
        return next((root / place for place in _METADATA_PLACES if (root / place).is_file()), None)


def _with_folds(notes: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Fill ``fold`` with the official fold, and ``instrument`` and ``midi`` with the metadata's own."""
    known = {PurePosixPath(row["Path"]).stem: row for row in read_csv(path, _METADATA_COLUMNS).values()}
    unknown = [note_id for note_id in notes.note_id if note_id not in known]
    if unknown:
        raise ValueError(f"{path}: does not list {len(unknown)} of the notes, {unknown[0]!r} among them")
    rows = [known[note_id] for note_id in notes.note_id]
    contrary = notes.note_id[notes.midi.astype(str) != [row["Pitch ID"] for row in rows]]
    if len(contrary):
        raise ValueError(f"{path}: has another pitch than the name of {contrary.iloc[0]!r}; download both again")
    return notes.assign(fold=[row["Fold"] for row in rows], instrument=[row["Instrument (in full)"] for row in rows])
