"""Consistency-diversity score (CDS): does each category sound as one pitch, and do all categories together vary?"""

from __future__ import annotations

from math import exp
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

SUM_TOLERANCE = 1e-3
"""How far a row's sum may be from 1: the rounding of a float16 softmax."""


class ConsistencyDiversity(NamedTuple):
    """The score and its two parts.

    Attributes:
        score: exp(marginal_entropy - conditional_entropy), from 1 to K.
        marginal_entropy: H(mean_k p_k) in nats, from 0 to ln Y: diversity, higher is better.
        conditional_entropy: mean_k H(p_k) in nats, from 0 to ln Y: inconsistency, lower is better.
    """

    score: float
    marginal_entropy: float
    conditional_entropy: float


def consistency_diversity_score(probabilities: Tensor) -> ConsistencyDiversity:
    """Score what a pitch classifier hears in each category's notes.

    ``exp(H(mean_k p_k) - mean_k H(p_k))``, natural logarithms, 0 log 0 = 0: the exponential of the mutual information
    of category and heard pitch, the effective number of distinct pitches.

    Args:
        probabilities: p_k, the mean posterior of category k's notes (K, Y); each row sums to 1.

    Returns:
        The score and its two entropies, as floats. K one-hot rows of different pitches score K, equal rows 1.

    Raises:
        ValueError: not (K, Y), or a row is not a distribution.

    Source:
        Luo et al., "Unsupervised Disentanglement of Pitch and Timbre for Isolated Musical Instrument Sounds", ISMIR
        2020: printed there without the exponential, which the published values have (their bounds are 1
        and K). The form is the Inception Score's: Salimans et al., "Improved Techniques for Training GANs", 2016.

    Example:
        >>> round(consistency_diversity_score(torch.eye(3)).score, 6)
        3.0
        >>> consistency_diversity_score(torch.full((3, 4), 0.25)).score
        1.0
    """
    _check_distributions(probabilities)
    probabilities = probabilities.detach().cpu().double()
    marginal = float(torch.special.entr(probabilities.mean(0)).sum())
    conditional = float(torch.special.entr(probabilities).sum(-1).mean())
    return ConsistencyDiversity(exp(marginal - conditional), marginal, conditional)


class ConsistencyDiversityScore(Metric):
    """CDS of posteriors that come in batches; see :func:`consistency_diversity_score`.

    Categories without any note are left out of the score.

    Args:
        n_categories: K, the number of categories.
        n_classes: Y, the number of the classifier's classes.
        kwargs: as ``torchmetrics.Metric``.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, n_categories: int, n_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if n_categories < 1 or n_classes < 1:
            raise ValueError(f"n_categories is {n_categories} and n_classes {n_classes}; both must be at least 1")
        self.add_state("total", torch.zeros(n_categories, n_classes), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(n_categories, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, probabilities: Tensor, categories: Tensor) -> None:
        """Add posteriors (B, Y) of notes decoded from these categories (B,)."""
        _check_distributions(probabilities)
        n_categories, n_classes = self.total.shape
        if probabilities.shape[1] != n_classes or categories.shape != probabilities.shape[:1]:
            shapes = f"{tuple(probabilities.shape)} and {tuple(categories.shape)}"
            raise ValueError(f"probabilities and categories have shapes {shapes}; give (B, {n_classes}) and (B,)")
        if not ((categories >= 0) & (categories < n_categories)).all():
            extremes = f"{int(categories.min())}..{int(categories.max())}"
            raise ValueError(f"categories has {extremes}; keep it within 0..{n_categories - 1} or raise n_categories")
        self.total.index_add_(0, categories, probabilities.detach().to(self.total.dtype))
        self.count += torch.bincount(categories, minlength=n_categories)

    def compute(self) -> Tensor:
        """The score, 0-d float32."""
        used = self.count > 0
        if not used.any():
            raise ValueError("ConsistencyDiversityScore has no posteriors; call update before compute")
        found = consistency_diversity_score(self.total[used] / self.count[used, None])
        return torch.tensor(found.score, device=self.device)


def _check_distributions(probabilities: Tensor) -> None:
    if probabilities.ndim != 2 or 0 in probabilities.shape:
        raise ValueError(f"probabilities has shape {tuple(probabilities.shape)}; give (K, Y), one row a category")
    sums = probabilities.sum(-1, dtype=torch.float32)
    # Written so that NaN, which no comparison holds for, is refused too.
    wrong = ~(((sums - 1).abs() <= SUM_TOLERANCE) & (probabilities >= 0).all(-1))
    if wrong.any():
        row = int(wrong.nonzero()[0])
        found = f"sums to {float(sums[row]):.6g} with smallest value {float(probabilities[row].min()):.6g}"
        raise ValueError(f"probabilities row {row} {found}; give distributions, as after a softmax")
