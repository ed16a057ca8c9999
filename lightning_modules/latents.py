"""What the encoders say of a batch of frames."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import Self

from torch import Tensor


@dataclass(frozen=True)
class Latents:
    """The posteriors of B frames and a draw from them.

    Attributes:
        mu: (B, L) mean of q(z|x).
        logvar: (B, L) log variance of q(z|x).
        logits: (B, K) logits of q(c|x).
        z: (B, L) the timbre drawn; the mean when evaluating.
        c: (B, K) the pitch drawn, one-hot; the most probable one when evaluating.
    """

    mu: Tensor
    logvar: Tensor
    logits: Tensor
    z: Tensor
    c: Tensor

    @property
    def category(self) -> Tensor:
        """(B,) the most probable category, without gradient."""
        return self.logits.argmax(-1)

    def split(self, n: int) -> list[Self]:
        """Those of the first n frames, of the next n, and so on; ``None`` for a part that has fewer frames."""
        return [type(self)(*parts) for parts in zip_longest(*(part.split(n) for part in vars(self).values()))]
