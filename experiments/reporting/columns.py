"""The columns of the tables, each in one place: another one is a line here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

ARROWS = {"min": "↓", "max": "↑", "neither": ""}


@dataclass(frozen=True)
class Metric:
    """A column of the table.

    Attributes:
        name: its key in ``metrics.json``.
        label: its heading.
        better: ``min``, ``max``, or ``neither`` (a reference value: no arrow, no best).
        unit: what it is measured in.
        digits: decimals shown.
    """

    name: str
    label: str
    better: str
    unit: str
    digits: int = 1

    @property
    def heading(self) -> str:
        """The label with an arrow to the better side."""
        return f"{self.label} {ARROWS[self.better]}".rstrip()


PERCENT, DISTANCE, KERNEL, COUNT = "[%]", "[squared feature units]", "[kernel units]", "[pitches]"


PUBLISHED_METRICS = (
    Metric("pitch", "Pitch", "min", PERCENT),
    Metric("instrument", "Instrument", "max", PERCENT),
    Metric("combine", "Combine", "max", PERCENT),
    Metric("acc", "ACC", "max", PERCENT),
    Metric("pm", "PM", "max", PERCENT),
    Metric("fid_recon", "FID_recon", "min", DISTANCE),
    Metric("fid_rand", "FID_rand", "min", DISTANCE),
    Metric("cds", "CDS", "max", COUNT, digits=2),
)


NMI = Metric("nmi", "NMI", "max", PERCENT)


HONEST_METRICS = (
    Metric("pitch", "Pitch (logistic)", "min", PERCENT),
    Metric("instrument", "Instrument (logistic)", "max", PERCENT),
    Metric("combine", "Combine (logistic)", "max", PERCENT),
    *PUBLISHED_METRICS[3:5],
    Metric("acc_abs", "ACC_abs", "max", PERCENT),
    Metric("octave_error", "Octave errors", "min", PERCENT),
    Metric("instrument_offset", "Instrument offset", "neither", "[semitones]"),
    Metric("calibration_agreement", "Agreement", "max", PERCENT),
    Metric("pitch_gap", "Pitch gap", "max", PERCENT),
)


HONEST_GENERATION = (
    Metric("pitch_fid_recon", "FID_recon (pitch)", "min", DISTANCE),
    Metric("pitch_fid_rand", "FID_rand (pitch)", "min", DISTANCE),
    Metric("kid_recon", "KID_recon", "min", KERNEL, digits=3),
    Metric("kid_rand", "KID_rand", "min", KERNEL, digits=3),
    Metric("swap_pitch", "Swap: pitch", "max", PERCENT),
    Metric("swap_instrument", "Swap: instrument", "max", PERCENT),
    Metric("fid_real", "FID real", "neither", DISTANCE),
    Metric("fid_real_halves", "FID real halves", "neither", DISTANCE),
)


CHANCE_LEVELS = {
    "floor_published_acc": "random categories, published ACC",
    "floor_published_pm": "published PM",
    "floor_honest_acc": "honest ACC",
    "floor_honest_pm": "honest PM",
    "floor_instrument_only": "the instrument's commonest pitch",
    "floor_permuted_pitch": "probe of permuted pitches",
    "floor_permuted_instrument": "probe of permuted instruments",
}


@dataclass(frozen=True)
class Spread:
    """Mean and population standard deviation of a metric over the seeds of a row."""

    mean: float
    std: float
    seeds: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of one value a seed."""
        array = np.asarray(list(values), dtype=np.float64)
        return cls(float(array.mean()), float(array.std(ddof=0)), len(array))


Spreads = dict[str, dict[str, Spread]]
"""row -> metric -> spread."""
