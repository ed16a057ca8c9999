"""The nine-row table: finished cells aggregated, the published scores beside them, learning curves."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from callbacks import figures

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
        unit: what it is measured in.
        digits: decimals shown.
    """

    name: str
    label: str
    better: str
    unit: str
    digits: int = 1

    @property
    def heading(self) -> str:
        """The label with an arrow to the better side."""
        return f"{self.label} {ARROWS[self.better]}".rstrip()


PERCENT, DISTANCE, KERNEL, COUNT = "[%]", "[squared feature units]", "[kernel units]", "[pitches]"
PUBLISHED_METRICS = (
    Metric("pitch", "Pitch", "min", PERCENT),
    Metric("instrument", "Instrument", "max", PERCENT),
    Metric("combine", "Combine", "max", PERCENT),
    Metric("acc", "ACC", "max", PERCENT),
    Metric("pm", "PM", "max", PERCENT),
    Metric("fid_recon", "FID_recon", "min", DISTANCE),
    Metric("fid_rand", "FID_rand", "min", DISTANCE),
    Metric("cds", "CDS", "max", COUNT, digits=2),
)
NMI = Metric("nmi", "NMI", "max", PERCENT)
HONEST_METRICS = (
    *PUBLISHED_METRICS[:5],
    Metric("acc_abs", "ACC_abs", "max", PERCENT),
    Metric("octave_error", "Octave errors", "min", PERCENT),
    Metric("instrument_offset", "Instrument offset", "neither", "[semitones]"),
    Metric("calibration_agreement", "Agreement", "max", PERCENT),
    Metric("pitch_gap", "Pitch gap", "max", PERCENT),
)
HONEST_GENERATION = (
    Metric("pitch_fid_recon", "FID_recon (pitch)", "min", DISTANCE),
    Metric("pitch_fid_rand", "FID_rand (pitch)", "min", DISTANCE),
    Metric("kid_recon", "KID_recon", "min", KERNEL, digits=3),
    Metric("kid_rand", "KID_rand", "min", KERNEL, digits=3),
    Metric("swap_pitch", "Swap: pitch", "max", PERCENT),
    Metric("swap_instrument", "Swap: instrument", "max", PERCENT),
    Metric("fid_real", "FID real", "neither", DISTANCE),
    Metric("fid_real_halves", "FID real halves", "neither", DISTANCE),
)
FLOORS = {
    "floor_published_acc": "random categories, published ACC",
    "floor_published_pm": "published PM",
    "floor_honest_acc": "honest ACC",
    "floor_honest_pm": "honest PM",
    "floor_instrument_only": "the instrument's commonest pitch",
    "floor_permuted_pitch": "probe of permuted pitches",
    "floor_permuted_instrument": "probe of permuted instruments",
}


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
        out: the grid's folder; a cell is ``<row>/seed_<n>/metrics.json`` in it, or ``seed_<n>_fold_<k>``.

    Returns:
        One row for each cell, checkpoint (best, last) and protocol (published, honest): what the run was (row, seed,
        fold if there are folds, data, data_hash, machine, precision, epochs, wall_s), the checkpoint's epoch, and one
        column a metric.
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
    """Mean and deviation over seeds of each row and metric that ``scores`` (one row a seed, or seed and fold) holds."""
    if scores.empty:
        return {}
    scores = over_folds(scores)
    names = [metric.name for metric in metrics if metric.name in scores]
    return {
        str(row): {name: Spread.of(cells[name]) for name in names if cells[name].notna().all()}
        for row, cells in scores.groupby("row", sort=False)
    }


def over_folds(scores: pd.DataFrame) -> pd.DataFrame:
    """One row a row and seed: the means over the seed's folds, where there are any.

    Seeds of which a fold is missing are left out, as soon as any has them all: means are over the same notes.
    """
    if "fold" not in scores or scores["fold"].isna().all():
        return scores
    done = scores.groupby(["row", "seed"])["fold"].transform("nunique")
    whole = scores[done == done.max()]
    return whole.groupby(["row", "seed"], sort=False).mean(numeric_only=True).reset_index()


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


