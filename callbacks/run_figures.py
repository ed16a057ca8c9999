"""The pictures of a fit, drawn once at its end from the best checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from callbacks import figures
from callbacks.figures import FrameUnits
from callbacks.wandb_run import WandbRun

SEEDS = 6
"""Notes that the spectra are shown of; pair after pair they are exchanged."""

CATEGORY_PLACES = (0.1, 0.35, 0.65, 0.9)
"""The generated pitches, as quantiles of the training notes' pitches."""


class RunFigures(L.Callback):
    """Draw a fit's pictures when its best checkpoint is tested, into ``<run_dir>/figures`` and the W&B run.

    Labels choose and name what is shown; nothing is drawn at random.

    Args:
        run_dir: the run's folder.
        row: the row of the table.
        seed: the run's seed.
    """

    def __init__(self, run_dir: Path, row: str, seed: int) -> None:
        self.run_dir, self.title = run_dir, f"{row} seed {seed}"
        self._fitted = False
        self._notes: dict[int, list[tuple[Tensor, ...]]] = {0: [], 1: []}

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A test of a checkpoint after this is the fit's own."""
        self._fitted = True

    def _due(self, trainer: L.Trainer) -> bool:
        return self._fitted and trainer.ckpt_path is not None

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the scored notes (loader 0) and the training notes (loader 1)."""
        if self._due(trainer):
            kept = (batch.x, outputs.mu, outputs.category, batch.pitch, batch.instrument)
            self._notes[dataloader_idx].append(tuple(part.cpu() for part in kept))

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Draw."""
        if not self._due(trainer):
            return
        scored, training = (tuple(map(torch.cat, zip(*self._notes[place], strict=True))) for place in (0, 1))
        self._notes = {0: [], 1: []}
        drawn = self._draw(trainer.datamodule, pl_module, scored, training)  # type: ignore[attr-defined]
        files = {
            f"figures/{name}": figures.save_figure(figure, self.run_dir / "figures" / f"{name}.png")
            for name, figure in drawn.items()
        }
        for logger in trainer.loggers:
            if isinstance(logger, WandbRun):
                logger.log_images(files)

    @torch.no_grad()
    def _draw(
        self, data: Any, module: Any, scored: tuple[Tensor, ...], training: tuple[Tensor, ...]
    ) -> dict[str, Figure]:
        x, mu, category, pitch, instrument = scored
        lowest, units = data.lowest_midi, frame_units(data)
        most = max(module.n_pitches, data.n_pitches)
        names = [(data.instruments[i], lowest + int(p)) for i, p in zip(instrument, pitch, strict=True)]

        def decode(z: Tensor, categories: Tensor) -> np.ndarray:
            c = F.one_hot(categories, module.n_pitches).to(z)
            return module.decode(z.to(module.device), c.to(module.device)).float().cpu().numpy()

        seeds = choose_seeds(instrument.tolist(), pitch.tolist())
        shown = choose_categories(training[2].numpy(), training[3].numpy())
        generated = np.stack([decode(mu[seeds], torch.full((len(seeds),), number)) for number, _ in shown])
        drawn = {
            "generated": figures.draw_generated(
                x[seeds].numpy(),
                generated,
                [names[note] for note in seeds],
                [(number, lowest + of) for number, of in shown],
                units,
            ),
            "timbre_space": figures.draw_timbre_space(
                mu.numpy(), instrument.numpy(), lowest + pitch.numpy(), data.instruments
            ),
            "pitch_matrix": figures.draw_pitch_matrix(
                (training[2].numpy(), training[3].numpy()), (category.numpy(), pitch.numpy()), most, lowest
            ),
        }
        if pairs := seeds[: len(seeds) // 2 * 2]:
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
            drawn["curves"] = figures.draw_curves(curve, {}, f"Learning curves of {self.title}")
        return drawn


def frame_units(data: Any) -> FrameUnits:
    """What the frames of a :class:`datamodules.note_pairs.NotePairs` stand for."""
    return FrameUnits(np.array(data.mel_hz), 10 / log(10) * (data.scale.high - data.scale.low))


def choose_seeds(instruments: Sequence[int], pitches: Sequence[int]) -> list[int]:
    """Notes of different instruments, each in the lower and the upper part of its range in turn.

    Args:
        instruments: (N,) label of each note.
        pitches: (N,) pitch of each note.

    Returns:
        Up to `SEEDS` notes; of one instrument several, where there are too few instruments.
    """
    known = sorted(set(instruments))
    spread = [known[place] for place in np.linspace(0, len(known) - 1, min(SEEDS, len(known))).round().astype(int)]
    chosen: list[int] = []
    for place in range(min(SEEDS, len(pitches))):
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
