"""Distances of two sets of classifier features: Frechet (FID) and kernel (KID)."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(features_a: Tensor, features_b: Tensor) -> float:
    """Frechet distance of the Gaussians with the moments of two sets of features.

    ``|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))``, S the unbiased covariances. With A and B the centred features
    over sqrt(N - 1), S_a = A^T A, and the eigenvalues of S_a S_b are the squared singular values of A B^T: the trace of
    the root is their plain sum. No matrix square root is taken and no eigenvalue is squared, so a singular covariance
    (fewer notes than features) costs no accuracy. Computed in float64, for which float32 is no substitute, and on the
    CPU, which always has it.

    Args:
        features_a: one set of features (N_a, D), in the features' own unit.
        features_b: the other set (N_b, D).

    Returns:
        The distance, in squared units of the features, 0 or more. Biased upward by about the inverse of N.

    Raises:
        ValueError: the shapes do not fit, a set has fewer than 2 rows, or a value is not finite.

    Source:
        Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NeurIPS
        2017, eq. 6; Dowson and Landau, "The Frechet Distance between Multivariate Normal Distributions", 1982.

    Example:
        >>> points = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
        >>> round(frechet_distance(points, points + 3), 6)
        18.0
        >>> round(frechet_distance(points, 2 * points - 1), 6)  # standard deviation twice as large in both directions
        2.666667
    """
    features_a, features_b = _two_sets(features_a, features_b)
    mean_a, mean_b = features_a.mean(0), features_b.mean(0)
    root_a, root_b = _covariance_root(features_a - mean_a), _covariance_root(features_b - mean_b)
    trace_of_root = float(torch.linalg.svdvals(root_a @ root_b.T).sum())
    return max(0.0, _squared_norm(mean_a - mean_b) + _squared_norm(root_a) + _squared_norm(root_b) - 2 * trace_of_root)


def kernel_distance(features_a: Tensor, features_b: Tensor) -> float:
    """Kernel distance (KID): the unbiased squared MMD under the kernel (x . y / D + 1)^3, over all samples at once.

    Args:
        features_a: one set of features (N_a, D).
        features_b: the other set (N_b, D).

    Returns:
        The distance; its expectation is 0 for two samples of one distribution, so that it may be negative.

    Raises:
        ValueError: the shapes do not fit, a set has fewer than 2 rows, or a value is not finite.

    Source:
        Binkowski et al., "Demystifying MMD GANs", ICLR 2018, section 4; Gretton et al., "A Kernel Two-Sample Test",
        JMLR 2012, eq. 3.

    Example:
        >>> kernel_distance(torch.zeros(2, 1), torch.ones(2, 1))  # k(0, 0) + k(1, 1) - 2 k(0, 1) = 1 + 8 - 2
        7.0
    """
    features_a, features_b = _two_sets(features_a, features_b)
    within = _mean_without_diagonal(_cubic(features_a, features_a)) + _mean_without_diagonal(
        _cubic(features_b, features_b)
    )
    return float(within - 2 * _cubic(features_a, features_b).mean())


def _two_sets(features_a: Tensor, features_b: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets in float64 on the CPU, after the checks."""
    features_a, features_b = (features.detach().cpu().double() for features in (features_a, features_b))
    for name, features in (("features_a", features_a), ("features_b", features_b)):
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"{name} has shape {tuple(features.shape)}; give (N, D) with N at least 2")
        if not features.sum().isfinite():  # one pass: any NaN or infinity reaches the sum
            unusable = int((~features.isfinite()).sum())
            raise ValueError(f"{name} has {unusable} values that are NaN or infinite; drop or correct these rows")
    if features_a.shape[1] != features_b.shape[1]:
        widths = f"{features_a.shape[1]} and {features_b.shape[1]}"
        raise ValueError(f"features_a and features_b have {widths} columns; take both from the same classifier")
    return features_a, features_b


def _covariance_root(centred: Tensor) -> Tensor:
    """A matrix A (min(N, D), D) with A^T A the unbiased covariance of the centred features (N, D)."""
    root = centred / (len(centred) - 1) ** 0.5
    # R^T R = A^T A: with many samples the triangle holds the same moments in D rows.
    return torch.linalg.qr(root, mode="r").R if root.shape[0] > root.shape[1] else root


def _squared_norm(x: Tensor) -> float:
    return float(torch.dot(x.flatten(), x.flatten()))


def _cubic(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_without_diagonal(gram: Tensor) -> Tensor:
    n = len(gram)
    return (gram.sum() - gram.diagonal().sum()) / (n * (n - 1))
