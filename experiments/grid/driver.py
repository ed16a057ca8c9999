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

import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

import joblib
from rich.console import Console

from experiments.exit_codes import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_SIGNAL
from experiments.grid.cells import Cell, Outcome
from experiments.grid.keys import (
    base_arguments,
    check_rows,
    code_files,
    data_arguments,
    fold_arguments,
    list_cells,
)
from experiments.grid.processes import Program, run_process
from experiments.grid.progress import GridProgress, tail, training_share
from experiments.grid.settings import BadInputError, GridSettings, check, parse
from experiments.grid.workers import ATTEMPTS, Shared, Workers, cell_environment, ray_workers, run_cell, threads
from experiments.paths import ROOT
from experiments.reporting.cells import read_cells
from experiments.reporting.grid_files import write_tables
from experiments.reporting.plots import draw_figures
from experiments.reporting.table import print_table


def _modules() -> tuple[str, ...]:
    """Their names, and of what they import only when they use it.

    Not W&B: importing it makes a temporary folder, which the first cell that ends would remove for all others.
    """
    own = [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in code_files()]
    return ("experiments.grid.single_thread", *own, "librosa.filters")


PROGRAM = Program("experiments.__main__:main", "experiments.cli:train_classifiers", _modules())


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
            with GridProgress(self.cells, workers.place, self.settings.out) as report:
                outcomes = self._run_all(data_hash, workers, report)
        return self._conclude(outcomes, workers)

    def _prepare(self) -> str | None:
        """Read the notes, and train the evaluation classifiers: otherwise all cells would wait for them.

        Returns:
            The hash of the notes' content, of each fold; ``None`` where they cannot be read, or the grid was stopped.
        """
        log = self.settings.out / "classifiers.txt"
        each = "" if self.settings.folds is None else f", for each of {self.settings.folds} folds"
        print(f"evaluation classifiers: trained first if this data has none{each} (log: {log})", flush=True)
        hashes = []
        for base, fold in itertools.product(base_arguments(self.settings), self.settings.each_fold):
            about_data = [*base, *data_arguments(self.settings)]
            arguments = [*about_data, *fold_arguments(self.settings, fold), *self.settings.extra]
            try:
                with Console().status("reading the notes, training their classifiers where there are none"):
                    ended = run_process(
                        self.program.prepare,
                        arguments,
                        log,
                        cell_environment(),
                        self.shared.stop,
                        preload=self.program.preload,
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

    def _run_all(self, data_hash: str, workers: Workers, report: GridProgress) -> list[Outcome]:
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
            write_tables(self.settings.out)
            draw_figures(self.settings.out)
            if self.settings.index is None and not self.signal:
                print_table(read_cells(self.settings.out), self.settings.rows)
                self._publish()
            print(f"table: {self.settings.out / 'table.md'}, table.csv, claims.md, claims.csv, table.png, curves.png")

    def _publish(self) -> None:
        """Publish the table to W&B; where W&B is switched off, it is not imported, which takes seconds."""
        if os.environ.get("WANDB_MODE") != "disabled":
            from experiments.reporting.wandb_report import publish

            publish(self.settings.out)


def run_grid(settings: GridSettings, program: Program = PROGRAM) -> int:
    """Check the settings, run the grid, and return its exit status.

    Raises:
        BadInputError: see `check` and `check_rows`.
    """
    check(settings)
    check_rows(settings)
    if isinstance(settings.jobs, str):  # Ray's workers have working directories of their own
        data = settings.data and settings.data.absolute()
        settings = replace(settings, out=settings.out.absolute(), data=data)
    return Grid(settings, program).run()


def main(argv: list[str] | None = None) -> int:
    """Train rows with several seeds, and print the table with the published one beside it."""
    try:
        return run_grid(parse(sys.argv[1:] if argv is None else argv))
    except BadInputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
