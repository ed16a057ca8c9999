"""How the learning rate goes: a class a schedule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi

from torch.nn import Parameter


class Schedule(ABC):
    """How the learning rate goes from its peak."""

    @abstractmethod
    def share(self, step: int, steps: int) -> float:
        """The share of the peak at a step of ``steps``."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The same learning rate at every step, as published."""

    def share(self, step: int, steps: int) -> float:
        """The share of the peak at a step of ``steps``."""
        return 1.0


@dataclass(frozen=True)
class WarmupCosine(Schedule):
    """An even rise, then the fall of a cosine.

    Attributes:
        warmup_steps: steps of the rise.
        final_share: share of the peak that is left at the last step.
    """

    warmup_steps: int = 0
    final_share: float = 0.02

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        if self.warmup_steps < 0 or not 0 <= self.final_share <= 1:
            raise ValueError(
                f"model.schedule: warmup_steps {self.warmup_steps} must be 0 or more and final_share "
                f"{self.final_share} must lie between 0 and 1"
            )

    def share(self, step: int, steps: int) -> float:
        """The share of the peak at a step of ``steps``."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        progress = min(1.0, (step - self.warmup_steps) / max(1, steps - self.warmup_steps))
        return self.final_share + (1 - self.final_share) * (1 + cos(pi * progress)) / 2


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are trained at one learning rate.

    Attributes:
        parameters: the parameters.
        learning_rate: the peak.
        schedule: how the learning rate goes from there.
        first_epoch: the epoch in which the schedule begins; the learning rate is 0 before.
        last_epoch: the epoch before which the schedule ends; the training's end if not given.
    """

    parameters: list[Parameter]
    learning_rate: float
    schedule: Schedule = Constant()
    first_epoch: int = 0
    last_epoch: int | None = None

    def share_of(self, steps: int, epochs: int) -> Callable[[int], float]:
        """The share of the peak at each step of a training of so many steps and epochs."""
        first = steps * self.first_epoch // epochs
        last = steps if self.last_epoch is None else steps * self.last_epoch // epochs
        return lambda step: self.schedule.share(step - first, last - first) if step >= first else 0.0
