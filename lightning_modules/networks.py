"""The networks of the method: three layers of tanh and batch normalisation each."""

from __future__ import annotations

from itertools import pairwise

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


class PitchEncoder(nn.Module):
    """q(c|x): a frame to the logits of its pitch categories.

    Args:
        n_mels: F, mel bands.
        n_pitches: K, categories.
        width: features of each hidden layer.
    """

    def __init__(self, n_mels: int, n_pitches: int, width: int = 512) -> None:
        super().__init__()
        self.body = mlp(n_mels, width)
        self.head = nn.Linear(width, n_pitches)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) frames to (B, K) logits, float32."""
        return self.head(self.body(x)).float()


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
