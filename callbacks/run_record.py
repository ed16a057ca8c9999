"""What a run leaves behind, so that its numbers can be traced: versions, machine, git revision, data, split."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning as L

from callbacks.provenance import arithmetic, git_revision, machine, versions
from datamodules.atomic_files import write_json
from datamodules.splits import write_split


class RunRecord(L.Callback):
    """Write ``run.json`` and ``split.csv`` into the run's folder when a fit starts, and give the loggers the same.

    A checkpoint keeps whose it is (the two hashes) and the time spent, which goes on when the run does.

    Args:
        run_dir: the run's folder.
        row: the row of the table that the run belongs to.
        seed: the run's seed.

    Attributes:
        settings: all settings of the run, and
        config_hash: a hash of those that its result depends on; the CLI sets both.
    """

    def __init__(self, run_dir: Path, row: str, seed: int) -> None:
        self.run_dir, self.row, self.seed = run_dir, row, seed
        self.config_hash, self.data_hash, self.settings = "", "", dict[str, Any]()
        self._started, self._spent_s = time.monotonic(), 0.0
        self._training_since, self._train_s = 0.0, 0.0

    @property
    def wall_s(self) -> float:
        """Seconds since the start, and those before it if the run was resumed."""
        return round(self._spent_s + time.monotonic() - self._started, 1)

    def state_dict(self) -> dict[str, Any]:
        """Whose checkpoint it is, and the time it took."""
        return {"config_hash": self.config_hash, "data_hash": self.data_hash, "wall_s": self.wall_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting the time."""
        self._spent_s = state_dict["wall_s"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self.data_hash = data.data_hash
        write_split(data.notes, data.scored, self.run_dir / "split.csv")
        facts = self.facts(trainer)
        write_json(self.run_dir / "run.json", facts)
        for logger in trainer.loggers:
            logger.log_hyperparams({**facts, "settings": self.settings})

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The first epoch begins."""
        self._training_since = time.monotonic()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The last epoch has ended."""
        self._train_s = round(time.monotonic() - self._training_since, 1)

    def facts(self, trainer: L.Trainer) -> dict[str, Any]:
        """What the run was, as far as it is known now."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        return {
            "row": self.row,
            "seed": self.seed,
            **({"fold": data.split.fold} if data.split.folds else {}),
            "config_hash": self.config_hash,
            "data": data.name,
            "data_hash": data.data_hash,
            "n_notes": len(data.notes),
            "n_scored": int(data.scored.sum()),
            "n_dropped": len(data.dropped),
            "git_revision": git_revision(),
            "versions": versions(),
            "machine": machine(),
            **arithmetic(),
            "precision": str(trainer.precision),
            "wall_s": self.wall_s,
            "train_s": self._train_s,  # of this process alone, from the first epoch's start to the last one's end
        }
