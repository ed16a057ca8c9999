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


OTHER_JUDGES = (
    Metric("cds_relu", "CDS (ReLU judge)", "max", COUNT, digits=2),
    Metric("cds_conv", "CDS (conv judge)", "max", COUNT, digits=2),
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
    Metric("fid_rand_mean", "FID_rand (10 draws)", "min", DISTANCE),
    Metric("fid_recon_all", "FID_recon (all notes)", "min", DISTANCE),
    Metric("fid_rand_all", "FID_rand (all notes)", "min", DISTANCE),
    Metric("fid_real_all_halves", "FID real halves (all notes)", "neither", DISTANCE),
    *OTHER_JUDGES,
)


WHOLE_NOTE_READING = (
    Metric("note_acc_abs", "Note pitch", "max", PERCENT),
    Metric("note_acc", "Note ACC", "max", PERCENT),
    Metric("g_instrument", "g: instrument", "max", PERCENT),
    *(Metric(f"g_instrument_{at}", f"at {at}", "max", PERCENT) for at in ("50ms", "200ms", "1s")),
    Metric("g_pitch", "g: pitch", "min", PERCENT),
    Metric("floor_note_pitch", "its floor", "neither", PERCENT),
    Metric("g_register_r2", "g: register R²", "min", "", digits=2),
    Metric("g_far_neighbours", "g: octave neighbours", "max", PERCENT),
    Metric("g_dynamic", "g: dynamic", "neither", PERCENT),
    Metric("g_articulation", "g: articulation", "min", PERCENT),
)


WHOLE_NOTE_COURSE = (
    Metric("v_instrument", "v: instrument", "min", PERCENT),
    Metric("envelope_instrument", "floor: envelope", "neither", PERCENT),
    Metric("centroid_instrument", "floor: with centroid", "neither", PERCENT),
    Metric("v_pitch", "v: pitch", "min", PERCENT),
    Metric("centroid_pitch", "floor", "neither", PERCENT),
    Metric("v_dynamic", "v: dynamic", "neither", PERCENT),
    Metric("centroid_dynamic", "floor", "neither", PERCENT),
    Metric("v_articulation", "v: articulation", "max", PERCENT),
    Metric("centroid_articulation", "floor", "neither", PERCENT),
    Metric("c_instrument", "c: instrument", "neither", PERCENT),
)


WHOLE_NOTE_GENERATION = (
    Metric("note_swap_instrument", "Swap: instrument", "max", PERCENT),
    Metric("note_real_instrument", "real notes", "neither", PERCENT),
    Metric("note_swap_instrument_share", "of real", "max", PERCENT),
    Metric("note_swap_other", "Swap: other's instrument", "min", PERCENT),
    Metric("note_swap_pitch", "Swap: pitch", "max", PERCENT),
    Metric("note_real_pitch", "real notes", "neither", PERCENT),
    Metric("note_swap_pitch_share", "of real", "max", PERCENT),
    Metric("note_swap_tracked", "pYIN: swaps", "max", PERCENT),
    Metric("note_real_tracked", "pYIN: real notes", "neither", PERCENT),
    Metric("loudness_rest", "Loudness: like its own", "max", "[correlation]", digits=2),
    Metric("loudness_timbre", "like the timbre's", "neither", "[correlation]", digits=2),
    Metric("frame_error_db", "Frame error", "min", "[dB]", digits=2),
    Metric("note_fid_recon", "FID_recon (notes)", "min", DISTANCE, digits=2),
    Metric("note_fid_swap", "FID_swap (notes)", "min", DISTANCE, digits=2),
    Metric("note_fid_real", "FID real (notes)", "neither", DISTANCE, digits=2),
)


WHOLE_NOTE_METRICS = (*WHOLE_NOTE_READING, *WHOLE_NOTE_COURSE, *WHOLE_NOTE_GENERATION)
"""The columns of rows of whole notes; such a row has none of the others."""

OF_WHOLE_NOTES = "frame_error_db"
"""The column that every row of whole notes has, and no other."""

WHOLE_NOTE_MEASURES = tuple(
    metric
    for metric in WHOLE_NOTE_METRICS
    if metric.name
    in (
        *("note_acc_abs", "g_instrument", "g_pitch", "g_register_r2", "v_instrument"),
        *("note_swap_instrument", "note_swap_pitch", "note_swap_tracked", "frame_error_db", "note_fid_recon"),
    )
)
"""What rows of whole notes are compared in."""


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
