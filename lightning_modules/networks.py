"""The networks: the published ones, three layers of tanh and batch normalisation each, and an equivariant encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from math import log2

import torch
from torch import Tensor, nn
from torchaudio.functional import create_dct


def mlp(n_in: int, width: int = 512, n_layers: int = 3) -> nn.Sequential:
    """Linear -> tanh -> BatchNorm, ``n_layers`` times, from ``n_in`` features to ``width``."""
    sizes = [n_in] + [width] * n_layers
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.Tanh(), nn.BatchNorm1d(b)]
    return nn.Sequential(*layers)


class TimbreEncoder(nn.Module):
    """q(z|x): MFCCs of the normalised log-mel frame to a Gaussian's mean and log variance.

    Args:
        n_mels: F, mel bands.
        n_latent: L, dimensions of z.
        width: features of each hidden layer.
        n_mfcc: how many coefficients of the orthonormal DCT-II are read.
    """

    def __init__(self, n_mels: int, n_latent: int, width: int = 512, n_mfcc: int = 30) -> None:
        super().__init__()
        self.dct: Tensor
        self.register_buffer("dct", create_dct(n_mfcc, n_mels, "ortho"), persistent=False)
        self.body = mlp(n_mfcc, width)
        self.head = nn.Linear(width, 2 * n_latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F) frames to mu (B, L) and logvar (B, L), float32."""
        mu, logvar = self.head(self.body(x @ self.dct)).float().chunk(2, dim=-1)
        return mu, logvar


