"""Learning curves show the columns that runs log, and mark what is read of them."""

from __future__ import annotations

import pandas as pd
import pytest

from callbacks.figure_style import VERMILION
from callbacks.learning_curves import axis_epochs, draw_curves, waking_epoch


def kl_log(values: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"epoch": range(len(values)), "train/loss/kl_c": values, "val/acc": values})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.4, 0.2, 0.3, 0.5, 2.0, 4.0, 6.2, 6.1], 5),
        ([8.0, 0.2, 0.3, 3.0, 6.0], None),  # its highest value is its first
        ([0.2, 0.3, 0.4], None),
        ([0.0, 6.0], 1),
        ([], None),
    ],
)
def test_the_pitch_code_wakes_at_half_of_its_rise(values: list[float], expected: int | None) -> None:
    assert waking_epoch(kl_log(values)) == expected


def test_waking_reads_no_label() -> None:
    log = kl_log([0.2, 0.3, 5.0])
    assert waking_epoch(log) == waking_epoch(log.drop(columns="val/acc")) == 2
    assert waking_epoch(log.drop(columns="train/loss/kl_c")) is None


def test_curves_of_one_run_mark_the_awakening_in_every_panel() -> None:
    figure = draw_curves({"m6 seed 0": [kl_log([0.2, 0.3, 5.0])]}, {}, "a title")
    assert len(figure.axes) == 4
    for axes in figure.axes:
        assert [line.get_xdata()[0] for line in axes.lines if "wakes" in str(line.get_label())] == [2]
        assert axes.get_xlabel() == "epoch"
    assert figure.axes[0].get_ylabel() == "KL(c || uniform) [nats]"


def test_a_row_is_its_mean_in_a_band_of_one_deviation() -> None:
    logs = {name: [kl_log([0.2, 0.3, top]) for top in (4.0, 6.0)] for name in ("M6", "a row of one's own", "another")}
    figure = draw_curves(logs, {"M6": {"color": VERMILION}}, "a title")
    [*others, m6] = [line for line in figure.axes[0].lines if line.get_marker() != "o"]
    assert m6.get_ydata()[2] == 5.0
    assert m6.get_color() == VERMILION
    assert len({line.get_color() for line in (*others, m6)}) == 3
    top = max(path.vertices[:, 1].max() for band in figure.axes[0].collections for path in band.get_paths())
    assert top == 6.0
    assert all(float(tick).is_integer() for tick in figure.axes[0].get_xticks())


def test_the_epochs_of_an_axis_are_marked_and_shown_by_its_own_term() -> None:
    log = kl_log([0.0] * 5).assign(**{"train/loss/alignment": [3.0, 2.0, float("nan"), float("nan"), float("nan")]})
    log["train/loss/reconstruction"] = [float("nan"), float("nan"), 1.0, 1.0, 1.0]
    assert axis_epochs(log) == 2
    assert axis_epochs(kl_log([0.0])) == 0
    figure = draw_curves({"m7 seed 0": [log]}, {}, "a title")
    assert list(figure.axes[0].lines[0].get_ydata()) == [3.0, 2.0]
    for axes in figure.axes:
        [span] = axes.patches
        assert (span.get_x(), span.get_x() + span.get_width()) == (-0.5, 1.5)


def test_rows_of_whole_notes_are_drawn_by_what_they_log() -> None:
    names = ("val/acc", "val/loss/total", "val/frame_error_db", "val/note_swap_instrument")
    log = pd.DataFrame({"epoch": [0, 1], **{name: [1.0, 2.0] for name in names}})
    figure = draw_curves({"m8": [log, log]}, {}, "a title")
    assert [len(axes.lines) for axes in figure.axes] == [1] * 4
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["ACC [%]", "loss", "mean absolute error [dB]", "swaps [%]"]
