"""Consistency-diversity score (CDS): does each category sound as one pitch, and do all categories together vary?"""

from __future__ import annotations

from math import exp
from typing import NamedTuple

import torch
from torch import Tensor

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
    """Score the pitch classifier's posteriors of each category's notes.

    ``exp(H(mean_k p_k) - mean_k H(p_k))``, natural logarithms, 0 log 0 = 0: the exponential of the mutual information
    of category and classified pitch, the effective number of distinct pitches.

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
