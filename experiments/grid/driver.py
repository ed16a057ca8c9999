"""All rows and seeds of the table: one process a cell, a few at a time, finished cells kept.

A cell is one row with one seed, in ``<out>/<row>/seed_<n>``; with folds, it is one of them too, in
``seed_<n>_fold_<k>``. It is finished when its ``metrics.json`` carries the key that the grid gave it (`cell_key`): a
hash of the row's YAML and its bases, the data's YAML, the content of the notes, the number of epochs, the extra
arguments and the code that makes the numbers. What was made with another key is set
aside in ``older/`` within the cell's folder, never mixed in and never deleted.

joblib hands the cells to threads of this process, or to Ray's workers on as many machines as there are; each of them
waits for one process (`experiments.grid.processes`). What they have in common is the folder.
"""

from __future__ import annotations

import argparse
import ast
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import joblib
import yaml

from experiments.config_files import with_bases
from experiments.exit_codes import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_SIGNAL
from experiments.grid.processes import ONE_THREAD, Cell, Ended, Outcome, Program, run_process, take
from experiments.grid.progress import Report, tail, training_share
from experiments.paths import CONFIGS, GRID_KEY, ROOT
from experiments.reporting.grid_files import write_tables
from experiments.reporting.table import PUBLISHED_ROWS, draw_figures, read_metrics

CODE_THAT_MATTERS = (
    *("callbacks", "datamodules", "lightning_modules", "metrics"),
    *(f"experiments/{name}.py" for name in ("classifiers", "cli", "config_files", "lightning_cli", "scoring")),
)
"""What a cell's numbers depend on: a change here makes cells stale."""

ATTEMPTS = 3
"""How often a cell is run whose process is killed."""


class BadInputError(ValueError):
    """What the user asked for cannot be run; the message is one line."""


@dataclass(frozen=True)
class Variant:
    """A row that is another one with some settings changed.

    Attributes:
        of: the row configuration that it is made from.
        words: arguments of its fits.
    """

    of: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class GridSettings:
    """What a grid runs.

    Attributes:
        rows: names of row configurations.
        seeds: seeds a row, from 0.
        folds: score every note once, in so many folds of `datamodules.splits.split_notes`, each a cell of its own;
            ``None``: the one split that the configuration says.
        out: the grid's folder.
        epochs: epochs of each cell; ``None``: as its configuration says.
        jobs: cells at a time; ``None``: one a GPU, or one a core; ``ray`` or ``ray://host:port``: what Ray's machines
            have.
        data: a data configuration that replaces the default notes.
        extra: more arguments for every cell's ``fit``.
        index: run this cell of the list alone.
        variants: rows that have no configuration of their own, by name.
    """

    rows: tuple[str, ...] = tuple(PUBLISHED_ROWS)
    seeds: int = 5
    folds: int | None = None
    out: Path = Path("runs/table")
    epochs: int | None = None
    jobs: int | str | None = None
    data: Path | None = None
    extra: tuple[str, ...] = ()
    index: int | None = None
    variants: Mapping[str, Variant] = field(default_factory=dict)

    def variant(self, row: str) -> Variant:
        """What a row is made from; its own configuration, if it is no variant."""
        return self.variants.get(row, Variant(row))

    @property
    def each_fold(self) -> Sequence[int | None]:
        """The folds that are scored."""
        return [None] if self.folds is None else range(self.folds)


def code_files() -> list[Path]:
    """The source files that a cell's numbers depend on."""
    found = [ROOT / name for name in CODE_THAT_MATTERS]
    return [file for place in found for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]


def _modules() -> tuple[str, ...]:
    """Their names, and of what they import only when they use it."""
    own = [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in code_files()]
    return (*own, "librosa.filters", "wandb")


PROGRAM = Program("experiments.__main__:main", "experiments.cli:train_classifiers", _modules())


