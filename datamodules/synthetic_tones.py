"""Harmonic tones whose pitch is known because they are made: absolute pitch is found from them, without labels."""

from __future__ import annotations

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
DETUNE_SEMITONES = 0.15
"""Largest distance from equal temperament."""


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
    time_s = np.arange(n_samples) / sample_rate
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
        sound = amplitude @ np.cos(2 * np.pi * hz * np.outer(stretched, time_s) + phase[:, None])
        noise = generator.standard_normal(n_samples) * sound.std() * 10 ** (generator.uniform(*NOISE_DB) / 20)
        tone[:] = sound + noise
    return tones
