"""The objectives of whole notes: pure functions, each a scalar that is minimised.

Where no source is named, the term is this project's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_modules.objectives import check_weights


@dataclass(frozen=True)
class WholeNoteWeights:
    """How much each term counts. A term of weight 0 is not computed.

    Attributes:
        reconstruction: squared error of the frames, a mean over the frames.
        kl_g: KL of the note's timbre from N(0, I), a mean over the notes.
        kl_v: KL of the course from its first-order prior, a mean over the frames.
        aggregate: the timbres of all notes together are N(0, I).
        regression: the timbres of two segments of a note agree.
        contrast: NT-Xent between the timbres of two segments of the notes of a batch.
        reentry: decoded swaps are read with the timbre that they were decoded with.
        leakage: dependence of the timbre on the pitch.
        prior_frames: frames of timbres drawn from the prior are distributed as the notes'.
        alignment: of the axis stage: the posteriors of a pair lie its shift apart.
        expected_shift: so do their means.
        balance: all candidates of pitch are used.
    """

    reconstruction: float = 10.0
    kl_g: float = 0.125
    kl_v: float = 1.0
    aggregate: float = 0.0
    regression: float = 0.0
    contrast: float = 0.0
    reentry: float = 0.0
    leakage: float = 0.0
    prior_frames: float = 0.0
    alignment: float = 1.0
    expected_shift: float = 0.1
    balance: float = 1.0

    def __post_init__(self) -> None:
        """Refuse weights that are negative or not finite."""
        check_weights(vars(self))


def kl_v(mu: Tensor, logvar: Tensor, rho: Tensor, mask: Tensor) -> Tensor:
    """KL of a course from a stationary first-order autoregressive prior, a mean over the frames.

    The prior is v_1 ~ N(0, I), v_t ~ N(rho v_(t-1), 1 - rho^2); the posteriors of the frames are independent.

    Args:
        mu: (B, T, V) means.
        logvar: (B, T, V) log variances.
        rho: (V,) in (-1, 1).
        mask: (B, T) bool, the frames that a note has; they come first.
    """
    variance = logvar.exp()
    innovation = 1 - rho.square()
    first = mu[:, :1].square() + variance[:, :1] - 1 - logvar[:, :1]
    step = (mu[:, 1:] - rho * mu[:, :-1]).square() + variance[:, 1:] + rho.square() * variance[:, :-1]
    later = step / innovation - 1 - logvar[:, 1:] + innovation.log()
    each = 0.5 * torch.cat([first, later], 1).sum(-1)
    return (each * mask).sum() / mask.sum()


def reentry(mu_reencoded: Tensor, g: Tensor) -> Tensor:
    """Squared distance of the timbre that decoded notes are read with, (B, G), from the one they were decoded with."""
    return (mu_reencoded - g).square().sum(-1).mean()


def kl_between(mu: Tensor, logvar: Tensor, mu_prior: Tensor, logvar_prior: Tensor) -> Tensor:
    """KL of N(mu, exp(logvar)) from N(mu_prior, exp(logvar_prior)), (..., D), summed over D; a mean over the rest."""
    distance = (mu - mu_prior).square() * (-logvar_prior).exp()
    return 0.5 * (logvar_prior - logvar + (logvar - logvar_prior).exp() + distance - 1).sum(-1).mean()


def variance_invariance(content: Tensor, style: Tensor, ratio: float) -> Tensor:
    """Content varies within a sample, and style between samples, each ``ratio`` times as much as what it is held to.

    Args:
        content: (B, R, D) of the R fragments of each of B samples.
        style: (B, R, G).
        ratio: how much larger a variability must be than the other.

    Source:
        Wu et al., "Unsupervised Disentanglement of Content and Style via Variance-Invariance Constraints", ICLR 2025:
        variability is the mean distance of pairs; a sample's place is the mean of its fragments.
    """
    of_content, of_style = _variability(content), _variability(style)
    pairs = (
        (of_content[0], of_content[1]),  # content: within a sample, between samples
        (of_style[1], of_style[0]),  # style: the other way round
        (of_content[0], of_style[0]),  # within a sample: content more than style
        (of_style[1], of_content[1]),  # between samples: style more than content
    )
    return torch.stack([(ratio - large / small.clamp(min=1e-6)).clamp(min=0) for large, small in pairs]).sum()


def _variability(z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean distance of the fragments of a sample (B, R, D), and of the samples' means."""
    return _mean_distance(z), _mean_distance(z.mean(1).unsqueeze(0))


def _mean_distance(points: Tensor) -> Tensor:
    """Mean Euclidean distance of the pairs of each set of points (S, N, D)."""
    n = points.shape[1]
    first, second = torch.triu_indices(n, n, 1, device=points.device)
    return (points[:, first] - points[:, second]).square().sum(-1).add(1e-12).sqrt().mean()
