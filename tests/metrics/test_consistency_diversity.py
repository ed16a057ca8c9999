from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from metrics.consistency_diversity import consistency_diversity_score


def distributions(k: int, y: int, seed: int, sharpness: float = 3.0) -> Tensor:
    logits = sharpness * torch.randn(k, y, generator=torch.Generator().manual_seed(seed))
    return logits.softmax(-1)


@pytest.mark.parametrize(("k", "y"), [(1, 5), (5, 3), (82, 82)])
def test_score_is_scipys_entropies(k: int, y: int) -> None:
    p = distributions(k, y, 0).double()
    score, marginal, conditional = consistency_diversity_score(p)
    assert marginal == pytest.approx(scipy.stats.entropy(p.mean(0).numpy()))
    assert conditional == pytest.approx(np.mean(scipy.stats.entropy(p.numpy(), axis=1)))
    assert score == pytest.approx(exp(marginal - conditional))


def test_score_is_the_exponential_of_the_mean_divergence_from_the_marginal() -> None:
    p = distributions(12, 9, 1).double().numpy()
    divergence = np.mean([scipy.stats.entropy(row, p.mean(0)) for row in p])
    assert consistency_diversity_score(torch.from_numpy(p)).score == pytest.approx(exp(divergence))


@pytest.mark.parametrize("k", [1, 3, 82])
def test_one_hot_rows_score_their_number_and_equal_rows_one(k: int) -> None:
    assert consistency_diversity_score(torch.eye(k)).score == pytest.approx(k)
    assert consistency_diversity_score(distributions(1, 7, 2).expand(k, 7)).score == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_score_lies_between_one_and_the_number_of_categories(seed: int) -> None:
    p = distributions(6, 82, seed, sharpness=10)
    assert 1 <= consistency_diversity_score(p).score <= 6 + 1e-9


def test_published_entropies_give_the_published_score() -> None:
    """M6, seed 0: 4.2683, 1.6164, 14.18; rows that mix one own pitch with one uniform part reach both entropies."""
    assert exp(4.2683 - 1.6164) == pytest.approx(14.18, abs=0.01)
    k = round(exp(4.2683))
    low, high = 0.0, 1.0
    for _ in range(60):  # bisect the uniform part's weight for the conditional entropy
        part = (low + high) / 2
        p = (1 - part) * torch.eye(k, dtype=torch.float64) + part / k
        found = consistency_diversity_score(p)
        low, high = (part, high) if found.conditional_entropy < 1.6164 else (low, part)
    assert found.marginal_entropy == pytest.approx(log(k))
    assert found.score == pytest.approx(14.18, rel=0.01)


@pytest.mark.parametrize(
    ("p", "message"),
    [
        (torch.tensor([[0.5, 0.5], [0.5, 0.6]]), "row 1 sums to 1.1"),
        (torch.tensor([[1.5, -0.5]]), "smallest value -0.5"),
        (torch.tensor([[float("nan"), 1.0]]), "row 0 sums to nan"),
        (torch.tensor([0.5, 0.5]), r"shape \(2,\)"),
        (torch.zeros(0, 4), r"shape \(0, 4\)"),
    ],
)
def test_what_is_no_distribution_is_refused(p: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        consistency_diversity_score(p)
