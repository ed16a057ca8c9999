"""Claims, tested: the poster's on its own five seeds and on a grid's cells, and those of our rows on the grid's.

A claim is made of comparisons "this row is better than that one in this metric" (`experiments.reporting.statistics`),
joined by "all of" and "any of". A statement has two p values: of the null hypothesis that it is false, and that it is
true.

* all of k parts: the first is the largest of the parts' (intersection-union, no correction needed: Berger 1982); the
  second is k times the least of the parts' (Bonferroni), because one wrong part makes the statement wrong;
* any of k parts: the other way round.

What is claimed of our rows is that they are better than *every* supervised row that the grid has, and than every other
row without labels: the strongest rival decides, and choosing it costs nothing.

A claim's p value is twice the smaller of its two; those of a family (the poster's, ours) are corrected by Holm's
method, over all the grids that are shown together. A part that cannot be tested counts with p = 1, so that a missing
row never speaks for or against a claim.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.reporting.cell_files import PUBLISHED_ROWS, row_label
from experiments.reporting.cells import published_scores
from experiments.reporting.columns import PUBLISHED_METRICS, WHOLE_NOTE_MEASURES
from experiments.reporting.row_scores import HONEST, MEASURES, RowScores
from experiments.reporting.statistics import LEVEL, Comparison, compare, has, holm

OUR_ROWS = ("m7",)
SUPERVISED = ("b", "b_cosine", "b_equivariant", "b_m7_losses", "b_two_stage", "plain_classifier", "nearest_note")
LABEL_FREE = ("m6", "m6_cosine", "m7_comb", "pesto", "pyin", "yin_tracker", "pyin_tracker")
OUR_MEASURES = (*HONEST, *(metric for metric in PUBLISHED_METRICS if metric.name in ("fid_recon", "fid_rand", "cds")))
"""What our rows are compared in: nothing that is fitted or chosen on the scored notes."""

WHOLE_NOTE_ROWS = ("m8",)
WHOLE_NOTE_RIVALS = ("m7_frames", "ts_dsae", "sequential_vae", "v3")

HOLDS, FAILS, UNDECIDED, UNTESTED = "holds", "does not hold", "undecided", "not tested"


BY_NAME = {metric.name: metric for metric in MEASURES}


@dataclass(frozen=True)
class Better:
    """The statement that ``row`` is better than ``rival`` in a metric.

    Attributes:
        row, rival: names of the rows.
        metric: name of one of `MEASURES`.
    """

    row: str
    rival: str
    metric: str


@dataclass(frozen=True)
class AllOf:
    """The statement that every part is true."""

    parts: tuple[Statement, ...]


@dataclass(frozen=True)
class AnyOf:
    """The statement that at least one part is true."""

    parts: tuple[Statement, ...]


Statement = Better | AllOf | AnyOf


@dataclass(frozen=True)
class Claim:
    """A statement in words and in comparisons.

    Attributes:
        text: the claim in a sentence.
        statement: what is compared.
        about: which of our rows against which rivals; empty for the poster's.
    """

    text: str
    statement: Statement
    about: str = ""


@dataclass(frozen=True)
class Evidence:
    """What the data say about a statement.

    Attributes:
        p_true: p value of the null hypothesis that the statement is false: small where the data support it.
        p_false: p value of the null hypothesis that it is true: small where the data contradict it.
        decides_true: the comparison whose p value became ``p_true``.
        decides_false: the comparison whose p value became ``p_false``.
    """

    p_true: float
    p_false: float
    decides_true: Comparison
    decides_false: Comparison

    @property
    def p(self) -> float:
        """The two-sided p value."""
        return min(1.0, 2 * min(self.p_true, self.p_false))


@dataclass(frozen=True)
class Verdict:
    """A claim on one source of data.

    Attributes:
        claim: the claim.
        word: holds, does not hold, undecided or not tested.
        p: its p value.
        p_holm: the same, corrected for all tested claims of the family.
        in_means: whether it is true of the means over seeds, whatever their spread.
        decisive: the comparison that decided; of an undecided claim the one that stands in its way.
        comparisons: all that it is made of.
    """

    claim: Claim
    word: str
    p: float
    p_holm: float
    in_means: bool
    decisive: Comparison
    comparisons: tuple[Comparison, ...]

    @property
    def headline(self) -> str:
        """The verdict in words; an undecided one with the numbers of seeds."""
        if self.word != UNDECIDED:
            return self.word
        numbers = sorted({number for found in self.comparisons if found.tested for number in found.seeds})
        return f"{UNDECIDED} at n = {' to '.join(dict.fromkeys(map(str, (numbers[0], numbers[-1]))))}"


def poster_claims() -> tuple[Claim, ...]:
    """What the poster claims, in the order of its table's rows."""
    labels = [metric.name for metric in PUBLISHED_METRICS if metric.name in published_scores()]
    others = [row for row in PUBLISHED_ROWS if row != "b"]
    after_m5 = [row for row in PUBLISHED_ROWS if row not in ("m5", "m6")]
    surrogate = tuple(Better("m6", "m5", name) for name in labels)
    return (
        *(
            Claim(
                f"Labels do not give the best generation: in {BY_NAME[name].label} some row is better than b",
                AnyOf(tuple(Better(row, "b", name) for row in others)),
            )
            for name in ("fid_recon", "fid_rand")
        ),
        Claim(
            "Pitch shifting alone (M0 against #) improves Pitch, Combine, ACC and CDS",
            AllOf(tuple(Better("m0", "sharp", name) for name in ("pitch", "combine", "acc", "cds"))),
        ),
        Claim(
            "No auxiliary loss alone improves everything: each of M1 to M4 is worse than M0 in some metric",
            AllOf(tuple(AnyOf(tuple(Better("m0", f"m{i}", name) for name in labels)) for i in range(1, 5))),
        ),
        Claim(
            "The surrogate on top makes the best model, read strictly: M6 is better than M5 in all eight metrics",
            AllOf(surrogate),
        ),
        Claim(
            "The surrogate on top makes the best model, read leniently: M6 is better than M5 in at least one metric",
            AnyOf(surrogate),
        ),
        Claim("Leakage of pitch into z (Pitch): b < M6 < M0 < #", AllOf(_chain("pitch"))),
        Claim(
            "FID_recon: best M6, second M5",
            AllOf((Better("m6", "m5", "fid_recon"), *(Better("m5", row, "fid_recon") for row in after_m5))),
        ),
        Claim("CDS: b > M6 > M0 > #", AllOf(_chain("cds"))),
    )


