from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from metrics.chance_level import random_category_levels


def test_the_published_chance_level_is_far_above_chance_and_the_honest_one_is_chance() -> None:
    """Against tables of counts by pandas, of other draws."""
    generator = np.random.default_rng(0)
    pitches = torch.from_numpy(generator.binomial(81, 0.5, 177))
    matched, mapped = [], []
    for _ in range(50):
        counts = pd.crosstab(generator.integers(0, 82, 177), pitches.numpy()).to_numpy()
        matched.append(counts[linear_sum_assignment(counts, maximize=True)].sum() / 177)
        mapped.append(counts.max(1).sum() / 177)
    levels = random_category_levels(pitches, torch.from_numpy(generator.binomial(81, 0.5, 1700)), 82)
    assert levels["published_acc"] == pytest.approx(np.mean(matched), abs=0.02)
    assert levels["published_pm"] == pytest.approx(np.mean(mapped), abs=0.02)
    assert levels["honest_acc"] < 0.06
    assert levels["honest_pm"] < 0.12
    assert levels["published_acc"] > 4 * levels["honest_acc"]
    assert levels == random_category_levels(pitches, torch.from_numpy(generator.binomial(81, 0.5, 1700)), 82) | {
        name: levels[name] for name in ("honest_acc", "honest_pm")
    }
