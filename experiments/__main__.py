"""`python -m experiments`, also installed as `lightning`: every command of the project."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple

from experiments.busy import busy
from experiments.config_files import arranged
from experiments.exit_codes import EXIT_BAD_INPUT, one_line_errors, stopped_by_signals
from experiments.known_settings import nearest


class Command(NamedTuple):
    """A command.

    Attributes:
        group: what it is for.
        does: what it does, in a line.
        example: its arguments in an example.
        output: where its output goes.
        function: ``module:function`` that takes the arguments and returns the exit status; imported when called.
    """

    group: str
    does: str
    example: str
    output: str
    function: str = "experiments.cli:PitchTimbreCLI"


CHECKPOINT = "--config configs/m6.yaml --ckpt_path runs/m6/seed_0/checkpoints/best.ckpt"
BESIDE = "tested/ beside the run's folder, a file named after the run, checkpoint and data"

COMMANDS = {
    "fit": Command(
        "train",
        "train a row with one seed, and score it",
        "--config configs/m6.yaml --seed_everything 0",
        "runs/ROW/seed_N: config.yaml, run.json, metrics.csv, metrics.json, notes.csv, figures/, checkpoints/",
    ),
    "validate": Command("train", "print the losses and scores of a checkpoint", CHECKPOINT, "the terminal"),
    "test": Command("train", "score a checkpoint on the notes that it is given", CHECKPOINT, BESIDE),
    "predict": Command("train", "write the pitch and timbre that a checkpoint reads of each note", CHECKPOINT, BESIDE),
    "grid": Command(
        "table",
        "train rows with several seeds, and print the table",
        "--rows b m6 --seeds 2 --out runs/two",
        "--out: a folder for each run, table.md, table.csv, claims.md, table.png",
        "experiments.grid.driver:main",
    ),
    "table": Command(
        "table",
        "write the table of the runs that are finished; of several grids, whose claims are corrected together",
        "runs/table runs/folds",
        "each grid's folder: table.md, table.csv, claims.md",
        "experiments.reporting.grid_files:main",
    ),
    "report": Command(
        "table",
        "publish a grid's table to W&B",
        "runs/table",
        "a W&B run of job type report",
        "experiments.reporting.wandb_report:main",
    ),
    "baselines": Command(
        "table",
        "add the nearest note, YIN and pYIN to the tables of finished grids",
        "runs/table",
        "each grid's folder: nearest_note/, yin_tracker/, pyin_tracker/, and the table again",
        "experiments.baselines:main",
    ),
    "rejection-rates": Command(
        "table",
        "simulate how often the claims' test finds a difference where there is none",
        "--trials 10000",
        "the terminal",
        "experiments.reporting.rejection_rates:main",
    ),
    "capacity": Command(
        "table",
        "draw accuracy and leakage against the number of categories",
        "--epochs 60",
        "runs/capacity: capacity.md, capacity.png",
        "experiments.grid.capacity:main",
    ),
    "robustness": Command(
        "runs",
        "score runs on harder sounds: noise, a room, a telephone, other tunings",
        "--runs runs/table/m7/seed_0 runs/table/b/seed_0",
        "runs/robustness: robustness.md, robustness.csv",
        "experiments.run_measures:robustness",
    ),
    "timbre": Command(
        "runs",
        "measure whether timbre codes hold the timbre, and whether listeners agree",
        "--runs runs/table/m7/seed_0 --ratings timbremetrics",
        "runs/timbre: timbre.md, timbre.csv",
        "experiments.run_measures:timbre",
    ),
    "pitch-courses": Command(
        "runs",
        "measure the pitch of frames in vibrato, trills and glissandi, beside pYIN",
        "--runs runs/whole_notes/m8/seed_0 --sounds FOLDER",
        "runs/pitch-courses: pitch-courses.md, pitch-courses.csv",
        "experiments.run_measures:pitch_courses",
    ),
    "export": Command(
        "use",
        "write a trained model as ONNX files, for pitch_timbre and the page",
        "--run runs/table/m7/seed_0",
        "RUN/export: NAME.json, NAME_encoder.onnx, NAME_decoder.onnx",
        "experiments.export:main",
    ),
    "listen": Command(
        "use",
        "compare the package with pitch trackers on labelled notes, and check its swaps",
        "--config configs/data/philharmonia.yaml --data.root ~/samples --swaps",
        "runs/listen: listen.md, pitches.csv, swaps.csv",
        "experiments.listening.listen:main",
    ),
    "sounds": Command(
        "use",
        "write a gallery of notes, reconstructions and swaps of the shipped model",
        "--out docs/sounds",
        "docs/sounds: README.md, index.html with players, FLAC files",
        "experiments.listening.gallery:main",
    ),
    "doctor": Command(
        "data",
        "examine recordings and labels before they are trained on",
        "--config configs/data/table.yaml --data.source.init_args.table notes.csv",
        "the terminal, and the files that it names",
        "experiments.data_check.doctor:main",
    ),
    "classifiers": Command(
        "data",
        "train the evaluation classifiers of some data, if it has none",
        "--config configs/data/embedded.yaml",
        "--classifier_dir (~/.cache/pitch-timbre/classifiers), by settings and data",
        "experiments.cli:train_classifiers",
    ),
    "bench": Command(
        "speed",
        "time frames, steps, metrics, start-up and sound beside other libraries",
        "--parts steps",
        "runs/bench: bench.json",
        "experiments.bench:main",
    ),
    "growth": Command(
        "speed",
        "draw how time and memory grow with the notes and with K",
        "--takes 1 10",
        "runs/growth",
        "experiments.bench.growth:main",
    ),
    "dashboard": Command(
        "W&B",
        "list the runs that W&B keeps offline, and upload them",
        "--runs runs/table --sync",
        "the terminal; W&B with --sync",
        "experiments.dashboard:main",
    ),
}
LIGHTNING = ("fit", "validate", "test", "predict", "classifiers")
SETTINGS = "Settings: those of configs/base.yaml, as --name.of.setting VALUE; all of them with their types: --settings"


def overview() -> str:
    """Every command in a line, in groups."""
    lines = ["usage: python -m experiments COMMAND [arguments]    (also installed as `lightning`)", ""]
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        lines.append(f"{group}:")
        lines += [f"  {name:<15} {each.does}" for name, each in COMMANDS.items() if each.group == group]
    return "\n".join([*lines, "", "COMMAND --help: an example, and where the output goes. --version: the version."])


def about(name: str) -> str:
    """What a command does, an example, and where its output goes."""
    command = COMMANDS[name]
    lines = [f"{name}: {command.does}", f"  example: python -m experiments {name} {command.example}"]
    lines.append(f"  output:  {command.output}")
    return "\n".join([*lines, f"  {SETTINGS}"] if name in LIGHTNING else lines)


def give_numba_a_cache() -> None:
    """Name a folder for numba's compiled code where the packages' own and the home cannot be written to."""
    if "NUMBA_CACHE_DIR" not in os.environ and not os.access(Path("~").expanduser(), os.W_OK):
        os.environ["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / f"pitch-timbre-numba-{os.getuid()}")


def run_lightning(name: str, words: list[str], function: Callable[[list[str]], object]) -> int:
    """Run a command that takes settings."""
    with stopped_by_signals():
        function(words if name == "classifiers" else [name, *words])
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run one command; modules are imported only for the command that needs them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal of ASCII shows ? for what it does not know
    words = sys.argv[1:] if argv is None else argv
    name, rest = (words[0], list(words[1:])) if words else ("--help", [])
    if name in ("-h", "--help"):
        print(overview())
        return 0
    if name == "--version":
        try:
            print(version("pitch-timbre"))
        except PackageNotFoundError:
            print("not installed")
        return 0
    if name not in COMMANDS:
        print(f"error: there is no command {name!r}{nearest(name, COMMANDS)} (--help lists them)", file=sys.stderr)
        return EXIT_BAD_INPUT
    asks_help = "--" not in rest and bool({"-h", "--help"} & set(rest))
    if asks_help:
        print(about(name), flush=True)
    if name not in LIGHTNING:
        with busy("loading"):
            function = resolve_name(COMMANDS[name].function)
        return function(rest)
    if asks_help:
        return 0
    if "--settings" in rest:
        name, rest = name if name != "classifiers" else "fit", ["--help"]
    else:
        with one_line_errors():
            arranged(rest)  # refused before what takes seconds is imported
    give_numba_a_cache()
    with busy("loading torch and Lightning"):
        function = resolve_name(COMMANDS[name].function)
    return run_lightning(name, rest, function)


if __name__ == "__main__":
    sys.exit(main())