def aggregated(cells: pd.DataFrame) -> pd.DataFrame:
    """All means and deviations, ours and the paper's, one line a source, checkpoint, protocol, row and metric."""
    groups = [("paper", "best", "published", spreads(published_scores(), PUBLISHED_METRICS))]
    for checkpoint in ("best", "last"):
        for protocol, metrics in (
            ("published", (*PUBLISHED_METRICS, NMI)),
            ("honest", (*HONEST_METRICS, *HONEST_GENERATION)),
        ):
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
    honest, generation = (
        spreads(selected(cells, "honest", "best"), metrics) for metrics in (HONEST_METRICS, HONEST_GENERATION)
    )
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
            "Mappings and probes are fitted and chosen on training notes. ACC_abs takes each category for the MIDI",
            "pitch that synthetic tones gave it, with no mapping; Agreement is the share of the tones that agree. The",
            "instrument offset is the median error of the instrument that is farthest off. Pitch gap is how much more",
            "of the pitch is in c than in the best dimension of z.",
            "",
            *markdown(HONEST_METRICS, {"here": honest}),
            "",
            *floors(cells),
            *chosen_seeds(cells),
            "",
            "FID (pitch) is in the features of the pitch classifier; KID, and FID of real notes, in those of the",
            "instrument classifier: of as many training notes as are scored, and of two halves of the scored ones. A",
            "swap decodes the timbre of one note with the category of another, and the classifiers are asked for both.",
            "",
            *markdown(HONEST_GENERATION, {"here": generation}),
            "",
            "## Published protocol, last epoch",
            "",
            *markdown(PUBLISHED_METRICS, {"here": last}),
            "",
        ]
    )


def floors(cells: pd.DataFrame) -> list[str]:
    """What the notes' scores are without any knowledge: one line, where the cells hold it."""
    honest = selected(cells, "honest", "best")
    known = {
        text: honest[name].mean() for name, text in FLOORS.items() if name in honest and honest[name].notna().any()
    }
    if not known:
        return []
    return [f"Floors on these notes: {', '.join(f'{text} {value:.1f}' for text, value in known.items())} %.", ""]


def chosen_seeds(cells: pd.DataFrame) -> list[str]:
    """The seed of each row that synthetic tones, and no label, would choose, and what it scores."""
    honest = selected(cells, "honest", "best")
    if "calibration_agreement" not in honest or "acc_abs" not in honest:
        return []
    lines = []
    for row, runs in over_folds(honest).dropna(subset=["calibration_agreement"]).groupby("row", sort=False):
        best = runs.sort_values("calibration_agreement", ascending=False, kind="stable").iloc[0]
        lines.append(
            f"- {row_label(str(row))}: seed {best['seed']} (agreement {best['calibration_agreement']:.1f} %): "
            f"ACC {best['acc']:.1f}, ACC_abs {best['acc_abs']:.1f}"
        )
    return ["Chosen among the seeds without a label, by the agreement of synthetic tones:", "", *lines] if lines else []


def header(cells: pd.DataFrame) -> list[str]:
    """What the cells were trained on and with; several values are all named."""
    if cells.empty:
        return ["No cell is finished yet."]
    facts = ["fold", "data", "data_hash", "evaluator_fingerprint", "machine", "precision", "epochs", "wall_s"]
    runs = cells.reindex(columns=[*cells.columns.difference(facts), *facts])
    runs = runs.drop_duplicates(["row", "seed", "fold"])
    data = sorted({f"{name} ({key})" for name, key in zip(runs["data"], runs["data_hash"], strict=True)})
    alike = runs.groupby("fold", dropna=False)  # each fold has its own notes, and classifiers
    epochs = (runs["epochs"].min(), runs["epochs"].max())
    hours = runs["wall_s"].sum() / 3600
    lines = [
        f"- Data: {'; '.join(data)}",
        f"- Machine: {_named(runs['machine'])}; precision: {_named(runs['precision'])}",
        f"- {len(runs)} cells of {' to '.join(dict.fromkeys(f'{n:.0f}' for n in epochs))} epochs, "
        f"{hours:.2f} hours of run time in all ({runs['wall_s'].mean():.0f} s a cell)",
    ]
    if runs["fold"].notna().any():
        folds = (
            f"{runs['fold'].nunique()} folds: a seed's score is the mean over them; seeds that lack one are left out"
        )
        lines.insert(1, f"- {folds}")
    if (alike["data_hash"].nunique() > 1).any() or runs["data"].nunique() > 1:
        lines.append("- **The cells here are of different data: do not compare them.**")
    elif (alike["evaluator_fingerprint"].nunique() > 1).any():
        lines.append("- **The cells here were judged by different classifiers: do not compare what they generate.**")
    return lines


def _named(values: pd.Series) -> str:
    return "; ".join(sorted({str(value) for value in values}))


def markdown(metrics: Sequence[Metric], sources: Mapping[str, Spreads]) -> list[str]:
    """The lines of a Markdown table; see `table_lines`."""
    return aligned(table_lines(metrics, sources))


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table of a heading and lines, its columns of equal width."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = [" | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines]
    rule = " | ".join("-" * width for width in widths)
    return [f"| {line} |" for line in (padded[0], rule, *padded[1:])]


