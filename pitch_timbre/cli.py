"""`pitch-timbre`: notes to pitch and timbre, and to sounds of other pitches and timbres."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

from pitch_timbre import analysis, audio
from pitch_timbre.analysis import Analysis
from pitch_timbre.model import SHIPPED, Model, load
from pitch_timbre.note_names import midi_pitch, note_name

EXIT_FAILED, EXIT_BAD_INPUT = 1, 2

HELP = {
    "analyse": "say which note each recording holds, and of what timbre",
    "swap": "give each of two notes the other's timbre",
    "render": "make notes of a timbre",
    "map": "draw the timbres of recordings as a page that plays them",
    "page": "open, or write, the page to play timbres with",
}
EXAMPLES = {
    "analyse": "pitch-timbre analyse oboe_A4.wav samples/ -o notes.csv",
    "swap": "pitch-timbre swap flute.wav cello.wav -o swapped/ --mode follow",
    "render": 'pitch-timbre render --timbre cello.wav --scale "C4 E4 G4" --like flute.wav -o chord.wav',
    "map": "pitch-timbre map samples/ -o map.html",
    "page": "pitch-timbre page --out page/",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 if it did something, 1 if no file was of use, 2 for bad arguments."""
    arguments = _parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may hold what a terminal cannot show
    try:
        return int(COMMANDS[arguments.command](arguments))
    except BrokenPipeError:
        sys.stderr.close()  # who reads has enough
        return 0
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        print(f"error: {reason}", file=sys.stderr)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nstopped; what was written is kept", file=sys.stderr)
        return 130
    return EXIT_BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pitch-timbre", description="Pitch and timbre of recordings of single notes. No network is used."
    )
    with suppress(PackageNotFoundError):  # run from the files, not installed
        parser.add_argument("--version", action="version", version=version("pitch-timbre"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {}
    for name, text in HELP.items():
        made[name] = commands.add_parser(name, help=text, description=text, epilog=f"example: {EXAMPLES[name]}")
        made[name].add_argument("--model", type=Path, help="an exported model (NAME.json), or a run's folder")
    add = made["analyse"].add_argument
    add("paths", nargs="+", type=Path, metavar="FILE|FOLDER")
    add("-o", "--out", type=Path, help="CSV to write; default: standard output")
    add("--frames", action="store_true", help="a row a frame")
    add("--json", action="store_true", help="JSON in place of CSV")
    add = made["swap"].add_argument
    add("a", type=Path)
    add("b", type=Path)
    add("-o", "--out", type=Path, default=Path("swapped"), help="folder for the two sounds and a picture")
    add("--pitch", help="of both, such as E4; default: each keeps its own")
    _mode(made["swap"])
    add = made["render"].add_argument
    add("--timbre", required=True, help="a recording, or an instrument that the model knows, such as flute")
    pitches = made["render"].add_mutually_exclusive_group(required=True)
    pitches.add_argument("--pitch", help="such as C4 or 60.5")
    pitches.add_argument("--scale", help='several, one after the other: "C4 D4 E4"')
    add("--like", help="a recording whose course of loudness each note has")
    add("--seconds", type=float, default=1.5, help="of a note that is like no recording (%(default)s)")
    add("-o", "--out", type=Path, required=True, help="sound to write, .wav or .flac")
    _mode(made["render"])
    add = made["map"].add_argument
    add("paths", nargs="+", type=Path, metavar="FILE|FOLDER")
    add("-o", "--out", type=Path, default=Path("map.html"))
    add("--colour", choices=("folder", "pitch"), default="folder")
    add = made["page"].add_argument
    add("--out", type=Path, help="folder to write the page into, to open from disk or to put on a server")
    add("--port", type=int, default=0, help="to serve it on, on this machine only; default: a free one")
    add("--no-browser", action="store_true", help="do not open a browser")
    return parser


def _mode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode",
        choices=("hold", "follow"),
        default="hold",
        help="hold one spectrum under the course of loudness, or follow the timbre's frames (%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="say what was made as JSON")


# The commands ---------------------------------------------------------------------------------------------------------


def _analyse(arguments: argparse.Namespace) -> int:
    files = _files(arguments.paths)
    model = load(arguments.model)
    # Names of files may hold bytes that are no UTF-8.
    out = arguments.out
    opened = out.open("w", newline="", encoding="utf-8", errors="surrogateescape") if out else sys.stdout
    good = 0
    table = _Table(opened, arguments.json)
    try:
        for file, found in _analyses(model, files):
            good += found.status != "unreadable"
            for row in analysis.frame_rows(file, found) if arguments.frames else [analysis.row(file, found)]:
                table.write(row)
    finally:  # stopped, too: what was read is kept
        table.close()
        if out:
            opened.close()
    return _exit_status(good, files)


def _swap(arguments: argparse.Namespace) -> int:
    from pitch_timbre import picture

    model = load(arguments.model)
    files = (arguments.a, arguments.b)
    notes = [_note(model, file) for file in files]
    arguments.out.mkdir(parents=True, exist_ok=True)
    written = []
    for own, other in ((0, 1), (1, 0)):
        note = notes[own]
        pitch = note.pitch if arguments.pitch is None else arguments.pitch
        samples, rate = model.render(pitch, notes[other], like=note, mode=arguments.mode)
        out = arguments.out / f"{own + 1}_{files[own].stem}_as_{files[other].stem}.wav"
        audio.write(out, samples, rate)
        written.append((out, samples))
    image = arguments.out / "swap.png"
    pairs = zip(files, written, strict=True)
    image.write_bytes(picture.spectrograms([[audio.read(file, rate).samples, made] for file, (_, made) in pairs], rate))
    _report(arguments.json, [out for out, _ in written] + [image])
    if not arguments.json:
        print(f"{image.name}: spectrograms up to 8 kHz; left the notes, right each in the other's timbre")
    return 0


def _render(arguments: argparse.Namespace) -> int:
    import numpy as np

    model = load(arguments.model)
    pitches = [arguments.pitch] if arguments.pitch is not None else arguments.scale.split()
    if not pitches:
        raise ValueError("--scale is empty; give pitches such as 'C4 D4 E4'")
    for pitch in pitches:
        midi_pitch(pitch)
    timbre: Any = arguments.timbre
    if timbre not in model.card.instruments:
        if not Path(timbre).exists():
            known = ", ".join(sorted(model.card.instruments))
            raise ValueError(f"--timbre {timbre}: no such file, and no instrument that the model knows ({known})")
        timbre = _note(model, Path(timbre))
    like = _note(model, Path(arguments.like)) if arguments.like else None
    notes = [model.render(pitch, timbre, like, arguments.mode, arguments.seconds)[0] for pitch in pitches]
    audio.write(arguments.out, np.concatenate(notes), model.card.sample_rate)
    _report(arguments.json, [arguments.out])
    return 0


def _map(arguments: argparse.Namespace) -> int:
    from pitch_timbre import timbre_map

    files = _files(arguments.paths)
    model = load(arguments.model)
    with arguments.out.open("w", encoding="utf-8", errors="backslashreplace") as opened:
        notes = [(file, found) for file, found in _analyses(model, files) if found.midi is not None]
        if notes:
            opened.write(timbre_map.page(notes, model.card.sample_rate, arguments.colour))
    if not notes:
        arguments.out.unlink()
        print(f"error: none of {len(files)} files holds a note", file=sys.stderr)
        return EXIT_FAILED
    print(f"wrote {arguments.out}: {len(notes)} notes")
    return 0


def _page(arguments: argparse.Namespace) -> int:
    from pitch_timbre import page_server

    card = arguments.model or SHIPPED
    if arguments.out:
        print(f"wrote {page_server.write_page(arguments.out, card)[0]}")
    else:
        page_server.serve_page(card, arguments.port, not arguments.no_browser)
    return 0


COMMANDS = {"analyse": _analyse, "swap": _swap, "render": _render, "map": _map, "page": _page}


# What they share ------------------------------------------------------------------------------------------------------


def _files(paths: list[Path]) -> list[Path]:
    files = audio.files_in(paths)
    if not files:
        raise ValueError(f"{', '.join(map(str, paths))}: no recordings ({', '.join(sorted(audio.SUFFIXES))})")
    return files


def _note(model: Model, file: Path) -> Analysis:
    """The note of a file that a command cannot do without."""
    try:
        found = model.analyse(file)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    if found.midi is None:
        raise ValueError(f"{file}: holds no note ({found.status})")
    if found.status == "uncertain":
        print(f"{file}: uncertain that this is one note; read as {note_name(found.midi)}", file=sys.stderr)
    return found


def _analyses(model: Model, files: list[Path]) -> Iterator[tuple[Path, Analysis]]:
    for file in _progress(files):
        yield file, model.try_to_analyse(file)


def _progress(files: list[Path]) -> Iterable[Path]:
    """The files; where a person looks, with a bar and the time left."""
    if len(files) < 10 or not sys.stderr.isatty():
        yield from files
        return
    began = time.monotonic()
    for done, file in enumerate(files, 1):
        yield file
        left = round((time.monotonic() - began) / done * (len(files) - done))
        bar = f"[{'#' * (30 * done // len(files)):<30}] {done}/{len(files)}, {left // 60}:{left % 60:02d} left "
        print(f"\r{bar}", end="\n" if done == len(files) else "", file=sys.stderr, flush=True)


def _exit_status(good: int, files: list[Path]) -> int:
    if bad := len(files) - good:
        print(f"{bad} of {len(files)} files could not be read; see their rows", file=sys.stderr)
    return 0 if good else EXIT_FAILED


def _report(as_json: bool, files: list[Path]) -> None:
    if as_json:
        print(json.dumps({"files": [str(file) for file in files]}))
    else:
        for file in files:
            print(f"wrote {file}")


class _Table:
    """Rows as CSV, or as a JSON list, written as they come."""

    def __init__(self, opened: TextIO, as_json: bool) -> None:
        self.opened, self.as_json, self.writer = opened, as_json, csv.writer(opened, lineterminator="\n")
        self.rows = 0

    def write(self, row: dict[str, Any]) -> None:
        if self.as_json:
            self.opened.write(("[\n" if not self.rows else ",\n") + json.dumps(row))
        else:
            if not self.rows:
                self.writer.writerow(row)
            self.writer.writerow(["" if value is None else value for value in row.values()])
        self.rows += 1

    def close(self) -> None:
        if self.as_json:
            self.opened.write("\n]\n")
        self.opened.flush()


if __name__ == "__main__":
    sys.exit(main())
