"""The nine-row table: finished cells aggregated, the published scores beside them."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import rich.box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.reporting.cell_files import row_label, row_order
from experiments.reporting.cells import over_folds, parted, published_scores, selected, spreads
from experiments.reporting.columns import (
    CHANCE_LEVELS,
    HONEST_GENERATION,
    HONEST_METRICS,
    NMI,
    PUBLISHED_METRICS,
    WHOLE_NOTE_COURSE,
    WHOLE_NOTE_GENERATION,
    WHOLE_NOTE_METRICS,
    WHOLE_NOTE_READING,
    Metric,
    Spread,
    Spreads,
)
from experiments.reporting.markdown import NOT_THERE, aligned, escaped

WIDTH_OF_A_FILE = 160
"""Letters of a line where the output is not a terminal."""


def aggregated(cells: pd.DataFrame) -> pd.DataFrame:
    """All means and deviations, ours and the paper's, one line a source, checkpoint, protocol, row and metric."""
    groups = [("paper", "best", "published", spreads(published_scores(), PUBLISHED_METRICS))]
    for checkpoint in ("best", "last"):
        for protocol, metrics in (
            ("published", (*PUBLISHED_METRICS, NMI)),
            ("honest", (*HONEST_METRICS, *HONEST_GENERATION, *WHOLE_NOTE_METRICS)),
        ):
            groups.append(("here", checkpoint, protocol, spreads(selected(cells, protocol, checkpoint), metrics)))
    columns = ("source", "checkpoint", "protocol", "row", "metric", "mean", "std", "seeds")
    lines = [
        (source, checkpoint, protocol, row_label(row), name, spread.mean, spread.std, spread.seeds)
        for source, checkpoint, protocol, found in groups
        for row in row_order(found)
        for name, spread in found.get(row, {}).items()
    ]
    return pd.DataFrame(lines, columns=list(columns))


def render(cells: pd.DataFrame) -> str:
    """The whole of ``table.md``: the published columns for rows of frames, and others for rows of whole notes."""
    frames, whole = parted(cells)
    lines = [] if frames.empty and not whole.empty else _frame_sections(frames)
    return "\n".join(["# Pitch and timbre of isolated notes", "", *lines, *_whole_note_sections(whole)])


def _frame_sections(cells: pd.DataFrame) -> list[str]:
    """The lines on rows of frames."""
    here = spreads(selected(cells, "published", "best"), PUBLISHED_METRICS)
    honest, generation = (
        spreads(selected(cells, "honest", "best"), metrics) for metrics in (HONEST_METRICS, HONEST_GENERATION)
    )
    last = spreads(selected(cells, "published", "last"), PUBLISHED_METRICS)
    paper = spreads(published_scores(), PUBLISHED_METRICS)
    return [
        *header(cells),
        "",
        "## Published protocol, best checkpoint",
        "",
        "Mean ± population deviation over seeds; the best mean of a column in bold, ours and the paper's apart.",
        "",
        *markdown(PUBLISHED_METRICS, {"here": here, "paper": paper}),
        "",
        "## Honest protocol, best checkpoint",
        "",
        "Mappings and probes are fitted on training notes; the probes of z are logistic regressions that have",
        "converged: no epoch and no seed is chosen. ACC_abs takes each category for the MIDI pitch that synthetic",
        "tones gave it, with no mapping; Agreement is the share of the tones that agree. The instrument offset is",
        "the median error of the instrument that is farthest off. Pitch gap is how much more of the pitch is in c",
        "than in the best dimension of z.",
        "",
        *markdown(HONEST_METRICS, {"here": honest}),
        "",
        *chance_level(cells),
        *chosen_seeds(cells),
        "",
        "FID (pitch) is in the features of the pitch classifier; KID, and FID of real notes, in those of the",
        "instrument classifier: of as many training notes as are scored, and of two halves of the scored ones. A",
        "swap decodes the timbre of one note with the category of another, and the classifiers are asked for both.",
        "All notes: the scored and the training notes (at most 2,000), as FID is too large where notes are few; its",
        "floor is that of two halves of the real ones. The CDS of the published protocol has a tanh judge.",
        "",
        *markdown(HONEST_GENERATION, {"here": generation}),
        "",
        "## Published protocol, last epoch",
        "",
        *markdown(PUBLISHED_METRICS, {"here": last}),
        "",
    ]


