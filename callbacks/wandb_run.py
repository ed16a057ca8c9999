"""One Weights & Biases run for each fit, offline where there is no account."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from callbacks.epoch_log import FitLogger, is_of_test
from callbacks.wandb_artifacts import log_lineage
from datamodules.atomic_files import read_json, write_json

PROJECT = "pitch-timbre"
MODES = ("online", "offline", "disabled")
ID_FILE = "run_id.json"
"""In a folder's ``wandb``: the W&B id of its run, and what the run is the run of."""

FLOOR = "floor_"
"""How the names of chance levels begin in ``metrics.json``."""

SCORED_NOTES = "notes.csv"
"""In a run's folder: what was scored, which becomes a table that can be sorted."""

LONGEST_NAME = 96
"""Characters of the overrides in a run's name; W&B takes 128 for the whole."""

CONNECT_S, FINISH_S = 20.0, 60.0
"""Seconds that an online run waits for W&B before it is kept offline, and at its end for the upload."""


def wandb_mode() -> str:
    """``online``, ``offline`` or ``disabled``: what WANDB_MODE says and, where it is not set, online if there is a key.

    Nothing is asked of the user or the network.

    Raises:
        ValueError: WANDB_MODE is none of these, or online without a key.
    """
    asked = os.environ.get("WANDB_MODE")
    if asked is not None and asked not in MODES:
        raise ValueError(f"WANDB_MODE is {asked!r}; it must be one of {', '.join(MODES)}")
    if asked in ("offline", "disabled"):
        return asked
    if not key_is_known():
        if asked == "online":
            raise ValueError("WANDB_MODE is online, but there is no W&B key; `wandb login` once, or set it to offline")
        _say_offline("no key found")
        return "offline"
    import wandb

    return str(wandb.setup().settings.mode)  # `wandb offline` in this folder counts too


def key_is_known() -> bool:
    """Whether a W&B key is at hand; it is not tried.

    Raises:
        ValueError: the key has not the form of one.
    """
    import wandb

    key = os.environ.get("WANDB_API_KEY", "")
    try:
        if not (key.isascii() and key.isprintable()):
            raise wandb.errors.AuthenticationError("WANDB_API_KEY has characters that no key has")
        return wandb.login(prompt=False, verify=False)
    except wandb.errors.Error as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"the W&B key: {reason}; correct it, or set WANDB_MODE to offline") from error


@cache
def _say_offline(why: str) -> None:
    """Once for all runs of a process."""
    print(f"W&B: {why}, so this run is kept offline; `make dashboard` says how to upload it", flush=True)


def start_run(folder: Path, mode: str, identity: dict[str, str], **about: Any) -> Any:
    """Start a W&B run, with its files in ``<folder>/wandb``.

    Args:
        folder: the run's folder.
        mode: ``online`` or ``offline``.
        identity: what makes it the same run: a folder that holds one of this identity gives its id again.
        about: what ``wandb.init`` takes: name, group, job_type, config.
    """
    if mode == "offline":
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # W&B's own telemetry asks the network even so
    import wandb

    file = folder / "wandb" / ID_FILE
    kept = read_json(file)
    run_id = kept["id"] if kept.get("identity") == identity else secrets.token_hex(4)
    write_json(file, {"id": run_id, "identity": identity})
    try:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            dir=str(folder),
            mode=mode,  # type: ignore[arg-type]
            id=run_id,
            # What an offline run's folder holds is the whole run (see `WandbRun`): an upload replaces.
            resume="allow" if mode == "online" else None,
            reinit="create_new",
            # The revision is in the config; W&B's own would record the remote's address, and with it a token in it.
            settings=wandb.Settings(
                silent=True, console="off", disable_git=True, init_timeout=CONNECT_S, finish_timeout=FINISH_S
            ),
            **about,
        )
    except wandb.errors.CommError:
        if mode == "offline":
            raise
        _say_offline(f"no answer within {CONNECT_S:g} s")
        wandb.teardown()  # which still tries
        return start_run(folder, "offline", identity, **about)
    if mode == "online":
        print(f"W&B: {run.url}", flush=True)
    return run


def remove_superseded(folder: Path, run: Any) -> None:
    """Remove what earlier, stopped attempts of an offline run left: the run that goes on holds all of it.

    W&B names a folder by the second, and counts those of one second: `offline-run-20261128_051500-ID-1`.
    """
    for older in (folder / "wandb").glob("offline-run-*"):
        run_id = older.name.split("-")[3:4]
        if run_id == [run.id] and older.resolve() != Path(run.sync_dir).resolve():
            shutil.rmtree(older, ignore_errors=True)