@dataclass(frozen=True)
class Shared:
    """What the threads of one driver share.

    Attributes:
        stop: set when the grid is to end.
        devices: one for each worker, in turns: without it every process would take the first GPU.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    devices: queue.Queue[str | None] = field(default_factory=queue.Queue)


def known_rows() -> list[str]:
    """The rows that configs/ holds: the published ones in their order, then others by name."""
    found = [file.stem for file in CONFIGS.glob("*.yaml") if _is_row(file)]
    return [*(row for row in PUBLISHED_ROWS if row in found), *sorted(set(found) - set(PUBLISHED_ROWS))]


def _is_row(file: Path) -> bool:
    """A row builds on a base; the classifiers and the smoke test do too, and are none."""
    has_base = any(line.startswith("base:") for line in file.read_text().splitlines())
    return has_base and file.stem != "smoke" and not file.stem.startswith("classifier")


def list_cells(settings: GridSettings, data_hash: str) -> list[Cell]:
    """The cells in the order in which they run: seed 0 of every row first, so that a one-seed table stands early."""
    epochs = {row: settings.epochs or configured_epochs(settings.variant(row).of) for row in settings.rows}
    keys = {
        (row, fold): cell_key(row, settings, data_hash, fold) for row in settings.rows for fold in settings.each_fold
    }
    return [
        Cell(row, seed, settings.out / row / _folder(seed, fold), epochs[row], keys[row, fold], fold)
        for seed in range(settings.seeds)
        for fold in settings.each_fold
        for row in settings.rows
    ]


def _of_other_folds(settings: GridSettings) -> Path | None:
    """A cell of the grid's folder that other folds were cut for: what it scored cannot stand in this table."""
    for folder in sorted(settings.out.glob("*/seed_*")):
        fold = folder.name.partition("_fold_")[2]
        if (int(fold) if fold.isdecimal() else None) not in settings.each_fold:
            return folder
    return None


def _folder(seed: int, fold: int | None) -> str:
    return f"seed_{seed}" + ("" if fold is None else f"_fold_{fold}")


def cell_key(row: str, settings: GridSettings, data_hash: str, fold: int | None = None) -> str:
    """A hash of all that a cell's result depends on, but for its seed."""
    variant = settings.variant(row)
    parts = {
        "row": with_bases(CONFIGS / f"{variant.of}.yaml"),
        "data": with_bases(settings.data) if settings.data else None,
        "notes": data_hash,
        "epochs": settings.epochs,
        "extra": (*variant.words, *fold_words(settings, fold), *settings.extra),
        "code": code_hash(),
    }
    return sha256(json.dumps(parts).encode()).hexdigest()


def code_hash() -> str:
    """A hash of the code that a cell's numbers depend on, without its comments and docstrings."""
    digest = sha256()
    for file in code_files():
        at = file.stat()
        digest.update(f"{file.relative_to(ROOT)}\n{_code(file, at.st_mtime_ns, at.st_size)}\n".encode())
    return digest.hexdigest()


@cache
def _code(file: Path, changed: int, size: int) -> str:
    """What a source file does; it is read again when it has changed."""
    tree = ast.parse(file.read_text(), str(file))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            del node.body[0]
    return ast.dump(tree)


def configured_epochs(row: str) -> int:
    """``trainer.max_epochs`` of a row, for the progress bar."""
    trainers = [(yaml.safe_load(text) or {}).get("trainer") or {} for text in with_bases(CONFIGS / f"{row}.yaml")]
    return max(1, next((trainer["max_epochs"] for trainer in reversed(trainers) if "max_epochs" in trainer), 1))


def fit_words(settings: GridSettings, cell: Cell) -> list[str]:
    """The command line that trains one cell."""
    epochs = [] if settings.epochs is None else ["--trainer.max_epochs", str(settings.epochs)]
    variant = settings.variant(cell.row)
    return [
        *("fit", "--config", str(CONFIGS / f"{variant.of}.yaml")),
        *data_words(settings),
        *fold_words(settings, cell.fold),
        *("--seed_everything", str(cell.seed), "--run_dir", str(cell.run_dir)),
        *epochs,
        *(("--row", cell.row, *variant.words) if cell.row in settings.variants else ()),
        *settings.extra,
    ]


