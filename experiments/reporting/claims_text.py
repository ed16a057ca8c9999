"""The claims as text: ``claims.md``, ``claims.csv``, and the section of ``table.md``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.reporting.cell_files import row_label, row_order
from experiments.reporting.claims import FAILS, HOLDS, UNDECIDED, UNTESTED, Judged, Verdict
from experiments.reporting.columns import COUNT, PERCENT
from experiments.reporting.markdown import NOT_THERE, aligned
from experiments.reporting.statistics import Comparison

MINUS = "−"  # noqa: RUF001 (the sign, not a hyphen)


UNITS = {PERCENT: " points", COUNT: " pitches"}


def render(judged: Judged, header: Sequence[str]) -> str:
    """The whole of ``claims.md``.

    Args:
        judged: the verdicts.
        header: lines that say what the cells were trained on and with.
    """
    return "\n".join(
        [
            "# Claims, tested",
            "",
            *header,
            "",
            "## Summary",
            "",
            *summary(judged),
            "",
            *READING,
            "",
            "## The poster's claims",
            "",
            *_markdown(_poster_lines(judged)),
            "",
            *_ours_section(judged.ours),
            "## The comparisons behind the poster's claims",
            "",
            "The row's mean minus the rival's, with its 95 % interval; Hedges' g, the effect in deviations of seeds;",
            "the two-sided p value of this comparison alone, not corrected. Notes: how many were resampled here.",
            "",
            *_markdown(_comparison_lines(judged)),
            "",
            "## How this is tested",
            "",
            *METHOD,
            "",
            *_remarks(judged),
        ]
    )


READING = """\
*Holds* and *does not hold* (the opposite is shown) are significant at 5 % after Holm's correction for all claims of
the family; *undecided* is neither for nor against: these data cannot tell. *In the means* says whether the claim is
true of the means over seeds, whatever their spread.
""".splitlines()


def _remarks(judged: Judged) -> list[str]:
    """What was not tested here, or with less than there could be."""
    comparisons = [comparison for verdict in (*judged.here, *judged.ours) for comparison in verdict.comparisons]
    lines = [f"- {reason}" for reason in _reasons(comparisons)]
    return ["## Not tested, or on seeds alone", "", *lines, ""] if lines else []


def _reasons(comparisons: Sequence[Comparison]) -> list[str]:
    """Why some of the comparisons were not tested, or without notes."""
    absent = {row for found in comparisons for row in found.absent}
    reasons = sorted({found.remark for found in comparisons} - {""})
    if absent:
        names = [row_label(row) for row in row_order(absent) if row in absent]
        reasons.append(f"no finished cell of {', '.join(names)}")
    return reasons


def section(judged: Judged) -> list[str]:
    """The lines on claims at the end of ``table.md``."""
    about = "What is claimed of the means over seeds, tested; effects, intervals and how it is done are in `claims.md`."
    return ["## Claims", "", about, "", *summary(judged), "", *aligned(brief_lines(judged))]


def brief_lines(judged: Judged) -> list[list[str]]:
    """Heading and lines of the poster's claims: claim, the verdict on the paper's seeds, the verdict here, in brief."""
    pairs = zip(judged.paper, judged.here, strict=True)
    lines = [[paper.claim.text, _brief(paper), _brief(here)] for paper, here in pairs]
    return [["Claim", "Paper's five seeds", "Here"], *lines]


def _brief(verdict: Verdict) -> str:
    if verdict.word == UNTESTED:
        return UNTESTED
    return f"**{verdict.headline}** (p_Holm {_p(verdict.p_holm)}; in the means: {_yes(verdict.in_means)})"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


METHOD = """\
- **One comparison** is the difference of two rows' means over seeds, at the best checkpoint. Interval and p value
  are those of Student's t with the bootstrap's standard error and Satterthwaite's degrees of freedom.
