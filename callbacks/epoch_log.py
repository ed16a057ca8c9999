"""metrics.csv: one row an epoch, kept when a run is resumed."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

SECONDS_BETWEEN_WRITES = 2.0


class EpochLog(Logger):
    """Write what an epoch logs as one row of ``metrics.csv``.

    Lightning's CSVLogger writes several half-empty rows an epoch and deletes the file when a run is resumed. This one
    keeps the rows before the epoch that a run resumes from.

    Args:
        run_dir: the run's folder.
    """

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        self.file = run_dir / "metrics.csv"
        self._rows: dict[int, dict[str, float]] = {}
        self._begun = False
        self._written = 0.0

    @property
    def name(self) -> str:
        """The file's stem."""
        return self.file.stem

    @property
    def version(self) -> str:
        """None of its own: the run's folder says it."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run's folder: Lightning keeps config.yaml in it."""
        return str(self.file.parent)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Kept in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add to the epoch's row; the test's metrics are kept in metrics.json."""
        if "epoch" not in metrics or any(name.partition("/")[0] in ("published", "honest") for name in metrics):
            return
        epoch = int(metrics["epoch"])
        if not self._begun:
            self._resume(epoch)
        self._rows.setdefault(epoch, {"epoch": epoch}).update({k: v for k, v in metrics.items() if k != "epoch"})

    def _resume(self, epoch: int) -> None:
        self._begun = True
        if epoch > 0 and self.file.exists():
            kept = pd.read_csv(self.file)
            self._rows = {
                int(row["epoch"]): {str(k): v for k, v in row.items()}
                for row in kept[kept.epoch < epoch].to_dict("records")
            }

    @rank_zero_only
    def save(self) -> None:
        """Write the file if it is some time since it was last written; Lightning asks several times an epoch."""
        if self._rows and time.monotonic() - self._written > SECONDS_BETWEEN_WRITES:
            self._write()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the last rows."""
        if self._rows:
            self._write()

    def _write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.file.with_name(".metrics.csv.tmp")
        pd.DataFrame(self._rows.values()).astype({"epoch": int}).to_csv(temporary, index=False)
        temporary.replace(self.file)
        self._written = time.monotonic()
