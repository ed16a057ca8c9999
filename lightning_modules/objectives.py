"""The terms of the objective: pure functions, each a scalar mean over the batch that is minimised.

Source of all but where noted: Luo et al., "Unsupervised Disentanglement of Pitch and Timbre for Isolated Musical
Instrument Sounds", ISMIR 2020. The terms of row M7 that have no source named are this project's.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import log

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
        pseudo_label: cross-entropy with the pitch that an estimator hears (rows pesto and pyin).
        alignment: the posteriors of a pair lie its shift apart (M7).
        expected_shift: so do their means (M7).
        balance: all candidates of pitch are used (M7).
        cross_swap: a timbre and a category that no note joins are decoded and found again (M7).
        leakage: dependence of z on the pitch (M7).
        aggregate: the timbres of all notes together are N(0, I) (M7).
        prior_frames: frames of timbres drawn from the prior are distributed as the notes' (M7).
    """

    reconstruction: float = 10.0
    kl_z: float = 1.0
    kl_c: float = 1.0
    regression: float = 0.0
    contrast: float = 0.0
    cycle: float = 0.0
    surrogate: float = 0.0
    supervised: float = 0.0
    pseudo_label: float = 0.0
    alignment: float = 0.0
    expected_shift: float = 0.0
    balance: float = 0.0
    cross_swap: float = 0.0
    leakage: float = 0.0
    aggregate: float = 0.0
    prior_frames: float = 0.0

    def __post_init__(self) -> None:
        """Refuse negative weights."""
        for field in fields(self):
            if not getattr(self, field.name) >= 0:
                raise ValueError(f"weights.{field.name} is {getattr(self, field.name)}; it must be 0 or more")


def _mean(each: Tensor, counted: Tensor | None) -> Tensor:
    """Mean of a value a note (B,), over all notes or those counted (B,)."""
    return each.mean() if counted is None else (each * counted).sum() / counted.sum().clamp(min=1)


def reconstruction(decoded: Tensor, x: Tensor, counted: Tensor | None = None) -> Tensor:
    """Squared error of decoded (B, F) against x (B, F), summed over bins; of the frames counted (B,), or of all."""
    return _mean((decoded - x).square().sum(-1), counted)


def kl_z(mu: Tensor, logvar: Tensor, counted: Tensor | None = None) -> Tensor:
    """KL of N(mu, exp(logvar)) from N(0, I); mu, logvar (B, L) (Kingma and Welling 2014, appendix B)."""
    return _mean(0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(-1), counted)


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
    return (each * inside).sum() / inside.sum().clamp(min=1)


def supervised(logits: Tensor, pitch: Tensor) -> Tensor:
    """CE with the true pitch (row b); logits (B, K), pitch (B,)."""
    return F.cross_entropy(logits, pitch)


def pseudo_label(logits: Tensor, category: Tensor) -> Tensor:
    """CE with the pitch that an estimator hears, left out where it hears none.

    Args:
        logits: (B, K).
        category: (B,) what is heard, -1 for none.
    """
    return _mean(F.cross_entropy(logits, category.clamp(min=0), reduction="none"), category >= 0)


def alignment(log_p: Tensor, log_p_shifted: Tensor, semitones: Tensor) -> Tensor:
    """-log Pr[c' - c = delta]: sharpens the posteriors of a pair and lays them the shift apart, at once.

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


def expected_category(p: Tensor) -> Tensor:
    """(B, A) posteriors to the mean candidate of each, (B,), in semitones."""
    return p @ torch.arange(p.shape[-1], device=p.device, dtype=p.dtype)


def cross_swap(mu_made: Tensor, z: Tensor, logits_made: Tensor, category: Tensor) -> Tensor:
    """The cycle's two errors where timbre and category come from different notes, or from the prior.

    Args:
        mu_made: (B, L) timbre that is found in the frame made.
        z: (B, L) the timbre it was made with.
        logits_made: (B, K) category logits of the frame made.
        category: (B,) the category it was made with.
    """
    return cycle(mu_made, z, logits_made, category)


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


def prior_frames(made: Tensor, x: Tensor) -> Tensor:
    """Energy distance of two sets of frames, or of what is read from them: zero where their distributions agree.

    Args:
        made: (B, D) of frames decoded from timbres drawn from the prior.
        x: (B, D) of the notes' frames.

    Source:
        Szekely and Rizzo, "Energy statistics: A class of statistics based on distances", J. Statistical Planning and
        Inference 143(8), 2013, eq. 5, without the diagonals; as an objective of generators: Bellemare et al., "The
        Cramer Distance as a Solution to Biased Wasserstein Gradients", 2017.
    """
    n = len(x)
    within = (_distances(made, made).sum() + _distances(x, x).sum()) / (n * (n - 1))
    return 2 * _distances(made, x).mean() - within


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """(B, B) Euclidean distances, whose gradient is finite at 0."""
    squared = a.square().sum(-1, keepdim=True) + b.square().sum(-1) - 2 * a @ b.T
    return squared.clamp(min=0).add(1e-6).sqrt()