- **Accuracies**, where the outcomes of single notes are kept (`notes.csv`): a two-level bootstrap. Seeds are
  resampled in each row apart; notes in both rows together, because all rows score the same notes, and those of one
  recording (the note table's `group`), or of one instrument and pitch where that is coarser, as one. The two
  variances, taken in closed form (the limit of infinitely many draws), are added. Mappings and probes are not
  fitted again. Without the recordings' names there is no verdict.
- **FID and CDS**, and accuracies without such outcomes (the paper's, always): seeds alone, which is Welch's t test.
  Nothing is said about other notes.
- **Good and bad seeds**: the runs of each fold are also exchanged between the two rows (a permutation test, exact
  whatever the shape of their spread); where it gives more than 0.025, its p value counts if it is the larger one.
- **Seeds**: with fewer than five of either row there is no verdict.
- `python -m experiments rejection-rates` simulates how often a difference is found where there is none.
- **Seeds of two rows are not paired**: where equal seeds go together, the interval is too wide, not too narrow.
- **All of** several comparisons hold only if each does (the largest p value: intersection-union); the opposite is
  shown if any is opposite (the smallest, times their number). **Any of** them is the mirror image. An ordering is
  all of its neighbouring pairs; "no loss improves everything" is: each is *worse* in at least one metric.
- **Families**: the poster's claims, once on the paper's seeds and once here, and those of our rows. Holm's correction
  is for the tested claims of a family, of all the folders that `python -m experiments table` was given.
- **Our rows** are held against every supervised row at once, and against every other row without labels: such a claim
  holds if it holds against the strongest.
- **Folds** are pooled: a seed counts once, with the mean over the folds that both rows have.
""".splitlines()


def summary(judged: Judged) -> list[str]:
    """One line for the poster's claims on each source, and one for each kind of rivals of our rows."""
    lines = [f"- The poster's claims, on the paper's own five seeds: {_counts(judged.paper)}."]
    lines.append(f"- The poster's claims, on the cells here: {_counts(judged.here)}.")
    words = {HOLDS: "better in", FAILS: "not better in", UNDECIDED: "undecided in", UNTESTED: "not tested in"}
    for about, of in _by_rivals(judged.ours).items():
        found = {
            text: ", ".join(verdict.decisive.metric.label for verdict in of if verdict.word == word)
            for word, text in words.items()
        }
        told = "; ".join(f"{text} {metrics}" for text, metrics in found.items() if metrics)
        lines.append(f"- {about}: {told}.")
    return lines


def _counts(found: Sequence[Verdict]) -> str:
    numbers = {word: sum(verdict.word == word for verdict in found) for word in (HOLDS, FAILS, UNDECIDED, UNTESTED)}
    words = {HOLDS: ("holds", "hold"), FAILS: ("does not hold", "do not hold")}
    shown = [(n, words.get(word, (f"is {word}", f"are {word}"))[n != 1]) for word, n in numbers.items() if n]
    return ", ".join(f"{n} {text}" for n, text in shown)


def _by_rivals(ours: Sequence[Verdict]) -> dict[str, list[Verdict]]:
    return {about: [v for v in ours if v.claim.about == about] for about in dict.fromkeys(v.claim.about for v in ours)}


def _poster_lines(judged: Judged) -> list[list[str]]:
    """Heading and lines of the poster's claims, numbered, each verdict with what decided it."""
    lines = [["Claim", "Paper's five seeds", "Here"]]
    for number, (paper, here) in enumerate(zip(judged.paper, judged.here, strict=True), start=1):
        lines.append([f"{number}. {paper.claim.text}", _told(paper), _told(here)])
    return lines


def _told(verdict: Verdict) -> str:
    """A verdict with its p value and the comparison that decided it."""
    reasons = "; ".join(_reasons([found for found in verdict.comparisons if not found.tested]))
    if verdict.word == UNTESTED:
        return f"{UNTESTED}: {reasons}"
    found = verdict.decisive
    link = "not shown" if verdict.word == UNDECIDED else "decided by"
    effect = f"{_effect(found)}{UNITS.get(found.metric.unit, '')}, g {_number(found.g, 1)}" if found.tested else reasons
    return (
        f"**{verdict.headline}**, p {_p(verdict.p)}, p_Holm {_p(verdict.p_holm)}; in the means: "
        f"{_yes(verdict.in_means)}; {link}: {_pair(found)}: {effect}"
    )


def _pair(found: Comparison) -> str:
    return f"{row_label(found.row)} against {row_label(found.rival)}, {found.metric.heading}"


def _effect(found: Comparison) -> str:
    """The difference with its interval, or a dash."""
    digits = found.metric.digits
    if not found.tested:
        return NOT_THERE
    low, high = (f"{bound:+.{digits}f}".replace("-", MINUS) for bound in (found.low, found.high))
    return f"{_number(found.effect, digits, sign='+')} [{low}, {high}]"


def _number(value: float, digits: int, sign: str = "") -> str:
    return f"{value:{sign}.{digits}f}".replace("-", MINUS) if np.isfinite(value) else NOT_THERE


def _p(value: float) -> str:
    return NOT_THERE if np.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _ours_section(ours: Sequence[Verdict]) -> list[str]:
    """What is written of our rows: each measure against the rival that decides; nothing without them."""
    lines = []
    for about, verdicts in _by_rivals(ours).items():
        heading = ["Metric", "Strongest rival", "Means", "Difference [95 %]", "g", "p", "p_Holm", "Seeds", "Notes"]
        table = [[*heading, "Verdict"]]
        for verdict in verdicts:
            found = verdict.decisive
            tests = [_measured(found)[0], _effect(found), _number(found.g, 1), _p(verdict.p), _p(verdict.p_holm)]
            word = f"**{verdict.headline}**" if verdict.word in (HOLDS, FAILS) else verdict.headline
            table.append([found.metric.heading, row_label(found.rival), *tests, *_size(found), word])
        lines += [f"## {about[0].upper()}{about[1:]}", "", *_markdown(table), ""]
    if not lines:
        return []
    return [
        *lines,
        "Each line is the claim that the row is better than all of these, shown against the rival that decides. The",
        "difference is the row's mean minus the rival's; g (Hedges) is it in deviations of seeds. Notes: how many were",
        "resampled. *Does not hold*: one of the rivals is better.",
        "",
    ]


def _size(found: Comparison) -> list[str]:
    """Seeds and notes of a comparison."""
    return [" and ".join(map(str, dict.fromkeys(found.seeds))), str(found.notes or "none")]


def _comparison_lines(judged: Judged) -> list[list[str]]:
    """Heading and lines of the comparisons, each once, with the numbers of the claims that it is a part of."""
    numbers: dict[tuple[Comparison, Comparison], list[str]] = {}
    for number, (paper, here) in enumerate(zip(judged.paper, judged.here, strict=True), start=1):
        for pair in zip(paper.comparisons, here.comparisons, strict=True):
            numbers.setdefault(pair, []).append(str(number))
    lines = [["Claim", "Comparison", "Paper: means", "Difference [95 %]", "g", "p"]]
    lines[0] += ["Here: means", "Difference [95 %]", "g", "p", "Seeds", "Notes"]
    for (theirs, ours), of in numbers.items():
        lines.append([", ".join(of), _pair(theirs), *_measured(theirs), *_measured(ours), *_size(ours)])
    return lines


def _measured(found: Comparison) -> list[str]:
    means = ", ".join(_number(mean, found.metric.digits) for mean in found.means)
    return [means, _effect(found), _number(found.g, 1), _p(found.p if found.tested else np.nan)]


def _markdown(lines: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---"] * len(lines[0])
    return [f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:])]


def frame(judged: Judged) -> pd.DataFrame:
    """All verdicts for ``claims.csv``: a line a claim and source, and below it one a comparison that it is made of.

    Returns:
        Columns: family, source, number and claim; of a comparison the rows, the metric and their numbers (empty in a
        claim's own line); p; and of the claim p_holm, in_means and verdict.
    """
    families = (("poster", "paper", judged.paper), ("poster", "here", judged.here), ("ours", "here", judged.ours))
    lines: list[dict[str, object]] = []
    for family, source, found in families:
        for number, verdict in enumerate(found, start=1):
            about = {"family": family, "source": source, "number": number, "claim": verdict.claim.text}
            end = {"p_holm": verdict.p_holm, "in_means": verdict.in_means, "verdict": verdict.word}
            lines.append({**about, **dict.fromkeys(NUMBERS), "p": verdict.p, **end})
            lines += [{**about, **_numbers(comparison), "p": comparison.p, **end} for comparison in verdict.comparisons]
    return pd.DataFrame(lines)


NUMBERS = (
    *("row", "rival", "metric", "mean", "rival_mean", "effect", "low", "high", "hedges_g"),
    *("seeds", "rival_seeds", "notes", "remark"),
)


def _numbers(found: Comparison) -> dict[str, object]:
    values = (row_label(found.row), row_label(found.rival), found.metric.name, *found.means, found.effect, found.low)
    rest = (found.high, found.g, *found.seeds, found.notes, "; ".join(_reasons([found])))
    return dict(zip(NUMBERS, (*values, *rest), strict=True))