def _chain(metric: str) -> tuple[Better, ...]:
    """That b is better than M6, M6 than M0, M0 than #; the ends follow."""
    rows = ("b", "m6", "m0", "sharp")
    return tuple(Better(row, rival, metric) for row, rival in itertools.pairwise(rows))


def our_claims(rows: Mapping[str, RowScores]) -> tuple[Claim, ...]:
    """That each of our rows is better than all of its rivals of a kind, measure by measure."""
    kinds = {"every supervised row": SUPERVISED, "every other row without labels": LABEL_FREE}
    families = (
        *((OUR_ROWS, kind, names, OUR_MEASURES) for kind, names in kinds.items()),
        (WHOLE_NOTE_ROWS, "every rival of whole notes", WHOLE_NOTE_RIVALS, WHOLE_NOTE_MEASURES),
    )
    claims = []
    for ours, kind, names, measures in families:
        for own, metric in itertools.product((name for name in ours if name in rows), measures):
            rivals = [name for name in names if name in rows and has(rows[name], metric)]
            about = f"{row_label(own)} against {kind} ({', '.join(map(row_label, rivals))})"
            parts = tuple(Better(own, rival, metric.name) for rival in rivals)
            if parts:
                text = f"{row_label(own)} is better in {metric.label} than {kind}"
                claims.append(Claim(text, AllOf(parts), about))
    return tuple(claims)


