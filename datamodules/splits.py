"""Which notes train the models, which select their checkpoints, and which are scored."""

from __future__ import annotations

from dataclasses import dataclass, replace
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

TWO_PARTS, THREE_PARTS = ("train", "validation"), ("train", "selection", "test")
"""What a recorded split calls its parts; checkpoints are selected on ``validation``, or on ``selection`` alone."""


@dataclass(frozen=True)
class SplitSettings:
    """Which notes train the models, which select their checkpoints, and which are scored.

    Attributes:
        kind: ``random`` is stratified by instrument (the published protocol); ``grouped`` keeps all notes of one
            (instrument, pitch) on one side; ``recording`` all notes of one recording (the note table's ``group``), with
            at least one recording of each instrument on either side; ``instruments`` leaves whole instruments out;
            ``official`` scores the groups named in ``official_groups``.
        validation_share: the share of notes that is scored, when ``folds`` is not given.
        selection_share: the share of the other notes that checkpoints and early stopping are selected on, cut in the
            same way (at random where ``kind`` is ``official``); they are neither trained on nor scored. ``None``:
            both are selected on the scored notes, as published.
        folds: how many folds to cut; the one scored is ``fold``.
        fold: 0 .. folds - 1.
        official_groups: values of the note table's ``fold`` that are scored (``kind: official``); of its ``group``
            where no note has a fold.
        seed: seed of the shuffling; independent of the model's seed.
        file: a CSV with the columns note_id, part (train | validation, or train | selection | test); read if it is
            there, else written.
    """

    kind: Literal["random", "grouped", "recording", "instruments", "official"] = "random"
    validation_share: float = 0.1
    selection_share: float | None = None
    folds: int | None = None
    fold: int = 0
    official_groups: tuple[str, ...] = ()
    seed: int = 0
    file: Path | None = None

    def __post_init__(self) -> None:
        """Refuse shares, folds and seeds that cannot be used."""
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"data.split.seed is {self.seed}; it must lie in 0..{2**32 - 1}")
        for name in ("validation_share", "selection_share"):
            share = getattr(self, name)
            if share is not None and not 0 < share < 1:
                raise ValueError(f"data.split.{name} is {share}; it must lie between 0 and 1")
        if self.folds is not None and not (self.folds >= 2 and 0 <= self.fold < self.folds):
            raise ValueError(
                f"data.split: fold {self.fold} of {self.folds} folds; give folds >= 2 and 0 <= fold < folds"
            )


@dataclass(frozen=True)
class Split:
    """The parts of N notes.

    Attributes:
        scored: (N,) bool, the notes that a test scores.
        selection: (N,) bool, the notes that checkpoints are selected on; the scored ones in the published protocol.
    """

    scored: np.ndarray
    selection: np.ndarray

    @property
    def training(self) -> np.ndarray:
        """(N,) bool, the notes that are trained on."""
        return ~(self.scored | self.selection)

    @property
    def has_selection(self) -> bool:
        """Whether checkpoints are selected on notes that are not scored."""
        return not np.array_equal(self.scored, self.selection)


def split_notes(notes: pd.DataFrame, settings: SplitSettings) -> Split:
    """Choose the notes that are scored, and those that checkpoints are selected on.

    Args:
        notes: a note table of N rows.
        settings: which split.

    Raises:
        ValueError: the split cannot be cut (an instrument with too few notes, unknown groups), or a recorded split
            does not belong to these notes.
    """
    recorded = settings.file is not None and settings.file.exists()
    split = _read_split(notes, settings.file) if settings.file and recorded else _cut(notes, settings)
    if recorded and settings.selection_share and not split.has_selection:
        raise ValueError(
            f"{settings.file}: has no part named selection, and data.split.selection_share is "
            f"{settings.selection_share}; delete the file to cut a new split"
        )
    counts = [int(part.sum()) for part in (split.scored, split.selection, split.training)]
    if min(counts) < 2:  # a covariance needs two
        raise ValueError(
            f"data.split scores {counts[0]} of {len(notes)} notes, selects on {counts[1]} and trains on {counts[2]}; "
            "each needs two: add notes, or change data.split"
        )
    if settings.file is not None and not recorded:
        write_split(notes, split, settings.file)
    return split


def _cut(notes: pd.DataFrame, settings: SplitSettings) -> Split:
    scored = _cut_off(notes, settings)
    if settings.selection_share is None:
        return Split(scored, scored)
    kind = "random" if settings.kind == "official" else settings.kind
    of_the_rest = replace(settings, kind=kind, validation_share=settings.selection_share, folds=None, fold=0)
    selection = np.zeros(len(notes), dtype=bool)
    try:
        selection[~scored] = _cut_off(notes[~scored].reset_index(drop=True), of_the_rest)
    except ValueError as error:
        raise ValueError(f"data.split.selection_share, of the notes that are not scored: {error}") from error
    return Split(scored, selection)


