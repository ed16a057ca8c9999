"""What the published and the honest protocol give without any knowledge of the pitch."""

from __future__ import annotations

import torch
from torch import Tensor

from metrics.category_mapping import mapped_accuracy, matched_accuracy

DRAWS = 20


def random_category_levels(pitches: Tensor, fit_pitches: Tensor, n_categories: int) -> dict[str, float]:
    """ACC and PM of categories drawn evenly, the mean of ``DRAWS`` seeded draws.

    Args:
        pitches: (N,) of the scored notes.
        fit_pitches: (M,) of the training notes.
        n_categories: K.

    Returns:
        Accuracies in [0, 1]: ``published_acc`` and ``published_pm``, whose mapping is fitted on the notes that it
        scores, and ``honest_acc`` and ``honest_pm``, fitted on the training notes.
    """
    source = torch.Generator().manual_seed(0)
    found: dict[str, list[float]] = {}
    for _ in range(DRAWS):
        drawn = torch.randint(n_categories, (len(pitches),), generator=source)
        fitted = torch.randint(n_categories, (len(fit_pitches),), generator=source)
        for name, accuracy in (("acc", matched_accuracy), ("pm", mapped_accuracy)):
            found.setdefault(f"published_{name}", []).append(accuracy(drawn, pitches))
            found.setdefault(f"honest_{name}", []).append(accuracy(drawn, pitches, fitted, fit_pitches))
    return {name: sum(values) / DRAWS for name, values in found.items()}


def instrument_only_level(instruments: Tensor, pitches: Tensor, fit_instruments: Tensor, fit_pitches: Tensor) -> float:
    """Accuracy of calling each note (N,) by the most frequent pitch of its instrument among the training notes (M,).

    Example:
        >>> instruments, pitches = torch.tensor([0, 0, 1]), torch.tensor([60, 61, 70])
        >>> round(instrument_only_level(instruments, pitches, instruments, pitches), 3)
        0.667
    """
    return mapped_accuracy(instruments, pitches, fit_instruments, fit_pitches)
