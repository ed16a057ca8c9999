"""What every source of notes offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


class NoteSource(ABC):
    """Where notes come from: a note table, and the sound of each of its rows.

    Sources are small and picklable (waveforms are read by a pool of processes). ``root`` is the folder of the audio,
    or ``None`` for a source that needs none.

    Attributes:
        reads_root: whether ``root`` makes a difference; a source that takes none refuses one.
    """

    reads_root = True

    @abstractmethod
    def read_notes(self, root: Path | None) -> pd.DataFrame:
        """Return the note table, checked by :func:`datamodules.note_table.check_notes`."""

    @abstractmethod
    def read_audio(self, root: Path | None, note: Any, duration_s: float) -> tuple[np.ndarray, int]:
        """Return at most ``duration_s`` seconds of one note and its sample rate.

        Args:
            root: the folder of the audio.
            note: a row of the note table (``itertuples``).
            duration_s: how much is wanted, in seconds.

        Returns:
            samples (T,) or (T, channels), float32, and the sample rate in Hz.
        """

    @abstractmethod
    def audio_key(self, root: Path | None, note: Any) -> str:
        """A string that changes when the sound of ``note`` changes: file size and time, or a rendering's recipe."""
