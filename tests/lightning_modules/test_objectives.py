from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Categorical, Normal, kl_divergence

from lightning_modules import objectives
from lightning_modules.objectives import ObjectiveWeights


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_kl_z_is_torchs() -> None:
    mu, logvar = torch.randn(7, 8), torch.randn(7, 8)
    expected = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(-1).mean()
    torch.testing.assert_close(objectives.kl_z(mu, logvar), expected)
    assert objectives.kl_z(torch.zeros(3, 8), torch.zeros(3, 8)) == 0


def test_kl_c_is_torchs() -> None:
    logits = torch.randn(7, 82)
    expected = kl_divergence(Categorical(logits=logits), Categorical(logits=torch.zeros(82))).mean()
    torch.testing.assert_close(objectives.kl_c(logits), expected)
    one_hot = 1e4 * F.one_hot(torch.tensor([3]), 82).float()
    assert objectives.kl_c(one_hot) == pytest.approx(np.log(82))


def test_reconstruction_and_regression_sum_over_features() -> None:
    a, b = torch.randn(5, 4), torch.randn(5, 4)
    expected = torch.tensor([(x - y).norm() ** 2 for x, y in zip(a, b, strict=True)]).mean()
    torch.testing.assert_close(objectives.reconstruction(a, b), expected)
    torch.testing.assert_close(objectives.regression(a, b), expected)


def test_contrast_is_the_definition() -> None:
    """SimCLR's equation 1, anchor by anchor."""
    mu, other, tau = torch.randn(6, 8), torch.randn(6, 8), 0.5
    views = torch.cat([mu, other])
    losses = []
    for i in range(12):
        similarity = torch.stack([F.cosine_similarity(views[i], views[k], dim=0) for k in range(12)]) / tau
        rest = torch.tensor([k for k in range(12) if k != i])
        losses.append(-similarity[(i + 6) % 12] + similarity[rest].logsumexp(0))
    torch.testing.assert_close(objectives.contrast(mu, other, tau), torch.stack(losses).mean())


def test_contrast_is_low_for_pairs_and_high_for_mixed_pairs() -> None:
    mu = torch.randn(32, 8)
    assert objectives.contrast(mu, mu) < objectives.contrast(mu, mu.roll(1, 0))


def test_cycle_is_its_two_parts() -> None:
    z, z_swapped, logits, category = torch.randn(5, 8), torch.randn(5, 8), torch.randn(5, 82), torch.arange(5)
    expected = objectives.regression(z_swapped, z) + F.cross_entropy(logits, category)
    torch.testing.assert_close(objectives.cycle(z_swapped, z, logits, category), expected)


def test_surrogate_asks_for_the_shifted_category() -> None:
    category, semitones = torch.tensor([10, 20, 30]), torch.tensor([-2, 0, 2])
    right = 50.0 * F.one_hot(category + semitones, 82).float()
    assert objectives.surrogate(right, category, semitones) < 1e-6
    assert objectives.surrogate(right, category, -semitones) > 10


def test_surrogate_leaves_out_labels_beyond_the_categories() -> None:
    logits = torch.randn(4, 82, requires_grad=True)
    category, semitones = torch.tensor([0, 81, 40, 81]), torch.tensor([-1, 1, 1, 2])
    loss = objectives.surrogate(logits, category, semitones)
    torch.testing.assert_close(loss, F.cross_entropy(logits[2:3], torch.tensor([41])))
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[[0, 1, 3]] == 0).all()
    nothing = objectives.surrogate(logits, torch.zeros(4, dtype=torch.long), torch.full((4,), -1))
    assert nothing == 0


def test_surrogate_rounds_real_shifts() -> None:
    logits, category = torch.randn(2, 82), torch.tensor([5, 6])
    real = objectives.surrogate(logits, category, torch.tensor([1.3, -0.8]))
    torch.testing.assert_close(real, objectives.surrogate(logits, category, torch.tensor([1, -1])))


def test_weights_are_checked() -> None:
    with pytest.raises(ValueError, match=r"weights\.cycle is -1"):
        ObjectiveWeights(cycle=-1)
    with pytest.raises(TypeError, match="regresion"):
        ObjectiveWeights(regresion=1)  # type: ignore[call-arg]


def test_what_is_not_counted_does_not_count() -> None:
    a, b, counted = torch.randn(6, 4), torch.randn(6, 4), torch.tensor([True, False, True, True, False, True])
    torch.testing.assert_close(
        objectives.reconstruction(a, b, counted), objectives.reconstruction(a[counted], b[counted])
    )
    torch.testing.assert_close(objectives.kl_z(a, b, counted), objectives.kl_z(a[counted], b[counted]))
    assert objectives.kl_z(a, b, torch.zeros(6, dtype=torch.bool)) == 0
