from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import energy_distance, entropy
from torch.distributions import Categorical, MultivariateNormal, Normal, kl_divergence

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


def test_alignment_is_the_probability_of_the_shift() -> None:
    """Summed over all pairs of candidates that lie the shift apart."""
    p, q, shifts = torch.randn(5, 9).softmax(-1), torch.randn(5, 9).softmax(-1), [-3, 0, 1, 2, 8]
    expected = [-np.log(sum(p[i, k] * q[i, k + d] for k in range(9) if 0 <= k + d < 9)) for i, d in enumerate(shifts)]
    found = objectives.alignment(p.log(), q.log(), torch.tensor(shifts))
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-5)


def test_alignment_is_zero_for_sharp_posteriors_the_shift_apart() -> None:
    log_p = (60.0 * F.one_hot(torch.tensor([4, 7]), 20).float()).log_softmax(-1)
    shifts = torch.tensor([3, -2])
    shifted = torch.stack([row.roll(int(d)) for row, d in zip(log_p, shifts, strict=True)])
    assert objectives.alignment(log_p, shifted, shifts) < 1e-6
    assert objectives.alignment(log_p, shifted, shifts + 1) > 50
    assert objectives.expected_shift(log_p.exp(), shifted.exp(), shifts) < 1e-6
    assert objectives.expected_shift(log_p.exp(), shifted.exp(), shifts + 3) == pytest.approx(2.5, abs=1e-4)


def test_heard_is_torchs_cross_entropy_without_what_is_not_heard() -> None:
    logits, category = torch.randn(6, 9), torch.tensor([3, -1, 0, 8, -1, 5])
    expected = F.cross_entropy(logits, category, ignore_index=-1)
    torch.testing.assert_close(objectives.pseudo_label(logits, category), expected)
    assert objectives.pseudo_label(logits, torch.full((6,), -1)) == 0


def test_balance_is_the_entropy_that_is_missing() -> None:
    p = torch.randn(30, 12).softmax(-1)
    assert float(objectives.balance(p)) == pytest.approx(np.log(12) - entropy(p.mean(0).numpy()), rel=1e-4)
    assert objectives.balance(torch.eye(12)) == pytest.approx(0, abs=1e-6)
    assert objectives.balance(torch.eye(12)[:1].expand(30, -1)) == pytest.approx(np.log(12))


def test_cross_swap_is_the_cycles() -> None:
    z, found, logits, category = torch.randn(5, 8), torch.randn(5, 8), torch.randn(5, 82), torch.arange(5)
    expected = (found - z).square().sum(-1).mean() + F.cross_entropy(logits, category)
    torch.testing.assert_close(objectives.cross_swap(found, z, logits, category), expected)


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
    assert float(objectives.leakage(mu, category)) == pytest.approx(np.mean(expected), rel=1e-3)


def test_leakage_tells_dependent_timbres_from_independent_ones() -> None:
    category = torch.randint(0, 82, (256,)).float()
    independent, dependent = torch.randn(256, 8), torch.randn(256, 8)
    dependent[:, 0] = (category - 41) / 10
    assert objectives.leakage(independent, category) < 0.1
    assert objectives.leakage(dependent, category) > 2 * objectives.leakage(independent, category)


def test_aggregate_is_torchs_kl_of_gaussians() -> None:
    z = torch.randn(200, 4) @ torch.randn(4, 4) + torch.randn(4)
    covariance = torch.from_numpy(np.cov(z.numpy().T, ddof=0)).float() + 1e-4 * torch.eye(4)
    expected = kl_divergence(
        MultivariateNormal(z.mean(0), covariance), MultivariateNormal(torch.zeros(4), torch.eye(4))
    )
    torch.testing.assert_close(objectives.aggregate(z), expected, rtol=1e-3, atol=1e-3)
    assert objectives.aggregate(torch.randn(5000, 4)) < 0.02


def test_aggregate_is_in_float32_under_autocast() -> None:
    """Timbres that lie nearly in a plane: rounded to bf16, their covariance had a negative determinant and no loss."""
    torch.manual_seed(0)
    z = 3 * torch.randn(128, 2) @ torch.randn(2, 8) + 0.01 * torch.randn(128, 8)
    expected = objectives.aggregate(z)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(objectives.aggregate(z), expected)
    assert expected.isfinite()


def test_prior_frames_is_the_energy_distance() -> None:
    """Scipy's, in one dimension, is the square root and keeps the diagonals: compared where they hardly count."""
    made, x = torch.randn(2000, 1), 1.5 * torch.randn(2000, 1) + 0.7
    expected = energy_distance(made[:, 0].numpy(), x[:, 0].numpy()) ** 2
    assert float(objectives.prior_frames(made, x)) == pytest.approx(expected, abs=0.005)
    same = torch.randn(2000, 8)
    assert abs(objectives.prior_frames(same[:1000], same[1000:])) < 0.01


def test_prior_frames_has_a_gradient_where_frames_are_equal() -> None:
    made = torch.zeros(4, 3, requires_grad=True)
    objectives.prior_frames(made, torch.zeros(4, 3)).backward()
    assert made.grad is not None
    assert made.grad.isfinite().all()
