"""What a run leaves behind, so that its numbers can be traced: versions, machine, git revision, data, split."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lightning as L
import torch

from datamodules.atomic_files import replacing
from datamodules.splits import write_split

RECORDED_VERSIONS = ("torch", "torchaudio", "lightning", "librosa", "numpy", "scipy", "scikit-learn", "pitch-timbre")


def write_json(file: Path, content: Any) -> None:
    """Write JSON atomically."""
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def read_json(file: Path) -> dict[str, Any]:
    """What :func:`write_json` wrote; empty where there is no such file or it was cut short."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def git_revision() -> str:
    """The commit of the code that runs, with ``+`` where files differ from it; ``unknown`` outside a checkout."""
    here = Path(__file__).parent
    try:
        commit, changed = (
            subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+" if changed else "")


def machine() -> str:
    """The processor (and accelerator) of this machine, in words."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        name = names[0] if names else name
    gpu = f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ""
    return f"{name} x {os.cpu_count()}{gpu}"


def versions() -> dict[str, str]:
    """The versions of what decides a run's numbers; a checkout that runs without being installed has none."""
    found = {"python": platform.python_version()}
    for name in RECORDED_VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def arithmetic() -> dict[str, Any]:
    """What decides, beside the versions and the machine, whether two runs have the same bits."""
    return {
        "threads": torch.get_num_threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


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
