"""Pitch encoders that read an axis of candidates, a semitone apart, and know where its categories lie."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import log2

import torch
from torch import Tensor, nn

from lightning_modules.networks import Dimensions, PitchEncoder, mlp


class PitchAxis(PitchEncoder):
    """q(c|x) as logits over an axis of candidates, of which K neighbours are the pitch categories.

    An axis that is learned from nothing but pairs drifts, and needs a margin on either side. Categories beyond the
    pitches take the margin's place: a longer axis takes longer to learn.

    Args:
        dimensions: of the model.
        margin: candidates beside the pitches, on each side.
    """

    first: Tensor
    """0-d: the candidate that is category 0; a buffer where there is a margin."""

    def __init__(self, dimensions: Dimensions, margin: int = 0) -> None:
        super().__init__()
        if margin < 0:
            raise ValueError(f"model.pitch_encoder: margin is {margin}; it must be 0 or more")
        self.n_categories = dimensions.n_categories
        spare = (dimensions.n_categories - dimensions.n_pitches) // 2
        self.margin = max(0, margin - spare) if margin else 0
        self.register_buffer("first", torch.tensor(self.margin), persistent=self.margin > 0)

    @property
    def n_candidates(self) -> int:
        """A, the candidates of the axis."""
        return self.n_categories + 2 * self.margin

    @abstractmethod
    def candidates(self, x: Tensor) -> Tensor:
        """(B, F) frames to (B, A) logits of all candidates, float32."""

    def categories(self, logits: Tensor) -> Tensor:
        """(B, A) logits of the candidates to (B, K) of the categories."""
        if not self.margin:
            return logits
        return logits.index_select(-1, self.first + torch.arange(self.n_categories, device=logits.device))

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) frames to (B, K) logits, float32."""
        return self.categories(self.candidates(x))

    def read(self, x: Tensor) -> Tensor:
        """(B, F) frames to the most probable category, (B,); below 0 or above K - 1 where it lies in the margin."""
        return self.candidates(x).argmax(-1) - self.first

    def choose_categories(self, mass: Tensor) -> None:
        """Take for categories the K neighbouring candidates that hold most of the ``mass`` (A,) of the notes."""
        held = nn.functional.pad(mass.double().cumsum(0), (1, 0))
        self.first.copy_((held[self.n_categories :] - held[: len(held) - self.n_categories]).argmax())


class MelPitchAxis(PitchAxis):
    """The published encoder, over all candidates of an axis."""

    def __init__(self, dimensions: Dimensions, margin: int = 0) -> None:
        super().__init__(dimensions, margin)
        self.body = mlp(dimensions.n_mels, dimensions.width)
        self.head = nn.Linear(dimensions.width, self.n_candidates)

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
    """The matrix (F, bins) that reads a mel frame at other frequencies, by linear interpolation between the bands.

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
    """The matrix (F, bins) that reads a mel frame on a log-frequency axis.

    Args:
        mel_hz: (F,) centre frequencies of the mel bands, ascending, Hz.
        lowest_midi: the MIDI pitch of bin 0.
        n_bins: bins, ``BINS_PER_SEMITONE`` a semitone; those above the highest band are zero.
    """
    midi = torch.arange(n_bins, dtype=torch.float64) / BINS_PER_SEMITONE + lowest_midi
    return interpolation_matrix(mel_hz, 440 * 2 ** ((midi - 69) / 12))


def standardised(x: Tensor) -> Tensor:
    """(B, F) frames, each with mean 0 and deviation 1, float32: level and dynamic range do not tell the pitch."""
    x = x.float()
    return (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True).clamp(min=1e-4)


class LogFrequencyAxis(PitchAxis):
    """Candidates that each read the same window of a log-frequency axis, around their own place on it."""

    def __init__(self, dimensions: Dimensions, margin: int = 0) -> None:
        super().__init__(dimensions, margin)
        n_bins = (self.n_candidates - 1) * BINS_PER_SEMITONE + WINDOW
        self.log_frequency: Tensor
        lowest_midi = dimensions.lowest_midi - self.margin - BELOW
        self.register_buffer(
            "log_frequency", log_frequency_matrix(dimensions.mel_hz, lowest_midi, n_bins), persistent=False
        )

    def bins(self, x: Tensor) -> Tensor:
        """(B, F) frames to (B, 1, bins), standardised, on the log-frequency axis."""
        return (standardised(x) @ self.log_frequency).unsqueeze(1)


COMB_WIDTH, COMB_FALL, COMB_BETWEEN, COMB_SHARPNESS = 0.35, 0.6, 0.5, 3.0
"""Width of a tooth in semitones, exponent of the teeth's fall, weight between them, and factor of the logits: the
middle of the settings that do equally well on synthetic tones, clean and noisy; no recording was used."""


def comb_window() -> Tensor:
    """A comb in a candidate's window: (WINDOW,), a tooth at each partial, the opposite halfway between partials."""
    place = torch.arange(WINDOW, dtype=torch.float64) / BINS_PER_SEMITONE - BELOW
    window = torch.zeros_like(place)
    for half in range(2, 2 * N_PARTIALS + 1):
        tooth = (half / 2) ** -COMB_FALL * torch.exp(-0.5 * ((place - 12 * log2(half / 2)) / COMB_WIDTH).square())
        window += tooth if half % 2 == 0 else -COMB_BETWEEN * tooth
    return window.float()


class HarmonicComb(LogFrequencyAxis):
    """An encoder that learns nothing: a candidate's logit is how well a comb of partials fits there."""

    def __init__(self, dimensions: Dimensions, margin: int = 0) -> None:
        super().__init__(dimensions, margin)
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
        dimensions: of the model; training may move the axis from ``lowest_midi``.
        margin: candidates beside the pitches, on each side.
        hidden: features of the two hidden layers.
    """

    def __init__(self, dimensions: Dimensions, margin: int = 0, hidden: tuple[int, int] = (96, 48)) -> None:
        super().__init__(dimensions, margin)
        self.windows = nn.Linear(WINDOW, hidden[0])
        self.score = nn.Sequential(nn.SiLU(), nn.Linear(hidden[0], hidden[1]), nn.SiLU(), nn.Linear(hidden[1], 1))
        self.compare = nn.Conv1d(1, 1, NEIGHBOURS, padding=NEIGHBOURS // 2, bias=False)
        nn.init.dirac_(self.compare.weight)

    def candidates(self, x: Tensor) -> Tensor:
        """(B, F) frames to (B, A) logits, float32."""
        # One product over all windows; a convolution of one channel is half as fast on a CPU, forward and backward.
        scores = self.score(self.windows(self.bins(x).squeeze(1).unfold(-1, WINDOW, BINS_PER_SEMITONE)))
        return self.compare(scores.transpose(1, 2)).squeeze(1).float()
