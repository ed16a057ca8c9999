"""The exported model: samples to pitch and timbre, and back to frames."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pitch_timbre import analysis, audio
from pitch_timbre.analysis import Analysis
from pitch_timbre.audio import Samples, Sound
from pitch_timbre.note_names import midi_pitch
from pitch_timbre.render import MelBands, mel_power, plain_loudness, render_note

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
"""Of the cards that this version reads."""
SHIPPED = Path(__file__).parent / "models" / "m7.json"
FRAMES_AT_ONCE = 32
"""Few enough to stay in a core's cache."""

Recording = str | os.PathLike[str] | tuple[NDArray[np.floating], int]
Timbre = Analysis | Recording | NDArray[np.floating]


@dataclass(frozen=True)
class Card:
    """What an exported model says of itself; the file has more, in ``facts``.

    Attributes:
        sample_rate: Hz.
        segment: samples around an instant that the encoder takes.
        instant: where in them the instant lies.
        n_latent: L, dimensions of the timbre.
        n_categories: K, pitches that can be told and made.
        midi_of_category_0: the lowest of them.
        n_fft: window of a frame, in samples.
        mel_edges_hz: (F + 2,) edges of the mel bands, Hz.
        scale_low: natural log of the mel power that is -1 in a frame.
        scale_high: the same for 1.
        instruments: timbres (L) of instruments that the model knows.
        facts: the whole card.
    """

    sample_rate: int
    segment: int
    instant: int
    n_latent: int
    n_categories: int
    midi_of_category_0: int
    n_fft: int
    mel_edges_hz: tuple[float, ...]
    scale_low: float
    scale_high: float
    instruments: Mapping[str, list[float]]
    facts: Mapping[str, Any]

    @property
    def highest_midi(self) -> int:
        """The highest pitch that can be told and made."""
        return self.midi_of_category_0 + self.n_categories - 1


@dataclass(frozen=True, eq=False)
class Encoded:
    """What the model says of N instants of a sound.

    Attributes:
        logits: (N, K) of the pitches.
        timbre: (N, L).
        frames: (N, F) log-mel frames in [-1, 1].
        level: (N,) standard deviation of the sound around each instant.
    """

    logits: Samples
    timbre: Samples
    frames: Samples
    level: Samples


