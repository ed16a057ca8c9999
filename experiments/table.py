"""The nine-row table: finished cells aggregated, the published scores beside them, orderings and learning curves."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PUBLISHED_ROWS = {"b": "b", "sharp": "#", **{f"m{i}": f"M{i}" for i in range(7)}}
"""The rows of the published table in its order: configuration name -> label."""

PUBLISHED_FILE = Path(__file__).with_name("published.csv")
ARROWS = {"min": "↓", "max": "↑", "neither": ""}
NOT_THERE = "–"  # noqa: RUF001 (an en dash: an empty cell)


@dataclass(frozen=True)
class Metric:
    """A column of the table.

    Attributes:
        name: its key in ``metrics.json``.
        label: its heading.
        better: ``min``, ``max``, or ``neither`` (a reference value: no arrow, no best).
        digits: decimals shown.
    """

    name: str
    label: str
    better: str
    digits: int = 1

    @property
    def heading(self) -> str:
        """The label with an arrow to the better side."""
        return f"{self.label} {ARROWS[self.better]}".rstrip()


PUBLISHED_METRICS = (
    Metric("pitch", "Pitch", "min"),
    Metric("instrument", "Instrument", "max"),
    Metric("combine", "Combine", "max"),
    Metric("acc", "ACC", "max"),
    Metric("pm", "PM", "max"),
    Metric("fid_recon", "FID_recon", "min"),
    Metric("fid_rand", "FID_rand", "min"),
    Metric("cds", "CDS", "max", digits=2),
)
HONEST_METRICS = (
    *PUBLISHED_METRICS[:5],
    Metric("pitch_fid_recon", "FID_recon (pitch)", "min"),
    Metric("pitch_fid_rand", "FID_rand (pitch)", "min"),
    Metric("kid_recon", "KID_recon", "min", digits=3),
    Metric("kid_rand", "KID_rand", "min", digits=3),
    Metric("fid_real_halves", "FID real halves", "neither"),
)


@dataclass(frozen=True)
class Spread:
    """Mean and population standard deviation of a metric over the seeds of a row."""

    mean: float
    std: float
    seeds: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of one value a seed."""
        array = np.asarray(list(values), dtype=np.float64)
        return cls(float(array.mean()), float(array.std(ddof=0)), len(array))


Spreads = dict[str, dict[str, Spread]]
"""row -> metric -> spread."""


def write_atomically(file: Path, text: str) -> None:
    """Write a text file under a temporary name and rename it: a reader never sees half of it."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(file)


def read_metrics(file: Path) -> dict[str, Any] | None:
    """The content of a cell's ``metrics.json``; ``None`` where there is none or it is not a cell's."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    is_cell = isinstance(content, dict) and {"row", "seed", "best", "last"} <= content.keys()
    return content if is_cell else None


def read_cells(out: Path) -> pd.DataFrame:
    """The finished cells of a grid.

    Args:
        out: the grid's folder; a cell is ``<row>/seed_<n>/metrics.json`` in it.

    Returns:
        One row for each cell, checkpoint (best, last) and protocol (published, honest): what the run was (row, seed,
        data, data_hash, machine, precision, epochs, wall_s), the checkpoint's epoch, and one column a metric.
    """
    records: list[dict[str, Any]] = []
    for file in sorted(out.glob("*/seed_*/metrics.json")):
        content = read_metrics(file)
        if content is None:
            print(f"{file}: not a finished cell's metrics; it is left out of the table", file=sys.stderr)
            continue
        facts = {key: value for key, value in content.items() if not isinstance(value, dict)}
        for checkpoint in ("best", "last"):
            scores = content[checkpoint]
            for protocol in ("published", "honest"):
                place = {"checkpoint": checkpoint, "protocol": protocol, "epoch": scores.get("epoch")}
                records.append({**facts, **place, **scores.get(protocol, {})})
    return pd.DataFrame.from_records(records)


def published_scores() -> pd.DataFrame:
    """The published score of each row and seed, rows by their configuration's name."""
    scores = pd.read_csv(PUBLISHED_FILE)
    return scores.assign(row=scores["row"].map({label: row for row, label in PUBLISHED_ROWS.items()}))


