"""Frames of a known pitch back to sound: the package's renderer beside librosa's mel inversion with Griffin-Lim."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

import librosa
import numpy as np
from numpy.typing import NDArray

import pitch_timbre as pt
from datamodules.sources.embedded import SAMPLE_RATE, EmbeddedNotes
from experiments.bench.measure import Figure, Goal, Measured, Spread, Way, interleaved, ratios
from experiments.listening.measures import HOP, MEL, fundamental_midi, mel_error_db, mel_power, pyin_midi
from pitch_timbre.note_names import hertz
from pitch_timbre.render import fit, sound

N_NOTES, LASTS_S = 24, 1.0
GRIFFIN_LIM_STEPS = 32
DB_GOAL, CENTS_GOAL, WITHIN_GOAL, SPEED_GOAL = 2.0, 5.0, 99.0, 20.0
OURS, LIBROSA = "ours: harmonics and noise, oscillators, 10 Griffin-Lim steps", "librosa: NNLS, 32 Griffin-Lim steps"

Sound = NDArray[np.floating]


class Notes:
    """Embedded notes of all registers, their mel power, and what each way makes of it.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        source = EmbeddedNotes()
        table = source.read_notes(None).sort_values(["midi", "note_id"])
        chosen = table.iloc[np.linspace(0, len(table) - 1, count).astype(int)]
        model = pt.load()
        self.bands = model.bands
        self.played = [source.read_audio(None, note, LASTS_S)[0] for note in chosen.itertuples()]
        self.power = [mel_power(samples, SAMPLE_RATE) for samples in self.played]
        self.midi = [model.analyse((samples, SAMPLE_RATE)).pitch for samples in self.played]
        self.made: dict[str, list[Sound]] = {OURS: [], LIBROSA: []}

    def ours(self, number: int) -> Sound:
        """The package's."""
        hz = hertz(self.midi[number])
        return sound(self.bands, fit(self.bands, self.power[number].T, hz), hz)

    def by_librosa(self, number: int) -> Sound:
        """Non-negative least squares for the spectrum, then Griffin and Lim's steps from random phases."""
        magnitude = librosa.feature.inverse.mel_to_stft(
            self.power[number], sr=SAMPLE_RATE, n_fft=MEL.n_fft, fmin=MEL.fmin_hz, fmax=MEL.fmax_hz
        )
        made: Sound = librosa.griffinlim(
            magnitude, n_iter=GRIFFIN_LIM_STEPS, hop_length=HOP, n_fft=MEL.n_fft, random_state=0
        )
        return made

    def way(self, name: str, make: Callable[[int], Sound]) -> Way:
        """A way whose sounds are kept: a note a round."""

        def turn(number: int) -> tuple[int, float]:
            began = time.process_time()
            made = make(number)
            spent = time.process_time() - began
            self.made[name].append(made)
            return len(made), spent * SAMPLE_RATE  # seconds of sound a core-second

        return turn

    def errors_db(self, name: str) -> list[float]:
        """Mean absolute errors of a way's sounds against the mel power that they were made from."""
        pairs = zip(self.power, self.made[name], strict=True)
        return [mel_error_db(wanted, mel_power(made, SAMPLE_RATE)) for wanted, made in pairs]

    def cents(self, name: str) -> list[float]:
        """How far the fundamentals of a way's sounds lie from those of the notes that they are made from."""
        return [
            100 * abs(fundamental_midi(made, SAMPLE_RATE, midi) - fundamental_midi(own, SAMPLE_RATE, midi))
            for own, made, midi in zip(self.played, self.made[name], self.midi, strict=True)
        ]

    def cents_from_asked(self) -> list[float]:
        """How far the fundamentals of our sounds lie from those that were asked for."""
        pairs = zip(self.made[OURS], self.midi, strict=True)
        return [100 * abs(fundamental_midi(made, SAMPLE_RATE, midi) - midi) for made, midi in pairs]

    def right(self, name: str) -> float:
        """Per cent of a way's sounds in which pYIN, which knows nothing of the notes, finds the pitch."""
        pairs = zip(self.made[name], self.midi, strict=True)
        return 100 * float(np.mean([abs(pyin_midi(made, SAMPLE_RATE) - midi) <= 0.5 for made, midi in pairs]))


def share_within(cents: Sequence[float]) -> float:
    """Per cent of them that are within the goal."""
    return 100 * float(np.mean(np.array(cents) <= CENTS_GOAL))


def measure(quick: bool = False) -> Measured:
    """Speed, error in dB and error in cents of both ways, on the same mel power."""
    notes = Notes(2 if quick else N_NOTES)
    ways = {OURS: notes.way(OURS, notes.ours), LIBROSA: notes.way(LIBROSA, notes.by_librosa)}
    for make in (notes.ours, notes.by_librosa):
        make(0)  # what is compiled or computed once is not timed
    rates = interleaved(ways, len(notes.played), "sound")
    errors = {name: notes.errors_db(name) for name in ways}
    cents = {name: notes.cents(name) for name in ways}
    asked = notes.cents_from_asked()
    figures = []
    for name in ways:
        role: Literal["ours", "today"] = "ours" if name == OURS else "today"
        near, right = share_within(cents[name]), notes.right(name)
        note = f"{near:.1f} % within {CENTS_GOAL:g} cents; by pYIN {right:.1f} % within 50"
        ratio = ratios(rates[OURS], rates[LIBROSA]) if name == OURS else None
        figures += [
            Figure("sound", "seconds of sound a core-second", name, role, Spread.of(rates[name]), ratio),
            Figure("sound", "error against the own mel power, dB", name, role, Spread.of(errors[name])),
            Figure("sound", "fundamental from the note's, cents", name, role, Spread.of(cents[name]), note=note),
        ]
    goals = [
        Goal("sound", "mean error of the renderer, dB", float(np.mean(errors[OURS])), DB_GOAL, False),
        Goal(
            "sound",
            f"% of its notes within {CENTS_GOAL:g} cents of what is asked",
            share_within(asked),
            WITHIN_GOAL,
            True,
        ),
        Goal("sound", "seconds of sound a core-second", Spread.of(rates[OURS]).median, SPEED_GOAL, True),
    ]
    return Measured(
        figures, goals, {"errors_db": errors, "cents": cents, "cents_from_asked": asked, "seconds_a_core_second": rates}
    )
