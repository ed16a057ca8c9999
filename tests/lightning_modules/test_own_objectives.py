from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import energy_distance, entropy
from torch.distributions import MultivariateNormal, kl_divergence

from lightning_modules import own_objectives


def test_alignment_is_the_probability_of_the_shift() -> None:
    """Summed over all pairs of candidates that lie the shift apart."""
    p, q, shifts = torch.randn(5, 9).softmax(-1), torch.randn(5, 9).softmax(-1), [-3, 0, 1, 2, 8]
    expected = [-np.log(sum(p[i, k] * q[i, k + d] for k in range(9) if 0 <= k + d < 9)) for i, d in enumerate(shifts)]
    found = own_objectives.alignment(p.log(), q.log(), torch.tensor(shifts))
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-5)


def test_alignment_is_zero_for_sharp_posteriors_the_shift_apart() -> None:
    log_p = (60.0 * F.one_hot(torch.tensor([4, 7]), 20).float()).log_softmax(-1)
    shifts = torch.tensor([3, -2])
    shifted = torch.stack([row.roll(int(d)) for row, d in zip(log_p, shifts, strict=True)])
    assert own_objectives.alignment(log_p, shifted, shifts) < 1e-6
    assert own_objectives.alignment(log_p, shifted, shifts + 1) > 50
    assert own_objectives.expected_shift(log_p.exp(), shifted.exp(), shifts) < 1e-6
    assert own_objectives.expected_shift(log_p.exp(), shifted.exp(), shifts + 3) == pytest.approx(2.5, abs=1e-4)


def test_heard_is_torchs_cross_entropy_without_what_is_not_heard() -> None:
    logits, category = torch.randn(6, 9), torch.tensor([3, -1, 0, 8, -1, 5])
    expected = F.cross_entropy(logits, category, ignore_index=-1)
    torch.testing.assert_close(own_objectives.pseudo_label(logits, category), expected)
    assert own_objectives.pseudo_label(logits, torch.full((6,), -1)) == 0


def test_balance_is_the_entropy_that_is_missing() -> None:
    p = torch.randn(30, 12).softmax(-1)
    assert float(own_objectives.balance(p)) == pytest.approx(np.log(12) - entropy(p.mean(0).numpy()), rel=1e-4)
    assert own_objectives.balance(torch.eye(12)) == pytest.approx(0, abs=1e-6)
    assert own_objectives.balance(torch.eye(12)[:1].expand(30, -1)) == pytest.approx(np.log(12))


def test_cross_swap_is_the_cycles() -> None:
    z, found, logits, category = torch.randn(5, 8), torch.randn(5, 8), torch.randn(5, 82), torch.arange(5)
    expected = (found - z).square().sum(-1).mean() + F.cross_entropy(logits, category)
    torch.testing.assert_close(own_objectives.cross_swap(found, z, logits, category), expected)


def test_leakage_is_normalised_hsic() -> None:
    """Written out with centring matrices in float64."""
    mu, category = torch.randn(20, 3), torch.randint(0, 30, (20,)).float()
    centring = np.eye(20) - 1 / 20
    z, k = mu.double().numpy(), category.double().numpy()
    timbre = centring @ np.exp(-((z[:, None] - z[None]) ** 2).sum(-1) / (2 * 3)) @ centring
    expected = []
    for width in (1.0, 6.0):
        pitch = centring @ np.exp(-((k[:, None] - k[None]) ** 2) / (2 * width**2)) @ centring
        expected.append(np.trace(timbre @ pitch) / (np.linalg.norm(timbre) * np.linalg.norm(pitch)))
    assert float(own_objectives.leakage(mu, category)) == pytest.approx(np.mean(expected), rel=1e-3)


def test_leakage_tells_dependent_timbres_from_independent_ones() -> None:
    category = torch.randint(0, 82, (256,)).float()
    independent, dependent = torch.randn(256, 8), torch.randn(256, 8)
    dependent[:, 0] = (category - 41) / 10
    assert own_objectives.leakage(independent, category) < 0.1
    assert own_objectives.leakage(dependent, category) > 2 * own_objectives.leakage(independent, category)


def test_aggregate_is_torchs_kl_of_gaussians() -> None:
    z = torch.randn(200, 4) @ torch.randn(4, 4) + torch.randn(4)
    covariance = torch.from_numpy(np.cov(z.numpy().T, ddof=0)).float() + 1e-4 * torch.eye(4)
    expected = kl_divergence(
        MultivariateNormal(z.mean(0), covariance), MultivariateNormal(torch.zeros(4), torch.eye(4))
    )
    torch.testing.assert_close(own_objectives.aggregate(z), expected, rtol=1e-3, atol=1e-3)
    assert own_objectives.aggregate(torch.randn(5000, 4)) < 0.02


def test_aggregate_is_in_float32_under_autocast() -> None:
    """Timbres that lie nearly in a plane: rounded to bf16, their covariance had a negative determinant and no loss."""
    torch.manual_seed(0)
    z = 3 * torch.randn(128, 2) @ torch.randn(2, 8) + 0.01 * torch.randn(128, 8)
    expected = own_objectives.aggregate(z)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(own_objectives.aggregate(z), expected)
    assert expected.isfinite()


def test_prior_frames_is_the_energy_distance() -> None:
    """Scipy's, in one dimension, is the square root and keeps the diagonals: compared where they hardly count."""
    generated, x = torch.randn(2000, 1), 1.5 * torch.randn(2000, 1) + 0.7
    expected = energy_distance(generated[:, 0].numpy(), x[:, 0].numpy()) ** 2
    assert float(own_objectives.prior_frames(generated, x)) == pytest.approx(expected, abs=0.005)
    same = torch.randn(2000, 8)
    assert abs(own_objectives.prior_frames(same[:1000], same[1000:])) < 0.01


def test_prior_frames_has_a_gradient_where_frames_are_equal() -> None:
    generated = torch.zeros(4, 3, requires_grad=True)
    own_objectives.prior_frames(generated, torch.zeros(4, 3)).backward()
    assert generated.grad is not None
    assert generated.grad.isfinite().all()