def spreads(scores: pd.DataFrame, metrics: Sequence[Metric]) -> Spreads:
    """Mean and deviation over seeds of each row and metric that ``scores`` (one row a seed) holds."""
    if scores.empty:
        return {}
    names = [metric.name for metric in metrics if metric.name in scores]
    return {
        str(row): {name: Spread.of(cells[name]) for name in names} for row, cells in scores.groupby("row", sort=False)
    }


def selected(cells: pd.DataFrame, protocol: str, checkpoint: str) -> pd.DataFrame:
    """The cells' scores of one protocol at one checkpoint."""
    if cells.empty:
        return cells
    return cells[(cells["protocol"] == protocol) & (cells["checkpoint"] == checkpoint)]


def row_label(row: str) -> str:
    """A row's name in the table."""
    return PUBLISHED_ROWS.get(row, row)


def row_order(rows: Iterable[str]) -> list[str]:
    """The published rows in their order, whether they are among ``rows`` or not, then all others by name."""
    return [*PUBLISHED_ROWS, *sorted(set(rows) - set(PUBLISHED_ROWS))]


def write_tables(out: Path) -> str:
    """Write ``table.md`` and ``table.csv`` of the finished cells into the grid's folder.

    Returns:
        The text of ``table.md``.
    """
    cells = read_cells(out)
    text = render(cells)
    write_atomically(out / "table.md", text)
    write_atomically(out / "table.csv", aggregated(cells).to_csv(index=False))
    return text


def aggregated(cells: pd.DataFrame) -> pd.DataFrame:
    """All means and deviations, ours and the paper's, one line a source, checkpoint, protocol, row and metric."""
    groups = [("paper", "best", "published", spreads(published_scores(), PUBLISHED_METRICS))]
    for checkpoint in ("best", "last"):
        for protocol, metrics in (("published", PUBLISHED_METRICS), ("honest", HONEST_METRICS)):
            groups.append(("here", checkpoint, protocol, spreads(selected(cells, protocol, checkpoint), metrics)))
    columns = ("source", "checkpoint", "protocol", "row", "metric", "mean", "std", "seeds")
    lines = [
        (source, checkpoint, protocol, row_label(row), name, spread.mean, spread.std, spread.seeds)
        for source, checkpoint, protocol, found in groups
        for row in row_order(found)
        for name, spread in found.get(row, {}).items()
    ]
    return pd.DataFrame(lines, columns=list(columns))


def render(cells: pd.DataFrame) -> str:
    """The whole of ``table.md``."""
    here = spreads(selected(cells, "published", "best"), PUBLISHED_METRICS)
    honest = spreads(selected(cells, "honest", "best"), HONEST_METRICS)
    last = spreads(selected(cells, "published", "last"), PUBLISHED_METRICS)
    paper = spreads(published_scores(), PUBLISHED_METRICS)
    return "\n".join(
        [
            "# Pitch and timbre of isolated notes: the nine rows",
            "",
            *header(cells),
            "",
            "## Published protocol, best checkpoint",
            "",
            "Mean ± population deviation over seeds; the best mean of a column in bold, ours and the paper's apart.",
            "",
            *markdown(PUBLISHED_METRICS, {"here": here, "paper": paper}),
            "",
            "## Honest protocol, best checkpoint",
            "",
            "Mappings and probes are fitted and chosen on training notes. FID (pitch) is in the features of the pitch",
            "classifier; KID, and FID of real against real notes (the floor), in those of the instrument classifier.",
            "",
            *markdown(HONEST_METRICS, {"here": honest}),
            "",
            "## Published protocol, last epoch",
            "",
            *markdown(PUBLISHED_METRICS, {"here": last}),
            "",
            "## Published orderings",
            "",
            *orderings(here, paper),
            "",
        ]
    )


def header(cells: pd.DataFrame) -> list[str]:
    """What the cells were trained on and with; several values are all named."""
    if cells.empty:
        return ["No cell is finished yet."]
    runs = cells.drop_duplicates(["row", "seed"])
    facts = ["data", "data_hash", "machine", "precision", "epochs", "wall_s"]
    runs = runs.reindex(columns=[*runs.columns.difference(facts), *facts])
    data = sorted({f"{name} ({key})" for name, key in zip(runs["data"], runs["data_hash"], strict=True)})
    epochs = (runs["epochs"].min(), runs["epochs"].max())
    hours = runs["wall_s"].sum() / 3600
    lines = [
        f"- Data: {'; '.join(data)}",
        f"- Machine: {_named(runs['machine'])}; precision: {_named(runs['precision'])}",
        f"- {len(runs)} cells of {' to '.join(dict.fromkeys(f'{n:.0f}' for n in epochs))} epochs, "
        f"{hours:.2f} hours of run time in all ({runs['wall_s'].mean():.0f} s a cell)",
    ]
    if len(data) > 1:
        lines.append("- **The cells here are of different data: do not compare them.**")
    return lines


