"""How all pictures look: fonts, sizes, colours, axes."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from datamodules.atomic_files import replacing

P = ParamSpec("P")
R = TypeVar("R")

DOTS_PER_INCH = 100
# Okabe and Ito's colours, told apart by colour-blind readers; the yellow darkened to be seen on white.
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
SKY, PURPLE, YELLOW, BLACK, GREY = "#56B4E9", "#CC79A7", "#C9B400", "#000000", "#8C8C8C"
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK, YELLOW)

STYLE: Any = {
    "font.family": "DejaVu Sans",  # matplotlib's own: it is there on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "figure.titlesize": 12,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
}


def in_style(draw: Callable[P, R]) -> Callable[P, R]:
    """Let a function draw in the project's style, whatever matplotlib is set to."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def count_epochs(axes: Axes) -> None:
    """Whole epochs on the horizontal axis."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def save_figure(figure: Figure, file: Path) -> Path:
    """Write a figure as PNG, whole or not at all."""
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH, format="png", pil_kwargs={"compress_level": 3})
    return file
