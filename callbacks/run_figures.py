"""The pictures of a fit, drawn once at its end from the best checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from callbacks import figures
from callbacks.best_checkpoint import DrawsBestCheckpoint
from callbacks.figures import FrameUnits
from callbacks.gathered_notes import NoteOutputs, PitchCategories, gathered_notes
from callbacks.learning_curves import draw_curves

EXAMPLES = 6
"""Notes whose spectra are shown; pair after pair they are exchanged."""

CATEGORY_PLACES = (0.1, 0.35, 0.65, 0.9)
"""The generated pitches, as quantiles of the training notes' pitches."""


class RunFigures(DrawsBestCheckpoint):
    """Draw a fit's pictures when its best checkpoint is tested, into ``<run_dir>/figures`` and the W&B run.

    Labels choose and name what is shown; nothing is drawn at random.

    Args:
        run_dir: the run's folder.
        row: the row of the table.
        seed: the run's seed.
    """

    def figures_of(self, trainer: L.Trainer, module: Any) -> dict[str, Figure]:
        """Name -> figure, of the scored notes."""
        notes, data = gathered_notes(trainer), trainer.datamodule  # type: ignore[attr-defined]
        return self._draw(data, module, notes.scored.cpu(), notes.training.categories)

    @torch.no_grad()
    def _draw(self, data: Any, module: Any, scored: NoteOutputs, training: PitchCategories) -> dict[str, Figure]:
        x, mu, category = scored.x, scored.mu, scored.category
        lowest, units = data.lowest_midi, frame_units(data)
        instrument, pitch = scored.instrument.tolist(), scored.pitch.tolist()
        names = [(data.instruments[label], lowest + of) for label, of in zip(instrument, pitch, strict=True)]

        def decode(z: Tensor, categories: Tensor) -> np.ndarray:
            c = F.one_hot(categories, module.n_categories).to(z)
            return module.decode(z.to(module.device), c.to(module.device)).float().cpu().numpy()

        examples = choose_examples(instrument, pitch)
        shown = choose_categories(training.category.numpy(), training.pitch.numpy())
        generated = np.stack([decode(mu[examples], torch.full((len(examples),), number)) for number, _ in shown])
        drawn = {
            "generated": figures.draw_generated(
                x[examples].numpy(),
                generated,
                [names[note] for note in examples],
                [(number, lowest + of) for number, of in shown],
                units,
            ),
            "timbre_space": figures.draw_timbre_space(
                mu.numpy(), scored.instrument.numpy(), lowest + scored.pitch.numpy(), data.instruments
            ),
            "pitch_matrix": figures.draw_pitch_matrix(training, scored.categories, data.n_pitches, lowest),
        }
        if pairs := examples[: len(examples) // 2 * 2]:
            other = [pairs[place ^ 1] for place in range(len(pairs))]
            drawn["swaps"] = figures.draw_swaps(
                x[pairs].numpy().reshape(-1, 2, data.n_mels),
                decode(mu[pairs], category[pairs]).reshape(-1, 2, data.n_mels),
                decode(mu[pairs], category[other]).reshape(-1, 2, data.n_mels),
                [names[note] for note in pairs],
                units,
            )
        if (file := self.run_dir / "metrics.csv").exists():
            curve = {self.title: [pd.read_csv(file)]}
            drawn["curves"] = draw_curves(curve, {}, f"Learning curves of {self.title}")
        return drawn


def frame_units(data: Any) -> FrameUnits:
    """What the frames of a :class:`datamodules.note_data.NoteData` stand for."""
    return FrameUnits(np.array(data.mel_hz), 10 / log(10) * (data.scale.high - data.scale.low))


def choose_examples(instruments: Sequence[int], pitches: Sequence[int]) -> list[int]:
    """Notes of different instruments, each in the lower and the upper part of its range in turn.

    Args:
        instruments: (N,) label of each note.
        pitches: (N,) pitch of each note.

    Returns:
        Up to `EXAMPLES` notes; of one instrument several, where there are too few instruments.
    """
    known = sorted(set(instruments))
    spread = [known[place] for place in np.linspace(0, len(known) - 1, min(EXAMPLES, len(known))).round().astype(int)]
    chosen: list[int] = []
    for place in range(min(EXAMPLES, len(pitches))):
        of = spread[place % len(spread)]
        free = [note for note, label in enumerate(instruments) if label == of and note not in chosen]
        if free:
            target = np.quantile([pitches[note] for note in free], (0.25, 0.75)[place % 2])
            chosen.append(min(free, key=lambda note: abs(pitches[note] - target)))
    return chosen


def choose_categories(categories: np.ndarray, pitches: np.ndarray) -> list[tuple[int, int]]:
    """Categories whose most frequent pitches are spread over the notes' range.

    Args:
        categories: (N,) category of each note.
        pitches: (N,) true pitch of each note.

    Returns:
        Category and most frequent pitch of each, one to four of them.
    """
    mapped = {int(number): int(np.bincount(pitches[categories == number]).argmax()) for number in np.unique(categories)}
    found: dict[int, int] = {}
    for target in np.quantile(pitches, CATEGORY_PLACES):
        nearest = min(mapped, key=lambda number: abs(mapped[number] - target))
        found[nearest] = mapped[nearest]
    return list(found.items())
