from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from metrics.frechet import frechet_distance, kernel_distance


def features(n: int, d: int, seed: int, scale: float = 1.0) -> Tensor:
    """Correlated features with a spectrum that decays, as a classifier's do."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=generator) / d**0.5 * torch.linspace(2, 0.01, d)
    return scale * (torch.randn(n, d, generator=generator) @ mixing + torch.randn(d, generator=generator))


def by_matrix_root(a: Tensor, b: Tensor) -> float:
    x, y = a.double().numpy(), b.double().numpy()
    s, t = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(s @ t)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s) + np.trace(t) - 2 * np.trace(root).real)


@pytest.mark.parametrize(
    ("n_a", "n_b", "d"), [(200, 300, 16), (40, 300, 64), (300, 40, 64), (64, 64, 64), (50, 70, 128), (2, 2, 3)]
)
def test_frechet_distance_is_the_formula_with_the_matrix_root(n_a: int, n_b: int, d: int) -> None:
    a, b = features(n_a, d, 1), features(n_b, d, 2)
    assert frechet_distance(a, b) == pytest.approx(by_matrix_root(a, b), rel=1e-6)


def test_frechet_distance_is_exact_at_the_size_of_the_table() -> None:
    a, b = features(189, 512, 3), features(189, 512, 4)
    assert frechet_distance(a, b) == pytest.approx(by_matrix_root(a, b), rel=1e-6)


@pytest.mark.parametrize("n", [2, 189, 600])
@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
def test_frechet_distance_of_a_set_from_itself_is_zero(n: int, scale: float) -> None:
    x = features(n, 512, 5, scale)
    assert 0 <= frechet_distance(x, x) < 1e-9


def test_frechet_distance_of_gaussians_along_an_axis_is_known() -> None:
    x = features(100, 1, 6).double()
    mean, sd = float(x.mean()), float(x.std())
    assert frechet_distance(x, 3 * x + 1) == pytest.approx((2 * mean + 1) ** 2 + (2 * sd) ** 2)


def test_frechet_distance_is_symmetric_and_ignores_rotation_and_order() -> None:
    a, b = features(60, 20, 7).double(), features(90, 20, 8).double()
    rotation = torch.linalg.qr(torch.randn(20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).Q
    distance = frechet_distance(a, b)
    assert frechet_distance(b, a) == pytest.approx(distance)
    assert frechet_distance(a @ rotation, b.flip(0) @ rotation) == pytest.approx(distance)


def test_halves_of_one_population_keep_a_distance_above_zero() -> None:
    x = features(178, 512, 9)
    assert frechet_distance(x[:89], x[89:]) > 0.1 * float(x.var(0).sum())


def kernel_distance_by_loops(a: Tensor, b: Tensor) -> float:
    x, y = a.double().numpy(), b.double().numpy()

    def k(u: np.ndarray, v: np.ndarray) -> float:
        return float((u @ v / len(u) + 1) ** 3)

    m, n = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    within_y = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return within_x + within_y - 2 * sum(k(u, v) for u in x for v in y) / (m * n)


@pytest.mark.parametrize(("n_a", "n_b", "d"), [(20, 30, 5), (30, 7, 64), (2, 2, 1)])
def test_kernel_distance_is_the_double_sum(n_a: int, n_b: int, d: int) -> None:
    a, b = features(n_a, d, 10), features(n_b, d, 11)
    assert kernel_distance(a, b) == pytest.approx(kernel_distance_by_loops(a, b), rel=1e-9)


def test_kernel_distance_is_unbiased() -> None:
    generator = torch.Generator().manual_seed(12)
    found = [
        kernel_distance(torch.randn(30, 16, generator=generator), torch.randn(20, 16, generator=generator))
        for _ in range(300)
    ]
    mean, error = np.mean(found), np.std(found) / len(found) ** 0.5
    assert min(found) < 0 < max(found)
    assert abs(mean) < 3 * error


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(1, 3), torch.zeros(5, 3), r"features_a has shape \(1, 3\)"),
        (torch.zeros(5, 3), torch.zeros(3), r"features_b has shape \(3,\)"),
        (torch.zeros(5, 3), torch.zeros(5, 4), "3 and 4 columns"),
        (torch.zeros(5, 3), torch.tensor([[0.0, float("nan")], [0.0, float("inf")]]), "features_b has 2 values"),
        (torch.tensor([[float("inf")], [float("-inf")]]), torch.zeros(5, 1), "features_a has 2 values"),
    ],
)
def test_unusable_features_are_refused(distance, a: Tensor, b: Tensor, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        distance(a, b)
