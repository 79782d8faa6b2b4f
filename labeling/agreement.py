"""How far annotators agree on the pairs that more than one of them judged. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from storage.records import StoredLabel


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


def agreement(labels: Iterable[StoredLabel]) -> Agreement:
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