def _named(values: pd.Series) -> str:
    return "; ".join(sorted({str(value) for value in values}))


def markdown(metrics: Sequence[Metric], sources: Mapping[str, Spreads]) -> list[str]:
    """A Markdown table: for each row one line a source, for each metric one column.

    Args:
        metrics: the columns; those that no row has are left out, unless no row has any.
        sources: name of the source (here, paper) -> its spreads.
    """
    known = {name for found in sources.values() for row in found.values() for name in row}
    columns = [metric for metric in metrics if metric.name in known or not known]
    best = {source: _best(found, columns) for source, found in sources.items()}
    lines = [["Row", "", "Seeds", *(metric.heading for metric in columns)]]
    for row in row_order(row for found in sources.values() for row in found):
        for position, (source, found) in enumerate(sources.items()):
            scores = found.get(row, {})
            if not scores and (position or len(sources) == 1):
                continue  # a row of one's own has no published line; a table without published lines has no gaps
            seeds = str(next(iter(scores.values())).seeds) if scores else NOT_THERE
            shown = [_shown(scores.get(metric.name), metric, best[source].get(metric.name)) for metric in columns]
            lines.append([row_label(row) if position == 0 else "", source, seeds, *shown])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = [" | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines]
    rule = " | ".join("-" * width for width in widths)
    return [f"| {line} |" for line in (padded[0], rule, *padded[1:])]


def _best(found: Spreads, metrics: Sequence[Metric]) -> dict[str, float]:
    """The best mean of each metric."""
    best = {}
    for metric in metrics:
        means = [row[metric.name].mean for row in found.values() if metric.name in row]
        finite = [mean for mean in means if np.isfinite(mean)]
        if finite and metric.better != "neither":
            best[metric.name] = min(finite) if metric.better == "min" else max(finite)
    return best


def _shown(spread: Spread | None, metric: Metric, best: float | None) -> str:
    if spread is None:
        return NOT_THERE
    text = f"{spread.mean:.{metric.digits}f} ± {spread.std:.{metric.digits}f}"
    return f"**{text}**" if spread.mean == best else text


def orderings(here: Spreads, paper: Spreads) -> list[str]:
    """Which of the published orderings of seed means hold: one line each, with the numbers."""
    chains: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
        ("Leakage of pitch into z", "pitch", "<", ("b", "m6", "m0", "sharp")),
        ("CDS", "cds", ">", ("b", "m6", "m0", "sharp")),
    )
    lines = [
        _ordering(f"{name}: {f' {sign} '.join(map(row_label, rows))}", metric, rows, here, paper, _chain(sign))
        for name, metric, sign, rows in chains
    ]
    lines.insert(
        1,
        _ordering("FID_recon: best M6, second M5", "fid_recon", tuple(PUBLISHED_ROWS), here, paper, _m6_then_m5),
    )
    return lines


def _ordering(
    claim: str,
    metric: str,
    rows: tuple[str, ...],
    here: Spreads,
    paper: Spreads,
    holds: Callable[[dict[str, float]], bool],
) -> str:
    """One published ordering, its verdict here, and the means that it compares."""
    means = {row: here[row][metric].mean for row in rows if metric in here.get(row, {})}
    missing = [row_label(row) for row in rows if row not in means]
    verdict = f"not all rows present (missing: {', '.join(missing)})"
    if not missing:
        verdict = "holds" if holds(means) else "does not hold"
    numbers = ", ".join(
        f"{row_label(row)} {f'{means[row]:.2f}' if row in means else NOT_THERE} ({paper[row][metric].mean:.2f})"
        for row in rows
    )
    return f"- {claim}: **{verdict}**. Here (paper): {numbers}"