def verdicts(tables: Sequence[tuple[Sequence[Claim], Mapping[str, RowScores]]]) -> list[list[Verdict]]:
    """Test a family of claims on one or several tables.

    Args:
        tables: the claims on each table, and the scores of the rows that it has. Holm's correction is for those of all
            tables' claims of which anything can be tested.

    Returns:
        the verdicts of each table, in the order of its claims.
    """
    found = [
        {leaf: _compared(leaf, rows) for claim in claims for leaf in leaves(claim.statement)} for claims, rows in tables
    ]
    weighed = [
        [(claim, weigh(claim.statement, of), tuple(of[leaf] for leaf in leaves(claim.statement))) for claim in claims]
        for (claims, _), of in zip(tables, found, strict=True)
    ]
    able = [evidence for table in weighed for _, evidence, parts in table if any(part.tested for part in parts)]
    corrected = dict(zip(map(id, able), holm(evidence.p for evidence in able), strict=True))
    return [
        [
            _verdict(
                claim, evidence, parts, means_agree(claim.statement, of), float(corrected.get(id(evidence), np.nan))
            )
            for claim, evidence, parts in table
        ]
        for table, of in zip(weighed, found, strict=True)
    ]


def _compared(leaf: Better, rows: Mapping[str, RowScores]) -> Comparison:
    metric, absent = BY_NAME[leaf.metric], tuple(row for row in (leaf.row, leaf.rival) if row not in rows)
    if absent:
        return Comparison(leaf.row, leaf.rival, metric, absent=absent)
    return compare(rows[leaf.row], rows[leaf.rival], metric)


def leaves(statement: Statement) -> Iterator[Better]:
    """The comparisons of a statement, in order."""
    if isinstance(statement, Better):
        yield statement
    else:
        for part in statement.parts:
            yield from leaves(part)


def weigh(statement: Statement, found: Mapping[Better, Comparison]) -> Evidence:
    """The two p values of a statement from those of its comparisons; see the module's docstring."""
    if isinstance(statement, Better):
        comparison = found[statement]
        return Evidence(comparison.p_better, comparison.p_worse, comparison, comparison)
    parts = [weigh(part, found) for part in statement.parts]
    by_true, by_false = (lambda part: part.p_true), (lambda part: part.p_false)
    if isinstance(statement, AllOf):
        true, false = max(parts, key=by_true), min(parts, key=by_false)
        return Evidence(true.p_true, min(1.0, len(parts) * false.p_false), true.decides_true, false.decides_false)
    true, false = min(parts, key=by_true), max(parts, key=by_false)
    return Evidence(min(1.0, len(parts) * true.p_true), false.p_false, true.decides_true, false.decides_false)


def means_agree(statement: Statement, found: Mapping[Better, Comparison]) -> bool:
    """Whether the statement is true of the means over seeds, whatever their spread; false where one is not there."""
    if isinstance(statement, Better):
        row, rival = found[statement].means
        return row > rival if found[statement].metric.better == "max" else row < rival
    parts = [means_agree(part, found) for part in statement.parts]
    return all(parts) if isinstance(statement, AllOf) else any(parts)


def _verdict(
    claim: Claim, evidence: Evidence, comparisons: tuple[Comparison, ...], in_means: bool, p_holm: float
) -> Verdict:
    word, decisive = UNDECIDED, evidence.decides_true
    if np.isnan(p_holm):
        word = UNTESTED
    elif p_holm < LEVEL and evidence.p_true < evidence.p_false:
        word = HOLDS
    elif p_holm < LEVEL:
        word, decisive = FAILS, evidence.decides_false
    return Verdict(claim, word, evidence.p, p_holm, in_means, decisive, comparisons)


@dataclass(frozen=True)
class Judged:
    """All verdicts of a grid, and the paper's beside them.

    Attributes:
        paper: the poster's claims on the published seeds.
        here: the same claims, in the same order, on the grid's cells.
        ours: the claims of our rows on the grid's cells.
    """

    paper: list[Verdict]
    here: list[Verdict]
    ours: list[Verdict]


def judge(paper: Mapping[str, RowScores], grids: Sequence[Mapping[str, RowScores]]) -> list[Judged]:
    """Test every claim on the published scores and on the grids that are shown together."""
    poster = poster_claims()
    [published] = verdicts([(poster, paper)])
    here, ours = verdicts([(poster, rows) for rows in grids]), verdicts([(our_claims(rows), rows) for rows in grids])
    return [Judged(published, of_poster, own) for of_poster, own in zip(here, ours, strict=True)]