class Model:
    """A trained model of isolated notes; :func:`load` makes it.

    Args:
        card: what it says of itself.
        encoder: the graph that reads sound.
        decoder: the graph that makes frames.
    """

    def __init__(self, card: Card, encoder: bytes, decoder: bytes) -> None:
        import onnxruntime  # its import starts a thread: not before a model is loaded

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the graphs are small: more threads only wait for each other
        options.log_severity_level = 3
        self.card = card
        self._encoder, self._decoder = (
            onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            for graph in (encoder, decoder)
        )

    def analyse(self, recording: Recording) -> Analysis:
        """Say which note a recording holds, and of what timbre.

        Args:
            recording: a file; or samples, (T,) or (T, channels), and their rate in Hz.

        Raises:
            OSError: there is no such file, or it may not be read.
            ValueError: it is no recording.
        """
        return analysis.analyse(self, audio.read(recording, self.card.sample_rate))

    def render(
        self,
        pitch: str | float,
        timbre: Timbre,
        like: Analysis | Recording | None = None,
        mode: Literal["hold", "follow"] = "hold",
        duration_s: float = 1.5,
    ) -> tuple[Samples, int]:
        """Make the sound of a note.

        Args:
            pitch: its name or MIDI pitch, which need not be whole.
            timbre: of which timbre: a recording, its analysis, the name of an instrument of the card, or (L,) numbers.
            like: a recording, or its analysis, whose course of loudness (and duration) the note has; ``None``: the
                timbre's own where it is a recording, else a plain envelope.
            mode: ``hold`` makes one spectrum for the whole note; ``follow`` one for each frame of the timbre's note,
                stretched to the duration.
            duration_s: where no recording gives it.

        Returns:
            (T,) samples and their rate in Hz.

        Raises:
            ValueError: the pitch is none that the model can make, or a recording has no note.
        """
        midi = midi_pitch(pitch)
        low, high = self.card.midi_of_category_0, self.card.highest_midi
        if not low - 0.5 <= midi <= high + 0.5:
            raise ValueError(f"pitch {pitch}: this model makes MIDI pitches {low} to {high}")
        course = self._timbre_course(timbre, mode)
        donor = like if like is not None else timbre
        if isinstance(donor, str) and donor in self.card.instruments:
            donor = None  # type: ignore[assignment]
        if donor is None or isinstance(donor, np.ndarray):
            loudness = plain_loudness(duration_s)
        else:
            loudness = self._with_note(donor).loudness
        category = min(max(round(midi), low), high) - low
        frames = self.decode(course, category)
        samples = render_note(self.bands, self.power(frames), low + category, midi, loudness, self.card.sample_rate)
        return samples, self.card.sample_rate

    def table(self, folder: str | os.PathLike[str]) -> pd.DataFrame | list[dict[str, Any]]:
        """Analyse all recordings of a folder: a pandas data frame where pandas is installed, else a list of rows."""
        rows = [analysis.row(file, self.try_to_analyse(file)) for file in audio.files_in([Path(folder)])]
        try:
            import pandas
        except ImportError:
            return rows
        return pandas.DataFrame(rows)

    def try_to_analyse(self, file: Path) -> Analysis:
        """What :meth:`analyse` says; for a file that it cannot read, an analysis of status ``unreadable``."""
        try:
            return self.analyse(file)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return Analysis.without_note("unreadable", self.card.n_latent, reason)

    # The graphs ---------------------------------------------------------------------------------------------------

    def encode(self, sound: Sound, instants: NDArray[np.integer]) -> Encoded:
        """Run the encoder at some instants.

        Args:
            sound: at the card's rate.
            instants: (N,) in samples; what lies outside the sound is silence.
        """
        card = self.card
        padded = np.pad(sound.samples, (card.instant, card.segment))
        views = np.lib.stride_tricks.sliding_window_view(padded, card.segment)
        names = ["categories", "timbre", "frames", "level"]
        parts = [
            self._encoder.run(names, {"segments": np.ascontiguousarray(views[some])})
            for some in np.array_split(instants, max(1, -(-len(instants) // FRAMES_AT_ONCE)))
        ]
        return Encoded(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def decode(self, timbre: NDArray[np.floating], category: int) -> Samples:
        """Timbres (N, L) at one pitch to frames (N, F) in [-1, 1]."""
        pitch = np.zeros((len(timbre), self.card.n_categories), dtype=np.float32)
        pitch[:, category] = 1
        (frames,) = self._decoder.run(["frames"], {"timbre": np.asarray(timbre, np.float32), "pitch": pitch})
        return np.asarray(frames, dtype=np.float32)

    def power(self, frames: Samples) -> Samples:
        """Frames in [-1, 1] to mel power."""
        return mel_power(frames, self.card.scale_low, self.card.scale_high)

    @cached_property
    def bands(self) -> MelBands:
        """The mel bands of a frame."""
        return MelBands(self.card.mel_edges_hz, self.card.n_fft, self.card.sample_rate)

    def _with_note(self, note: Analysis | Recording) -> Analysis:
        found = note if isinstance(note, Analysis) else self.analyse(note)
        if found.midi is None:
            name = note if isinstance(note, str | os.PathLike) else "the recording"
            raise ValueError(f"{name}: holds no note ({found.status})")
        return found

    def _timbre_course(self, timbre: Timbre, mode: str) -> Samples:
        """(N, L) timbres: one, or one a frame."""
        if isinstance(timbre, str) and timbre in self.card.instruments:
            timbre = np.array(self.card.instruments[timbre])
        if isinstance(timbre, np.ndarray):
            if timbre.shape != (self.card.n_latent,) or not np.isfinite(timbre).all():
                raise ValueError(f"timbre of shape {timbre.shape}: give {self.card.n_latent} finite numbers")
            return timbre[None].astype(np.float32)
        note = self._with_note(timbre)
        return note.frames.timbre if mode == "follow" else note.timbre[None]


def load(model: str | os.PathLike[str] | None = None) -> Model:
    """Load a model.

    Args:
        model: an exported model's card (``NAME.json``), its folder, or the folder of a run that was exported; ``None``:
            the model that the package ships.

    Raises:
        OSError: there is no such file.
        ValueError: it is no exported model, of another format, or damaged.
    """
    file = _card_file(SHIPPED if model is None else Path(model))
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise ValueError(
                f"{file}: a model of format {facts['format']}, and this version of pitch-timbre reads {FORMAT}; "
                "export it again, or install the version that exported it"
            )
        names = [name for name in Card.__dataclass_fields__ if name != "facts"]
        card = Card(**{name: facts[name] for name in names}, facts=facts)
        files = [(file.parent / facts["files"][part]["name"], facts["files"][part]["sha256"]) for part in PARTS]
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError):
        raise ValueError(f"{file}: not the card of an exported model; give the NAME.json that was exported") from None
    graphs = []
    for path, expected in files:
        graph = path.read_bytes()
        if hashlib.sha256(graph).hexdigest() != expected:
            raise ValueError(f"{path}: not the file that {file.name} names (its hash differs); export the model again")
        graphs.append(graph)
    return Model(card, *graphs)


PARTS = ("encoder", "decoder")


def _card_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    for folder in (path / "export", path):
        if len(cards := list(folder.glob("*_encoder.onnx"))) == 1:
            return folder / cards[0].name.replace("_encoder.onnx", ".json")
    raise FileNotFoundError(
        f"{path}: holds no exported model; for a run: python -m experiments export --run {path} (in the checkout)"
    )
