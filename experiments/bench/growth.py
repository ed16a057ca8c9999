"""How preparation, memory, epochs and metrics grow with the notes and with K (`make growth`)."""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

MIB = 2**20
ROW = "m0"
EPOCHS = {1: 4, 10: 2}
"""Epochs of a case by its takes; larger sets have one: their first epoch is as long as the others."""
TESTED_TAKES = 10
"""Larger sets are not tested: the probes and the CDS of all scored notes would take longer than all the rest."""
KEYS = {
    "prepare_s": "preparation, core-seconds",
    "peak_mib": "peak memory with the mapped samples, MiB",
    "epoch_s": "training steps of an epoch, core-seconds",
    "metrics_s": "metrics of an epoch, core-seconds",
    "test_s": "metrics of the final test, core-seconds",
}


@dataclass(frozen=True)
class Case:
    """One size.

    Attributes:
        takes: renderings of each of the 1,885 notes.
        n_pitches: K, 82 or 128.
        budget_mib: the memory that the table of shifts may take; ``None`` for the default.
    """

    takes: int
    n_pitches: int = 82
    budget_mib: float | None = None

    @property
    def line(self) -> str:
        """The line of the figure that it belongs to."""
        return f"K = {self.n_pitches}" + ("" if self.budget_mib is None else ", on the fly (table over budget)")


def cases(takes: list[int]) -> list[Case]:
    """The sizes in the order in which they are measured: what fills the cache comes first."""
    return [
        case
        for n in sorted(takes)
        for case in (Case(n), Case(n, 128), Case(n, budget_mib=0.0))
        if n < 100 or case.n_pitches == 82
    ]


def measure_case(case: Case, cache: Path) -> dict[str, Any]:
    """Prepare the notes, train a little, test; what each took. For a process of its own."""
    from experiments.bench import one_thread

    one_thread()
    import torch

    from datamodules.epoch_sampler import ShiftSettings
    from datamodules.note_pairs import NotePairs
    from datamodules.sources.embedded import EmbeddedNotes
    from datamodules.splits import SplitSettings
    from experiments.bench.metrics import Shares
    from experiments.bench.steps import built

    pitch_range = (0, 127) if case.n_pitches == 128 else None
    budget = ShiftSettings() if case.budget_mib is None else ShiftSettings(memory_budget_mib=case.budget_mib)
    began, core = time.monotonic(), time.process_time()
    data = NotePairs(
        EmbeddedNotes(takes=case.takes),
        shifts=budget,
        split=SplitSettings("grouped"),
        cache_dir=cache,
        pitch_range=pitch_range,
    )
    data.setup()
    found: dict[str, Any] = {
        **asdict(case),
        "notes": len(data.notes),
        "prepare_s": time.process_time() - core,
        "prepare_wall_s": time.monotonic() - began,
        "pairs": data.shifts.pairs,
        "prepared_mib": _peak_mib(),
    }
    del data
    words = ["--data.source.init_args.takes", str(case.takes), "--data.cache_dir", str(cache)]
    words += ["--data.split.kind", "grouped"]
    words += ["--data.pitch_range", "[0,127]"] if pitch_range else []
    words += [] if case.budget_mib is None else ["--data.shifts.memory_budget_mib", str(case.budget_mib)]
    with built(ROW, EPOCHS.get(case.takes, 1), *words, trained_classifiers=False) as cli:
        shares = Shares()
        shares.watch(cli.trainer)
        began = time.process_time()
        cli.trainer.fit(cli.model, cli.datamodule)
        found["fit_s"] = time.process_time() - began
        if case.takes <= TESTED_TAKES:
            cli.trainer.test(cli.model, cli.datamodule, verbose=False)
        found |= {"scored": int(cli.datamodule.scored.sum()), "precision": str(cli.trainer.precision)}
    found["epoch_s"] = float(np.median(shares.steps_s))
    for name, spent in (("metrics_s", shares.metrics_s), ("test_s", shares.test_s)):
        each = {callback: float(np.median(values)) for callback, values in spent.items()}
        if sum(each.values()):
            found |= {f"{name}_by_callback": each, name: sum(each.values())}
    return {**found, "peak_mib": _peak_mib(), "threads": torch.get_num_threads()}


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (MIB if sys.platform == "darwin" else 1024)


def slope(notes: list[float], values: list[float]) -> float:
    """The exponent of growth: 1 is linear. Of the largest two sizes, where what does not grow counts least."""
    (n1, v1), (n2, v2) = sorted(zip(notes, values, strict=True))[-2:]
    return math.log(v2 / v1) / math.log(n2 / n1)


