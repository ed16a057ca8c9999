"""metrics.csv: one row an epoch, of a run that was resumed too."""

from __future__ import annotations

import time
from abc import abstractmethod
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from lightning.pytorch.loggers.logger import Logger

from datamodules.atomic_files import replacing

SECONDS_BETWEEN_WRITES = 2.0


class FitLogger(Logger):
    """A logger that writes in a fit, and nothing when a finished run is validated or tested.

    A run is one process, so the ranks of the environment (`RANK`, `SLURM_PROCID`) are ignored.
    """

    @abstractmethod
    def begin(self, facts: Mapping[str, Any]) -> None:
        """A fit begins; ``facts`` as :class:`callbacks.run_record.RunRecord` collects them."""

    def log_learning_rates(self, epoch: int, rates: Mapping[str, float]) -> None:
        """The learning rate of each group of parameters at an epoch's end; kept where there is a place for it."""

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: config.yaml has them."""


def is_of_test(metrics: Mapping[str, float]) -> bool:
    """Whether these are the scores of a test, which are kept in metrics.json."""
    return any(name.partition("/")[0] in ("published", "honest", "transfer") for name in metrics)


class EpochLog(FitLogger):
    """Write what an epoch logs as one row of ``metrics.csv``.

    Lightning's CSVLogger writes several half-empty rows an epoch and deletes the file when a run is resumed. Here
    `last.ckpt` holds the rows of the epochs before it (:class:`callbacks.checkpoints.LastCheckpoint`), so that the file
    follows the checkpoint, whatever was lost with a run that was killed.

    Args:
        run_dir: the run's folder.

    Attributes:
        rows: what each epoch logged.
    """

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        self.file = run_dir / "metrics.csv"
        self.rows: dict[int, dict[str, float]] = {}
        self._written = 0.0
        self._fitting = False

    @property
    def name(self) -> str:
        """The file's stem."""
        return self.file.stem

    @property
    def version(self) -> str:
        """Empty: the run's folder identifies it."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run's folder: Lightning keeps config.yaml in it."""
        return str(self.file.parent)

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Keep what is logged from now on."""
        self._fitting = True

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add to the epoch's row."""
        if not self._fitting or "epoch" not in metrics or is_of_test(metrics):
            return
        epoch = int(metrics["epoch"])
        self.rows.setdefault(epoch, {"epoch": epoch}).update({k: v for k, v in metrics.items() if k != "epoch"})

    def restore(self, rows: dict[int, dict[str, float]]) -> None:
        """Take the rows of a checkpoint; the file may have lost some, or have one that is run again."""
        self.rows = rows
        if rows:
            self._write()

    def rows_with(self, epoch: int, values: Mapping[str, float]) -> dict[int, dict[str, float]]:
        """The rows, with what ``epoch`` is about to log."""
        return {**self.rows, epoch: {"epoch": epoch, **self.rows.get(epoch, {}), **values}}

    def save(self) -> None:
        """Write the file if it is some time since it was last written; Lightning asks several times an epoch."""
        if self._fitting and self.rows and time.monotonic() - self._written > SECONDS_BETWEEN_WRITES:
            self._write()

    def finalize(self, status: str) -> None:
        """Write the last rows."""
        if self._fitting and self.rows:
            self._write()

    def _write(self) -> None:
        with replacing(self.file) as temporary:
            pd.DataFrame(self.rows.values()).astype({"epoch": int}).to_csv(temporary, index=False)
        self._written = time.monotonic()