class PitchAxis(nn.Module, ABC):
    """q(c|x): what reads the pitch of a frame, as logits over an axis of candidates a semitone apart.

    K neighbouring candidates are the pitch categories. A margin on either side lets an axis that is learned from pairs
    alone settle where it likes: without one it drifts off its edge.

    Args:
        n_pitches: K, categories.
        margin: candidates beside them, on each side.
    """

    first: Tensor
    """0-d: the candidate that is category 0; a buffer where there is a margin."""

    def __init__(self, n_pitches: int, margin: int = 0) -> None:
        super().__init__()
        self.n_pitches, self.margin = n_pitches, margin
        self.register_buffer("first", torch.tensor(margin), persistent=margin > 0)

    @property
    def n_candidates(self) -> int:
        """A, the candidates of the axis."""
        return self.n_pitches + 2 * self.margin

    @abstractmethod
    def candidates(self, x: Tensor) -> Tensor:
        """(B, F) frames to (B, A) logits of all candidates, float32."""

    def categories(self, logits: Tensor) -> Tensor:
        """(B, A) logits of the candidates to (B, K) of the categories."""
        if not self.margin:
            return logits
        return logits.index_select(-1, self.first + torch.arange(self.n_pitches, device=logits.device))

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) frames to (B, K) logits, float32."""
        return self.categories(self.candidates(x))

    def choose_categories(self, mass: Tensor) -> None:
        """Take for categories the K neighbouring candidates that hold most of the ``mass`` (A,) of the notes."""
        held = nn.functional.pad(mass.double().cumsum(0), (1, 0))
        self.first.copy_((held[self.n_pitches :] - held[: len(held) - self.n_pitches]).argmax())


class PitchEncoder(PitchAxis):
    """The published encoder: it has to find out what a semitone is.

    Args:
        n_mels: F, mel bands.
        n_pitches: K, categories.
        width: features of each hidden layer.
        margin: candidates beside the categories, on each side.
    """

    def __init__(self, n_mels: int, n_pitches: int, width: int = 512, margin: int = 0) -> None:
        super().__init__(n_pitches, margin)
        self.body = mlp(n_mels, width)
        self.head = nn.Linear(width, self.n_candidates)

    def candidates(self, x: Tensor) -> Tensor:
        """(B, F) frames to (B, A) logits, float32."""
        return self.head(self.body(x)).float()


BINS_PER_SEMITONE = 3
BELOW, ABOVE = 7, 48
"""Semitones around a candidate that are read: from the lower fifth to the sixteenth partial."""
WINDOW = (BELOW + ABOVE) * BINS_PER_SEMITONE + 1
N_PARTIALS = 16
NEIGHBOURS = 25
"""Candidates that the last layer compares: an octave to either side, where the errors of pitch lie."""


def interpolation_matrix(mel_hz: Sequence[float], hz: Tensor) -> Tensor:
    """What reads a mel frame at other frequencies, by linear interpolation between the bands' centres: (F, bins).

    Args:
        mel_hz: (F,) centre frequencies of the mel bands, ascending, Hz.
        hz: (bins,) float64 frequencies, Hz; those above the highest band read zero.
    """
    centres = torch.tensor(mel_hz, dtype=torch.float64)
    above = torch.searchsorted(centres, hz).clamp(1, len(centres) - 1)
    share = ((hz - centres[above - 1]) / (centres[above] - centres[above - 1])).clamp(0, 1)
    matrix = torch.zeros(len(centres), len(hz), dtype=torch.float64)
    bins = torch.arange(len(hz))
    matrix[above - 1, bins], matrix[above, bins] = 1 - share, share
    return (matrix * (hz <= centres[-1])).float()


def log_frequency_matrix(mel_hz: Sequence[float], lowest_midi: float, n_bins: int) -> Tensor:
    """What reads a mel frame on a log-frequency axis: (F, bins).

    Args:
        mel_hz: (F,) centre frequencies of the mel bands, ascending, Hz.
        lowest_midi: the MIDI pitch of bin 0.
        n_bins: bins, ``BINS_PER_SEMITONE`` a semitone; those above the highest band are zero.
    """
    midi = torch.arange(n_bins, dtype=torch.float64) / BINS_PER_SEMITONE + lowest_midi
    return interpolation_matrix(mel_hz, 440 * 2 ** ((midi - 69) / 12))


def standardised(x: Tensor) -> Tensor:
    """(B, F) frames, each with mean 0 and deviation 1, float32: level and dynamic range say nothing of the pitch."""
    x = x.float()
    return (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True).clamp(min=1e-4)


class LogFrequencyAxis(PitchAxis):
    """Candidates that each read the same window of a log-frequency axis, around their own place on it.

    Args:
        mel_hz: (F,) centre frequencies of the mel bands, Hz.
        lowest_midi: the MIDI pitch in whose place category 0 is read at the start.
        n_pitches: K, categories.
        margin: candidates beside the categories, on each side.
    """

    def __init__(self, mel_hz: Sequence[float], lowest_midi: int, n_pitches: int, margin: int = 0) -> None:
        super().__init__(n_pitches, margin)
        n_bins = (self.n_candidates - 1) * BINS_PER_SEMITONE + WINDOW
        self.log_frequency: Tensor
        matrix = log_frequency_matrix(mel_hz, lowest_midi - margin - BELOW, n_bins)
        self.register_buffer("log_frequency", matrix, persistent=False)

    def bins(self, x: Tensor) -> Tensor:
        """(B, F) frames to (B, 1, bins), standardised, on the log-frequency axis."""
        return (standardised(x) @ self.log_frequency).unsqueeze(1)


COMB_WIDTH, COMB_FALL, COMB_BETWEEN, COMB_SHARPNESS = 0.35, 0.6, 0.5, 3.0
"""Width of a tooth in semitones, exponent of the teeth's fall, weight between them, and factor of the logits: the
middle of the settings that do equally well on synthetic tones, clean and noisy; no note was looked at."""


def comb_window() -> Tensor:
    """A comb in a candidate's window: (WINDOW,), a tooth at each partial, the opposite halfway between partials."""
    place = torch.arange(WINDOW, dtype=torch.float64) / BINS_PER_SEMITONE - BELOW
    window = torch.zeros_like(place)
    for half in range(2, 2 * N_PARTIALS + 1):
        tooth = (half / 2) ** -COMB_FALL * torch.exp(-0.5 * ((place - 12 * log2(half / 2)) / COMB_WIDTH).square())
        window += tooth if half % 2 == 0 else -COMB_BETWEEN * tooth
    return window.float()


