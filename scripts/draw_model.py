"""Draw the model and its rows as docs/figures/model.svg: `.venv/bin/python scripts/draw_model.py`."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

sys.path.insert(0, str(Path(__file__).parents[1]))
from callbacks.figure_style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION
from experiments.config_files import layers, overlaid
from experiments.paths import CONFIGS, ROOT
from lightning_modules.objectives import ObjectiveWeights

FILE = ROOT / "docs" / "figures" / "model.svg"
ROWS = ("b", "sharp", "m0", "m1", "m2", "m3", "m4", "m5", "m6")
TERMS = ("supervised", "pairs", "regression", "contrast", "cycle", "surrogate")
COLOURS = {"regression": BLUE, "contrast": GREEN, "cycle": PURPLE, "surrogate": VERMILION}
BOX_HEIGHT = 0.8


def has(row: str, term: str) -> bool:
    """Whether a row of configs/ trains with a term, or with shifted pairs at all."""
    settings: dict = {}
    for layer in layers(CONFIGS / f"{row}.yaml"):
        settings = overlaid(settings, layer.content)
    if term == "pairs":
        return settings["data"].get("shifts", {}).get("pairs") != "none"
    weights = settings["model"].get("init_args", {}).get("weights", {})
    default = next(field.default for field in fields(ObjectiveWeights) if field.name == term)
    return bool(weights.get(term, default))


def box(axes: Axes, x: float, y: float, text: str, width: float = 1.75, face: str = "white") -> None:
    """A part of the model, centred at (x, y)."""
    corner = (x - width / 2, y - BOX_HEIGHT / 2)
    axes.add_patch(FancyBboxPatch(corner, width, BOX_HEIGHT, "round,pad=0.04", facecolor=face, edgecolor=BLACK))
    axes.text(x, y, text, ha="center", va="center", fontsize=9)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], **style: object) -> None:
    """What flows from one part into another."""
    style = {"arrowstyle": "-|>", "mutation_scale": 10, "color": BLACK, "shrinkA": 0, "shrinkB": 0} | style
    axes.add_patch(FancyArrowPatch(start, end, **style))


def draw_model(axes: Axes) -> None:
    """The note above, the shifted note below, and the losses that tie them."""
    for y, mark in ((2.2, ""), (-2.2, "'")):
        box(axes, 0, y, f"frame $x{mark}$\n256 mel bands", face="#F2F2F2")
        box(axes, 2.7, y + 0.6, f"timbre encoder\n$q(z{mark}|x{mark})$")
        box(axes, 2.7, y - 0.6, f"pitch encoder\n$q(c{mark}|x{mark})$")
        box(axes, 5.2, y + 0.6, f"$z{mark}$: 8 numbers", 1.5, "#DCEAF6")
        box(axes, 5.2, y - 0.6, f"$c{mark}$: 1 of 82", 1.5, "#FBE6D4")
        box(axes, 7.6, y, f"decoder\n$D(z{mark}, c{mark})$", 1.5)
        box(axes, 9.8, y, r"$\hat{x}$" + mark, 0.9, "#F2F2F2")
        for place in (0.6, -0.6):
            arrow(axes, (0.92, y), (1.8, y + place))
            arrow(axes, (3.62, y + place), (4.42, y + place))
            arrow(axes, (6.0, y + place), (6.82, y + 0.15 * place))
        arrow(axes, (8.4, y), (9.32, y))
    arrow(axes, (0, 1.72), (0, -1.72), color=GREY, linestyle="--")
    axes.text(0.12, 0, "pitch shift by\n$\\delta$ semitones", fontsize=9, color="#555555", va="center")
    ties = {"arrowstyle": "<|-|>", "linewidth": 1.6, "zorder": 0}  # behind the boxes
    arrow(axes, (5.6, 2.35), (5.6, -1.15), color=BLUE, connectionstyle="arc3,rad=-0.42", **ties)
    axes.text(6.5, 0.55, r"regression $\lambda_1$: $z = z'$", fontsize=9, color=BLUE)
    axes.text(6.5, 0.15, r"contrast $\lambda_2$: $z'$ is nearer to $z$ than other notes", fontsize=9, color=GREEN)
    arrow(axes, (4.75, 1.15), (4.75, -2.35), color=VERMILION, connectionstyle="arc3,rad=0.42", **ties)
    told = {"fontsize": 9, "va": "center"}
    axes.text(3.85, 0.0, "surrogate $\\lambda_4$:\n$c' = c + \\delta$", color=VERMILION, ha="right", **told)
    axes.text(6.5, -0.35, r"cycle $\lambda_3$: $D(z', c)$ and $D(z, c')$ are", fontsize=9, color=PURPLE)
    axes.text(6.5, -0.7, "encoded back to what they were made of", fontsize=9, color=PURPLE)
    axes.text(9.8, 2.95, "reconstruction:\n" + r"$\hat{x} = x$", ha="center", va="center", fontsize=9)
    axes.text(5.2, 3.55, r"KL: $q(z|x)$ to $N(0, I)$, $q(c|x)$ to the uniform", ha="center", fontsize=9)
    axes.set(xlim=(-1.1, 10.6), ylim=(-3.4, 3.9), aspect="equal")
    axes.set_axis_off()


def draw_rows(axes: Axes) -> None:
    """Which row has which term, read from the configurations."""
    for y, row in enumerate(ROWS):
        for x, term in enumerate(TERMS):
            if has(row, term):
                axes.plot(x, y, "o", color=COLOURS.get(term, ORANGE if term == "supervised" else GREY), markersize=8)
    names = {"sharp": "#", "b": "b"}
    axes.set_yticks(range(len(ROWS)), [names.get(row, row.upper()) for row in ROWS])
    labels = [{"supervised": "labels"}.get(term, term) for term in TERMS]
    axes.set_xticks(range(len(TERMS)), labels, rotation=45, ha="left")
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0, labelsize=9)
    axes.set(xlim=(-0.5, len(TERMS) - 0.5), ylim=(len(ROWS) - 0.5, -0.5))
    axes.grid(color="0.9", linewidth=0.6)
    axes.spines[:].set_visible(False)


def draw() -> Figure:
    """The model at the left, its nine rows at the right."""
    figure = Figure(figsize=(11.8, 5.2))
    draw_model(figure.add_axes((0.0, 0.0, 0.74, 1.0)))
    draw_rows(figure.add_axes((0.78, 0.12, 0.175, 0.66)))
    return figure


def main() -> None:
    """Write the picture; the same versions write the same bytes."""
    matplotlib.rcParams["svg.hashsalt"] = "model"
    FILE.parent.mkdir(exist_ok=True)
    draw().savefig(FILE, metadata={"Date": None})


if __name__ == "__main__":
    main()
