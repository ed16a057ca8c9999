"""The pitch of whole notes by the package and by the pitch trackers that people use, and what each costs."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import librosa
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

import pitch_timbre as pt
from experiments.listening.measures import PYIN_HOP, PYIN_HZ, PYIN_WINDOW, Samples, pyin

Tracker = Callable[[NDArray[np.float32], int], float]
"""Mono sound (T,) and its rate in Hz to the MIDI pitch of the note that it holds; NaN for none."""

OURS = "pitch-timbre"
LONGEST_S = 10.0
"""What is read of each note."""
NEEDS = {OURS: "pitch_timbre", "yin": "librosa", "pyin": "librosa", "pesto": "pesto", "crepe": "torchcrepe"}
NEEDS["crepe tiny"] = NEEDS["crepe"]
"""Tracker -> the package that must be installed."""
CREPE_HZ, CREPE_HOP_S, CREPE_FRAMES_AT_ONCE = (32.7, 1975.5), 0.02, 128
PESTO_HOP_MS = 10.0


def vote(hz: Samples, weight: Samples) -> float:
    """The MIDI pitch to which the most weight of the frames (N,) is rounded; NaN where there is none.

    Args:
        hz: the frames' pitches; what is not positive is no pitch.
        weight: their weights: power and the tracker's own certainty.
    """
    good = (hz > 0) & (weight > 0)
    if not good.any():
        return float("nan")
    midi = np.round(librosa.hz_to_midi(hz[good])).astype(int)
    return float(np.bincount(midi - midi.min(), weight[good]).argmax() + midi.min())


def power_at(samples: Samples, count: int) -> Samples:
    """The power of a sound in ``count`` equal parts: what each frame of a tracker counts by its loudness."""
    edges = np.linspace(0, len(samples), count + 1).astype(int)
    return np.array([np.square(samples[a:b], dtype=np.float64).mean() for a, b in pairwise(edges)])


def _ours(model: pt.Model, samples: NDArray[np.float32], rate: int) -> float:
    midi = model.analyse((samples, rate)).midi
    return float("nan") if midi is None else float(midi)


def _yin(samples: NDArray[np.float32], rate: int) -> float:
    low, high = PYIN_HZ
    hz = librosa.yin(samples, fmin=low, fmax=high, sr=rate, frame_length=PYIN_WINDOW, hop_length=PYIN_HOP)
    return vote(hz, power_at(samples, len(hz)))


def _pyin(samples: NDArray[np.float32], rate: int) -> float:
    hz, voiced, probability = pyin(samples, rate)
    return vote(np.where(voiced, hz, 0), power_at(samples, len(hz)) * probability)


def _pesto(samples: NDArray[np.float32], rate: int, models: dict[int, Any]) -> float:
    import torch
    from pesto import load_model

    if rate not in models:
        models[rate] = load_model("mir-1k_g7", step_size=PESTO_HOP_MS, sampling_rate=rate).eval()
    with torch.no_grad():
        hz, confidence = models[rate](torch.from_numpy(samples), convert_to_freq=True, return_activations=False)[:2]
    return vote(hz.numpy(), power_at(samples, len(hz)) * confidence.numpy())


def _crepe(samples: NDArray[np.float32], rate: int, size: str) -> float:
    import torch
    import torchcrepe

    low, high = CREPE_HZ
    hz, periodicity = torchcrepe.predict(
        torch.from_numpy(samples)[None],
        rate,
        hop_length=round(CREPE_HOP_S * rate),
        fmin=low,
        fmax=high,
        model=size,
        batch_size=CREPE_FRAMES_AT_ONCE,
        return_periodicity=True,
        # As crepe does by default; torchcrepe's own, a path through all frames, is led astray by the silence of tails.
        decoder=torchcrepe.decode.weighted_argmax,
    )
    return vote(hz[0].numpy(), power_at(samples, hz.shape[1]) * periodicity[0].numpy())


def trackers(names: Sequence[str], model: pt.Model) -> dict[str, Tracker]:
    """The trackers of these names; one line for each that is not installed.

    Raises:
        ValueError: a name is unknown.
    """
    known: dict[str, Tracker] = {
        OURS: partial(_ours, model),
        "yin": _yin,
        "pyin": _pyin,
        "pesto": partial(_pesto, models={}),
        "crepe": partial(_crepe, size="full"),
        "crepe tiny": partial(_crepe, size="tiny"),
    }
    found = {}
    for name in names:
        if name not in known:
            raise ValueError(f"--with {name}: no such tracker; known: {', '.join(known)}")
        if find_spec(NEEDS[name]) is None:
            print(f"{name} is left out: {NEEDS[name]} is not installed", flush=True)
        else:
            found[name] = known[name]
    return found


def compare(sounds: Sequence[tuple[NDArray[np.float32], int]], with_trackers: dict[str, Tracker]) -> pd.DataFrame:
    """Let every tracker read every sound.

    Args:
        sounds: mono samples and their rate; decoding is not timed.
        with_trackers: name -> tracker; each reads the first sound once before, which is not timed.

    Returns:
        a row a sound and tracker: ``sound`` (its number), ``tracker``, ``midi``, ``core_s``, ``lasts_s``.
    """
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, tracker in with_trackers.items():
            tracker(*sounds[0])
            for number, (samples, rate) in enumerate(track(sounds, name, console=Console(stderr=True), transient=True)):
                began = time.process_time()
                midi = tracker(samples, rate)
                spent = time.process_time() - began
                rows.append((number, name, midi, spent, len(samples) / rate))
    return pd.DataFrame(rows, columns=["sound", "tracker", "midi", "core_s", "lasts_s"])
