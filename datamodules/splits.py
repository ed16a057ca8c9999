"""Which notes train the models and which are scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
)

from datamodules.atomic_files import replacing
from datamodules.table_files import read_csv


@dataclass(frozen=True)
class SplitSettings:
    """Which notes train the models and which are scored.

    Attributes:
        kind: ``random`` is stratified by instrument (the published protocol); ``grouped`` keeps all notes of one
            (instrument, pitch) on one side; ``instruments`` leaves whole instruments out; ``official`` scores the
            groups named in ``official_groups``.
        validation_share: the share of notes that is scored, when ``folds`` is not given.
        folds: how many folds to cut; the one scored is ``fold``.
        fold: 0 .. folds - 1.
        official_groups: values of the note table's ``group`` column that are scored (``kind: official``).
        seed: seed of the shuffling; independent of the model's seed.
        file: a CSV with the columns note_id, part (train | validation); read if it is there, else written.
    """

    kind: Literal["random", "grouped", "instruments", "official"] = "random"
    validation_share: float = 0.1
    folds: int | None = None
    fold: int = 0
    official_groups: tuple[str, ...] = ()
    seed: int = 0
    file: Path | None = None

    def __post_init__(self) -> None:
        """Refuse shares, folds and seeds that cannot be used."""
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"data.split.seed is {self.seed}; it must lie in 0..{2**32 - 1}")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"data.split.validation_share is {self.validation_share}; it must lie between 0 and 1")
        if self.folds is not None and not (self.folds >= 2 and 0 <= self.fold < self.folds):
            raise ValueError(
                f"data.split: fold {self.fold} of {self.folds} folds; give folds >= 2 and 0 <= fold < folds"
            )


def split_notes(notes: pd.DataFrame, settings: SplitSettings) -> np.ndarray:
    """Choose the scored notes.

    Args:
        notes: a note table of N rows.
        settings: which split.

    Returns:
        (N,) bool, true for a scored (validation) note.

    Raises:
        ValueError: the split cannot be cut (an instrument with too few notes, unknown groups), or a recorded split
            does not belong to these notes.
    """
    recorded = settings.file is not None and settings.file.exists()
    scored = _read_split(notes, settings.file) if settings.file and recorded else _cut(notes, settings)
    if not 0 < scored.sum() <= len(notes) - 2:
        raise ValueError(
            f"data.split scores {scored.sum()} of {len(notes)} notes; at least one must be scored and two trained on"
        )
    if settings.file is not None and not recorded:
        write_split(notes, scored, settings.file)
    return scored


def _cut(notes: pd.DataFrame, settings: SplitSettings) -> np.ndarray:
    if settings.kind == "official":
        return _official(notes, settings)
    n_folds = settings.folds or max(2, round(1 / settings.validation_share))
    groups, unit = _split_groups(notes, settings.kind)
    # An instrument needs one unit on either side; a fold each when folds are asked for.
    fewest = groups.groupby(notes.instrument).nunique() if settings.kind != "instruments" else pd.Series(dtype=int)
    needed = n_folds if settings.folds else 2
    poor = fewest[fewest < needed]
    if len(poor):
        raise ValueError(
            f"instrument {poor.index[0]!r} has {poor.iloc[0]} {unit}, too few for the {settings.kind} split, which "
            f"needs {needed}; leave the instrument out or add notes"
        )
    n_scored, n_instruments = int(np.ceil(settings.validation_share * len(notes))), notes.instrument.nunique()
    if settings.kind == "random" and not settings.folds and n_scored < n_instruments:
        raise ValueError(
            f"{n_scored} scored notes cannot hold one of each of {n_instruments} instruments; set "
            "data.split.validation_share higher, or add notes"
        )
    if settings.kind == "instruments" and groups.nunique() < max(2, settings.folds or 2):
        raise ValueError(f"{groups.nunique()} instrument(s) cannot be split by instrument into {n_folds} folds")
    splitter: Any
    if settings.folds is None and settings.kind != "grouped":
        shuffle_split = StratifiedShuffleSplit if settings.kind == "random" else GroupShuffleSplit
        splitter = shuffle_split(n_splits=1, test_size=settings.validation_share, random_state=settings.seed)
    else:
        fold_split = {"random": StratifiedKFold, "grouped": StratifiedGroupKFold, "instruments": GroupKFold}[
            settings.kind
        ]
        splitter = fold_split(n_splits=n_folds, shuffle=True, random_state=settings.seed)
    parts = list(splitter.split(notes, notes.instrument, None if settings.kind == "random" else groups))
    scored = np.zeros(len(notes), dtype=bool)
    scored[parts[settings.fold if settings.folds else 0][1]] = True
    return scored


def _split_groups(notes: pd.DataFrame, kind: str) -> tuple[pd.Series, str]:
    """What stays together in a split, and its name for errors."""
    if kind == "grouped":
        return notes.instrument + " " + notes.midi.astype(str), "pitch(es)"
    if kind == "instruments":
        return notes.instrument, "instrument(s)"
    return notes.note_id, "note(s)"


def _official(notes: pd.DataFrame, settings: SplitSettings) -> np.ndarray:
    known = sorted(set(notes.group) - {""})
    unknown = [group for group in settings.official_groups if group not in known]
    if not settings.official_groups or unknown:
        raise ValueError(
            f"data.split.official_groups is {list(settings.official_groups)}; the groups of these notes are "
            f"{known or 'none: this source has no official folds'}"
        )
    scored = notes.group.isin(settings.official_groups).to_numpy()
    if scored.all():
        raise ValueError("data.split.official_groups names every group; leave at least one for training")
    return scored


def _read_split(notes: pd.DataFrame, file: Path) -> np.ndarray:
    recorded = pd.DataFrame(list(read_csv(file, ("note_id", "part")).values()), columns=["note_id", "part"])
    if not recorded.part.isin(["train", "validation"]).all():
        raise ValueError(f"{file}: not a split; a part is neither train nor validation")
    if recorded.note_id.duplicated().any():
        raise ValueError(f"{file}: note id {recorded.note_id[recorded.note_id.duplicated()].iloc[0]!r} occurs twice")
    part = recorded.set_index("note_id").part.reindex(notes.note_id)
    if part.isna().any() or len(recorded) != len(notes):
        odd = set(notes.note_id) ^ set(recorded.note_id)
        raise ValueError(
            f"{file}: recorded for other notes ({len(odd)} differ, {min(odd)!r} among them); "
            "delete it to cut a new split"
        )
    return (part == "validation").to_numpy()


def write_split(notes: pd.DataFrame, scored: np.ndarray, file: Path) -> None:
    """Record a split by note id, atomically.

    Args:
        notes: a note table of N rows.
        scored: (N,) bool, true for a scored note.
        file: the CSV to write.
    """
    rows = pd.DataFrame({"note_id": notes.note_id, "part": np.where(scored, "validation", "train")})
    with replacing(file) as temporary:
        rows.to_csv(temporary, index=False)