def _cut_off(notes: pd.DataFrame, settings: SplitSettings) -> np.ndarray:
    """(N,) bool, the share or the fold of the notes that is cut off."""
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
            f"{n_scored} scored notes cannot hold one of each of {n_instruments} instruments; set a higher share, or "
            "add notes"
        )
    if settings.kind == "instruments" and groups.nunique() < max(2, settings.folds or 2):
        raise ValueError(f"{groups.nunique()} instrument(s) cannot be split by instrument into {n_folds} folds")
    if settings.kind == "recording" and not settings.folds:
        return _some_recordings(notes, settings)
    splitter: Any
    if settings.folds is None and settings.kind != "grouped":
        shuffle_split = StratifiedShuffleSplit if settings.kind == "random" else GroupShuffleSplit
        splitter = shuffle_split(n_splits=1, test_size=settings.validation_share, random_state=settings.seed)
    else:
        fold_split = {
            "random": StratifiedKFold,
            "grouped": StratifiedGroupKFold,
            "recording": StratifiedGroupKFold,
            "instruments": GroupKFold,
        }[settings.kind]
        splitter = fold_split(n_splits=n_folds, shuffle=True, random_state=settings.seed)
    parts = list(splitter.split(notes, notes.instrument, None if settings.kind == "random" else groups))
    scored = np.zeros(len(notes), dtype=bool)
    scored[parts[settings.fold if settings.folds else 0][1]] = True
    return scored


def _some_recordings(notes: pd.DataFrame, settings: SplitSettings) -> np.ndarray:
    """(N,) bool: of each instrument, whole recordings of about the share of its notes, but neither none nor all."""
    random = np.random.default_rng(settings.seed)
    chosen: set[str] = set()
    for _, own in notes.groupby("instrument"):
        sizes = own.groupby("group").size()
        order = random.permutation(len(sizes))
        missed = np.abs(np.cumsum(sizes.to_numpy()[order])[:-1] - settings.validation_share * len(own))
        chosen |= set(sizes.index[order[: 1 + int(missed.argmin())]])
    cut_off = notes.group.isin(chosen)
    if (trapped := cut_off.groupby(notes.instrument).all()).any():
        raise ValueError(
            f"instrument {trapped.idxmax()!r} shares all its recordings with others: none can be kept for training; "
            "leave the instrument out, or choose another data.split.kind"
        )
    return cut_off.to_numpy()


def _split_groups(notes: pd.DataFrame, kind: str) -> tuple[pd.Series, str]:
    """What stays together in a split, and its name for errors."""
    if kind == "grouped":
        return notes.instrument + " " + notes.midi.astype(str), "pitch(es)"
    if kind == "recording":
        if nameless := int((notes.group == "").sum()):
            raise ValueError(
                f"data.split.kind is recording, and {nameless} of {len(notes)} notes have no group, the name of the "
                "recording that they come from; fill the note table's column group, or choose another kind"
            )
        return notes.group, "recording(s)"
    if kind == "instruments":
        return notes.instrument, "instrument(s)"
    return notes.note_id, "note(s)"


def _official(notes: pd.DataFrame, settings: SplitSettings) -> np.ndarray:
    of = notes.fold if (notes.fold != "").any() else notes.group
    known = sorted(set(of) - {""})
    unknown = [group for group in settings.official_groups if group not in known]
    if not settings.official_groups or unknown:
        raise ValueError(
            f"data.split.official_groups is {list(settings.official_groups)}; the groups of these notes are "
            f"{known[:10] or 'none: this source has no official folds'}"
        )
    scored = of.isin(settings.official_groups).to_numpy()
    if scored.all():
        raise ValueError("data.split.official_groups names every group; leave at least one for training")
    return scored


def _read_split(notes: pd.DataFrame, file: Path) -> Split:
    recorded = pd.DataFrame(list(read_csv(file, ("note_id", "part")).values()), columns=["note_id", "part"])
    if not any(recorded.part.isin(parts).all() for parts in (TWO_PARTS, THREE_PARTS)):
        raise ValueError(
            f"{file}: not a split; its parts are neither {' and '.join(TWO_PARTS)} nor {', '.join(THREE_PARTS)}"
        )
    if recorded.note_id.duplicated().any():
        raise ValueError(f"{file}: note id {recorded.note_id[recorded.note_id.duplicated()].iloc[0]!r} occurs twice")
    part = recorded.set_index("note_id").part.reindex(notes.note_id)
    if part.isna().any() or len(recorded) != len(notes):
        odd = set(notes.note_id) ^ set(recorded.note_id)
        raise ValueError(
            f"{file}: recorded for other notes ({len(odd)} differ, {min(odd)!r} among them); "
            "delete it to cut a new split"
        )
    scored, selection = ((part == name).to_numpy() for name in ("test", "selection"))
    both = (part == "validation").to_numpy()
    return Split(both, both) if both.any() else Split(scored, selection)


def write_split(notes: pd.DataFrame, split: Split, file: Path) -> None:
    """Record a split by note id, atomically.

    Args:
        notes: a note table of N rows.
        split: its parts.
        file: the CSV to write.
    """
    part = np.where(split.scored, "validation", "train")
    if split.has_selection:
        part = np.select([split.scored, split.selection], ["test", "selection"], "train")
    with replacing(file) as temporary:
        pd.DataFrame({"note_id": notes.note_id, "part": part}).to_csv(temporary, index=False)