class WandbRun(FitLogger):
    """The W&B run of a fit: group = row, one run a seed, with the epoch as the axis of everything.

    It begins when :class:`callbacks.run_record.RunRecord` tells what the run is, and not with a test. A stopped run
    goes on under its id. W&B cannot go on with an offline run, so a resumed run logs the earlier epochs from
    ``metrics.csv`` first: its folder then holds the whole run, and the folders before it are removed.

    Args:
        run_dir: the run's folder; W&B's files go below it.
        row: the row of the table.
        seed: the run's seed.
        job_type: what kind of run it is.
    """

    def __init__(self, run_dir: Path, row: str, seed: int, job_type: str = "row") -> None:
        super().__init__()
        self.run_dir, self.row, self.seed, self.job_type = run_dir, row, seed, job_type
        self._run: Any = None
        self._mode = "disabled"
        self._caught_up = False

    @property
    def name(self) -> str:
        """The W&B project."""
        return PROJECT

    @property
    def version(self) -> str:
        """The W&B id, once there is one."""
        return self._run.id if self._run else ""

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return str(self.run_dir)

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Begin the run with the facts of :class:`callbacks.run_record.RunRecord` as its config."""
        self._mode = wandb_mode()
        if self._mode == "disabled" or self._run is not None:
            return
        changed = shorten(facts.get("overrides", {}))
        group = f"{self.row} {changed}".rstrip()
        about = {
            "name": f"{self.row} seed {self.seed} {changed}".rstrip(),
            "group": group,
            "job_type": self.job_type,
            "tags": tags(self.row, facts),
            "notes": f"{group}, seed {self.seed}, on {facts.get('data', 'notes')} ({facts.get('data_hash')})",
            "config": dict(facts),
        }
        identity = {name: str(facts.get(name)) for name in ("config_hash", "data_hash")}
        self._run = start_run(self.run_dir, self._mode, identity, **about)
        self._run.define_metric("epoch")
        self._run.define_metric("*", step_metric="epoch")
        self._run.define_metric("val/loss/total", step_metric="epoch", summary="min")

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log an epoch's values; the test's are scores, which :meth:`close` takes."""
        if self._run is None or is_of_test(metrics):
            return
        epoch = int(metrics["epoch"])
        self._catch_up(epoch)
        self._run.log(dict(metrics), step=epoch)

    def log_learning_rates(self, epoch: int, rates: Mapping[str, float]) -> None:
        """Log an epoch's learning rates."""
        self.log_metrics({"epoch": epoch, **rates})

    def _catch_up(self, epoch: int | None = None) -> None:
        """Log the epochs before this one (all, if ``None``) that the run does not have yet."""
        if self._caught_up:
            return
        self._caught_up = True
        file = self.run_dir / "metrics.csv"
        if epoch != 0 and file.exists():
            rows = pd.read_csv(file)
            known = rows.epoch < self._run.step  # of an online run
            for row in rows[~known & (epoch is None or rows.epoch < epoch)].to_dict("records"):
                self._run.log({str(k): v for k, v in row.items() if pd.notna(v)}, step=int(row["epoch"]))
        if self._mode == "offline":
            remove_superseded(self.run_dir, self._run)

    def log_images(self, files: Mapping[str, Path]) -> None:
        """Log pictures, by name."""
        self._log_media("Image", files, None)

    def log_sounds(self, files: Mapping[str, Path], epoch: int | None = None) -> None:
        """Log sounds, by name: of an epoch, or after the last one."""
        self._log_media("Audio", files, epoch)

    def _log_media(self, kind: str, files: Mapping[str, Path], epoch: int | None) -> None:
        if self._run is not None:
            import wandb

            self._catch_up(epoch)
            media = {name: getattr(wandb, kind)(str(file)) for name, file in files.items()}
            self._run.log(media, step=self._run.step if epoch is None else epoch)

    def close(self, record: Mapping[str, Any]) -> None:
        """End the run, with the numbers of its ``metrics.json`` in the summary.

        The scores at the best checkpoint are ``published/*`` and ``honest/*``, those of the last epoch ``last/*``.
        """
        if self._run is None:
            return
        self._catch_up()
        self._run.summary.update(summary(record))
        if (self.run_dir / SCORED_NOTES).exists():
            import wandb

            # W&B keeps a table's rows where it uploads them from: beside the run, not in the user's home.
            os.environ.setdefault("WANDB_DATA_DIR", str((self.run_dir / "wandb").resolve()))
            notes = wandb.Table(dataframe=pd.read_csv(self.run_dir / SCORED_NOTES))
            self._run.log({"notes": notes}, step=self._run.step)
        if "data_hash" in record:
            log_lineage(self._run, self.run_dir, record, self.job_type)
        self._run.finish()
        self._run = None

    def finalize(self, status: str) -> None:
        """A run that failed or was stopped ends here; one that went well is closed with its scores."""
        if status != "success" and self._run is not None:
            self._run.finish(exit_code=1)
            self._run = None


def summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a ``metrics.json`` by the names that they have in a W&B summary."""
    found = {name: record[name] for name in ("epochs", "wall_s") if name in record}
    for checkpoint, prefix in (("best", ""), ("last", "last/")):
        scores = record.get(checkpoint, {})
        if "epoch" in scores:
            found[f"{checkpoint}/epoch"] = scores["epoch"]
        for protocol in ("published", "honest"):
            for name, value in scores.get(protocol, {}).items():
                # What a row scores is not mixed with what no row can be below.
                group, name = ("chance_level", name[len(FLOOR) :]) if name.startswith(FLOOR) else (protocol, name)
                found[f"{prefix}{group}/{name}"] = value
    return found


def shorten(overrides: Mapping[str, Any]) -> str:
    """Settings that differ from the row's file, as a run's name has them: ``contrast=0.5 max_epochs=20``."""
    text = " ".join(f"{name.rpartition('.')[2]}={value}" for name, value in sorted(overrides.items()))
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 3]}..."


def tags(row: str, facts: Mapping[str, Any]) -> list[str]:
    """What runs are filtered by: row, data, split, precision, and whether settings were overridden."""
    found = [row, *(str(facts[name]) for name in ("data", "split", "precision") if facts.get(name))]
    return [tag[:64] for tag in dict.fromkeys([*found, *(["overridden"] if facts.get("overrides") else [])])]
