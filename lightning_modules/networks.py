"""The published networks: three layers of tanh and batch normalisation each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torchaudio.functional import create_dct


@dataclass(frozen=True)
class Dimensions:
    """What the encoders and the decoder of a model are built for.

    Attributes:
        n_mels: F, mel bands.
        n_latent: L, dimensions of z.
        n_pitches: the pitches of the data.
        n_categories: K, pitch categories.
        width: features of each hidden layer of a published network.
        mel_hz: (F,) centre frequencies of the mel bands, Hz; empty where no network reads them.
        lowest_midi: the MIDI pitch that an encoder which knows frequencies reads in category 0.
    """

    n_mels: int
    n_latent: int
    n_pitches: int
    n_categories: int
    width: int
    mel_hz: tuple[float, ...] = ()
    lowest_midi: int = 24


def mlp(n_in: int, width: int = 512, n_layers: int = 3) -> nn.Sequential:
    """Linear -> tanh -> BatchNorm, ``n_layers`` times, from ``n_in`` features to ``width``."""
    sizes = [n_in] + [width] * n_layers
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.Tanh(), nn.BatchNorm1d(b)]
    return nn.Sequential(*layers)


class TimbreEncoder(nn.Module, ABC):
    """q(z|x); a subclass takes :class:`Dimensions` and whatever settings it has."""

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F) frames to mu (B, L) and logvar (B, L), float32."""


class PitchEncoder(nn.Module, ABC):
    """q(c|x); a subclass takes :class:`Dimensions` and whatever settings it has."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(B, F) frames to (B, K) logits, float32."""

    def read(self, x: Tensor) -> Tensor:
        """(B, F) frames to the most probable category, (B,)."""
        return self(x).argmax(-1)

    def calibration(self, x: Tensor, midi: Tensor) -> tuple[Tensor, Tensor]:
        """The MIDI pitch of category 0 by most of the tones (N, F) of pitch (N,), and the share that agrees; 0-d."""
        distance = midi - self.read(x)
        offset = distance.mode().values
        return offset, (distance == offset).float().mean()


N_MFCC = 30


def mfcc_matrix(n_mels: int, n_mfcc: int = N_MFCC) -> Tensor:
    """The matrix (F, n_mfcc) that reads MFCCs from log-mel frames: the first coefficients of the DCT-II."""
    return create_dct(n_mfcc, n_mels, "ortho")


class MfccTimbreEncoder(TimbreEncoder):
    """The published encoder: MFCCs of the normalised log-mel frame to a Gaussian's mean and log variance.

    Args:
        dimensions: of the model.
        n_mfcc: how many coefficients of the orthonormal DCT-II are read.
    """

    def __init__(self, dimensions: Dimensions, n_mfcc: int = N_MFCC) -> None:
        super().__init__()
        if not 1 <= n_mfcc <= dimensions.n_mels:
            raise ValueError(f"n_mfcc is {n_mfcc}; it must lie between 1 and the {dimensions.n_mels} mel bands")
        self.dct: Tensor
        self.register_buffer("dct", mfcc_matrix(dimensions.n_mels, n_mfcc), persistent=False)
        self.body = mlp(n_mfcc, dimensions.width)
        self.head = nn.Linear(dimensions.width, 2 * dimensions.n_latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F) frames to mu (B, L) and logvar (B, L), float32."""
        mu, logvar = self.head(self.body(x @ self.dct)).float().chunk(2, dim=-1)
        return mu, logvar


class MelPitchEncoder(PitchEncoder):
    """The published encoder of the log-mel frame: it has to learn what a semitone is.

    Args:
        dimensions: of the model.
    """

    def __init__(self, dimensions: Dimensions) -> None:
        super().__init__()
        self.body = mlp(dimensions.n_mels, dimensions.width)
        self.head = nn.Linear(dimensions.width, dimensions.n_categories)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) frames to (B, K) logits, float32."""
        return self.head(self.body(x)).float()


class Decoder(nn.Module):
    """p(x|z, c): timbre and pitch to a frame in [-1, 1].

    The first layer reads [z, c]; its two halves are kept apart so that all K pitches of a timbre cost one product.

    Args:
        dimensions: of the model.
    """

    def __init__(self, dimensions: Dimensions) -> None:
        super().__init__()
        self.n_latent = dimensions.n_latent
        first, *rest = mlp(dimensions.n_latent + dimensions.n_categories, dimensions.width)
        assert isinstance(first, nn.Linear)
        self.first, self.rest = first, nn.Sequential(*rest)
        self.head = nn.Linear(dimensions.width, dimensions.n_mels)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Z (B, L) and c (B, K), one-hot or a distribution, to frames (B, F), float32."""
        return torch.tanh(self.head(self.rest(self.first(torch.cat([z, c], dim=-1)))).float())

    def all_pitches(self, z: Tensor) -> Tensor:
        """Z (T, L) to the frames of every category with every timbre, (K, T, F), float32."""
        timbre = nn.functional.linear(z, self.first.weight[:, : self.n_latent], self.first.bias)
        pitch = self.first.weight[:, self.n_latent :].T
        hidden = self.rest((pitch.unsqueeze(1) + timbre.unsqueeze(0)).flatten(0, 1))
        return torch.tanh(self.head(hidden).float()).unflatten(0, (len(pitch), len(z)))
