"""Timbres of recordings in the plane, as one HTML file that plays them and needs no network."""

from __future__ import annotations

import base64
import io
import json
import os
from html import escape
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from pitch_timbre import audio
from pitch_timbre.analysis import Analysis

HEARD_S = 1.0
"""Of each recording that the map plays, from its onset on."""
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#ee7733", "#009988", "#cc3311")
WIDTH, HEIGHT, MARGIN = 900, 640, 30


def plane(timbres: NDArray[np.floating]) -> tuple[NDArray[np.float64], str]:
    """Timbres (N, L) in the plane, (N, 2) in [0, 1], and the name of the way: UMAP where umap is installed, or PCA."""
    if len(timbres) > 15:
        try:
            from umap import UMAP

            return _unit(np.asarray(UMAP(random_state=0).fit_transform(timbres), dtype=np.float64)), "UMAP"
        except ImportError:
            pass
    centred = timbres.astype(np.float64) - timbres.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    places = centred @ axes.T
    return _unit(np.pad(places, ((0, 0), (0, 2 - places.shape[1])))), "PCA"


def _unit(places: NDArray[np.float64]) -> NDArray[np.float64]:
    span = np.ptp(places, axis=0)
    return np.where(span > 0, (places - places.min(0)) / np.where(span > 0, span, 1), 0.5)


def page(notes: list[tuple[Path, Analysis]], rate: int, colour: str = "folder") -> str:
    """The map as HTML.

    Args:
        notes: files, and what they hold; each has a note.
        rate: Hz, of the sounds in the page.
        colour: by ``folder`` or by ``pitch``.
    """
    places, way = plane(np.stack([note.timbre for _, note in notes]))
    folders = sorted({file.parent.name for file, _ in notes})
    lowest, highest = (f([note.midi or 0 for _, note in notes]) for f in (min, max))
    points, sounds = [], []
    for (file, note), (x, y) in zip(notes, places, strict=True):
        if colour == "folder":
            fill = COLOURS[folders.index(file.parent.name) % len(COLOURS)]
        else:
            fill = f"hsl({240 - 240 * ((note.midi or 0) - lowest) / max(1, highest - lowest):.0f} 70% 45%)"
        name = escape(f"{file.parent.name}/{file.name}: {note.note} {note.cents:+.0f} cents", quote=True)
        points.append(
            f'<circle tabindex="-1" role="button" aria-label="{name}" r="7" fill="{fill}" '
            f'cx="{MARGIN + x * (WIDTH - 2 * MARGIN):.1f}" cy="{HEIGHT - MARGIN - y * (HEIGHT - 2 * MARGIN):.1f}">'
            f"<title>{name}</title></circle>"
        )
        sounds.append(_sound(file, note, rate))
    legend = "".join(
        f'<li><span style="background:{COLOURS[i % len(COLOURS)]}"></span>{escape(folder)}</li>'
        for i, folder in enumerate(folders)
    )
    return PAGE.format(
        way=way,
        count=len(notes),
        width=WIDTH,
        height=HEIGHT,
        points="\n".join(points),
        legend=f"<ul>{legend}</ul>" if colour == "folder" else "<p>From blue, the lowest, to red, the highest.</p>",
        sounds=json.dumps(sounds),
    )


def _sound(file: Path | str | os.PathLike[str], note: Analysis, rate: int) -> str:
    """The beginning of a note as an Ogg Vorbis data URL."""
    samples = audio.read(file, rate).samples[int(note.onset_s * rate) :][: int(HEARD_S * rate)].copy()
    fade = min(len(samples), round(0.02 * rate))
    samples[len(samples) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    written = io.BytesIO()
    soundfile.write(written, 0.7 * samples / max(float(np.abs(samples).max()), 1e-9), rate, format="OGG")
    return "data:audio/ogg;base64," + base64.b64encode(written.getvalue()).decode()


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Map of timbres</title>
<style>
body {{ font: 15px system-ui, sans-serif; margin: 1em auto; max-width: {width}px; }}
svg {{ border: 1px solid #ccc; display: block; width: 100%; max-height: calc(100vh - 14em); min-height: 16em; }}
circle {{ opacity: .8; cursor: pointer; outline: none; }}
circle:hover, circle:focus {{ opacity: 1; stroke: #000; stroke-width: 3; }}
ul {{ columns: 6 8em; list-style: none; padding: 0; }}
li span {{ display: inline-block; width: 1em; height: 1em; margin-right: .4em; }}
</style></head><body>
<h1>Map of timbres</h1>
<p>{count} notes; near ones sound alike at any pitch ({way}). Click one to hear it (keys: Tab, arrows, Enter).</p>
{legend}
<p id="name" aria-live="polite">&nbsp;</p>
<svg viewBox="0 0 {width} {height}" role="group" aria-label="Notes by their timbres">
{points}
</svg>
<script>
const sounds = {sounds};
const player = new Audio();
const points = document.querySelectorAll("circle");
points[0].tabIndex = 0;  // one stop for Tab; arrow keys go on from there
points.forEach((point, index) => {{
  const name = point.getAttribute("aria-label");
  const show = () => {{ document.getElementById("name").textContent = name; }};
  const play = () => {{ show(); player.src = sounds[index]; player.play(); }};
  point.addEventListener("mouseenter", show);
  point.addEventListener("focus", show);
  point.addEventListener("click", play);
  point.addEventListener("keydown", (event) => {{
    const step = {{ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}}[event.key];
    if (step) points[(index + step + points.length) % points.length].focus();
    if (event.key === "Enter" || event.key === " ") play();
    if (step || event.key === "Enter" || event.key === " ") event.preventDefault();
  }});
}});
</script>
</body></html>
"""