def _whole_note_sections(cells: pd.DataFrame) -> list[str]:
    """The lines on rows of whole notes; none where there are none."""
    if cells.empty:
        return []
    lines = ["## Whole notes", "", *header(cells), ""]
    for checkpoint, title in (("best", "best checkpoint"), ("last", "last epoch")):
        scores = selected(cells, "honest", checkpoint)
        for name, metrics, about in WHOLE_NOTE_TABLES:
            lines += [f"### {name}, {title}", ""]
            lines += [*about, ""] if checkpoint == "best" else []
            lines += [*markdown(metrics, {"here": spreads(scores, metrics)}), ""]
    return lines


WHOLE_NOTE_TABLES = (
    (
        "What is read of whole notes",
        WHOLE_NOTE_READING,
        (
            "g is the timbre of the note, read by logistic regressions that are fitted on training notes; at 50 ms,",
            "0.2 s and 1 s from five frames there, by the same regression. The floor of its pitch is the instrument's",
            "commonest pitch. Register: R² of the pitch that is read from g within an instrument.",
        ),
    ),
    (
        "The course within notes",
        WHOLE_NOTE_COURSE,
        (
            "v is the course within the note, read from summaries of it (means of parts, deviation, autocorrelation).",
            "Its floors are read from the same summaries of the level alone, and of level and spectral centroid.",
        ),
    ),
    (
        "What is decoded",
        WHOLE_NOTE_GENERATION,
        (
            "A swap joins the timbre of one note with all else of another one, of another instrument and at most three",
            "semitones away. Evaluators of whole notes name its instrument and pitch, and those of the real notes;",
            "pYIN is right within 50 cents, on rendered sound. FID is in the features of the instrument evaluator.",
        ),
    ),
)


def chance_level(cells: pd.DataFrame) -> list[str]:
    """What the notes' scores are without any knowledge: one line, where the cells hold it."""
    honest = selected(cells, "honest", "best")
    known = {
        text: honest[name].mean()
        for name, text in CHANCE_LEVELS.items()
        if name in honest and honest[name].notna().any()
    }
    if not known:
        return []
    return [f"Chance levels on these notes: {', '.join(f'{text} {value:.1f}' for text, value in known.items())} %.", ""]


def chosen_seeds(cells: pd.DataFrame) -> list[str]:
    """The seed of each row that synthetic tones, and no label, would choose, and what it scores."""
    honest = selected(cells, "honest", "best")
    if "calibration_agreement" not in honest or "acc_abs" not in honest:
        return []
    lines = []
    for row, runs in over_folds(honest).dropna(subset=["calibration_agreement"]).groupby("row", sort=False):
        best = runs.sort_values("calibration_agreement", ascending=False, kind="stable").iloc[0]
        lines.append(
            f"- {row_label(str(row))}: seed {best['seed']} (agreement {best['calibration_agreement']:.1f} %): "
            f"ACC {best['acc']:.1f}, ACC_abs {best['acc_abs']:.1f}"
        )
    return ["Chosen among the seeds without a label, by the agreement of synthetic tones:", "", *lines] if lines else []


def header(cells: pd.DataFrame) -> list[str]:
    """What the cells were trained on and with; several values are all named."""
    if cells.empty:
        return ["No cell is finished yet."]
    facts = ["fold", "data", "data_hash", "evaluator_fingerprint", "machine", "precision", "epochs", "wall_s"]
    runs = cells.reindex(columns=[*cells.columns.difference(facts), *facts])
    runs = runs.drop_duplicates(["row", "seed", "fold"])
    data = sorted({escaped(f"{name} ({key})") for name, key in zip(runs["data"], runs["data_hash"], strict=True)})
    alike = runs.groupby("fold", dropna=False)  # each fold has its own notes, and classifiers
    epochs = (runs["epochs"].min(), runs["epochs"].max())
    hours = runs["wall_s"].sum() / 3600
    lines = [
        f"- Data: {'; '.join(data)}",
        f"- Machine: {_named(runs['machine'])}; precision: {_named(runs['precision'])}",
        f"- {len(runs)} cells of {' to '.join(dict.fromkeys(f'{n:.0f}' for n in epochs))} epochs, "
        f"{hours:.2f} hours of run time in all ({runs['wall_s'].mean():.0f} s a cell)",
    ]
    if "split" in runs and (known := runs[["split", "selected_on"]].dropna()).size:
        each = known.drop_duplicates().itertuples(index=False)
        told = sorted(f"{escaped(kind)}, checkpoints selected on {escaped(on)}" for kind, on in each)
        lines.insert(1, f"- Split: {'; '.join(told)}")
    if runs["fold"].notna().any():
        folds = (
            f"{runs['fold'].nunique()} folds: a seed's score is the mean over them; seeds that lack one are left out"
        )
        lines.insert(1, f"- {folds}")
    if (alike["data_hash"].nunique() > 1).any() or runs["data"].nunique() > 1:
        lines.append("- **The cells here are of different data: do not compare them.**")
    elif (alike["evaluator_fingerprint"].nunique() > 1).any():
        lines.append("- **The cells here were judged by different classifiers: do not compare what they generate.**")
    return lines


