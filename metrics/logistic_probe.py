"""Linear probes that have converged: logistic regressions of standardised codes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

MOST_STEPS = 10_000
"""Of L-BFGS, which ends before: a probe that has not converged depends on when it was stopped."""


def fit_probe(codes: ArrayLike, labels: ArrayLike) -> Pipeline:
    """Fit a logistic regression (L2 penalty, C = 1) of standardised codes until it converges; nothing is random.

    Args:
        codes: (M, L) of the notes to fit on.
        labels: (M,) of any type.

    Raises:
        ValueError: there are fewer than two labels, or codes are not finite.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=MOST_STEPS))
    return probe.fit(np.asarray(codes, float), np.asarray(labels))


def probe_correctly(probe: Pipeline, codes: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Which notes, (N,) bool, a probe reads right from codes (N, L); a label that it was not fitted on is wrong."""
    return np.asarray(probe.predict(np.asarray(codes, float)) == np.asarray(labels))