def table_lines(metrics: Sequence[Metric], sources: Mapping[str, Spreads]) -> list[list[str]]:
    """The heading and the lines of a table: for each row one line a source, for each metric one column.

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
    return lines


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


# b, # and M3 differ by line style too.
LINES: dict[str, dict[str, Any]] = {
    "b": {"color": figures.BLACK, "linestyle": "--"},
    "sharp": {"color": figures.GREY, "linestyle": "--"},
    "m0": {"color": figures.BLUE},
    "m1": {"color": figures.SKY},
    "m2": {"color": figures.GREEN},
    "m3": {"color": figures.YELLOW, "linestyle": "-."},
    "m4": {"color": figures.ORANGE},
    "m5": {"color": figures.PURPLE},
    "m6": {"color": figures.VERMILION},
    "m7": {"color": figures.BLACK},
}


def draw_figures(out: Path) -> None:
    """Draw ``table.png`` and ``curves.png`` of a grid into its folder."""
    figures.save_figure(draw_table(read_cells(out)), out / "table.png")
    draw_curves(out)


def draw_curves(out: Path) -> Path | None:
    """Draw ``curves.png``: each row's first seed against the epoch, the others as thin lines.

    Returns:
        The file; ``None`` where no cell has written ``metrics.csv`` yet.
    """
    found = _read_curves(out)
    if not found:
        return None
    logs = {row_label(row): found[row] for row in row_order(found) if row in found}
    styles = {row_label(row): style for row, style in LINES.items()}
    figure = figures.draw_curves(logs, styles, "Learning curves (thick: seed 0; thin: the other seeds)")
    return figures.save_figure(figure, out / "curves.png")


def _read_curves(out: Path) -> dict[str, list[pd.DataFrame]]:
    """Row -> metrics.csv of its seeds; files that cannot be read (a cell has just begun) are left out."""
    curves: dict[str, list[pd.DataFrame]] = {}
    for file in sorted(out.glob("*/seed_*/metrics.csv"), key=lambda file: (len(file.parent.name), file)):
        try:
            content = pd.read_csv(file)
        except (OSError, ValueError):
            continue
        if "epoch" in content:
            curves.setdefault(file.parents[1].name, []).append(content)
    return curves


def draw_table(cells: pd.DataFrame) -> Figure:
    """Draw the published protocol at the best checkpoint: a panel a metric, our seeds beside the published means.

    Args:
        cells: the finished cells, as `read_cells` gives them.
    """
    scores, published = selected(cells, "published", "best"), published_scores()
    here, paper = (spreads(of, PUBLISHED_METRICS) for of in (scores, published))
    each = over_folds(scores)
    rows = [row for row in row_order(here) if row in here or row in paper]
    figure = Figure(figsize=(14, 2.1 + 0.62 * len(rows)), layout="constrained")  # whatever the length of a row's name
    grid = figure.subplots(2, 4, sharey=True)
    for axes, metric in zip(grid.flat, PUBLISHED_METRICS, strict=True):
        for place, row in enumerate(rows):
            if metric.name in here.get(row, {}):
                seeds = each.loc[each["row"] == row, metric.name]
                _draw_spread(axes, here[row][metric.name], place - 0.16, figures.BLUE, "o", "here: mean ± deviation")
                axes.plot(
                    seeds, [place - 0.16] * len(seeds), "|", color=figures.BLUE, markersize=9, label="here: seeds"
                )
            if row in paper:
                _draw_spread(
                    axes, paper[row][metric.name], place + 0.16, figures.ORANGE, "D", "paper: mean ± deviation"
                )
        axes.set_title(metric.heading, fontsize=11)
        axes.set_xlabel(metric.unit, fontsize=8)
        axes.set_yticks(range(len(rows)), [row_label(row) for row in rows])
        axes.tick_params(labelsize=9)
        axes.grid(axis="x", color="0.9", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    grid[0, 0].invert_yaxis()
    figure.legend(handles=figures.legend_handles(figure), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("Published protocol at the best checkpoint (arrow: the better side)")
    return figure


def _draw_spread(axes: Axes, spread: Spread, place: float, colour: str, marker: str, label: str) -> None:
    axes.errorbar([spread.mean], [place], xerr=[spread.std], fmt="none", ecolor=colour, elinewidth=1.2)
    axes.plot([spread.mean], [place], marker, color=colour, markersize=5, label=label)