def _chain(sign: str) -> Callable[[dict[str, float]], bool]:
    """Whether the means, in their order, fall (``>``) or rise (``<``) strictly."""

    def holds(means: dict[str, float]) -> bool:
        steps = np.diff(list(means.values()))
        return bool((steps < 0).all() if sign == ">" else (steps > 0).all())

    return holds


def _m6_then_m5(means: dict[str, float]) -> bool:
    return sorted(means, key=means.__getitem__)[:2] == ["m6", "m5"]


@dataclass(frozen=True)
class Panel:
    """A panel of the learning curves: a column of ``metrics.csv`` against the epoch."""

    column: str
    title: str
    axis: str


PANELS = (
    Panel("train/loss/kl_c", "KL(c), summed over a pair: when the pitch code wakes", "KL(c || uniform) [nats]"),
    Panel("val/acc", "Accuracy of the pitch category (published ACC)", "ACC [%]"),
    Panel("val/loss/total", "Validation loss", "loss"),
    Panel("val/cds", "Consistency and diversity of generated pitch", "CDS"),
)
# Okabe and Ito's colours, the yellow darkened to be seen on white; b, # and M3 differ by line style too.
LINES: dict[str, dict[str, Any]] = {
    "b": {"color": "black", "linestyle": "--"},
    "sharp": {"color": "0.55", "linestyle": "--"},
    "m0": {"color": "#0072B2"},
    "m1": {"color": "#56B4E9"},
    "m2": {"color": "#009E73"},
    "m3": {"color": "#C9B400", "linestyle": "-."},
    "m4": {"color": "#E69F00"},
    "m5": {"color": "#CC79A7"},
    "m6": {"color": "#D55E00"},
}


def draw_curves(out: Path) -> Path | None:
    """Draw ``curves.png``: seed 0 of each row against the epoch, the other seeds as thin lines.

    Returns:
        The file; ``None`` where no cell has written ``metrics.csv`` yet.
    """
    curves = _read_curves(out)
    if not curves:
        return None
    figure = Figure(figsize=(13, 8.5), layout="constrained")
    for axes, panel in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        _draw_panel(axes, panel, curves)
    handles = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    labels = [row_label(row) for row in row_order(row for row, _ in curves) if row_label(row) in handles]
    figure.legend([handles[label] for label in labels], labels, loc="outside right center", title="Row")
    figure.suptitle("Learning curves (seed 0; thin: the other seeds)")
    temporary = out / f".curves.{os.getpid()}.png"
    figure.savefig(temporary, dpi=120)
    file = out / "curves.png"
    temporary.replace(file)
    return file


def _read_curves(out: Path) -> dict[tuple[str, int], pd.DataFrame]:
    """(row, seed) -> metrics.csv; files that cannot be read (a cell has just begun) are left out."""
    curves = {}
    for file in sorted(out.glob("*/seed_*/metrics.csv")):
        seed = file.parent.name.removeprefix("seed_")
        try:
            content = pd.read_csv(file)
        except (OSError, ValueError):
            continue
        if seed.isdigit() and "epoch" in content:
            curves[file.parents[1].name, int(seed)] = content
    return curves


def _draw_panel(axes: Axes, panel: Panel, curves: Mapping[tuple[str, int], pd.DataFrame]) -> None:
    rows = row_order(row for row, _ in curves)
    for row, seed in sorted(curves, key=lambda cell: (rows.index(cell[0]), cell[1])):
        content = curves[row, seed]
        if panel.column not in content:
            continue
        seen = content[["epoch", panel.column]].dropna()
        width = {"linewidth": 1.8, "label": row_label(row)} if seed == 0 else {"linewidth": 0.5, "alpha": 0.6}
        axes.plot(seen["epoch"].to_numpy(), seen[panel.column].to_numpy(), **{**LINES.get(row, {}), **width})
    axes.set(title=panel.title, xlabel="epoch", ylabel=panel.axis)
    axes.grid(color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def main(argv: list[str] | None = None) -> int:
    """Print a grid's table again, and rewrite its files (`python -m experiments table --out runs/table`)."""
    parser = argparse.ArgumentParser(prog="python -m experiments table", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/table"), help="the grid's folder")
    out = parser.parse_args(argv).out
    try:
        if read_cells(out).empty:
            raise OSError(f"{out}: no finished cell (<row>/seed_<n>/metrics.json) in this folder")
        print(write_tables(out))
        draw_curves(out)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