def _named(values: pd.Series) -> str:
    return "; ".join(sorted({escaped(str(value)) for value in values}))


def markdown(metrics: Sequence[Metric], sources: Mapping[str, Spreads]) -> list[str]:
    """The lines of a Markdown table; see `table_lines`."""
    return aligned(table_lines(metrics, sources))


def print_table(cells: pd.DataFrame, rows: Sequence[str]) -> None:
    """Print the tables of some rows, as wide as the terminal; a single seed without a deviation.

    Args:
        cells: the finished cells, as `experiments.reporting.cells.read_cells` gives them.
        rows: the rows that are shown.
    """
    console = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE)
    frames, whole = parted(cells)
    of_notes = [(f"{name}, best checkpoint", "honest", metrics, whole) for name, metrics, _ in WHOLE_NOTE_TABLES]
    of_frames = [
        ("Published protocol, best checkpoint", "published", PUBLISHED_METRICS, frames),
        ("Honest protocol, best checkpoint", "honest", HONEST_METRICS, frames),
    ]
    console.print("\n".join(header(cells if frames.empty or whole.empty else frames)), markup=False)
    shown = (of_frames if not frames.empty or whole.empty else []) + (of_notes if not whole.empty else [])
    for title, protocol, metrics, of in shown:
        sources = {"here": spreads(selected(of, protocol, "best"), metrics)}
        if protocol == "published":
            sources["paper"] = spreads(published_scores(), metrics)
        heading, *lines = table_lines(metrics, sources, rows)
        # A terminal that has no other letters than ASCII's gets a frame of those.
        box = rich.box.SIMPLE_HEAD if console.encoding.startswith("utf") else rich.box.ASCII
        table = Table(title=title, title_justify="left", box=box, padding=(0, 1, 0, 0))
        for position, name in enumerate(heading):
            table.add_column(Text(name), justify="left" if position < 2 else "right", no_wrap=position == 0)
        for line in lines:
            plain = [re.sub(r" ± [0.]+", "", cell) if line[2] == "1" else cell for cell in line]
            table.add_row(*(Text(cell.strip("*"), "bold" if cell.startswith("**") else "") for cell in plain))
        console.print(table)


def table_lines(
    metrics: Sequence[Metric], sources: Mapping[str, Spreads], rows: Sequence[str] | None = None
) -> list[list[str]]:
    """The heading and the lines of a table: for each row one line a source, for each metric one column.

    Args:
        metrics: the columns; those that no row has are left out, unless no row has any.
        sources: name of the source (here, paper) -> its spreads.
        rows: the rows that are shown; ``None``: all.
    """
    known = {name for found in sources.values() for row in found.values() for name in row}
    columns = [metric for metric in metrics if metric.name in known or not known]
    best = {source: _best(found, columns) for source, found in sources.items()}
    lines = [["Row", "", "Seeds", *(metric.heading for metric in columns)]]
    for row in row_order(row for found in sources.values() for row in found):
        if rows is not None and row not in rows:
            continue
        for position, (source, found) in enumerate(sources.items()):
            scores = found.get(row, {})
            if not scores and (position or len(sources) == 1):
                continue  # a user's row has no published line; a table without published lines has no gaps
            seeds = str(next(iter(scores.values())).seeds) if scores else NOT_THERE
            shown = [_shown(scores.get(metric.name), metric, best[source].get(metric.name)) for metric in columns]
            lines.append([row_label(row) if position == 0 else "", source, seeds, *shown])
    return lines


def _best(found: Spreads, metrics: Sequence[Metric]) -> dict[str, float]:
    """The best mean of each metric."""
    best = {}
    for metric in metrics:
        means = [row[metric.name].mean for row in found.values() if metric.name in row]
        finite = [mean for mean in means if np.isfinite(mean)]
        if finite and metric.better != "neither":
            best[metric.name] = min(finite) if metric.better == "min" else max(finite)
    return best


def _shown(spread: Spread | None, metric: Metric, best: float | None) -> str:
    if spread is None:
        return NOT_THERE
    text = f"{spread.mean:.{metric.digits}f} ± {spread.std:.{metric.digits}f}"
    return f"**{text}**" if spread.mean == best else text