def data_words(settings: GridSettings) -> list[str]:
    """The part of the command line that names the data."""
    return [] if settings.data is None else ["--config", str(settings.data)]


def fold_words(settings: GridSettings, fold: int | None) -> list[str]:
    """The part of the command line that says which notes are scored."""
    return [] if fold is None else ["--data.split.folds", str(settings.folds), "--data.split.fold", str(fold)]


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
        claim = partial(take, cell, wait)
        words = fit_words(settings, cell)
        ended = run_process(program.fit, words, cell.log, environment, shared.stop, claim, program.preload)
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
        return Outcome(cell, "finished", wall_s, float(metrics.get("train_s") or 0)).keep()
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


def one_of(device: str | None) -> queue.Queue[str | None]:
    """A single worker's device."""
    devices: queue.Queue[str | None] = queue.Queue()
    devices.put(device)
    return devices


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


class _Stopped(BaseException):
    """A signal has ended the wait for Ray's workers, which cannot see this process' event."""


class Grid:
    """The run of a list of cells.

    Args:
        settings: what is run.
        program: what is called.
    """

    def __init__(self, settings: GridSettings, program: Program = PROGRAM) -> None:
        self.settings, self.program = settings, program
        self.shared = Shared()
        self.signal = 0
        self.cells: list[Cell] = []
        self.started = time.monotonic()
        self._waits_for_ray = False

    def run(self) -> int:
        """Run all cells that are not finished.

        Returns:
            The exit status: 0; 1 if a cell failed; 128 + the signal if one ended the grid.
        """
        jobs = self.settings.jobs
        with (
            self._signals(),
            ray_workers(jobs) if isinstance(jobs, str) else threads(jobs, self.shared) as workers,
        ):
            data_hash = self._prepare()
            if data_hash is None:
                return EXIT_SIGNAL + self.signal if self.signal else EXIT_FAILED
            cells = list_cells(self.settings, data_hash)
            self.cells = cells if self.settings.index is None else [cells[self.settings.index]]
            self._set_aside_stale(cells)
            with Report(self.cells, workers.place, self.settings.out) as report:
                outcomes = self._run_all(data_hash, workers, report)
        return self._conclude(outcomes, workers)

    def _prepare(self) -> str | None:
        """Read the notes, and train the evaluation classifiers, for which all cells would else wait.

        Returns:
            The hash of the notes' content, of each fold; ``None`` where they cannot be read, or the grid was stopped.
        """
        log = self.settings.out / "classifiers.txt"
        each = "" if self.settings.folds is None else f", for each of {self.settings.folds} folds"
        print(f"evaluation classifiers: trained first if this data has none{each} (log: {log})", flush=True)
        hashes = []
        for fold in self.settings.each_fold:
            words = [*data_words(self.settings), *fold_words(self.settings, fold), *self.settings.extra]
            try:
                ended = run_process(
                    self.program.prepare, words, log, cell_environment(), self.shared.stop, preload=self.program.preload
                )
            except OSError as error:
                print(f"error: the evaluation classifiers failed: {error}")
                return None
            if ended.status is None:
                return None
            if ended.status:
                print(f"error: the evaluation classifiers failed (exit status {ended.status}); log: {log}\n{tail(log)}")
                return None
            hashes.append(str(ended.result))
        if len(set(hashes)) < len(hashes):
            print("error: several folds score the same notes; leave out data.split.file, or the official split")
            return None
        return " ".join(hashes)

    def _set_aside_stale(self, cells: Sequence[Cell]) -> None:
        """Clear what was made with other keys from the table, before it is written again."""
        stale = [cell for cell in cells if cell.left_by_others()]
        for cell in stale:
            if (lock := cell.claim(0)) is not None:
                cell.set_aside()
                lock.release()
        if stale:
            print(f"{len(stale)} cells were made with other settings, notes or code: set aside in older/, run again")

    def _run_all(self, data_hash: str, workers: Workers, report: Report) -> list[Outcome]:
        """Run the cells; then those whose process was killed, and those that another driver had."""
        outcomes: dict[str, Outcome] = {}
        pending = self.cells
        for attempt in range(ATTEMPTS):
            task = joblib.delayed(run_cell)
            self._waits_for_ray = workers.shared is None
            try:
                ended = joblib.Parallel(n_jobs=workers.number, batch_size=1, pre_dispatch="all")(
                    task(self.settings, cell, data_hash, self.program, attempt > 0, workers.shared)
                    for cell in pending
                    if not cell.finished()
                )
            except _Stopped:
                break
            except workers.lost as error:
                report.say(f"a worker was lost: {str(error).splitlines()[0]}")
                ended = []
            finally:
                self._waits_for_ray = False
            outcomes |= {outcome.cell.name: outcome for outcome in ended}
            over = {name for name, outcome in outcomes.items() if outcome.state not in ("busy", "lost")}
            pending = [cell for cell in pending if cell.name not in over]
            if not pending or self.shared.stop.is_set():
                break
        return list(outcomes.values())

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C, SIGTERM and a closed terminal stop the grid: the threads see it and end their processes."""

        def ask_to_stop(number: int, frame: FrameType | None) -> None:
            self.signal = number
            self.shared.stop.set()
            if self._waits_for_ray:
                raise _Stopped

        # nohup ignores SIGHUP, and that stays so.
        numbers = [s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
        before = {number: signal.signal(number, ask_to_stop) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _conclude(self, outcomes: Sequence[Outcome], workers: Workers) -> int:
        """Write and print the table, then say what failed or what is left to do."""
        done = sum(cell.finished() for cell in self.cells)
        try:
            self._show_table(done)
        except OSError as error:
            print(f"error: the table could not be written: {error}")
        if trained := [outcome for outcome in outcomes if outcome.training_s]:
            print(training_share(trained, workers.number, time.monotonic() - self.started))
        for outcome in outcomes:
            cell = outcome.cell
            if outcome.state in ("failed", "lost"):
                where = f"; log: {cell.log}\n{tail(cell.log)}" if cell.log.exists() else ""
                print(f"error: {cell.name} failed: {outcome.reason}{where}")
        if self.signal:
            print(f"stopped: {done} of {len(self.cells)} cells are finished; the same command goes on from here")
            return EXIT_SIGNAL + self.signal
        return 0 if done == len(self.cells) else EXIT_FAILED

    def _show_table(self, done: int) -> None:
        """Write the table of the finished cells, and print it where it is whole."""
        if done:
            text = write_tables(self.settings.out)
            draw_figures(self.settings.out)
            if self.settings.index is None and not self.signal:
                print(text)
                self._publish()
            print(f"table: {self.settings.out / 'table.md'}, table.csv, claims.md, claims.csv, table.png, curves.png")

    def _publish(self) -> None:
        """Put the table into W&B; not even imported, which takes seconds, where that is switched off."""
        if os.environ.get("WANDB_MODE") != "disabled":
            from experiments.reporting.wandb_report import publish

            publish(self.settings.out)


def run_grid(settings: GridSettings, program: Program = PROGRAM) -> int:
    """Check the settings, run the grid, and return its exit status.

    Raises:
        BadInputError: see `check`.
    """
    check(settings)
    if isinstance(settings.jobs, str):  # Ray's workers have working directories of their own
        data = settings.data and settings.data.absolute()
        settings = replace(settings, out=settings.out.absolute(), data=data)
    return Grid(settings, program).run()


def check(settings: GridSettings) -> None:
    """Refuse what cannot be run, before anything is started.

    Raises:
        BadInputError: an unknown row, no row, no seed, no data file, a folder that cannot be written, ...
    """
    known = known_rows()
    unknown = [row for row in settings.rows if settings.variant(row).of not in known]
    if unknown or not settings.rows:
        raise BadInputError(f"unknown row {', '.join(unknown) or '(none given)'}; known rows: {' '.join(known)}")
    least = {"seeds": 1, "folds": 2, "epochs": 1, "jobs": 1}
    for name, number in ((name, getattr(settings, name)) for name in least):
        if isinstance(number, int) and number < least[name]:
            raise BadInputError(f"{name} is {number}; it must be at least {least[name]}")
    if settings.folds and (given := [word for word in settings.extra if word.startswith("--data.split.fold")]):
        raise BadInputError(f"{given[0]}: the grid sets it, as folds is {settings.folds}; leave one of the two out")
    if isinstance(settings.jobs, str) and find_spec("ray") is None:
        raise BadInputError(f"jobs is {settings.jobs}: it needs Ray: pip install 'pitch-timbre[ray]'")
    if settings.data is not None and not settings.data.is_file():
        raise BadInputError(f"{settings.data}: there is no such data configuration")
    n_cells = settings.seeds * len(settings.each_fold) * len(settings.rows)
    if settings.index is not None and not 0 <= settings.index < n_cells:
        raise BadInputError(f"index is {settings.index}; these rows, seeds and folds make cells 0 to {n_cells - 1}")
    if odd := _of_other_folds(settings):
        raise BadInputError(f"{odd}: not of {settings.folds or 'no'} folds; give another folder (--out), or remove it")
    probe = settings.out / f".writable.{os.getpid()}"
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BadInputError(f"{settings.out}: cannot be written: {error.strerror}") from error
    try:
        list_cells(settings, data_hash="")
    except SyntaxError as error:
        raise BadInputError(f"{error.filename}, line {error.lineno}: {error.msg}") from error
    except ValueError as error:
        raise BadInputError(str(error)) from error


def cell_environment(key: str | None = None, device: str | None = None) -> dict[str, str]:
    """The environment of a cell: one thread, its key, its GPU."""
    environment = {**os.environ, **ONE_THREAD, "PYTHONUNBUFFERED": "1"}
    if key is not None:
        environment[GRID_KEY] = key
    if device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = device
    return environment


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


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Raises:
            BadInputError: always.
        """
        raise BadInputError(f"{message} (--help lists the arguments)")


