"""The poster's objective: pure functions, each a scalar mean over the batch that is minimised.

Source of all but where noted: Luo et al., "Unsupervised Disentanglement of Pitch and Timbre for Isolated Musical
Instrument Sounds", ISMIR 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, log

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ObjectiveWeights:
    """How much each term counts. A term of weight 0 is not computed.

    Attributes:
        reconstruction: squared error of the frames (the Gaussian's halves dropped).
        kl_z: KL of q(z|x) from N(0, I).
        kl_c: KL of q(c|x) from the uniform distribution.
        regression: lambda 1, z and z' of a pair agree.
        contrast: lambda 2, NT-Xent between z and z' of the pairs of a batch.
        cycle: lambda 3, swapped pairs are encoded back.
        surrogate: lambda 4, the shifted note's category is the note's plus the shift.
        supervised: cross-entropy with the true pitch (row b only).
    """

    reconstruction: float = 10.0
    kl_z: float = 1.0
    kl_c: float = 1.0
    regression: float = 0.0
    contrast: float = 0.0
    cycle: float = 0.0
    surrogate: float = 0.0
    supervised: float = 0.0

    def __post_init__(self) -> None:
        """Refuse weights that are negative or not finite."""
        check_weights(vars(self))


def check_weights(weights: Mapping[str, float]) -> None:
    """Refuse weights of terms that are negative or not finite.

    Raises:
        ValueError: it names the first.
    """
    for name, weight in weights.items():
        if not 0 <= weight < inf:
            raise ValueError(f"model.weights.{name} is {weight}; it must be 0 or more, and finite")


def mean_over(each: Tensor, counted: Tensor | None) -> Tensor:
    """Mean of one value a note (B,), over all notes or those counted (B,)."""
    return each.mean() if counted is None else (each * counted).sum() / counted.sum().clamp(min=1)


def reconstruction(decoded: Tensor, x: Tensor, counted: Tensor | None = None) -> Tensor:
    """Squared error of decoded (B, F) against x (B, F), summed over bins; of the frames counted (B,), or of all."""
    return mean_over((decoded - x).square().sum(-1), counted)


def kl_z(mu: Tensor, logvar: Tensor, counted: Tensor | None = None) -> Tensor:
    """KL of N(mu, exp(logvar)) from N(0, I); mu, logvar (B, L) (Kingma and Welling 2014, appendix B)."""
    return mean_over(0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(-1), counted)


def kl_c(logits: Tensor) -> Tensor:
    """KL of Cat(softmax(logits)) from the uniform distribution; logits (B, K)."""
    log_p = logits.log_softmax(-1)
    return (log_p.exp() * log_p).sum(-1).mean() + log(logits.shape[-1])


def regression(z: Tensor, z_shifted: Tensor) -> Tensor:
    """||z - z'||^2; z, z_shifted (B, L)."""
    return (z - z_shifted).square().sum(-1).mean()


def contrast(mu: Tensor, mu_shifted: Tensor, temperature: float = 0.5) -> Tensor:
    """NT-Xent between the posterior means of pairs, cosine similarity, both directions (Chen et al. 2020, eq. 1).

    Args:
        mu: (B, L).
        mu_shifted: (B, L), row i the pair of row i.
        temperature: tau.
    """
    n = len(mu)
    views = F.normalize(torch.cat([mu, mu_shifted]), dim=-1)
    similarity = (views @ views.T / temperature).fill_diagonal_(-torch.inf)
    partner = torch.arange(2 * n, device=mu.device).roll(n)
    return F.cross_entropy(similarity, partner)


def cycle(z_swapped: Tensor, z: Tensor, logits_swapped: Tensor, category: Tensor) -> Tensor:
    """A decoded swap is encoded back: its timbre is that of z, its category the one it was decoded with.

    Args:
        z_swapped: (B, L) timbre of the decoded swap.
        z: (B, L) the timbre it was decoded with.
        logits_swapped: (B, K) category logits of the decoded swap.
        category: (B,) the category it was decoded with.
    """
    return regression(z_swapped, z) + F.cross_entropy(logits_swapped, category)


def surrogate(logits_shifted: Tensor, category: Tensor, semitones: Tensor) -> Tensor:
    """CE(c', argmax(c) + delta), left out where the label leaves 0..K-1.

    Args:
        logits_shifted: (B, K) logits of the shifted notes.
        category: (B,) argmax category of the notes.
        semitones: (B,) shifts; real ones count as the nearest semitone.
    """
    target = category + semitones.round().long()
    inside = (target >= 0) & (target < logits_shifted.shape[-1])
    each = F.cross_entropy(logits_shifted, target.where(inside, 0), reduction="none")
    return mean_over(each, inside)


def supervised(logits: Tensor, pitch: Tensor) -> Tensor:
    """CE with the true pitch (row b); logits (B, K), pitch (B,)."""
    return F.cross_entropy(logits, pitch)
