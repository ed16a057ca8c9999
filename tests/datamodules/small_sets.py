"""Small sets of notes that tests make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from datamodules.note_pairs import NotePairs
from datamodules.sources.embedded import EmbeddedNotes
from datamodules.sources.table import TableSource
from datamodules.splits import SplitSettings
from datamodules.synthetic_tones import synthetic_tones


def pairs_of(cache_dir: Path, **settings: object) -> NotePairs:
    given: dict = {"split": SplitSettings(validation_share=0.25), "max_notes": 64, "batch_size": 16} | settings
    return NotePairs(EmbeddedNotes(instruments=["oboe", "cello"]), cache_dir=cache_dir, **given)


def write_tones(folder: Path, pitches: range, seconds: float = 0.5, silence_s: float = 0.0) -> TableSource:
    """Tones of two instruments at each pitch, behind silence."""
    lines = ["audio,pitch,instrument"]
    for pitch in pitches:
        for name in "ab":
            tone = synthetic_tones(np.array([pitch]), 22050, round(seconds * 22050), np.random.default_rng(pitch))[0]
            silence = np.zeros(round(silence_s * 22050), np.float32)
            soundfile.write(folder / f"{name}{pitch}.wav", np.concatenate([silence, tone / 9]), 22050)
            lines.append(f"{name}{pitch}.wav,{pitch},{name}")
    (folder / "notes.csv").write_text("\n".join(lines))
    return TableSource(folder / "notes.csv")