def switch_point(lowest: int, highest: int) -> int:
    """Notes above which the table of shifts exceeds the default budget."""
    from datamodules.epoch_sampler import ShiftSettings
    from datamodules.mel import MelSettings

    return int(ShiftSettings().memory_budget_mib * MIB / ((highest - lowest + 1) * MelSettings().n_mels * 4))


def draw(rows: list[dict[str, Any]], file: Path) -> dict[str, dict[str, float]]:
    """Draw the figure; the slopes of its lines, by quantity and line."""
    from callbacks.figure_style import in_style  # a process that measures imports no matplotlib

    return in_style(_draw)(rows, file)


def _draw(rows: list[dict[str, Any]], file: Path) -> dict[str, dict[str, float]]:
    from matplotlib.figure import Figure

    from callbacks.figure_style import save_figure

    slopes: dict[str, dict[str, float]] = {}
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    *axes, words = figure.subplots(2, 3).flat
    ends = {f"{lowest}..{highest}": switch_point(lowest, highest) for lowest, highest in ((-12, 12), (-2, 2))}
    lines = dict.fromkeys(row["line"] for row in rows)
    for axis, (key, title) in zip(axes, KEYS.items(), strict=True):
        for line, marker in zip(lines, "osx", strict=False):
            of_line = [row for row in sorted(rows, key=lambda row: row["notes"]) if row["line"] == line and key in row]
            if key == "prepare_s":  # the first case of a size renders the notes, the others read the cache
                of_line = [row for row in of_line if row["rendered"]]
            if not of_line:
                continue
            notes, values = [row["notes"] for row in of_line], [row[key] for row in of_line]
            label = line
            if len(notes) > 1:
                slopes.setdefault(key, {})[line] = slope(notes, values)
                label += f": slope {slopes[key][line]:.2f}"
            axis.loglog(notes, values, marker=marker, label=label, alpha=0.8)
        axis.margins(y=0.3)
        axis.set(title=title, xlabel="notes")
        axis.grid()
        if axis.lines:
            axis.legend(loc="lower right")
        for notes_at_most in ends.values():
            axis.axvline(notes_at_most, color="grey", linestyle=":", linewidth=1)
    ended = "\n".join(f"{shifts} semitones: {notes:,} notes" for shifts, notes in ends.items())
    words.text(
        0, 0.5, f"Dotted: the table of shifts exceeds its budget,\npairs are made on the fly by themselves\n{ended}"
    )
    words.set_axis_off()
    save_figure(figure, file)
    return slopes


def main(argv: list[str] | None = None) -> int:
    """Measure each size in a process of its own; write ``growth.png`` and ``growth.json``."""
    parser = argparse.ArgumentParser(prog="python -m experiments growth", description=main.__doc__)
    parser.add_argument("--takes", nargs="+", type=int, default=[1, 10, 100], help="renderings of each note")
    parser.add_argument("--out", type=Path, default=Path("runs/growth"), help="where the figure goes")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.one:
        one = json.loads(given.one)
        print(json.dumps(measure_case(Case(**one["case"]), Path(one["cache"]))))
        return 0
    from callbacks.provenance import machine
    from datamodules.atomic_files import write_json

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="growth-") as cache:
        for case in track(cases(given.takes), "growth"):
            rendered = not any(row["takes"] == case.takes for row in rows)
            one = {"case": asdict(case), "cache": cache}
            words = [sys.executable, "-m", "experiments", "growth", "--one", json.dumps(one)]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                print(f"error: {case}: {done.stderr[-2000:]}", file=sys.stderr)
                return 1
            rows.append({**json.loads(done.stdout.splitlines()[-1]), "line": case.line, "rendered": rendered})
            spent = ", ".join(f"{title} {rows[-1][key]:.3g}" for key, title in KEYS.items() if key in rows[-1])
            print(f"{rows[-1]['notes']} notes, {case.line} ({rows[-1]['pairs']}): {spent}", flush=True)
    slopes = draw(rows, given.out / "growth.png")
    write_json(given.out / "growth.json", {"machine": machine(), "rows": rows, "slopes": slopes})
    for key, of_key in slopes.items():
        print(f"{KEYS[key]}: " + "; ".join(f"{line}: slope {value:.2f}" for line, value in of_key.items()))
    print(given.out / "growth.png")
    return 0
