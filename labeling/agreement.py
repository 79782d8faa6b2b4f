"""How far annotators agree on the pairs that more than one of them judged. Pure functions.

They need no label by itself, only how many pairs were judged how: the store counts that (ReviewStore.vote_counts).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from storage.records import VoteCounts

# Of thousands of annotators there are millions of twos, of which next to none have judged a pair both.
FEW_ANNOTATORS = 100


@dataclass(frozen=True)
class PairKappa:
    """Cohen's kappa of two annotators over the `pairs` that both judged; None where it is not defined."""

    annotators: tuple[str, str]
    pairs: int
    kappa: float | None


@dataclass(frozen=True)
class Agreement:
    """`pairs` counts those that at least two annotators judged; alpha is None where it is not defined."""

    annotators: int
    pairs: int
    krippendorff_alpha: float | None
    cohen_kappa: list[PairKappa]


@dataclass(frozen=True)
class PeriodAgreement:
    """Agreement on the pairs that were judged last in a period, named by its first day (a Monday)."""

    begins: str
    pairs: int
    krippendorff_alpha: float | None


@dataclass(frozen=True)
class AnnotatorAgreement:
    """How one annotator goes with the others: over `comparisons` with another's label of the same pair, the share that
    is the same; and the mean of Cohen's kappa with each other annotator, weighted by the pairs that both judged."""

    annotator: str
    pairs: int
    comparisons: int
    same: float | None
    kappa: float | None


def agreement(votes: VoteCounts) -> Agreement:
    """Krippendorff's alpha (nominal) over all annotators, and Cohen's kappa for each two of them; of more than
    FEW_ANNOTATORS, for each two who have judged a pair both.

    Krippendorff, "Content Analysis" (2013), chapter 12; Cohen, "A coefficient of agreement for nominal scales" (1960).
    Neither is defined when every label under comparison is the same.
    """
    both: dict[tuple[str, str], dict[tuple[int, int], int]] = defaultdict(dict)
    for one, other, ours, theirs, pairs in votes.by_two:
        both[one, other][ours, theirs] = pairs
    every, few = combinations(votes.annotators, 2), len(votes.annotators) <= FEW_ANNOTATORS
    return Agreement(
        annotators=len(votes.annotators),
        pairs=sum(pairs for *_, pairs in votes.by_week),
        krippendorff_alpha=_alpha(votes.by_week),
        cohen_kappa=[_kappa(two, both.get(two, {})) for two in (every if few else sorted(both))],
    )


def agreement_by_week(votes: VoteCounts) -> list[PeriodAgreement]:
    """Krippendorff's alpha week by week, oldest first; a pair belongs to the week in which its last label was given."""
    by_week: dict[str, list[tuple[str, int, int, int]]] = defaultdict(list)
    for row in votes.by_week:
        by_week[row[0]].append(row)
    return [
        PeriodAgreement(week, sum(pairs for *_, pairs in rows), _alpha(rows)) for week, rows in sorted(by_week.items())
    ]


def agreement_by_annotator(votes: VoteCounts) -> list[AnnotatorAgreement]:
    """How each annotator goes with the others, by name."""
    compared: Counter[str] = Counter()
    same: Counter[str] = Counter()
    for one, other, ours, theirs, pairs in votes.by_two:
        for annotator in (one, other):
            compared[annotator] += pairs
            same[annotator] += pairs if ours == theirs else 0
    kappas: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for item in agreement(votes).cohen_kappa:
        for annotator in item.annotators if item.kappa is not None else ():
            kappas[annotator].append((item.pairs, item.kappa))  # type: ignore[arg-type]
    return [
        AnnotatorAgreement(
            annotator,
            votes.shared.get(annotator, 0),
            compared[annotator],
            same[annotator] / compared[annotator] if compared[annotator] else None,
            _weighted_mean(kappas[annotator]),
        )
        for annotator in votes.annotators
    ]


def _alpha(rows: Iterable[tuple[str, int, int, int]]) -> float | None:
    """Alpha over pairs that are counted as in VoteCounts.by_week."""
    import krippendorff

    rows = list(rows)
    # One row for each pair: how many say not relevant, and how many relevant.
    each = np.array([(voices - relevant, relevant) for _, voices, relevant, _ in rows]).reshape(-1, 2)
    values = np.repeat(each, [pairs for *_, pairs in rows], axis=0)
    if not values.sum(axis=0).all():
        return None
    return float(krippendorff.alpha(value_counts=values, level_of_measurement="nominal"))


def _kappa(annotators: tuple[str, str], both: dict[tuple[int, int], int]) -> PairKappa:
    """Kappa of two annotators, of whose common pairs so many were labelled (by the first, by the second)."""
    from sklearn.metrics import cohen_kappa_score

    ours, theirs = zip(*both, strict=True) if both else ((), ())
    pairs = sum(both.values())
    if len({*ours, *theirs}) < 2:
        return PairKappa(annotators, pairs, None)
    return PairKappa(annotators, pairs, float(cohen_kappa_score(ours, theirs, sample_weight=list(both.values()))))


def in_words(alpha: float | None) -> str:
    """What a value of alpha is good for, by the customary bounds (Krippendorff, 2013, section 11.4)."""
    if alpha is None:
        return "cannot be told yet"
    if alpha >= 0.8:
        return "reliable"
    return "good enough for tentative conclusions" if alpha >= 0.667 else "too low to rely on"


def _weighted_mean(values: list[tuple[int, float]]) -> float | None:
    total = sum(weight for weight, _ in values)
    return sum(weight * value for weight, value in values) / total if total else None
