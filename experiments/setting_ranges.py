"""Which numbers settings may have: checked before torch and Lightning, which take seconds, are imported.

The classes refuse the same numbers, for those who build them in Python.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple


class Range(NamedTuple):
    """The numbers from ``least`` to ``most``; without the ends if it is open."""

    least: float
    most: float = inf
    is_open: bool = False

    def __contains__(self, number: object) -> bool:
        """Whether it holds a number."""
        assert isinstance(number, int | float)
        return self.least < number < self.most if self.is_open else self.least <= number <= self.most

    def __str__(self) -> str:
        """The range in words, as in "it must be ..."."""
        if self.most < inf:
            return f"between {self.least:.10g} and {self.most:.10g}"
        return f"above {self.least:g}" if self.is_open else f"at least {self.least:g}"


POSITIVE, SHARE = Range(0, is_open=True), Range(0, 1)

RANGES = {
    "seed_everything": Range(0, 2**32 - 1),
    "data.batch_size": Range(2),
    "data.max_notes": Range(4),
    "data.shifts.memory_budget_mib": Range(0),
    "data.split.validation_share": Range(0, 1, is_open=True),
    "data.waveforms.sample_rate": Range(1_000, 1_000_000),
    "data.waveforms.duration_s": POSITIVE,
    "model.weights.": Range(0),
    "model.learning_rate": POSITIVE,
    "model.contrast_temperature": POSITIVE,
    "model.width": Range(1),
    "model.n_latent": Range(1),
    "model.n_categories": Range(2),
    "model.axis.epochs": Range(0),
    "model.axis.learning_rate": POSITIVE,
    "model.axis.subharmonic_share": SHARE,
    "model.axis.restarts": Range(1),
    "model.pitch_encoder.margin": Range(0),
    "model.schedule.warmup_steps": Range(0),
    "model.schedule.final_share": SHARE,
}
"""Setting, without ``init_args`` -> its range; a name that ends with a dot is for all settings below it."""


def fault(path: str, number: float) -> str | None:
    """What is wrong with a setting's number, or ``None``."""
    known = RANGES.get(path) or RANGES.get(path.rpartition(".")[0] + ".")
    return None if known is None or number in known else f"{path} is {number:.10g}; it must be {known}"
