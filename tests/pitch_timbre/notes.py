"""Sounds whose pitch is known."""

from __future__ import annotations

import numpy as np

RATE = 22050


def tone(midi: float, seconds: float = 1.0, rate: int = RATE, fall: float = 1.0) -> np.ndarray:
    """A decaying harmonic tone with a little noise, (T,)."""
    time = np.arange(round(seconds * rate)) / rate
    hz = 440 * 2 ** ((midi - 69) / 12)
    partials = [np.cos(2 * np.pi * n * hz * time + n * n) / n**fall for n in range(1, 30) if n * hz < 0.45 * rate]
    noise = np.random.default_rng(0).standard_normal(len(time))
    return 0.1 * np.exp(-time) * (np.sum(partials, 0) + 1e-3 * noise)