def whole_number(text: str) -> int:
    """An argument that is a whole number.

    Raises:
        argparse.ArgumentTypeError: it is not.
    """
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def workers(text: str) -> int | str:
    """An argument that says who runs cells: a whole number, ``ray`` or ``ray://host:port``."""
    return text if text == "ray" or text.startswith("ray://") else whole_number(text)


def parse(argv: Sequence[str]) -> GridSettings:
    """The settings of a command line; what follows ``--`` goes to every cell's fit.

    Raises:
        BadInputError: an argument is not known or not a whole number.
    """
    default = GridSettings()
    parser = OneLineParser(prog="python -m experiments grid", description=main.__doc__)
    parser.add_argument("--rows", nargs="+", default=list(default.rows), metavar="ROW", help="default: all nine")
    parser.add_argument("--seeds", type=whole_number, default=default.seeds, help="seeds a row")
    parser.add_argument("--folds", type=whole_number, help="score every note once, in so many folds a seed")
    parser.add_argument("--epochs", type=whole_number, help="default: as the configuration says")
    parser.add_argument(
        "--jobs",
        type=workers,
        help="cells at a time; default: one a GPU, or one a core; ray or ray://host:port: many machines",
    )
    parser.add_argument("--data", type=Path, help="a data configuration, such as those in configs/data")
    parser.add_argument("--out", type=Path, default=default.out, help="the grid's folder")
    parser.add_argument("--index", type=whole_number, help="run this cell of the list alone (a Slurm array)")
    own, extra = list(argv), []
    if "--" in own:
        place = own.index("--")
        own, extra = own[:place], own[place + 1 :]
    parsed: dict[str, Any] = vars(parser.parse_args(own))
    rows = tuple(dict.fromkeys(parsed.pop("rows")))
    return GridSettings(rows=rows, extra=tuple(extra), **parsed)


def main(argv: list[str] | None = None) -> int:
    """Train rows with several seeds, and print the table with the published one beside it."""
    try:
        return run_grid(parse(sys.argv[1:] if argv is None else argv))
    except BadInputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
