"""`python -m experiments baselines GRID`: rows of a grid's table that need no training, beside those that were trained.

The nearest training frame's pitch, and what YIN and pYIN hear at the frame's instant, each on the notes of every cell:
the same parts, a ``metrics.json`` with honest ACC and ACC_abs, and a ``notes.csv``, so that the claims compare with
them. They have no seed: all seeds of a fold score the same, and differ from other rows by their notes alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from callbacks.provenance import computed_by
from datamodules.atomic_files import replacing, write_json
from datamodules.note_pairs import NotePairs
from datamodules.pitch_trackers import Estimator, heard_pitches
from datamodules.waveforms import load_waveforms
from experiments.reporting.cell_files import read_metrics
from experiments.reporting.grid_files import rewrite
from experiments.trained_runs import data_of

TRACKERS: dict[str, Estimator] = {"yin_tracker": "yin", "pyin_tracker": "pyin"}
ROWS = ("nearest_note", *TRACKERS)
FACTS = ("data", "data_hash", "split", "selected_on", "n_notes", "n_selection", "n_scored", "fold", "seed")


def midi_of(row: str, data: NotePairs) -> NDArray[np.float64]:
    """The MIDI pitch that a row gives each scored note, (N,); NaN for none."""
    if row in TRACKERS:
        waveforms = load_waveforms(data.source, data.root, data.notes, data.waveform_settings, data.cache_dir)
        heard = heard_pitches(waveforms, TRACKERS[row], data.frame_maker.centre, data.cache_dir)
        return np.round(heard[data.parts.scored].astype(np.float64))
    training, scored = (frames_of(data, part) for part in (data.parts.training, data.parts.scored))
    known = data.notes.midi.to_numpy()[data.parts.training]
    return np.asarray(KNeighborsClassifier(1).fit(training, known).predict(scored), np.float64)


def frames_of(data: NotePairs, part: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The frames (N, F) of some notes."""
    notes = torch.from_numpy(np.flatnonzero(part))
    return np.asarray(data.pairs(notes, torch.zeros(len(notes), dtype=torch.long)).x.numpy())


def add_rows(out: Path, rows: Sequence[str] = ROWS) -> None:
    """Write the cells of rows beside the finished cells of a grid.

    Raises:
        ValueError: the grid has no finished cell, or its notes are other ones now.
    """
    cells: dict[str, Path] = {}  # a folder's name -> one trained cell of that seed and fold
    for file in sorted(out.glob("*/seed_*/metrics.json")):
        if file.parts[-3] not in ROWS and read_metrics(file) is not None:
            cells.setdefault(file.parent.name, file)
    if not cells:
        raise ValueError(f"{out}: no finished cell (<row>/seed_<n>/metrics.json); train the grid first")
    of_data: dict[str, list[Path]] = {}
    for file in cells.values():
        of_data.setdefault(str(json.loads(file.read_text())["data_hash"]), []).append(file)
    for data_hash, files in of_data.items():
        data = data_of(files[0].with_name("config.yaml"))
        if not isinstance(data, NotePairs):
            raise ValueError(f"{files[0].parent}: its row reads whole notes; give a grid whose rows read frames")
        data.setup()
        if data.data_hash != data_hash:
            raise ValueError(f"{files[0].parent}: its notes, frames or split are other ones now; train the grid again")
        for row in rows:
            started = time.monotonic()
            heard = midi_of(row, data)
            for file in files:
                _write_cell(out / row / file.parent.name, row, heard, data, file, time.monotonic() - started)


def _write_cell(
    folder: Path, row: str, heard: NDArray[np.float64], data: NotePairs, trained: Path, wall_s: float
) -> None:
    notes = data.notes.loc[data.parts.scored, ["note_id", "instrument", "midi", "group"]]
    right = (heard == notes.midi.to_numpy()).astype(int)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "notes.csv") as temporary:
        notes.assign(heard=heard, honest_acc=right, honest_acc_abs=right).to_csv(temporary, index=False)
    accuracy = 100 * float(right.mean())
    scores = {"epoch": 0, "honest": {"acc": accuracy, "acc_abs": accuracy}}
    kept = json.loads(trained.read_text())
    facts = {name: kept[name] for name in FACTS if name in kept}
    about = {"row": row, **facts, **computed_by(), "precision": "none", "epochs": 0, "wall_s": round(wall_s, 1)}
    write_json(folder / "metrics.json", {**about, "best": scores, "last": scores})


def main(argv: Sequence[str] | None = None) -> int:
    """Add the rows that need no training to grids' tables; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments baselines", description=main.__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="grids' folders")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="default: all")
    arguments = parser.parse_args(argv)
    try:
        for out in arguments.folders:
            add_rows(out, arguments.rows)
        rewrite(*arguments.folders)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(f"table: {out / 'table.md'}" for out in arguments.folders))
    return 0
