"""Measures of sounds by librosa, which shares no code with the package that made them."""

from __future__ import annotations

import librosa
import numpy as np
from numpy.typing import NDArray

from datamodules.mel import MelSettings

Samples = NDArray[np.floating]
MEL = MelSettings()
HOP = MEL.n_fft // 4
QUIETEST_DB = -80.0
"""Below a sound's loudest band nothing is compared."""
PYIN_HZ = (27.5, 4186.0)
N_HARMONICS = 5
PYIN_WINDOW, PYIN_HOP = 4096, 512
"""Two periods of the lowest pitch fit in the window, up to 48 kHz."""


def mel_power(samples: Samples, rate: int) -> Samples:
    """The mel power (F, T) of a sound, a column each `HOP` samples, in the bands of the model's frames."""
    power: Samples = librosa.feature.melspectrogram(
        y=np.asarray(samples, np.float32),
        sr=rate,
        n_fft=MEL.n_fft,
        hop_length=HOP,
        n_mels=MEL.n_mels,
        fmin=MEL.fmin_hz,
        fmax=MEL.fmax_hz,
    )
    return power


def mel_error_db(wanted: Samples, made: Samples) -> float:
    """The mean absolute difference of two mel powers (F, T) in dB, over the columns of both but two at the ends."""
    floor = wanted.max() * 10 ** (QUIETEST_DB / 10)
    columns = slice(2, min(wanted.shape[1], made.shape[1]) - 2)
    levels = [10 * np.log10(np.maximum(power[:, columns], floor)) for power in (wanted, made)]
    return float(np.abs(levels[0] - levels[1]).mean())


def spectrum_error_db(wanted: Samples, made: Samples, rate: int) -> float:
    """How far the mean spectra of two sounds lie apart when both are as loud: mean absolute dB over the mel bands."""
    power = np.stack([mel_power(samples, rate).mean(1) for samples in (wanted, made)])
    power /= power.sum(1, keepdims=True)
    return mel_error_db(*(np.repeat(each[:, None], 5, 1) for each in power))


def pyin_midi(samples: Samples, rate: int) -> float:
    """The MIDI pitch with its fraction that pYIN finds in a note (T,), by a median of its frames; NaN where none."""
    hz, voiced, _ = pyin(samples, rate)
    return float(np.median(librosa.hz_to_midi(hz[voiced]))) if voiced.any() else float("nan")


def pyin(samples: Samples, rate: int) -> tuple[Samples, NDArray[np.bool_], Samples]:
    """Pitch in Hz, whether there is one, and how probably, a frame each `PYIN_HOP` (Mauch and Dixon 2014)."""
    low, high = PYIN_HZ
    found: tuple[Samples, NDArray[np.bool_], Samples] = librosa.pyin(
        np.asarray(samples, np.float32), fmin=low, fmax=high, sr=rate, frame_length=PYIN_WINDOW, hop_length=PYIN_HOP
    )
    return found


def fundamental_midi(samples: Samples, rate: int, near_midi: float) -> float:
    """The fundamental of a steady note as MIDI pitch, within half a semitone of one that is known.

    From peaks of the spectrum of the whole note at its first harmonics, a median weighted by their magnitude: right to
    0.01 cents on pure tones, where YIN is off by up to 6 (its lags are whole samples), and pYIN's grid has 10.
    """
    n_fft = 4 * len(samples)
    magnitude = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), n_fft))
    found, weights = [], []
    for harmonic in range(1, N_HARMONICS + 1):
        bins = harmonic * librosa.midi_to_hz([near_midi - 0.5, near_midi + 0.5]) * n_fft / rate
        low, high = bins.astype(int)
        if high + 2 >= len(magnitude):
            break
        peak = low + int(magnitude[low : high + 1].argmax())
        a, b, c = np.log(magnitude[peak - 1 : peak + 2] + 1e-12)
        found.append((peak + 0.5 * (a - c) / min(a - 2 * b + c, -1e-9)) * rate / n_fft / harmonic)
        weights.append(magnitude[peak])
    order = np.argsort(found)
    share = np.cumsum(np.array(weights)[order])
    return float(librosa.hz_to_midi(np.array(found)[order][np.searchsorted(share, share[-1] / 2)]))
