"""Harder sounds made of clean ones: noise, a room, a telephone, a tuning, another instant, a second note.

Sounds are (N, T) float arrays; each function returns new ones of the same shape. What is random is drawn from the seed
and the row of the sound, so that a sound is degraded in the same way whatever else is in the batch.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy import signal

Sounds = NDArray[np.float64]

TELEPHONE_HZ = (300.0, 3_400.0)
LN_60_DB = float(np.log(1_000.0))


def add_pink_noise(sounds: Sounds, snr_db: float, seed: int = 0) -> Sounds:
    """Add noise whose power falls as 1 / f, ``snr_db`` below the mean power of each sound.

    Example:
        >>> tone = np.sin(np.arange(4_000.0))[None]
        >>> noise = add_pink_noise(tone, 20.0) - tone
        >>> round(float(10 * np.log10(np.mean(tone**2) / np.mean(noise**2))), 6)
        20.0
    """
    length = sounds.shape[1]
    slope = np.zeros(length // 2 + 1)
    slope[1:] = np.arange(1, len(slope)) ** -0.5
    white = np.stack([np.random.default_rng([seed, row]).normal(size=length) for row in range(len(sounds))])
    return mix(sounds, np.fft.irfft(np.fft.rfft(white) * slope, length), -snr_db)


def mix(sounds: Sounds, others: Sounds, level_db: float) -> Sounds:
    """Add other sounds (N, T) at a level relative to the mean power of each sound, in dB.

    Silent sounds, and those to which silence is added, stay as they are.
    """
    power, added = (np.mean(x**2, axis=1, keepdims=True) for x in (sounds, others))
    gain = np.sqrt(np.divide(power, added, out=np.zeros_like(power), where=added > 0) * 10 ** (level_db / 10))
    return np.asarray(sounds + gain * others)


def add_reverberation(sounds: Sounds, rate: int, decay_s: float, seed: int = 0) -> Sounds:
    """Play the sounds in a room: the direct sound, and a tail of noise with the same energy.

    Args:
        sounds: (N, T).
        rate: in Hz.
        decay_s: the time in which the tail falls by 60 dB (RT60).
        seed: of the room; the same for all sounds.
    """
    time = np.arange(round(decay_s * rate)) / rate
    tail = np.random.default_rng(seed).normal(size=len(time)) * np.exp(-LN_60_DB * time / decay_s)
    tail[0] = 0.0
    response = tail / np.sqrt(np.sum(tail**2))
    response[0] = 1.0
    return np.asarray(signal.fftconvolve(sounds, response[None], axes=1)[:, : sounds.shape[1]])


def limit_to_telephone(sounds: Sounds, rate: int) -> Sounds:
    """Keep 300 to 3,400 Hz (a Butterworth band-pass of order 4)."""
    sections = signal.butter(4, TELEPHONE_HZ, "bandpass", fs=rate, output="sos")
    return np.asarray(signal.sosfilt(sections, sounds, axis=1))


def detune(sounds: Sounds, rate: int, cents: float) -> Sounds:
    """Play the sounds faster or slower, so that they are ``cents`` higher; what is missing at the end is silence."""
    speed = 2.0 ** (cents / 1_200)
    played = soxr.resample(sounds.T, rate * speed, rate, quality="VHQ").T[:, : sounds.shape[1]]
    return np.pad(played, ((0, 0), (0, sounds.shape[1] - played.shape[1])))


def move_instant(sounds: Sounds, rate: int, instant_s: float, frame_s: float) -> Sounds:
    """Move the sounds so that a frame read at ``frame_s`` sees them at ``instant_s`` after their start, in seconds."""
    later = round((instant_s - frame_s) * rate)
    moved = np.zeros_like(sounds)
    length = max(0, sounds.shape[1] - abs(later))
    if later >= 0:
        moved[:, :length] = sounds[:, later:]
    else:
        moved[:, -later:] = sounds[:, :length]
    return moved
