"""The objectives of whole notes: pure functions, each a scalar that is minimised.

Where no source is named, the term is this project's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_modules.objectives import check_weights


@dataclass(frozen=True)
class WholeNoteWeights:
    """How much each term counts. A term of weight 0 is not computed.

    Attributes:
        reconstruction: squared error of the frames, a mean over the frames.
        kl_g: KL of the note's timbre from N(0, I), a mean over the notes.
        kl_v: KL of the course from its first-order prior, a mean over the frames.
        aggregate: the timbres of all notes together are N(0, I).
        regression: the timbres of two segments of a note agree.
        contrast: NT-Xent between the timbres of two segments of the notes of a batch.
        reentry: decoded swaps are read with the timbre that they were decoded with.
        leakage: dependence of the timbre on the pitch.
        prior_frames: frames of timbres drawn from the prior are distributed as the notes'.
        alignment: of the axis stage: the posteriors of a pair lie its shift apart.
        expected_shift: so do their means.
        balance: all candidates of pitch are used.
    """

    reconstruction: float = 10.0
    kl_g: float = 0.125
    kl_v: float = 1.0
    aggregate: float = 0.0
    regression: float = 0.0
    contrast: float = 0.0
    reentry: float = 0.0
    leakage: float = 0.0
    prior_frames: float = 0.0
    alignment: float = 1.0
    expected_shift: float = 0.1
    balance: float = 1.0

    def __post_init__(self) -> None:
        """Refuse weights that are negative or not finite."""
        check_weights(vars(self))


def kl_v(mu: Tensor, logvar: Tensor, rho: Tensor, mask: Tensor) -> Tensor:
    """KL of a course from a stationary first-order autoregressive prior, a mean over the frames.

    The prior is v_1 ~ N(0, I), v_t ~ N(rho v_(t-1), 1 - rho^2); the posteriors of the frames are independent.

    Args:
        mu: (B, T, V) means.
        logvar: (B, T, V) log variances.
        rho: (V,) in (-1, 1).
        mask: (B, T) bool, the frames that a note has; they come first.
    """
    variance = logvar.exp()
    innovation = 1 - rho.square()
    first = mu[:, :1].square() + variance[:, :1] - 1 - logvar[:, :1]
    step = (mu[:, 1:] - rho * mu[:, :-1]).square() + variance[:, 1:] + rho.square() * variance[:, :-1]
    later = step / innovation - 1 - logvar[:, 1:] + innovation.log()
    each = 0.5 * torch.cat([first, later], 1).sum(-1)
    return (each * mask).sum() / mask.sum()


def reentry(mu_reencoded: Tensor, g: Tensor) -> Tensor:
    """Squared distance of the timbre that decoded notes are read with, (B, G), from the one they were decoded with."""
    return (mu_reencoded - g).square().sum(-1).mean()
