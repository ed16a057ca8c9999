"""Means of an epoch's terms, kept on the device and logged once."""

from __future__ import annotations

from collections.abc import Mapping

import lightning as L
import torch
from torch import Tensor


class TermLog:
    """Sums terms over an epoch and logs their means as ``{stage}/{name}``.

    Lightning's own step-wise logging costs several times the arithmetic of a small step; one sum of a vector does not.

    Args:
        module: the module that logs.
    """

    def __init__(self, module: L.LightningModule) -> None:
        self._log = module.log_dict
        self._sums: dict[str, tuple[list[str], Tensor, int]] = {}

    def add(self, stage: str, terms: Mapping[str, Tensor], n: int) -> None:
        """Add the scalar terms of a batch of ``n`` notes."""
        values = torch.stack([term.detach() for term in terms.values()]) * n
        if stage in self._sums:
            names, total, count = self._sums[stage]
            self._sums[stage] = (names, total.add_(values), count + n)
        else:
            self._sums[stage] = (list(terms), values, n)

    def flush(self, stage: str) -> None:
        """Log the means since the last flush."""
        names, total, count = self._sums.pop(stage)
        means = (total / count).tolist()
        self._log({f"{stage}/{name}": mean for name, mean in zip(names, means, strict=True)})
