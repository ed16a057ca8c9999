"""Where a W&B run's weights come from, as artifacts: data -> evaluation classifiers -> checkpoint -> table.

Nothing is copied: an artifact of weights names the run's own file, one of data or of a classifier a description of a
few bytes, which is the same whichever run writes it. So W&B counts it as one artifact, and draws the lineage.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datamodules.atomic_files import write_json


def log_lineage(run: Any, run_dir: Path, record: Mapping[str, Any], job_type: str) -> None:
    """Log what a fit used and made.

    Args:
        run: of W&B.
        run_dir: the run's folder, with ``checkpoints/best.ckpt``.
        record: what ``metrics.json`` holds: row, seed, data, data_hash, and evaluator_fingerprint (``row=hash`` of each
            evaluation classifier).
        job_type: ``row`` or ``classifier``.
    """
    folder, data_hash = run_dir / "wandb" / "lineage", record["data_hash"]
    use(run, _described(folder, f"data-{data_hash}", "data", {name: record[name] for name in ("data", "data_hash")}))
    for named in record.get("evaluator_fingerprint", "").split():
        row, _, fingerprint = named.partition("=")
        artifact = _classifier(folder, row, data_hash, fingerprint)
        if job_type == "classifier":
            run.log_artifact(artifact)
        else:
            use(run, artifact)
    if job_type != "classifier":
        run.log_artifact(checkpoint(run_dir, record))


def checkpoint(run_dir: Path, record: Mapping[str, Any]) -> Any:
    """The artifact of a run's best checkpoint."""
    import wandb

    fold = f"-fold_{record['fold']}" if "fold" in record else ""
    name = _plain(f"{record['row']}-seed_{record['seed']}{fold}")
    about = {name: record[name] for name in ("data_hash", "config_hash", "git_revision") if name in record}
    artifact = wandb.Artifact(name, type="checkpoint", metadata=about)
    artifact.add_file(str(run_dir / "checkpoints" / "best.ckpt"), policy="immutable", skip_cache=True)
    return artifact


def use(run: Any, artifact: Any) -> None:
    """Say that a run has read an artifact that may not be known to W&B yet."""
    if run.settings._offline:
        # `use_artifact` refuses offline runs. This is what it does for a new artifact: it is kept for the upload.
        run._log_artifact(artifact, use_after_commit=True)
    else:
        run.use_artifact(artifact)


def _classifier(folder: Path, row: str, data_hash: str, fingerprint: str) -> Any:
    about = {"row": row, "data_hash": data_hash, "fingerprint": fingerprint}
    return _described(folder, f"{row}-{data_hash}", "classifier", about)


def _described(folder: Path, name: str, kind: str, about: dict[str, Any]) -> Any:
    import wandb

    file = folder / f"{_plain(name)}.json"
    write_json(file, about)
    artifact = wandb.Artifact(_plain(name), type=kind, metadata=about)
    artifact.add_file(str(file), name="description.json", policy="immutable", skip_cache=True)
    return artifact


def _plain(name: str) -> str:
    """A name with the characters that W&B allows."""
    return re.sub(r"[^\w.-]", "_", name)
