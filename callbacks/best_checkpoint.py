"""What a fit does once at its end, with its best checkpoint: pictures, sounds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import lightning as L
from matplotlib.figure import Figure

from callbacks.figure_style import save_figure
from callbacks.wandb_run import WandbRun


class AtBestCheckpoint(L.Callback, ABC):
    """Shows a fit's best checkpoint when it is tested; a test of another checkpoint is not shown."""

    _fitted = False

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A test of a checkpoint after this is the fit's own."""
        self._fitted = True

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Show it."""
        if self._fitted and trainer.ckpt_path is not None:
            self.show_best(trainer, pl_module)

    @abstractmethod
    def show_best(self, trainer: L.Trainer, module: Any) -> None:
        """Show the best checkpoint, whose weights the module has."""


class DrawsBestCheckpoint(AtBestCheckpoint):
    """Draws pictures into ``<run_dir>/figures`` and the W&B run.

    Args:
        run_dir: the run's folder.
        row: the row of the table.
        seed: the run's seed.
    """

    def __init__(self, run_dir: Path, row: str, seed: int) -> None:
        self.run_dir, self.title = run_dir, f"{row} seed {seed}"

    @abstractmethod
    def figures_of(self, trainer: L.Trainer, module: Any) -> dict[str, Figure]:
        """Name -> figure."""

    def show_best(self, trainer: L.Trainer, module: Any) -> None:
        """Draw."""
        files = {
            f"figures/{name}": save_figure(figure, self.run_dir / "figures" / f"{name}.png")
            for name, figure in self.figures_of(trainer, module).items()
        }
        for logger in trainer.loggers:
            if isinstance(logger, WandbRun):
                logger.log_images(files)
