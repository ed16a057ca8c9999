"""Frames of a known pitch to sound: harmonics and noise fitted to the mel power, then phases that agree with it.

A mel spectrum of a known fundamental is fitted by a sum of what each harmonic and each band of noise would make of it,
with multiplicative updates (Itakura-Saito divergence; Fevotte, Bertin and Durrieu 2009). Oscillators of those
amplitudes give the phase, and a few steps of Griffin and Lim's algorithm (1984) bring magnitude and phase together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pitch_timbre.audio import Samples
from pitch_timbre.note_names import hertz

BLOCK_S = 0.01
"""Of the course of loudness, as in an analysis."""
HOP_SHARE = 4
"""Hops in a window."""
NOISE_BANDS = 96
UPDATES = 40
PHASE_STEPS = 10
FLOOR = 1e-10
"""Share of a frame's largest power below which nothing is fitted."""
FADE_S = 0.005
"""At both ends."""


def mel_power(frames: Samples, scale_low: float, scale_high: float) -> Samples:
    """Frames (N, F) in [-1, 1], whose bounds stand for these natural logs of mel power, to mel power."""
    return np.exp((frames + 1) / 2 * (scale_high - scale_low) + scale_low)


@dataclass(frozen=True)
class MelBands:
    """The bands of a mel frame, as Slaney's toolbox has them: triangles of equal area.

    Attributes:
        edges_hz: (F + 2,) band b rises from edge b to b + 1 and falls to b + 2, Hz.
        n_fft: the Hann window's length in samples.
        rate: Hz.
    """

    edges_hz: tuple[float, ...]
    n_fft: int
    rate: int

    @cached_property
    def filters(self) -> Samples:
        """(F, n_fft // 2 + 1) weights of the power in each bin."""
        hz = np.arange(self.n_fft // 2 + 1) * self.rate / self.n_fft
        edges = np.array(self.edges_hz)[:, None]
        low, centre, high = edges[:-2], edges[1:-1], edges[2:]
        triangles = np.minimum((hz - low) / (centre - low), (high - hz) / (high - centre))
        return np.asarray(np.maximum(triangles, 0) * 2 / (high - low), dtype=np.float32)

    @cached_property
    def window(self) -> Samples:
        """(n_fft,) the periodic Hann window."""
        return np.hanning(self.n_fft + 1)[:-1].astype(np.float32)

    @cached_property
    def noise(self) -> Samples:
        """(bins, NOISE_BANDS) power in each bin of noise bands, which overlap as triangles, evenly on the mel axis."""
        bands = np.arange(len(self.edges_hz))
        places = np.linspace(0, len(bands) - 1, NOISE_BANDS)
        hz = np.arange(self.n_fft // 2 + 1) * self.rate / self.n_fft
        at = np.interp(hz, self.edges_hz, bands)
        width = places[1] - places[0]
        return np.asarray(np.maximum(0, 1 - np.abs(at[:, None] - places) / width), dtype=np.float32)

    def harmonics(self, fundamental_hz: float) -> Samples:
        """(bins, H) power in each bin of sinusoids of amplitude 1 at a fundamental's multiples below the top edge."""
        count = max(1, int(min(self.edges_hz[-1], self.rate / 2) / fundamental_hz))
        place = fundamental_hz * np.arange(1, count + 1) * self.n_fft / self.rate
        distance = np.arange(self.n_fft // 2 + 1)[:, None] - place
        lobe = np.abs(distance) < 2
        safe = np.where(np.abs(np.abs(distance) - 1) < 1e-4, distance + 2e-4, distance)
        magnitude = self.n_fft / 4 * np.sinc(safe) / (1 - safe**2)  # the transform of the window
        return np.asarray(np.where(lobe, magnitude**2, 0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Fit:
    """What mel power is made of.

    Attributes:
        amplitude: (H, T) of the harmonics.
        noise: (bins, T) power of the noise.
        power: (bins, T) of both, so that its mel power is the one asked for.
    """

    amplitude: Samples
    noise: Samples
    power: Samples


def fit(bands: MelBands, mel_power: Samples, fundamental_hz: float) -> Fit:
    """Fit harmonics and noise to mel power.

    Args:
        bands: what the power was summed in.
        mel_power: (T, F).
        fundamental_hz: of all T frames.
    """
    wanted = np.maximum(mel_power.T, FLOOR * mel_power.max())
    harmonics = bands.harmonics(fundamental_hz)
    parts = np.concatenate([harmonics, bands.noise], 1)
    responses = bands.filters @ parts
    responses += 1e-6 * responses.max(0)
    gains = np.repeat(wanted.mean(0, keepdims=True) / responses.sum(1).mean(), parts.shape[1], 0)
    for _ in range(UPDATES):
        made = responses @ gains
        inverse = 1 / made
        gains *= np.sqrt((responses.T @ (wanted * inverse * inverse)) / (responses.T @ inverse))
    power = parts @ gains
    # What the parts cannot make is made up bin by bin.
    share = bands.filters / np.maximum(bands.filters.sum(0), 1e-12)
    inside = bands.filters.sum(0)[:, None] > 0
    ratio = np.where(inside, share.T @ (wanted / np.maximum(bands.filters @ power, 1e-30)), 0)
    n_harmonics = harmonics.shape[1]
    place = np.minimum(
        np.round(fundamental_hz * np.arange(1, n_harmonics + 1) * bands.n_fft / bands.rate), len(ratio) - 1
    )
    amplitude = np.sqrt(gains[:n_harmonics] * ratio[place.astype(int)])
    return Fit(amplitude, ratio * (bands.noise @ gains[n_harmonics:]), ratio * power)


def sound(bands: MelBands, fitted: Fit, fundamental_hz: float, seed: int = 0) -> Samples:
    """The sound of a fit with a frame each quarter of a window: ((T - 1) hop,) samples.

    Args:
        bands: as in :func:`fit`.
        fitted: T frames; the first stands at the first sample.
        fundamental_hz: of the oscillators, which may lie between the semitones that the fit knows.
        seed: of the noise.
    """
    hop = bands.n_fft // HOP_SHARE
    magnitude = np.ascontiguousarray(np.sqrt(fitted.power.T))
    deviation = np.sqrt(fitted.noise.T / 2)
    generator = np.random.default_rng(seed)
    spectrum = _spectra(bands, _oscillators(fitted.amplitude, fundamental_hz, bands.rate, hop), len(magnitude))
    spectrum.real += deviation * generator.standard_normal(deviation.shape, dtype=np.float32)
    spectrum.imag += deviation * generator.standard_normal(deviation.shape, dtype=np.float32)
    for _ in range(PHASE_STEPS):
        spectrum = _spectra(bands, _overlap_add(bands, _with_magnitude(spectrum, magnitude)), len(magnitude))
    return _overlap_add(bands, _with_magnitude(spectrum, magnitude))


def _with_magnitude(spectrum: NDArray[np.complex64], magnitude: Samples) -> NDArray[np.complex64]:
    """A spectrum of the same phases, in place; the square root is quicker than the absolute value of a complex."""
    own = np.square(spectrum.real) + np.square(spectrum.imag)
    spectrum *= magnitude / np.sqrt(np.maximum(own, 1e-24))
    return spectrum


def _oscillators(amplitude: Samples, fundamental_hz: float, rate: int, hop: int) -> Samples:
    """Sinusoids at the multiples of a fundamental, their amplitudes (H, T) interpolated over each hop."""
    count, frames = amplitude.shape
    turn = np.exp(2j * np.pi * fundamental_hz / rate * np.arange((frames - 1) * hop)).astype(np.complex64)
    # Phases of no pattern, so that the harmonics' crests do not meet.
    phases = np.exp(1j * np.pi * np.arange(1, count + 1) ** 2 / count)
    rise = np.arange(hop, dtype=np.float32) / hop
    made = np.zeros(len(turn), dtype=np.float32)
    harmonic = np.ones_like(turn)
    for number, (course, phase) in enumerate(zip(amplitude, phases, strict=True), 1):
        harmonic *= turn
        if number * fundamental_hz >= rate / 2:
            break
        level = course[:-1, None] + np.diff(course)[:, None] * rise
        made += level.ravel() * (harmonic.real * phase.real - harmonic.imag * phase.imag).astype(np.float32)
    return made


def _spectra(bands: MelBands, samples: Samples, frames: int) -> NDArray[np.complex64]:
    """(T, bins) spectra around each hop."""
    half, hop = bands.n_fft // 2, bands.n_fft // HOP_SHARE
    padded = np.pad(samples, half)
    windows = np.lib.stride_tricks.sliding_window_view(padded, bands.n_fft)[::hop][:frames]
    return np.asarray(np.fft.rfft(windows * bands.window), dtype=np.complex64)


def _overlap_add(bands: MelBands, spectrum: NDArray[np.complex64]) -> Samples:
    """The sound whose spectra are nearest to (T, bins) ones, ((T - 1) hop,) samples."""
    half, hop = bands.n_fft // 2, bands.n_fft // HOP_SHARE
    windows = np.asarray(np.fft.irfft(spectrum, bands.n_fft) * bands.window, dtype=np.float32)
    frames = len(windows)
    made = np.zeros((frames + HOP_SHARE - 1, hop), dtype=np.float32)
    weight = np.zeros_like(made)
    for part in range(HOP_SHARE):
        made[part : part + frames] += windows[:, part * hop : (part + 1) * hop]
        weight[part : part + frames] += np.square(bands.window[part * hop : (part + 1) * hop])
    return np.asarray(made / np.maximum(weight, 1e-3), dtype=np.float32).ravel()[half : half + (frames - 1) * hop]


# A note ---------------------------------------------------------------------------------------------------------------


def render_note(
    bands: MelBands, mel_power: Samples, fitted_midi: int, midi: float, loudness: Samples, rate: int
) -> Samples:
    """The sound of a note.

    Args:
        bands: of the frames.
        mel_power: (N, F): one spectrum, which is held; or several, which follow each other evenly over the note.
        fitted_midi: the pitch that they were made for.
        midi: the pitch of the sound.
        loudness: (T,) course of the root mean square, a value each 0.01 s.
        rate: Hz.

    Returns:
        (T 0.01 s,) samples; their root mean square follows the course, and both ends are faded over 5 ms.
    """
    length = round(len(loudness) * BLOCK_S * rate)
    hop = bands.n_fft // HOP_SHARE
    # A window more on either side: what the phases do at the ends is cut off.
    frames = -(-length // hop) + 1 + 2 * HOP_SHARE
    fitted = fit(bands, mel_power, hertz(fitted_midi))
    places = np.linspace(0, len(mel_power) - 1, frames)
    courses = Fit(*(_stretched(part, places) for part in (fitted.amplitude, fitted.noise, fitted.power)))
    if abs(midi - fitted_midi) > 1e-6:
        courses = Fit(courses.amplitude, courses.noise, _moved(bands, courses, midi))
    steady = sound(bands, courses, hertz(midi))[HOP_SHARE * hop :][:length]
    return _with_loudness(steady, loudness, rate)


def _moved(bands: MelBands, fitted: Fit, midi: float) -> Samples:
    """The power of a fit whose harmonics stand at another fundamental."""
    responses = bands.harmonics(hertz(midi))
    count = min(responses.shape[1], len(fitted.amplitude))
    return responses[:, :count] @ np.square(fitted.amplitude[:count]) + fitted.noise


def _stretched(values: Samples, places: NDArray[np.float64]) -> Samples:
    """(rows, N) values read at fractional columns."""
    below = np.minimum(places.astype(int), max(0, values.shape[1] - 2))
    share = (places - below).astype(np.float32)
    return values[:, below] * (1 - share) + values[:, np.minimum(below + 1, values.shape[1] - 1)] * share


LEVEL_WINDOW_S = 0.1
"""Over which the sound's own level is evened out before it gets its course."""


def _with_loudness(samples: Samples, loudness: Samples, rate: int) -> Samples:
    """Samples whose root mean square follows a course, with faded ends."""
    window = min(len(samples), round(LEVEL_WINDOW_S * rate)) | 1
    squares = np.cumsum(np.pad(np.square(samples, dtype=np.float64), (window // 2 + 1, window // 2), mode="reflect"))
    level = np.sqrt(np.maximum(squares[window:] - squares[:-window], 0) / window)[: len(samples)]
    centres = (np.arange(len(loudness)) + 0.5) * BLOCK_S * rate
    course = np.interp(np.arange(len(samples)), centres, loudness)
    made = samples / np.maximum(level, 1e-9) * course
    fade = min(round(FADE_S * rate), len(made) // 2)
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.arange(fade) / max(1, fade))
    made[:fade] *= ramp
    made[len(made) - fade :] *= ramp[::-1]
    return np.asarray(made, dtype=np.float32)


PLAIN_LEVEL, PLAIN_ATTACK_S, PLAIN_RELEASE_S = 0.1, 0.02, 0.15


def plain_loudness(duration_s: float) -> Samples:
    """The course of loudness of a note that is like no recording: a quick rise, and a fall at its end.

    Raises:
        ValueError: it would last no time, or more than a minute.
    """
    if not 0.05 <= duration_s <= 60:
        raise ValueError(f"duration_s is {duration_s:g}; a note lasts between 0.05 and 60 seconds")
    time = (np.arange(round(duration_s / BLOCK_S)) + 0.5) * BLOCK_S
    rise = np.minimum(1, time / PLAIN_ATTACK_S)
    fall = np.minimum(1, (duration_s - time) / PLAIN_RELEASE_S)
    return np.asarray(PLAIN_LEVEL * rise * fall, dtype=np.float32)
