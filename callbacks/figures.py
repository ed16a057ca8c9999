"""The pictures of a run, each drawn by one function: arrays in, a matplotlib figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from callbacks.figure_style import BLACK, BLUE, COLOURS, GREY, VERMILION, in_style
from datamodules.sources.pitches import name_from_midi
from metrics.category_mapping import best_matching, matched_accuracy

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

MARKERS = "osD^vP*Xop^D<>h"
HZ_TICKS = {500: "500", 1000: "1k", 2000: "2k", 5000: "5k", 10_000: "10k"}
LEVEL_TICKS = (0, -50, -100)
ROW_DB, HEADROOM_DB = 140.0, 22.0
"""The height of a row of spectra, and the room above the loudest band, in it."""
FUNDAMENTAL = "fundamental of the pitch"


@dataclass(frozen=True)
class FrameUnits:
    """What the numbers of a frame stand for.

    Attributes:
        mel_hz: (F,) centre of each mel band, Hz, ascending.
        range_db: dB from -1 to 1, where 1 is the loudest band of the training notes.
    """

    mel_hz: Floats
    range_db: float

    def level(self, frames: Floats) -> Floats:
        """Frames (..., F) in [-1, 1] as dB below the loudest band."""
        return (frames - 1) / 2 * self.range_db

    def band(self, hz: float) -> float:
        """Where a frequency lies among the bands."""
        return float(np.interp(hz, self.mel_hz, np.arange(len(self.mel_hz))))


@dataclass(frozen=True)
class Spectrum:
    """One panel of spectra.

    Attributes:
        title: what is shown.
        lines: name -> (F,) frame.
        midi: the pitch whose fundamental is marked, or ``None``.
    """

    title: str
    lines: Mapping[str, Floats]
    midi: float | None = None


LINE_STYLES: dict[str, dict[str, Any]] = {
    "input": {"color": GREY, "linewidth": 1.8},
    "reconstruction": {"color": BLUE, "linewidth": 1.0},
    "generated": {"color": VERMILION, "linewidth": 1.0},
}


@in_style
def draw_spectra(panels: Sequence[Sequence[Spectrum]], rows: Sequence[str], units: FrameUnits, title: str) -> Figure:
    """Draw a grid of spectra: level against frequency on the mel scale.

    One pair of axes a column, the rows one above the other in it: that many axes would take seconds.

    Args:
        panels: the rows of the grid, the top one first.
        rows: what stands at the left of each row.
        units: what the frames stand for.
        title: of the figure.
    """
    width, height = 2.3 * len(panels[0]) + 1.5, 1.5 * len(panels) + 1.1
    figure = Figure(figsize=(width, height))
    grid = figure.subplots(1, len(panels[0]), sharex=True, sharey=True, squeeze=False)[0]
    for column, axes in enumerate(grid):
        for place, row in enumerate(panels):
            _draw_spectrum(axes, row[column], units, base=-place * ROW_DB)
        shown = {hz: name for hz, name in HZ_TICKS.items() if units.mel_hz[0] <= hz <= units.mel_hz[-1]}
        axes.set_xticks([units.band(hz) for hz in shown], list(shown.values()))
        axes.set(xlim=(0, len(units.mel_hz) - 1), ylim=(-ROW_DB * len(panels), 0))
        axes.grid(axis="x", color="0.9", linewidth=0.5)
        axes.tick_params(axis="y", length=2)
    levels = [(place, level) for place in range(len(panels)) for level in LEVEL_TICKS]
    grid[0].set_yticks(
        [level - HEADROOM_DB - place * ROW_DB for place, level in levels], [str(y) for _, y in levels], fontsize=7
    )
    for place, name in enumerate(rows):
        middle = 1 - (place + 0.5) / len(panels)
        grid[0].annotate(
            name,
            (0, middle),
            (-32, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            va="center",
        )
    figure.legend(handles=legend_handles(figure), loc="lower right", ncols=4, frameon=False)
    figure.text(0.02, 0.12 / height, "frequency [Hz], mel scale; level [dB], 0: the loudest band of all")
    figure.suptitle(title)
    figure.subplots_adjust(1.35 / width, 0.65 / height, 1 - 0.1 / width, 1 - 0.45 / height, wspace=0.05)
    return figure


def _draw_spectrum(axes: Axes, panel: Spectrum, units: FrameUnits, base: float) -> None:
    """One spectrum in the band of ``ROW_DB`` below ``base``; what is fainter is cut off at its floor."""
    if base:
        axes.axhline(base, color=BLACK, linewidth=0.6)
    if panel.midi is not None:
        place = units.band(440 * 2 ** ((panel.midi - 69) / 12))
        axes.plot([place] * 2, [base - ROW_DB, base - HEADROOM_DB], ":", color=BLACK, linewidth=0.9, label=FUNDAMENTAL)
    for name, frame in panel.lines.items():
        level = np.maximum(units.level(frame) - HEADROOM_DB, -ROW_DB)
        axes.plot(base + level, label=name, **LINE_STYLES[name])
    axes.text(0.98 * len(units.mel_hz), base - 4, panel.title, ha="right", va="top")


def legend_handles(figure: Figure) -> list[Any]:
    """One line of each name that the figure has."""
    lines = {str(line.get_label()): line for axes in figure.axes for line in axes.get_lines()}
    return [line for name, line in lines.items() if not name.startswith("_")]


def draw_generated(
    seeds: Floats,
    generated: Floats,
    seed_names: Sequence[tuple[str, int]],
    categories: Sequence[tuple[int, int]],
    units: FrameUnits,
) -> Figure:
    """Draw the poster's qualitative figure: what the timbre of each seed note becomes in other pitch categories.

    Args:
        seeds: (S, F) frames of the seed notes, in the last row.
        generated: (C, S, F) frames of the seeds' timbres with each category, above; the highest pitch on top.
        seed_names: instrument and MIDI pitch of each seed.
        categories: each category's number, and the MIDI pitch that is most frequent in it.
        units: what the frames stand for.
    """
    order = sorted(range(len(categories)), key=lambda place: -categories[place][1])
    panels = [
        [
            Spectrum(f"timbre: {plain_text(name)}", {"generated": frame}, categories[place][1])
            for (name, _), frame in zip(seed_names, generated[place], strict=True)
        ]
        for place in order
    ]
    panels.append(
        [Spectrum(_note(*name), {"input": frame}, name[1]) for frame, name in zip(seeds, seed_names, strict=True)]
    )
    rows = [f"category {categories[place][0]}\nmostly {name_from_midi(categories[place][1])}" for place in order]
    return draw_spectra(
        panels, [*rows, "seed notes"], units, "Seed notes (last row) and their timbres at other pitches"
    )


def plain_text(name: str) -> str:
    """A name as a figure shows it: `$x_{` starts no formula, and a leading `_` hides nothing."""
    return name.replace("_", " ").replace("$", r"\$")


def _note(instrument: str, midi: int) -> str:
    return f"{plain_text(instrument)} {name_from_midi(midi)}"


def draw_swaps(
    inputs: Floats, reconstructions: Floats, swaps: Floats, names: Sequence[tuple[str, int]], units: FrameUnits
) -> Figure:
    """Draw pairs of notes, their reconstructions, and what becomes of them when their pitches are exchanged.

    Args:
        inputs: (P, 2, F) frames of P pairs.
        reconstructions: (P, 2, F) each decoded from its own timbre and pitch.
        swaps: (P, 2, F) each timbre decoded with the other's pitch.
        names: instrument and MIDI pitch of the 2 P notes, pair after pair.
        units: what the frames stand for.
    """
    panels = []
    for place in range(len(inputs)):
        notes = names[2 * place : 2 * place + 2]
        line = [
            Spectrum(_note(*note), {"input": x, "reconstruction": decoded}, note[1])
            for note, x, decoded in zip(notes, inputs[place], reconstructions[place], strict=True)
        ]
        line += [
            Spectrum(f"timbre: {plain_text(name)}, pitch: {name_from_midi(other)}", {"generated": frame}, other)
            for (name, _), (_, other), frame in zip(notes, notes[::-1], swaps[place], strict=True)
        ]
        panels.append(line)
    rows = [f"pair {place + 1}" for place in range(len(panels))]
    return draw_spectra(panels, rows, units, "Pairs of notes, their reconstructions, and their pitches exchanged")


@in_style
def draw_timbre_space(mu: Floats, instrument: Integers, midi: Integers, instruments: Sequence[str]) -> Figure:
    """Draw the timbre space in its two principal components, by instrument and by pitch.

    Args:
        mu: (N, L) posterior means of z, L at least 2.
        instrument: (N,) instrument labels.
        midi: (N,) MIDI pitches.
        instruments: the instruments' names, by label.
    """
    centred = mu - mu.mean(0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    x, y = (centred @ directions[:2].T).T
    share = 100 * singular**2 / max(float((singular**2).sum()), 1e-12)
    figure = Figure(figsize=(13, 5.4))
    by_instrument, by_pitch = figure.subplots(1, 2, sharex=True, sharey=True)
    for label, name in enumerate(instruments):
        colour, marker = COLOURS[label % len(COLOURS)], MARKERS[label % len(MARKERS)]
        face = colour if label < len(COLOURS) else "none"  # hollow when the colours repeat
        chosen = instrument == label
        by_instrument.scatter(x[chosen], y[chosen], 34, face, marker=marker, label=plain_text(name), edgecolors=colour)
    by_instrument.legend(loc="center right", bbox_to_anchor=(-0.13, 0.5), title="Instrument")
    by_instrument.set_title("by instrument: should form groups")
    points = by_pitch.scatter(x, y, 34, midi, cmap="viridis", linewidths=0)
    ticks = _octaves(int(midi.min()), int(midi.max()))
    bar = figure.colorbar(points, ax=by_pitch, ticks=ticks, label="pitch")
    bar.set_ticklabels([name_from_midi(tick) for tick in ticks])
    by_pitch.set_title("by pitch: should not show")
    for axes in (by_instrument, by_pitch):
        axes.set_xlabel(f"first principal component ({share[0]:.0f} % of the variance)")
        axes.grid(color="0.92", linewidth=0.5)
    by_instrument.set_ylabel(f"second principal component ({share[1]:.0f} %)")
    figure.suptitle(f"Timbre space: posterior means of z of {len(mu)} scored notes")
    figure.subplots_adjust(0.17, 0.1, 0.99, 0.88, 0.08)
    return figure


def _octaves(lowest: int, highest: int) -> list[int]:
    """The Cs of a range of MIDI pitches, or its ends where it holds none."""
    return [midi for midi in range(lowest, highest + 1) if midi % 12 == 0] or sorted({lowest, highest})


@in_style
def draw_pitch_matrix(
    fitted: tuple[Tensor, Tensor], scored: tuple[Tensor, Tensor], n_pitches: int, lowest: int
) -> Figure:
    """Draw which pitches the categories hold, once the best one-to-one matching has given each category a pitch.

    The matching is the one of :func:`metrics.category_mapping.matched_accuracy`, fitted on the training notes: the
    right panel's share is the honest ACC. Notes in categories without a pitch are in the lowest row.

    Args:
        fitted: (categories, pitches) of the training notes, (M,) each, pitches counted from the lowest.
        scored: the same of the scored notes.
        n_pitches: how many pitches there are.
        lowest: MIDI pitch of the lowest.
    """
    pitch_of = best_matching(*fitted)
    figure = Figure(figsize=(12.2, 5.9))
    grid = figure.subplots(1, 2, sharex=True, sharey=True)
    # From a grey, not from white: one note of a pitch must be seen.
    shades = LinearSegmentedColormap.from_list("shares", ["#C6DBEF", BLUE, "#08204A"])
    ticks = _octaves(lowest, lowest + n_pitches - 1)
    names = [name_from_midi(tick) for tick in ticks]
    for axes, (categories, pitches), name in zip(grid, (fitted, scored), ("training", "scored"), strict=True):
        table = np.zeros((n_pitches + 1, n_pitches), dtype=np.int64)
        matched = np.array([pitch_of.get(category, -1) + 1 for category in categories.tolist()], dtype=np.int64)
        np.add.at(table, (matched, pitches.numpy()), 1)
        share = np.ma.masked_equal(100 * table / np.maximum(table.sum(0), 1), 0)
        extent = (-0.5, n_pitches - 0.5, -1.5, n_pitches - 0.5)
        picture = axes.imshow(share, cmap=shades, vmin=0, vmax=100, origin="lower", aspect="equal", extent=extent)
        right = 100 * matched_accuracy(categories, pitches, *fitted)
        axes.set_title(f"{len(pitches)} {name} notes: {right:.1f} % on the diagonal")
        for octave in (-12, 12):
            axes.axline((max(0, -octave), max(0, octave)), slope=1, color="0.6", linewidth=0.6, linestyle=":")
        axes.axhline(-0.5, color="0.6", linewidth=0.6)
        axes.set_xticks([tick - lowest for tick in ticks], names)
        axes.set_yticks([-1, *(tick - lowest for tick in ticks)], ["none", *names])
        axes.set_xlabel("true pitch")
    grid[0].set_ylabel("pitch matched to the category")
    figure.suptitle("Pitch categories against true pitches (dotted: an octave off)")
    figure.subplots_adjust(0.06, 0.08, 0.9, 0.9, 0.06)
    bar = figure.add_axes((0.92, 0.14, 0.014, 0.68))
    figure.colorbar(picture, cax=bar, label="share of the notes of a pitch [%]")
    return figure
