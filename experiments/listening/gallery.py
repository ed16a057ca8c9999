"""`python -m experiments sounds` (`make sounds`): a few notes, their reconstructions and their swaps, to listen to.

The same model and libraries give the same files.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pitch_timbre as pt
from datamodules.atomic_files import replacing
from datamodules.sources.embedded import SAMPLE_RATE, render_note
from experiments.exit_codes import one_line_errors
from experiments.listening.measures import Samples, pyin_midi, spectrum_error_db
from pitch_timbre.note_names import note_name

PAIRS = (
    (("trumpet", 65), ("flute", 72)),
    (("cello", 50), ("bassoon", 57)),
    (("piano", 60), ("clarinet", 67)),
)
"""Instruments and MIDI pitches; each instrument of a pair has the other's pitch, so that a swap has a true sound."""
DYNAMIC, LASTS_S = "ff", 0.8
TITLE = "Sounds of the shipped model"
KINDS = {
    "note": "the note, played by the sampler",
    "reconstruction": "its reconstruction, frame by frame (`follow`)",
    "swap": "its pitch and course of loudness in the other's timbre, one spectrum (`hold`)",
    "sampler": "the other instrument at that pitch, played by the sampler",
}
ABOUT = (
    "Embedded notes (rendered from recordings of FluidR3_GM, MIT licence), read and made again by the model that the "
    "package ships; no other sound or label is used. Written by `make sounds`."
)
MEASURED = (
    "dB: mean absolute difference of the mean mel spectra at one level, of the reconstruction from the note and of the "
    "swap from the sampler's own sound. cents: the swap's pitch by pYIN, from the note's own pitch."
)


@dataclass(frozen=True)
class Row:
    """One note of the gallery.

    Attributes:
        note: its instrument and pitch.
        timbre: the instrument whose timbre the swap has.
        files: names of the sounds, by kind.
        reconstruction_db: distance of the reconstruction from the note.
        swap_db: distance of the swap from the sampler's sound.
        cents: the swap's pitch from the note's, by pYIN.
    """

    note: str
    timbre: str
    files: dict[str, str]
    reconstruction_db: float
    swap_db: float
    cents: float

    @property
    def figures(self) -> tuple[str, str, str]:
        """The measured values as text."""
        return f"{self.reconstruction_db:.1f}", f"{self.swap_db:.1f}", f"{self.cents:+.1f}"


def make(model: pt.Model, out: Path) -> list[Row]:
    """Write the sounds into a folder; one row a note."""
    rows = []
    for pair in PAIRS:
        for (instrument, midi), (other, other_midi) in (pair, pair[::-1]):
            played = render_note(instrument, midi, DYNAMIC, LASTS_S)
            own, donor = (
                model.analyse((sound, SAMPLE_RATE))
                for sound in (played, render_note(other, other_midi, DYNAMIC, LASTS_S))
            )
            sounds: dict[str, Samples] = {
                "note": played,
                "reconstruction": model.render(own.pitch, own, mode="follow")[0],
                "swap": model.render(own.pitch, donor, like=own)[0],
                "sampler": render_note(other, midi, DYNAMIC, LASTS_S),
            }
            name = f"{instrument}_{note_name(midi).replace('#', 's')}"
            files = {kind: f"{name}_{kind}.flac" for kind in KINDS}
            for kind, samples in sounds.items():
                pt.write(out / files[kind], samples, SAMPLE_RATE)
            reconstruction_db = spectrum_error_db(sounds["note"], sounds["reconstruction"], SAMPLE_RATE)
            swap_db = spectrum_error_db(sounds["sampler"], sounds["swap"], SAMPLE_RATE)
            cents = 100 * (pyin_midi(sounds["swap"], SAMPLE_RATE) - own.pitch)
            rows.append(Row(f"{instrument} {note_name(midi)}", other, files, reconstruction_db, swap_db, cents))
    return rows


HEAD = ("instrument, pitch", "the other", *KINDS, "dB, recon.", "dB, swap", "cents, swap")


def to_markdown(rows: Sequence[Row]) -> str:
    """The gallery for a reader of the repository: a line a note, a link a sound."""
    lines = [f"# {TITLE}", "", ABOUT, "With players: open `index.html` here.", ""]
    lines += [*(f"- **{kind}**: {text}" for kind, text in KINDS.items()), "", MEASURED, ""]
    lines += [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for row in rows:
        links = [f"[listen]({row.files[kind]})" for kind in KINDS]
        lines.append(f"| {' | '.join((row.note, row.timbre, *links, *row.figures))} |")
    return "\n".join(lines) + "\n"


def to_html(rows: Sequence[Row]) -> str:
    """The gallery with players."""
    kinds = "".join(f"<li><b>{kind}</b>: {escape(text.replace('`', ''))}</li>" for kind, text in KINDS.items())
    body = []
    for row in rows:
        players = [
            f'<audio controls preload="none" aria-label="{row.note}, {kind}" src="{row.files[kind]}"></audio>'
            for kind in KINDS
        ]
        cells = "".join(f"<td>{cell}</td>" for cell in (row.timbre, *players, *row.figures))
        body.append(f'<tr><th scope="row">{row.note}</th>{cells}</tr>')
    head = "".join(f'<th scope="col">{name}</th>' for name in HEAD)
    about, table = escape(ABOUT.replace("`", "")), "\n".join(body)
    return PAGE.format(title=TITLE, about=about, kinds=kinds, measured=MEASURED, head=head, rows=table)


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
body {{ font: 16px/1.4 system-ui, sans-serif; margin: 1.5em auto; max-width: 82em; padding: 0 1em; }}
div {{ overflow-x: auto; }} table {{ border-collapse: collapse; }} audio {{ width: 9em; display: block; }}
th, td {{ border-bottom: 1px solid #ccc; padding: .4em .6em; text-align: left; }}
</style></head><body>
<h1>{title}</h1>
<p>{about}</p>
<ul>{kinds}</ul>
<p>{measured}</p>
<div><table><thead><tr>{head}</tr></thead><tbody>
{rows}
</tbody></table></div>
</body></html>
"""


def main(argv: Sequence[str]) -> int:
    """Write the gallery; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments sounds", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/sounds"), help="folder to write to (%(default)s)")
    parser.add_argument("--model", type=Path, help="an exported model, or a run's folder; default: the shipped one")
    arguments = parser.parse_args(argv)
    with one_line_errors():
        model = pt.load(arguments.model)
        arguments.out.mkdir(parents=True, exist_ok=True)
        rows = make(model, arguments.out)
        for name, text in (("README.md", to_markdown(rows)), ("index.html", to_html(rows))):
            with replacing(arguments.out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
    print(f"wrote {arguments.out / 'index.html'}")
    return 0
