"""Harmonic tones whose pitch is known because they are made: absolute pitch is found from them, without labels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

ROLL_OFF_DB = (2.0, 14.0)
"""Range of the fall of the partials, dB an octave: from reeds to a flute."""
RIPPLE_DB = 6.0
"""Deviation of each partial from that fall."""
WEAK_SHARE, WEAK_DB = 0.3, (6.0, 40.0)
"""Share of the tones whose fundamental is weak, and by how much: bassoons, low strings."""
INHARMONICITY = 3e-4
"""Largest B of a stiff string's partials, n f (1 + B n^2)^(1/2)."""
NOISE_DB = (-70.0, -35.0)
"""Range of the noise floor below the tone."""
FADE_S = 0.02
"""At both ends of a tone whose pitch moves."""
DETUNE_SEMITONES = 0.5
"""Largest distance from equal temperament: of any intonation, so that what hears them right has its semitones' limits
where they should be."""


def synthetic_tones(
    midi: NDArray[np.integer], sample_rate: int, n_samples: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Steady harmonic tones of random colour, (N, n_samples).

    Args:
        midi: (N,) MIDI pitches.
        sample_rate: Hz; partials from 0.95 of its half are left out.
        n_samples: length of each tone.
        generator: of all that is random.
    """
    tones = np.empty((len(midi), n_samples), dtype=np.float32)
    for tone, pitch in zip(tones, midi, strict=True):
        hz = 440 * 2 ** ((pitch + generator.uniform(-DETUNE_SEMITONES, DETUNE_SEMITONES) - 69) / 12)
        n = np.arange(1, max(2, int(0.95 * sample_rate / 2 / hz) + 1))
        stretched = n * np.sqrt(1 + generator.uniform(0, INHARMONICITY) * n**2)
        kept = stretched * hz < 0.95 * sample_rate / 2
        level_db = -generator.uniform(*ROLL_OFF_DB) * np.log2(n) + RIPPLE_DB * generator.standard_normal(len(n))
        level_db[0] -= (generator.random() < WEAK_SHARE) * generator.uniform(*WEAK_DB)
        amplitude = kept * 10 ** (level_db / 20)
        phase = generator.uniform(0, 2 * np.pi, len(n))
        sound = sum_of_partials(stretched * hz / sample_rate, amplitude, phase, n_samples)
        noise = generator.standard_normal(n_samples) * sound.std() * 10 ** (generator.uniform(*NOISE_DB) / 20)
        tone[:] = sound + noise
    return tones


def moving_tone(midi: NDArray[np.floating], sample_rate: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """A harmonic tone of random colour whose pitch moves, (T,), with faded ends; its peak is 0.5.

    Args:
        midi: (T,) fractional MIDI pitch at each sample.
        sample_rate: Hz; partials that come above 0.95 of its half are left out.
        generator: of all that is random.
    """
    hz = 440 * 2 ** ((np.asarray(midi, float) - 69) / 12)
    turns = np.cumsum(hz) / sample_rate
    n = np.arange(1, max(2, int(0.95 * sample_rate / 2 / hz.max()) + 1))
    level_db = -generator.uniform(*ROLL_OFF_DB) * np.log2(n) + RIPPLE_DB * generator.standard_normal(len(n))
    amplitude, phase = 10 ** (level_db / 20), generator.uniform(0, 1, len(n))
    tone = np.zeros(len(hz))
    for order, size, start in zip(n, amplitude, phase, strict=True):
        tone += size * np.cos(2 * np.pi * (order * turns + start))
    fade = min(len(hz) // 2, round(FADE_S * sample_rate))
    tone[:fade] *= np.linspace(0, 1, fade)
    tone[len(tone) - fade :] *= np.linspace(1, 0, fade)
    return np.asarray(0.5 * tone / np.abs(tone).max(), dtype=np.float32)


def sum_of_partials(
    frequency: NDArray[np.floating], amplitude: NDArray[np.floating], phase: NDArray[np.floating], n_samples: int
) -> NDArray[np.float64]:
    """Steady partials, (n_samples,) of sum a cos(2 pi f t + phase): one product of matrices, not a cosine a sample.

    With t = block * i + j, exp(2 pi i f t) is one factor of i and one of j, so that few exponentials are taken.

    Args:
        frequency: (P,) in cycles a sample.
        amplitude: (P,) of the partials.
        phase: (P,) radians at the first sample.
        n_samples: how many.
    """
    block = math.isqrt(n_samples - 1) + 1
    turn = 2j * np.pi * frequency
    starts = np.exp(np.outer(block * np.arange(block), turn) + 1j * phase) * amplitude
    within = np.exp(np.outer(turn, np.arange(block)))
    return (starts.real @ within.real - starts.imag @ within.imag).ravel()[:n_samples]
