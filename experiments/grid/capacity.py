"""Capacity against constraint of c: how many categories, and how hard pairs must agree, with and without equivariance.

Two sweeps, each with the published and with the equivariant pitch encoder: K categories from half to twice the pitches
(rows M6 and M7), and the weight of the terms of pairs from 0 up (on M0, learned together with all else). Each point is
a row of a grid, so that the study is stopped, resumed and cached as the table is.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from callbacks import figure_style
from callbacks.figures import legend_handles
from datamodules.atomic_files import replacing
from experiments.exit_codes import EXIT_BAD_INPUT
from experiments.grid.driver import run_grid
from experiments.grid.settings import BadInputError, GridSettings, Variant, parse
from experiments.reporting.cells import over_folds, read_cells, selected
from experiments.reporting.markdown import aligned

CATEGORY_COUNTS = (41, 61, 82, 123, 164)
PAIR_WEIGHTS = (0.0, 0.1, 1.0, 10.0)
AXIS_SHARE = 0.25
"""Of the epochs, where fewer are run than M7's configuration says: those that learn the axis of pitch, as there."""


@dataclass(frozen=True)
class Point:
    """One setting of a sweep.

    Attributes:
        sweep: ``categories`` or ``pair_weight``.
        encoder: ``published`` or ``equivariant``.
        value: K, or the weight.
        variant: the row that it is.
    """

    sweep: str
    encoder: str
    value: float
    variant: Variant


def points(epochs: int | None = None) -> dict[str, Point]:
    """The points of both sweeps, by the names of their rows."""
    axis = () if epochs is None else ("--model.axis.epochs", str(max(1, round(AXIS_SHARE * epochs))))
    found = {}
    for k in CATEGORY_COUNTS:
        arguments: tuple[str, ...] = ("--model.n_categories", str(k))
        found[f"m6+k{k}"] = Point("categories", "published", k, Variant("m6", arguments))
        found[f"m7+k{k}"] = Point("categories", "equivariant", k, Variant("m7", (*arguments, *axis)))
    for weight in PAIR_WEIGHTS:
        scaled = (("alignment", weight), ("expected_shift", 0.1 * weight), ("balance", weight))
        arguments = tuple(argument for name, value in scaled for argument in (f"--model.weights.{name}", f"{value:g}"))
        for encoder, name in (("published", "MelPitchAxis"), ("equivariant", "EquivariantPitchEncoder")):
            variant = Variant("m0", ("--model", "TwoStageVAE", *arguments, "--model.pitch_encoder", name))
            found[f"m0+{encoder}+{weight:g}"] = Point("pair_weight", encoder, weight, variant)
    return found


PANELS = (
    ("honest", "acc", "honest ACC [%]"),
    ("honest", "pitch", "pitch read from z, honest [%]"),
    ("published", "cds", "CDS [pitches]"),
)
AXES = {"categories": "categories K", "pair_weight": "weight of the terms of pairs"}
COLOURS = {"published": figure_style.VERMILION, "equivariant": figure_style.BLUE}


def results(out: Path) -> pd.DataFrame:
    """The finished points: sweep, encoder, value, seed, and the scores of `PANELS` at the best checkpoint."""
    cells, known = read_cells(out), points()
    if cells.empty:
        return cells
    best = {
        protocol: over_folds(selected(cells, protocol, "best")).set_index(["row", "seed"])
        for protocol in ("honest", "published")
    }
    lines: list[dict[str, Any]] = []
    for row, seed in best["honest"].index:
        if row in known:
            point = known[row]
            scores = {name: best[protocol].loc[(row, seed), name] for protocol, name, _ in PANELS}
            lines.append({"sweep": point.sweep, "encoder": point.encoder, "value": point.value, "seed": seed, **scores})
    return pd.DataFrame(lines)


@figure_style.in_style
def draw(found: pd.DataFrame) -> Figure:
    """Draw both sweeps of ``found`` (of `results`): a row each, a panel a score, a line an encoder; dots are seeds."""
    figure = Figure(figsize=(13, 7.5))
    for line, (sweep, label) in zip(figure.subplots(len(AXES), len(PANELS)), AXES.items(), strict=True):
        for axes, (_, name, title) in zip(line, PANELS, strict=True):
            of = found[found["sweep"] == sweep]
            for encoder, runs in of.groupby("encoder"):
                of_value = runs.groupby("value")[name]
                means, spread, colour = of_value.mean(), of_value.std(ddof=0), COLOURS[str(encoder)]
                axes.plot(means.index, means, color=colour, label=f"{encoder} encoder")
                axes.fill_between(means.index, means - spread, means + spread, color=colour, alpha=0.15, linewidth=0)
                axes.plot(runs["value"], runs[name], "o", markersize=4, color=colour)
            if sweep == "pair_weight":
                axes.set_xscale("symlog", linthresh=0.1)
            axes.set(xlabel=label, title=title)
            axes.grid()
    figure.legend(handles=legend_handles(figure), loc="lower center", ncols=3)
    figure.suptitle("Capacity (top: M6 and M7) and constraint (bottom: M0 and the terms of pairs) of the pitch code")
    figure.subplots_adjust(0.06, 0.13, 0.98, 0.88, 0.22, 0.45)
    return figure


def lines_of(found: pd.DataFrame) -> list[str]:
    """The means over seeds, as a Markdown table."""
    means = found.groupby(["sweep", "encoder", "value"])
    lines = [["Sweep", "Encoder", "Value", "Seeds", *(title for *_, title in PANELS)]]
    for (sweep, encoder, value), runs in means:
        scores = [f"{runs[name].mean():.1f}" for _, name, _ in PANELS]
        lines.append([AXES[str(sweep)], str(encoder), f"{value:g}", str(len(runs)), *scores])
    return aligned(lines)


def write_study(out: Path) -> str:
    """Write ``capacity.md`` and ``capacity.png`` of the finished points into the study's folder; the text."""
    found = results(out)
    text = "\n".join(["# Capacity against constraint of c", "", *lines_of(found), ""])
    with replacing(out / "capacity.md") as temporary:
        temporary.write_text(text)
    figure_style.save_figure(draw(found), out / "capacity.png")
    return text


def settings_of(argv: list[str]) -> GridSettings:
    """The grid of a command line; see `experiments.grid.settings.parse`.

    Raises:
        BadInputError: an argument is not known, or names rows.
    """
    settings = parse(["--seeds", "1", "--out", "runs/capacity", *argv])
    if settings.rows != GridSettings().rows:
        raise BadInputError("the rows of the capacity study are its points; leave --rows out")
    found: Mapping[str, Point] = points(settings.epochs)
    return replace(settings, rows=tuple(found), variants={name: point.variant for name, point in found.items()})


def main(argv: list[str]) -> int:
    """Run the study, or go on with it, and draw it (`python -m experiments capacity`)."""
    try:
        settings = settings_of(argv)
        status = run_grid(settings)
    except BadInputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    if not results(settings.out).empty:
        print(write_study(settings.out))
        print(f"study: {settings.out / 'capacity.md'}, capacity.png")
    return status
