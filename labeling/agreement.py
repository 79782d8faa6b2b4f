"""How far annotators agree on the pairs that more than one of them judged. Pure functions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import combinations

import numpy as np

from storage.records import StoredLabel, Vote


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


def agreement(labels: Iterable[StoredLabel | Vote]) -> Agreement:
    """Krippendorff's alpha (nominal) over all annotators, and Cohen's kappa for each two of them.

    Krippendorff, "Content Analysis" (2013), chapter 12; Cohen, "A coefficient of agreement for nominal scales" (1960).
    Neither is defined when every label under comparison is the same.
    """
    by_annotator: dict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for label in labels:
        by_annotator[label.annotator][label.query_id, label.passage_id] = label.label
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for judged in by_annotator.values():
        for pair in judged:
            counts[pair] += 1
    shared = sorted(pair for pair, count in counts.items() if count > 1)
    return Agreement(
        annotators=len(by_annotator),
        pairs=len(shared),
        krippendorff_alpha=_alpha(by_annotator, shared),
        cohen_kappa=[_kappa(first, second, by_annotator) for first, second in combinations(sorted(by_annotator), 2)],
    )


def _alpha(by_annotator: dict[str, dict[tuple[str, str], int]], shared: list[tuple[str, str]]) -> float | None:
    import krippendorff

    # One row for each annotator, one column for each pair, NaN where the annotator did not judge it.
    matrix = np.array([[judged.get(pair, np.nan) for pair in shared] for judged in by_annotator.values()])
    if not shared or len(np.unique(matrix[~np.isnan(matrix)])) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=matrix, level_of_measurement="nominal"))


def _kappa(first: str, second: str, by_annotator: dict[str, dict[tuple[str, str], int]]) -> PairKappa:
    from sklearn.metrics import cohen_kappa_score

    common = sorted(by_annotator[first].keys() & by_annotator[second].keys())
    ours = [by_annotator[first][pair] for pair in common]
    theirs = [by_annotator[second][pair] for pair in common]
    defined = bool(common) and len({*ours, *theirs}) > 1
    return PairKappa((first, second), len(common), float(cohen_kappa_score(ours, theirs)) if defined else None)


def agreement_by_week(labels: Iterable[StoredLabel | Vote]) -> list[PeriodAgreement]:
    """Krippendorff's alpha week by week, oldest first; a pair belongs to the week in which its last label was given."""
    by_pair: dict[tuple[str, str], list[StoredLabel | Vote]] = defaultdict(list)
    for label in labels:
        by_pair[label.query_id, label.passage_id].append(label)
    by_week: dict[str, list[StoredLabel | Vote]] = defaultdict(list)
    for given in by_pair.values():
        if len(given) > 1:
            last = date.fromisoformat(max(label.updated_at for label in given)[:10])
            by_week[(last - timedelta(days=last.weekday())).isoformat()] += given
    found = {week: agreement(given) for week, given in sorted(by_week.items())}
    return [PeriodAgreement(week, item.pairs, item.krippendorff_alpha) for week, item in found.items()]


def agreement_by_annotator(labels: Iterable[StoredLabel | Vote]) -> list[AnnotatorAgreement]:
    """How each annotator goes with the others, by name."""
    labels = list(labels)
    by_pair: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for label in labels:
        by_pair[label.query_id, label.passage_id][label.annotator] = label.label
    pairs: Counter[str] = Counter()
    compared: Counter[str] = Counter()
    same: Counter[str] = Counter()
    for given in by_pair.values():
        votes = Counter(given.values())
        for annotator, label in given.items() if len(given) > 1 else ():
            pairs[annotator] += 1
            compared[annotator] += len(given) - 1
            same[annotator] += votes[label] - 1
    kappas: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for item in agreement(labels).cohen_kappa:
        for annotator in item.annotators if item.kappa is not None else ():
            kappas[annotator].append((item.pairs, item.kappa))  # type: ignore[arg-type]
    return [
        AnnotatorAgreement(
            annotator,
            pairs[annotator],
            compared[annotator],
            same[annotator] / compared[annotator] if compared[annotator] else None,
            _weighted_mean(kappas[annotator]),
        )
        for annotator in sorted({label.annotator for label in labels})
    ]


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
