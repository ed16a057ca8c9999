"""What a run leaves behind, so that its numbers can be traced: versions, machine, git revision, data, split."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn

from callbacks.epoch_log import FitLogger
from callbacks.provenance import computed_by, differences, git_revision
from datamodules.atomic_files import write_json


class RunRecord(L.Callback):
    """Write ``run.json`` and ``split.csv`` into the run's folder when a fit starts, and give the loggers the same.

    A checkpoint keeps whose it is (row, seed, the two hashes), the time spent, and the sessions: how each process that
    trained the run computed, and from which checkpoint it went on.

    Args:
        run_dir: the run's folder.
        row: the row of the table that the run belongs to.
        seed: the run's seed.

    Attributes:
        overrides: the settings that were given as arguments, which make the run another than its row's file says,
        settings: all settings of the run, and
        config_hash: a hash of those that its result depends on; the CLI sets both.
    """

    def __init__(self, run_dir: Path, row: str, seed: int) -> None:
        self.run_dir, self.row, self.seed = run_dir, row, seed
        self.config_hash, self.data_hash, self.settings = "", "", dict[str, Any]()
        self.overrides: dict[str, str] = {}
        self._started, self._spent_s = time.monotonic(), 0.0
        self._training_since, self._train_s = 0.0, 0.0
        self._sessions: list[dict[str, Any]] = []
        self._source: dict[str, Any] | None = None

    @property
    def wall_s(self) -> float:
        """Seconds since the start, and those before it if the run was resumed."""
        return round(self._spent_s + time.monotonic() - self._started, 1)

    @property
    def identity(self) -> dict[str, Any]:
        """Whose checkpoint it is."""
        return {"row": self.row, "seed": self.seed, "config_hash": self.config_hash, "data_hash": self.data_hash}

    def check_source(self, file: Path, checkpoint: Mapping[str, Any], data_hash: str) -> None:
        """Refuse to go on from a checkpoint of another run.

        Other settings are not refused: a run may be continued with more epochs; ``sessions`` records it.

        Raises:
            ValueError: the checkpoint is of another row, seed or data.
        """
        kept = checkpoint.get("callbacks", {}).get(self.state_key, {})
        for name, own in {**self.identity, "data_hash": data_hash}.items():
            if name != "config_hash" and kept.get(name, own) != own:
                raise ValueError(
                    f"{file}: --ckpt_path is a checkpoint of {name} {kept[name]}, and this run's {name} is {own}; "
                    "give the same, or leave --ckpt_path out"
                )

    def state_dict(self) -> dict[str, Any]:
        """Whose checkpoint it is, the time it took, and in which sessions."""
        return {**self.identity, "wall_s": self.wall_s, "sessions": self._sessions}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on counting the time and the sessions, where a fit goes on."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        kept = checkpoint["callbacks"].get(self.state_key, {})
        file = Path(str(trainer.ckpt_path)).resolve()
        inside = file.is_relative_to(self.run_dir.resolve())
        self._source = {
            "checkpoint": str(file.relative_to(self.run_dir.resolve()) if inside else file),
            "epoch": checkpoint["epoch"],
            "config_hash": kept.get("config_hash"),
        }
        self._spent_s, self._sessions = kept.get("wall_s", 0.0), [dict(each) for each in kept.get("sessions", [])]

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Let the model's checkpoints say where its weights come from."""
        if stage == "fit":
            pl_module.origin = {"row": self.row, "seed": self.seed, "git_revision": git_revision()}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self.data_hash = data.data_hash
        session = {**computed_by(), "precision": str(trainer.precision), "from": self._source}
        if self._sessions and (changed := differences(self._sessions[-1], session)):
            print(f"this run goes on with other {changed}: its bits may not be those of one session", flush=True)
        self._sessions.append(session)
        data.write_split(self.run_dir / "split.csv")
        facts = self.facts(trainer)
        write_json(self.run_dir / "run.json", facts)
        for logger in trainer.loggers:
            if isinstance(logger, FitLogger):
                logger.begin({**facts, "overrides": self.overrides, "settings": self.settings})
            else:
                logger.log_hyperparams({**facts, "settings": self.settings})

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The first epoch begins."""
        self._training_since = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell the loggers the epoch's learning rates; ``metrics.csv`` holds what the model logs."""
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        rates = {f"learning_rate/{place}": float(group["lr"]) for place, group in enumerate(groups)}
        for logger in trainer.loggers:
            if isinstance(logger, FitLogger):
                logger.log_learning_rates(trainer.current_epoch, rates)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The last epoch has ended."""
        self._train_s = round(time.monotonic() - self._training_since, 1)

    def facts(self, trainer: L.Trainer) -> dict[str, Any]:
        """What the run was, as far as it is known now."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        return {
            "row": self.row,
            "seed": self.seed,
            "config_hash": self.config_hash,
            "data": data.name,
            "data_hash": data.data_hash,
            **data.facts(),
            **computed_by(),
            "sessions": self._sessions,
            "precision": str(trainer.precision),
            "wall_s": self.wall_s,
            "train_s": self._train_s,  # of this process only: from the first epoch's start to the last epoch's end
        }
