"""The objectives of this project that the poster does not have: pure functions, each a scalar that is minimised.

Where no source is named, the term is this project's.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.objectives import ObjectiveWeights, cycle, mean_over


@dataclass(frozen=True)
class TwoStageWeights(ObjectiveWeights):
    """The poster's weights, and those of the objectives here. A term of weight 0 is not computed.

    Attributes:
        pseudo_label: cross-entropy with the pitch that a pitch tracker finds (rows pesto and pyin).
        alignment: the posteriors of a pair lie its shift apart.
        expected_shift: so do their means.
        balance: all candidates of pitch are used.
        cross_swap: a timbre and a category that no note joins are decoded and found again.
        leakage: dependence of z on the pitch.
        aggregate: the timbres of all notes together are N(0, I).
        prior_frames: frames of timbres drawn from the prior are distributed as the notes'.
    """

    pseudo_label: float = 0.0
    alignment: float = 0.0
    expected_shift: float = 0.0
    balance: float = 0.0
    cross_swap: float = 0.0
    leakage: float = 0.0
    aggregate: float = 0.0
    prior_frames: float = 0.0


def pseudo_label(logits: Tensor, category: Tensor) -> Tensor:
    """CE with the pitch that a pitch tracker finds, left out where it finds none.

    Args:
        logits: (B, K).
        category: (B,) the category that was found, -1 for none.
    """
    return mean_over(F.cross_entropy(logits, category.clamp(min=0), reduction="none"), category >= 0)


def alignment(log_p: Tensor, log_p_shifted: Tensor, semitones: Tensor) -> Tensor:
    """-log Pr[c' - c = delta]: sharpens the posteriors of a pair and moves them the shift apart.

    A soft form of the surrogate: no category is taken for the truth.

    Args:
        log_p: (B, A) log posteriors of the notes over all candidates.
        log_p_shifted: (B, A) of the shifted notes.
        semitones: (B,) shifts; real ones count as the nearest semitone.
    """
    target = torch.arange(log_p.shape[-1], device=log_p.device) + semitones.round().long().unsqueeze(-1)
    inside = (target >= 0) & (target < log_p.shape[-1])
    joint = log_p + log_p_shifted.gather(-1, target.clamp(0, log_p.shape[-1] - 1))
    return -joint.where(inside, -torch.inf).logsumexp(-1).mean()


def expected_shift(p: Tensor, p_shifted: Tensor, semitones: Tensor) -> Tensor:
    """Huber loss of E[c'] - E[c] - delta, in semitones: it reaches where the posteriors do not overlap yet.

    Args:
        p: (B, A) posteriors of the notes over all candidates.
        p_shifted: (B, A) of the shifted notes.
        semitones: (B,) shifts.
    """
    return F.smooth_l1_loss(expected_category(p_shifted) - expected_category(p), semitones.to(p))


def balance(p: Tensor) -> Tensor:
    """KL of the batch's mean posterior from the uniform one, p (B, A): against all notes falling into one category."""
    mean = p.mean(0)
    return log(p.shape[-1]) - torch.special.entr(mean).sum()


def axis_terms(logits: Tensor, logits_shifted: Tensor, semitones: Tensor) -> dict[str, Tensor]:
    """The terms of pairs that an axis of pitch is learned from.

    Args:
        logits: (B, A) of the notes over all candidates.
        logits_shifted: (B, A) of the shifted notes.
        semitones: (B,) shifts.
    """
    log_p, log_p_shifted = logits.log_softmax(-1), logits_shifted.log_softmax(-1)
    p, p_shifted = log_p.exp(), log_p_shifted.exp()
    return {
        "alignment": alignment(log_p, log_p_shifted, semitones),
        "expected_shift": expected_shift(p, p_shifted, semitones),
        "balance": balance(torch.cat([p, p_shifted])),
    }


def expected_category(p: Tensor) -> Tensor:
    """(B, A) posteriors to the mean candidate of each, (B,), in semitones."""
    return p @ torch.arange(p.shape[-1], device=p.device, dtype=p.dtype)


def cross_swap(mu_reencoded: Tensor, z: Tensor, logits_reencoded: Tensor, category: Tensor) -> Tensor:
    """The cycle's two errors where timbre and category come from different notes, or from the prior.

    Args:
        mu_reencoded: (B, L) mean timbre of the decoded frames.
        z: (B, L) the timbre they were decoded with.
        logits_reencoded: (B, K) category logits of the decoded frames.
        category: (B,) the category they were decoded with.
    """
    return cycle(mu_reencoded, z, logits_reencoded, category)


LEAKAGE_BANDWIDTHS = (1.0, 6.0)
"""Semitones: of neighbouring pitches, and of registers."""


def leakage(mu: Tensor, category: Tensor) -> Tensor:
    """Dependence of the timbre on the pitch: normalised HSIC (a kernel's correlation, 0 to 1), mean of two bandwidths.

    Args:
        mu: (B, L).
        category: (B,) pitch in semitones, whole or expected.

    Source:
        Gretton et al., "Measuring Statistical Dependence with Hilbert-Schmidt Norms", ALT 2005; normalised as in
        Cortes et al., "Algorithms for Learning Kernels Based on Centered Alignment", JMLR 2012, definition 4.
    """
    timbre = _centred(torch.exp(-torch.cdist(mu, mu).square() / (2 * mu.shape[-1])))
    distance = (category.unsqueeze(0) - category.unsqueeze(1)).square()
    pitches = [_centred(torch.exp(-distance / (2 * width**2))) for width in LEAKAGE_BANDWIDTHS]
    return torch.stack([(timbre * p).sum() / (timbre.norm() * p.norm()).clamp(min=1e-12) for p in pitches]).mean()


def _centred(gram: Tensor) -> Tensor:
    return gram - gram.mean(0, keepdim=True) - gram.mean(1, keepdim=True) + gram.mean()


def aggregate(z: Tensor) -> Tensor:
    """KL from N(0, I) of the Gaussian with the mean and covariance of a batch's timbres z (B, L).

    The prior asks each posterior to be N(0, I), which costs what z knows; this asks all of them together. In float32
    under autocast too: a covariance of 8 binary digits need not be positive definite, and its determinant is then
    negative.
    """
    with torch.autocast(z.device.type, enabled=False):
        mean = z.float().mean(0)
        covariance = torch.cov(z.float().T, correction=0) + 1e-4 * torch.eye(z.shape[-1], device=z.device)
        return 0.5 * (covariance.trace() + mean.square().sum() - len(mean) - torch.logdet(covariance))


def prior_frames(generated: Tensor, x: Tensor) -> Tensor:
    """Energy distance of two sets of frames, or of what is read from them: zero where their distributions agree.

    Args:
        generated: (B, D) of frames decoded from timbres drawn from the prior.
        x: (B, D) of the notes' frames.

    Source:
        Szekely and Rizzo, "Energy statistics: A class of statistics based on distances", J. Statistical Planning and
        Inference 143(8), 2013, eq. 5, without the diagonals; as an objective of generators: Bellemare et al., "The
        Cramer Distance as a Solution to Biased Wasserstein Gradients", 2017.
    """
    n = len(x)
    within = (_distances(generated, generated).sum() + _distances(x, x).sum()) / (n * (n - 1))
    return 2 * _distances(generated, x).mean() - within


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """(B, B) Euclidean distances, whose gradient is finite at 0."""
    squared = a.square().sum(-1, keepdim=True) + b.square().sum(-1) - 2 * a @ b.T
    return squared.clamp(min=0).add(1e-6).sqrt()
