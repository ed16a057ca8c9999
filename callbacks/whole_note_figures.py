"""The pictures of a fit of whole notes, drawn once at its end from the best checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
from matplotlib.figure import Figure

from callbacks import figures
from callbacks.best_checkpoint import DrawsBestCheckpoint
from callbacks.figures import Floats, FrameUnits
from callbacks.run_figures import frame_units
from callbacks.whole_note_swaps import decode_swaps
from datamodules.sources.pitches import name_from_midi
from metrics.whole_notes import levels_db, loudness_course, swap_pairs

SHOWN_DB = 80.0
"""What is fainter, below the loudest band of the two notes, is as dark as silence."""

SPACE_NOTES = 1000
"""Notes of the timbre space, at most."""

PITCH_SPAN = 1.5
"""Semitones above and below the note's pitch that a course of pitch shows at least."""


@dataclass(frozen=True)
class Courses:
    """What a model reads of one note of T frames.

    Attributes:
        midi: (T,) the pitch of the frames, fractional MIDI.
        label: the note's true MIDI pitch.
        loudness: name -> (T,) dB.
        v: (T, V) the course.
    """

    midi: Floats
    label: int
    loudness: Mapping[str, Floats]
    v: Floats


class WholeNoteFigures(DrawsBestCheckpoint):
    """Draw two whole notes, what becomes of them when they swap their timbres, and what is read of one of them.

    The pictures go into ``<run_dir>/figures`` and the W&B run, when the fit's best checkpoint is tested. Labels choose
    and name what is shown.

    Args:
        run_dir: the run's folder.
        row: the row of the table.
        seed: the run's seed.
    """

    def figures_of(self, trainer: L.Trainer, module: Any) -> dict[str, Figure]:
        """Name -> figure, of the scored notes."""
        return self.draw(trainer.datamodule, module)  # type: ignore[attr-defined]

    @torch.no_grad()
    def draw(self, data: Any, module: Any) -> dict[str, Figure]:
        """Name -> figure, of the scored notes of a data module."""
        rows = np.flatnonzero(data.scored)
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, SPACE_NOTES).astype(int))]
        notes = data.notes.iloc[rows]
        midi, instruments = notes.midi.to_numpy(), notes.instrument.to_numpy(str)
        parts = [_read(data, module, part)[1].mu.float().cpu() for part in np.array_split(rows, -(-len(rows) // 64))]
        labels = np.array([data.instruments.index(name) for name in instruments])
        drawn = {"timbre_space": figures.draw_timbre_space(torch.cat(parts).numpy(), labels, midi, data.instruments)}
        try:
            pair = rows[swap_pairs(midi, instruments, 1)[:, 0]]
        except ValueError:  # no two notes could swap their timbres
            return drawn
        drawn["whole_notes"] = self._draw_pair(data, module, pair)
        return drawn

    def _draw_pair(self, data: Any, module: Any, rows: np.ndarray) -> Figure:
        batch, latents = _read(data, module, rows)
        own, units = torch.arange(2, device=module.device), frame_units(data)
        decoded = {"reconstruction": decode_swaps(module, latents, own, own)}
        decoded["swap"] = decode_swaps(module, latents, own.flip(0), own)
        lengths = batch.mask.sum(1).tolist()
        first, second = (
            f"{figures.plain_text(data.instruments[int(label)])} {name_from_midi(data.lowest_midi + int(pitch))}"
            for label, pitch in zip(batch.instrument, batch.pitch, strict=True)
        )
        frames = [
            (first, batch.x[0]),
            ("its reconstruction", decoded["reconstruction"][0]),
            ("with the other's timbre", decoded["swap"][0]),
            (f"{second}, with the first's timbre", decoded["swap"][1]),
            (second, batch.x[1]),
        ]
        of = (0, 0, 0, 1, 1)
        images = [
            (title, x[: lengths[note]].float().cpu().numpy()) for (title, x), note in zip(frames, of, strict=True)
        ]
        loudness = {
            name: loudness_course(levels_db(x, units.range_db))
            for name, (_, x) in zip(("note", "reconstruction", "swap"), images, strict=False)
        }
        shown = slice(lengths[0])
        category = latents.logits[0, shown].argmax(-1) + latents.cents[0, shown] / 100
        label = data.lowest_midi + int(batch.pitch[0])
        offset = float(module.midi_offset)
        if not np.isfinite(offset):  # a model that is not calibrated: its own pitch of the note stands for the label
            offset = label - int(latents.category[0])
        courses = Courses(
            (category.double().cpu().numpy() + offset), label, loudness, latents.v[0, shown].float().cpu().numpy()
        )
        return draw_whole_notes(images, courses, units, data.frame_rate_hz, self.title)


def _read(data: Any, module: Any, rows: np.ndarray) -> tuple[Any, Any]:
    """A batch of rows of the note table, and its latents."""
    indices = torch.from_numpy(np.ascontiguousarray(rows)).to(module.device)
    batch = data.sequences(indices, torch.zeros_like(indices))
    return batch, module.encode_notes(batch.x, batch.mask, batch.x_pitch)


def draw_whole_notes(
    images: Sequence[tuple[str, Floats]], courses: Courses, units: FrameUnits, frame_rate_hz: float, title: str
) -> Figure:
    """Draw notes as spectrograms on the mel scale, and below them the courses of the first one.

    Args:
        images: title and (T, F) frames of each note.
        courses: what is read of the first note.
        units: what the frames stand for.
        frame_rate_hz: frames a second.
        title: of the figure.
    """
    figure = Figure(figsize=(3.0 * len(images) + 0.8, 7.2), layout="constrained")
    grid = figure.add_gridspec(2, 3 * len(images), height_ratios=(1.5, 1))
    loudest = max(float(units.level(x).max()) for _, x in images)
    ticks = {hz: name for hz, name in figures.HZ_TICKS.items() if units.mel_hz[0] <= hz <= units.mel_hz[-1]}
    first = None
    for place, (name, x) in enumerate(images):
        axes = figure.add_subplot(grid[0, 3 * place : 3 * place + 3], sharey=first)
        first = first or axes
        image = axes.imshow(
            units.level(x).T,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=loudest - SHOWN_DB,
            vmax=loudest,
            extent=(0, len(x) / frame_rate_hz, -0.5, x.shape[1] - 0.5),
        )
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("time [s]", fontsize=8)
        axes.set_yticks([units.band(hz) for hz in ticks], list(ticks.values()))
        axes.tick_params(labelsize=8, labelleft=place == 0)
    assert first is not None
    first.set_ylabel("frequency [Hz], mel scale", fontsize=9)
    figure.colorbar(image, ax=figure.axes, label="level [dB]", pad=0.01)
    _draw_courses(figure, grid, courses, frame_rate_hz)
    figure.suptitle(f"{title}: whole notes, and the swap of their timbres; below, what is read of the first one")
    return figure


def _draw_courses(figure: Figure, grid: Any, courses: Courses, frame_rate_hz: float) -> None:
    """Pitch, loudness and course of one note against time, side by side."""
    time, width = np.arange(len(courses.midi)) / frame_rate_hz, grid.ncols // 3
    pitch, level, course = (figure.add_subplot(grid[1, width * place : width * (place + 1)]) for place in range(3))
    pitch.axhline(courses.label, color=figures.GREY, linewidth=0.8, label="label")
    pitch.plot(time, courses.midi, ".-", color=figures.BLUE, linewidth=0.8, markersize=3, label="read, with cents")
    reach = max(PITCH_SPAN, float(np.abs(np.median(courses.midi) - courses.label)) + 0.5)
    pitch.set_ylim(courses.label - reach, courses.label + reach)
    pitch.set(ylabel="pitch [MIDI]")
    pitch.set_title("pitch of the frames", fontsize=9)
    styles = {"note": figures.GREY, "reconstruction": figures.BLUE, "swap": figures.VERMILION}
    for name, values in courses.loudness.items():
        level.plot(time, values, color=styles[name], linewidth=1.8 if name == "note" else 1, label=name)
    level.set(ylabel="level [dB]")
    level.set_title("loudness", fontsize=9)
    for place, values in enumerate(courses.v.T):
        course.plot(
            time, values, color=figures.COLOURS[place % len(figures.COLOURS)], linewidth=1, label=f"v {place + 1}"
        )
    course.set_title("course v" if courses.v.size else "no course v", fontsize=9)
    for axes in (pitch, level, course):
        axes.set_xlabel("time [s]", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(color="0.92", linewidth=0.5)
        if axes.get_legend_handles_labels()[0] and len(axes.get_lines()) <= len(figures.COLOURS):
            axes.legend(fontsize=7, frameon=False)
