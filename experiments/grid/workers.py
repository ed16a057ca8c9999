"""Who runs cells, and what each of them does with one."""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import joblib

from experiments.exit_codes import EXIT_SIGNAL
from experiments.grid.cells import Cell, Outcome, claim_cell
from experiments.grid.keys import cell_key, fit_arguments
from experiments.grid.processes import ONE_THREAD, Ended, Program, run_process
from experiments.grid.settings import BadInputError, GridSettings
from experiments.paths import GRID_KEY
from experiments.reporting.cell_files import read_metrics

ATTEMPTS = 3
"""How often a cell is run whose process is killed."""


@dataclass(frozen=True)
class Shared:
    """What the threads of one driver share.

    Attributes:
        stop: set when the grid is to end.
        devices: one for each worker, in turns: without it every process would take the first GPU.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    devices: queue.Queue[str | None] = field(default_factory=queue.Queue)


@dataclass(frozen=True)
class Workers:
    """Who runs cells.

    Attributes:
        number: how many cells run at a time.
        place: where, in words.
        shared: see `run_cell`.
        lost: what joblib raises when a worker is lost with its machine.
    """

    number: int
    place: str
    shared: Shared | None
    lost: tuple[type[Exception], ...] = ()


@contextmanager
def threads(jobs: int | None, shared: Shared) -> Iterator[Workers]:
    """Cells go to threads of this process."""
    gpus = visible_gpus()
    number = jobs or len(gpus) or joblib.cpu_count()
    for job in range(number):
        shared.devices.put(gpus[job % len(gpus)] if gpus else None)
    with joblib.parallel_config("threading"):
        yield Workers(number, f"{number} at a time", shared)


@contextmanager
def ray_workers(address: str) -> Iterator[Workers]:
    """Cells go to Ray's machines, one a GPU, or one a core where none has a GPU.

    Args:
        address: ``ray`` (what RAY_ADDRESS names, or this machine), or ``ray://host:port``.

    Raises:
        BadInputError: no Ray answers, or it has one worker.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray.exceptions import RayError
    from ray.util.joblib import register_ray

    register_ray()
    try:
        ray.init(None if address == "ray" else address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise BadInputError(f"jobs is {address}: no Ray answers there ({str(error).splitlines()[0]})") from error
    try:
        resources = ray.cluster_resources()
        kind = "GPU" if resources.get("GPU") else "CPU"
        number = int(min(resources[kind], resources["CPU"]))
        if number < 2:
            raise BadInputError(f"jobs is {address}, and Ray has one {kind}: run it there with jobs 1")
        each = {"num_cpus": 1, "num_gpus": int(kind == "GPU"), "max_restarts": ATTEMPTS, "max_task_retries": ATTEMPTS}
        with joblib.parallel_config("ray", ray_remote_args=each):
            yield Workers(number, f"{number} at a time on {len(ray.nodes())} of Ray's machines", None, (RayError,))
    finally:
        ray.shutdown()


def visible_gpus() -> list[str]:
    """The CUDA devices of this machine, as CUDA_VISIBLE_DEVICES names them; without importing torch."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [device for device in named.split(",") if device not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(number) for number, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def one_of(device: str | None) -> queue.Queue[str | None]:
    """A single worker's device."""
    devices: queue.Queue[str | None] = queue.Queue()
    devices.put(device)
    return devices


def run_cell(
    settings: GridSettings, cell: Cell, data_hash: str, program: Program, wait: bool, shared: Shared | None
) -> Outcome:
    """Train a cell in a process of its own, unless it is finished or, without ``wait``, another driver's.

    Args:
        settings: the grid's.
        cell: the cell.
        data_hash: the content of the notes when the grid was started.
        program: what is called.
        wait: wait for another driver's.
        shared: of the threads of one driver; ``None`` in a worker of Ray, which chooses the GPU itself.
    """
    shared = shared or Shared(devices=one_of(None))
    if shared.stop.is_set():
        return Outcome(cell, "stopped")
    if cell.finished():
        return Outcome(cell, "skipped")
    if reason := _changed_since(settings, cell, data_hash):
        return Outcome(cell, "failed", reason=reason).keep()
    device, started = shared.devices.get(), time.monotonic()
    try:
        cell.run_dir.mkdir(parents=True, exist_ok=True)
        environment = cell_environment(cell.key, device)
        claim = partial(claim_cell, cell, wait)
        arguments = fit_arguments(settings, cell)
        ended = run_process(program.fit, arguments, cell.log, environment, shared.stop, claim, program.preload)
    except OSError as error:
        return Outcome(cell, "failed", time.monotonic() - started, reason=str(error)).keep()
    finally:
        shared.devices.put(device)
    return _outcome(cell, ended, time.monotonic() - started)


def _outcome(cell: Cell, ended: Ended, wall_s: float) -> Outcome:
    """What a process came to."""
    if ended.status is None:
        return Outcome(cell, "stopped", wall_s)
    if ended.result in ("busy", "skipped"):
        return Outcome(cell, ended.result)
    if ended.status == 0 and cell.finished():
        metrics = read_metrics(cell.run_dir / "metrics.json") or {}
        return Outcome(cell, "finished", wall_s, metrics.get("train_s", 0.0)).keep()
    # A shell's way to say it, which Lightning and the command line have too: 128 + the signal.
    number = -ended.status if ended.status < 0 else ended.status - EXIT_SIGNAL
    if number in set(signal.Signals):
        return Outcome(cell, "lost", wall_s, reason=f"ended by {signal.Signals(number).name}").keep()
    reason = f"exit status {ended.status}" if ended.status else "it ended without a metrics.json of these settings"
    return Outcome(cell, "failed", wall_s, reason=reason).keep()


def _changed_since(settings: GridSettings, cell: Cell, data_hash: str) -> str:
    """Why a cell would not be of its key: what it is trained with is read when it starts, maybe on another machine."""
    try:
        same = cell_key(cell.row, settings, data_hash, cell.fold) == cell.key
    except (OSError, SyntaxError, ValueError):
        same = False
    return "" if same else "the code or its configuration has changed since the grid was started; start the grid again"


def cell_environment(key: str | None = None, device: str | None = None) -> dict[str, str]:
    """The environment of a cell: one thread, its key, its GPU."""
    environment = {**os.environ, **ONE_THREAD, "PYTHONUNBUFFERED": "1"}
    if key is not None:
        environment[GRID_KEY] = key
    if device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = device
    return environment