class HarmonicComb(LogFrequencyAxis):
    """An encoder that learns nothing: a candidate's logit is how well a comb of partials fits there.

    Args:
        mel_hz: (F,) centre frequencies of the mel bands, Hz.
        lowest_midi: the MIDI pitch of category 0.
        n_pitches: K, categories.
        margin: candidates beside the categories, on each side.
    """

    def __init__(self, mel_hz: Sequence[float], lowest_midi: int, n_pitches: int, margin: int = 0) -> None:
        super().__init__(mel_hz, lowest_midi, n_pitches, margin)
        self.comb: Tensor
        self.register_buffer("comb", COMB_SHARPNESS * comb_window().view(1, 1, -1), persistent=False)

    def candidates(self, x: Tensor) -> Tensor:
        """(B, F) frames to (B, A) logits, float32."""
        return nn.functional.conv1d(self.bins(x), self.comb.to(x), stride=BINS_PER_SEMITONE).squeeze(1).float()


class EquivariantPitchEncoder(LogFrequencyAxis):
    """An encoder whose logits move by one candidate when a note moves by one semitone, by construction.

    One small network reads the same window of log-frequency around every candidate, and one filter compares each
    candidate with its neighbours.

    Args:
        mel_hz: (F,) centre frequencies of the mel bands, Hz.
        lowest_midi: the MIDI pitch in whose place category 0 is read at the start; training may move it.
        n_pitches: K, categories.
        margin: candidates beside the categories, on each side.
        hidden: features of the two hidden layers.
    """

    def __init__(
        self,
        mel_hz: Sequence[float],
        lowest_midi: int,
        n_pitches: int,
        margin: int = 28,
        hidden: tuple[int, int] = (96, 48),
    ) -> None:
        super().__init__(mel_hz, lowest_midi, n_pitches, margin)
        self.windows = nn.Linear(WINDOW, hidden[0])
        self.score = nn.Sequential(nn.SiLU(), nn.Linear(hidden[0], hidden[1]), nn.SiLU(), nn.Linear(hidden[1], 1))
        self.compare = nn.Conv1d(1, 1, NEIGHBOURS, padding=NEIGHBOURS // 2, bias=False)
        nn.init.dirac_(self.compare.weight)

    def candidates(self, x: Tensor) -> Tensor:
        """(B, F) frames to (B, A) logits, float32."""
        # One product over all windows; a convolution of one channel is half as fast on a CPU, forward and backward.
        scores = self.score(self.windows(self.bins(x).squeeze(1).unfold(-1, WINDOW, BINS_PER_SEMITONE)))
        return self.compare(scores.transpose(1, 2)).squeeze(1).float()


class Decoder(nn.Module):
    """p(x|z, c): timbre and pitch to a frame in [-1, 1].

    The first layer reads [z, c]; its two halves are kept apart so that all K pitches of a timbre cost one product.

    Args:
        n_mels: F, mel bands.
        n_latent: L, dimensions of z.
        n_pitches: K, categories.
        width: features of each hidden layer.
    """

    def __init__(self, n_mels: int, n_latent: int, n_pitches: int, width: int = 512) -> None:
        super().__init__()
        self.n_latent = n_latent
        first, *rest = mlp(n_latent + n_pitches, width)
        assert isinstance(first, nn.Linear)
        self.first, self.rest = first, nn.Sequential(*rest)
        self.head = nn.Linear(width, n_mels)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Z (B, L) and c (B, K), one-hot or a distribution, to frames (B, F), float32."""
        return torch.tanh(self.head(self.rest(self.first(torch.cat([z, c], dim=-1)))).float())

    def all_pitches(self, z: Tensor) -> Tensor:
        """Z (T, L) to the frames of every pitch with every timbre, (K, T, F), float32."""
        timbre = nn.functional.linear(z, self.first.weight[:, : self.n_latent], self.first.bias)
        pitch = self.first.weight[:, self.n_latent :].T
        hidden = self.rest((pitch.unsqueeze(1) + timbre.unsqueeze(0)).flatten(0, 1))
        return torch.tanh(self.head(hidden).float()).unflatten(0, (len(pitch), len(z)))
