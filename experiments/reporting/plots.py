"""``table.png`` and ``curves.png`` of a grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from callbacks import figure_style
from callbacks.figures import legend_handles
from callbacks.learning_curves import draw_curves as draw_learning_curves
from datamodules.atomic_files import regular_file
from experiments.reporting.cell_files import row_label, row_order
from experiments.reporting.cells import over_folds, parted, published_scores, read_cells, selected, spreads
from experiments.reporting.columns import PUBLISHED_METRICS, WHOLE_NOTE_MEASURES, Spread

# b, # and M3 differ by line style too.
LINES: dict[str, dict[str, Any]] = {
    "b": {"color": figure_style.BLACK, "linestyle": "--"},
    "sharp": {"color": figure_style.GREY, "linestyle": "--"},
    "m0": {"color": figure_style.BLUE},
    "m1": {"color": figure_style.SKY},
    "m2": {"color": figure_style.GREEN},
    "m3": {"color": figure_style.YELLOW, "linestyle": "-."},
    "m4": {"color": figure_style.ORANGE},
    "m5": {"color": figure_style.PURPLE},
    "m6": {"color": figure_style.VERMILION},
    "m7": {"color": figure_style.BLACK},
}


def draw_figures(out: Path) -> None:
    """Draw ``table.png`` and ``curves.png`` of a grid into its folder."""
    figure_style.save_figure(draw_table(read_cells(out)), out / "table.png")
    draw_curves(out)


def draw_curves(out: Path) -> Path | None:
    """Draw ``curves.png``: each row's mean over its seeds against the epoch, in a band of one deviation.

    Returns:
        The file; ``None`` where no cell has written ``metrics.csv`` yet.
    """
    found = _read_curves(out)
    if not found:
        return None
    logs = {row_label(row): found[row] for row in row_order(found) if row in found}
    styles = {row_label(row): style for row, style in LINES.items()}
    figure = draw_learning_curves(logs, styles, "Learning curves (mean over seeds; band: ± one deviation)")
    return figure_style.save_figure(figure, out / "curves.png")


def _read_curves(out: Path) -> dict[str, list[pd.DataFrame]]:
    """Row -> metrics.csv of its seeds; files that cannot be read (a cell has just begun) are left out."""
    curves: dict[str, list[pd.DataFrame]] = {}
    for file in sorted(out.glob("*/seed_*/metrics.csv"), key=lambda file: (len(file.parent.name), file)):
        try:
            content = pd.read_csv(regular_file(file)).apply(pd.to_numeric, errors="coerce")
        except (OSError, ValueError):
            continue
        if "epoch" in content and content["epoch"].notna().any():
            curves.setdefault(file.parents[1].name, []).append(content)
    return curves


@figure_style.in_style
def draw_table(cells: pd.DataFrame) -> Figure:
    """Draw the published protocol at the best checkpoint: a panel a metric, our seeds beside the published means.

    Where all rows are of whole notes, the panels are of what these are compared in.

    Args:
        cells: the finished cells, as `read_cells` gives them.
    """
    frames, whole = parted(cells)
    of_notes = frames.empty and not whole.empty
    metrics, protocol = (WHOLE_NOTE_MEASURES, "honest") if of_notes else (PUBLISHED_METRICS, "published")
    scores = selected(whole if of_notes else frames, protocol, "best")
    here, paper = spreads(scores, metrics), {} if of_notes else spreads(published_scores(), metrics)
    each = over_folds(scores)
    rows = [row for row in row_order(here) if row in here or row in paper]
    columns = -(-len(metrics) // 2)
    size = (3.5 * columns, 2.1 + 0.62 * len(rows))
    figure = Figure(figsize=size, layout="constrained")  # whatever the length of a row's name
    grid = figure.subplots(2, columns, sharey=True)
    for axes in grid.flat[len(metrics) :]:
        axes.set_axis_off()
    for axes, metric in zip(grid.flat, metrics, strict=False):
        for place, row in enumerate(rows):
            if metric.name in here.get(row, {}):
                seeds = each.loc[each["row"] == row, metric.name]
                _draw_spread(
                    axes, here[row][metric.name], place - 0.16, figure_style.BLUE, "o", "here: mean ± deviation"
                )
                axes.plot(
                    seeds, [place - 0.16] * len(seeds), "|", color=figure_style.BLUE, markersize=9, label="here: seeds"
                )
            if metric.name in paper.get(row, {}):
                _draw_spread(
                    axes, paper[row][metric.name], place + 0.16, figure_style.ORANGE, "D", "paper: mean ± deviation"
                )
        axes.set_title(metric.heading)
        axes.set_xlabel(metric.unit)
        axes.set_yticks(range(len(rows)), [row_label(row) for row in rows])
        axes.grid(axis="x")
    grid[0, 0].invert_yaxis()
    figure.legend(handles=legend_handles(figure), loc="outside lower center", ncols=3)
    figure.suptitle(f"{protocol.capitalize()} protocol at the best checkpoint (arrow: the better side)")
    return figure


def _draw_spread(axes: Axes, spread: Spread, place: float, colour: str, marker: str, label: str) -> None:
    axes.errorbar([spread.mean], [place], xerr=[spread.std], fmt="none", ecolor=colour, elinewidth=1.2)
    axes.plot([spread.mean], [place], marker, color=colour, markersize=5, label=label)
