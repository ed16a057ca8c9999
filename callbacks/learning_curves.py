"""Learning curves of runs, and what is read of them: when the pitch code wakes, and which epochs learn an axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from callbacks.figure_style import BLUE, COLOURS, VERMILION, count_epochs, in_style
from callbacks.figures import legend_handles

LEAST_RISE = 0.5
"""Nats: a rise of KL(c) that is smaller is no awakening."""


@dataclass(frozen=True)
class Panel:
    """A panel of the learning curves: a column of ``metrics.csv`` against the epoch."""

    column: str
    title: str
    axis: str


PANELS = (
    Panel("train/loss/kl_c", "KL(c), summed over a pair; dot: half of its rise", "KL(c || uniform) [nats]"),
    Panel("val/acc", "Accuracy of the pitch category (published ACC)", "ACC [%]"),
    Panel("val/loss/total", "Validation loss", "loss"),
    Panel("val/cds", "Consistency and diversity of generated pitch", "CDS"),
    Panel("val/frame_error_db", "Error of reconstructed whole notes", "mean absolute error [dB]"),
    Panel("val/note_swap_instrument", "Swaps that keep the instrument of their timbre", "swaps [%]"),
)
"""The first four of these that the logs have are drawn."""


AXIS_PANEL = Panel("train/loss/alignment", "Axis of pitch: alignment of pairs", "-log Pr[c' - c = shift] [nats]")


def waking_epoch(log: pd.DataFrame) -> int | None:
    """When the pitch code wakes: the first epoch at which KL(c) has made half of its rise.

    The rise is from KL(c)'s lowest value before its highest one. No label is read, and neither the number of categories
    nor whether the term is summed over pairs matters.

    Args:
        log: a run's ``metrics.csv``.

    Returns:
        The epoch; ``None`` where KL(c) rises by less than `LEAST_RISE`.
    """
    if "train/loss/kl_c" not in log:
        return None
    seen = log[["epoch", "train/loss/kl_c"]].dropna()
    kl = seen["train/loss/kl_c"].to_numpy()
    if not len(kl) or not np.isfinite(kl).all():
        return None
    highest = int(kl.argmax())
    start = int(kl[: highest + 1].argmin())
    if kl[highest] - kl[start] < LEAST_RISE:
        return None
    half = (kl[start] + kl[highest]) / 2
    return int(seen["epoch"].iloc[start + int((kl[start:] >= half).argmax())])


@in_style
def draw_curves(
    logs: Mapping[str, Sequence[pd.DataFrame]], styles: Mapping[str, Mapping[str, Any]], title: str
) -> Figure:
    """Draw learning curves, when the pitch code wakes, and the epochs that learn nothing but an axis of pitch.

    A row of several seeds is their mean with a band of one population deviation. KL(c) tells nothing of an axis: while
    it is learned, a single run is shown by the axis' own terms.

    Args:
        logs: name (of a row) -> the ``metrics.csv`` of its seeds.
        styles: name -> how its line is drawn; other names get a colour each.
        title: of the figure.
    """
    figure = Figure(figsize=(13, 8.5))
    taken = {style.get("color") for style in styles.values()}
    free = [colour for colour in COLOURS if colour not in taken] or COLOURS
    spare = {name: {"color": free[place % len(free)]} for place, name in enumerate(logs)}
    alone = next(iter(logs.values()))[0] if sum(map(len, logs.values())) == 1 else None
    there = {column for seeds in logs.values() for log in seeds for column in log.columns[log.notna().any()]}
    panels = sorted(PANELS, key=lambda panel: panel.column not in there)
    if alone is not None and axis_epochs(alone):
        panels = [AXIS_PANEL, *(panel for panel in panels if panel is not PANELS[0])]
    for axes, panel in zip(figure.subplots(2, 2).flat, panels, strict=False):
        for name, seeds in list(logs.items())[::-1]:
            _draw_curve(axes, seeds, panel, name, styles.get(name, spare[name]))
        axes.set(title=panel.title, ylabel=panel.axis)
        count_epochs(axes)
        low, high = axes.get_ylim()
        if high - low < LEAST_RISE:  # a frozen encoder's curve is rounding noise
            axes.set_ylim(low - LEAST_RISE, high + LEAST_RISE)
        axes.grid()
        if alone is not None and (learned := axis_epochs(alone)):
            axes.axvspan(-0.5, learned - 0.5, color="0.93", zorder=0, label="axis of pitch\nis learned")
        elif alone is not None and (woken := waking_epoch(alone)) is not None:
            label = f"the pitch code\nwakes (half of\nKL(c)'s rise):\nepoch {woken}"
            axes.axvline(woken, color=VERMILION, linestyle="--", linewidth=1, label=label)
    handles = legend_handles(figure)[::-1] + figure.axes[0].patches[:1]
    figure.legend(handles=handles, loc="center left", bbox_to_anchor=(0.85, 0.5))
    figure.suptitle(title)
    figure.subplots_adjust(0.06, 0.07, 0.84, 0.92, 0.18, 0.28)
    return figure


def axis_epochs(log: pd.DataFrame) -> int:
    """How many epochs of a ``metrics.csv`` have learned nothing but an axis of pitch: those without an ELBO."""
    if AXIS_PANEL.column not in log or "train/loss/reconstruction" not in log:
        return 0
    only = log[AXIS_PANEL.column].notna() & log["train/loss/reconstruction"].isna()
    return int(log.loc[only, "epoch"].max()) + 1 if only.any() else 0


def _draw_curve(axes: Axes, seeds: Sequence[pd.DataFrame], panel: Panel, name: str, style: Mapping[str, Any]) -> None:
    """The mean of a row's seeds against the epoch, and a band of one deviation."""
    found = [log.set_index("epoch")[panel.column].dropna() for log in seeds if panel.column in log]
    if not found:
        return
    values = pd.concat(found, axis=1)
    mean, spread = values.mean(axis=1), values.std(axis=1, ddof=0)
    axes.plot(mean.index, mean.to_numpy(), **{**style, "linewidth": 1.6, "label": name})
    if len(found) > 1:
        axes.fill_between(mean.index, mean - spread, mean + spread, color=style.get("color"), alpha=0.15, linewidth=0)
    woken = waking_epoch(seeds[0]) if panel is PANELS[0] else None
    if woken is not None and woken in mean.index:
        axes.plot([woken], [mean[woken]], "o", markersize=6, color=style.get("color", BLUE), markeredgecolor="white")
