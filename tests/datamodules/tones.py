"""Tones whose pitch is known."""

from __future__ import annotations

import numpy as np

RATE = 22_050


def tone(hertz=440.0, seconds=0.5, rate=44_100, level=0.5):
    """A sine, (T,) float32."""
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def frequency(waveform, rate=RATE):
    """The strongest frequency of a waveform, in Hz."""
    power = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), 2**17))
    return np.argmax(power) * rate / 2**17
