"""One bar over the epochs of a run, with the time left."""

from __future__ import annotations

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class EpochProgress(ProgressBar):
    """A rich bar that counts epochs: an epoch of isolated notes is a fraction of a second.

    Args:
        show: logged metrics that stand beside the bar.
    """

    def __init__(self, show: tuple[str, ...] = ("val/loss/total", "val/acc")) -> None:
        super().__init__()
        self.show = show
        self._bar: Progress | None = None
        self._enabled = True

    def disable(self) -> None:
        """Draw nothing."""
        self._enabled = False

    def enable(self) -> None:
        """Draw."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar."""
        if not (self._enabled and trainer.is_global_zero):
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[metrics]}"))
        self._bar.add_task("epochs", total=trainer.max_epochs, completed=trainer.current_epoch, metrics="")
        self._bar.start()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count the epoch."""
        if self._bar is not None:
            logged = trainer.callback_metrics
            metrics = "  ".join(f"{name} {float(logged[name]):.4g}" for name in self.show if name in logged)
            self._bar.update(self._bar.task_ids[0], completed=trainer.current_epoch + 1, metrics=metrics)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar."""
        self.on_train_end(trainer, pl_module)
