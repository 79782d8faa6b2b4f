"""How good a ranking is, and whether one model's rankings are better than another's. Pure functions.

Only queries with both relevant and not relevant passages count: any order of the others is as good as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import permutation_test
from sklearn.metrics import average_precision_score, ndcg_score

from reranker.dataset import JudgedQuery

CUTOFF = 10
# Queries whose nDCG@10 differs by less than this count as equal.
SAME = 1e-9


@dataclass(frozen=True)
class Evaluation:
    """The figures of one model on one set: means over the queries, and by query id."""

    metrics: dict[str, float]
    per_query: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Comparison:
    """Champion and challenger on the same queries. `p_value` is two-sided; None with fewer than two queries."""

    queries: int
    gain: float
    better: int
    equal: int
    worse: int
    p_value: float | None


def query_metrics(labels: Sequence[int], scores: Sequence[float]) -> dict[str, float]:
    """nDCG@10, reciprocal rank at 10 and average precision of ranking passages by `scores`, best first.

    nDCG with binary gains and a log2 discount (Järvelin & Kekäläinen, 2002), ties averaged, by scikit-learn.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    hits = np.flatnonzero(np.asarray(labels)[order][:CUTOFF])
    return {
        "ndcg@10": float(ndcg_score([labels], [scores], k=CUTOFF)),
        "mrr@10": float(1 / (hits[0] + 1)) if hits.size else 0.0,
        "map": float(average_precision_score(labels, scores)),
    }


def evaluate(queries: Sequence[JudgedQuery], scores: Sequence[Sequence[float]]) -> Evaluation:
    """The figures of a model that gave these scores: one list for each query, in the order of its passages."""
    per_query = {
        judged.query_id: query_metrics(judged.labels, list(query_scores))
        for judged, query_scores in zip(queries, scores, strict=True)
    }
    if not per_query:
        return Evaluation({}, {})
    means = {
        name: float(np.mean([figures[name] for figures in per_query.values()])) for name in ("ndcg@10", "mrr@10", "map")
    }
    return Evaluation({**means, "queries": len(per_query)}, per_query)


def compare(champion: Evaluation, challenger: Evaluation, seed: int = 0) -> Comparison:
    """How the challenger's nDCG@10 differs from the champion's, query by query.

    The p-value is that of a paired randomisation test on the mean difference (Smucker, Allan & Carterette, 2007).
    """
    differences = np.array(
        [challenger.per_query[query]["ndcg@10"] - figures["ndcg@10"] for query, figures in champion.per_query.items()]
    )
    return Comparison(
        queries=len(differences),
        gain=float(differences.mean()) if differences.size else 0.0,
        better=int((differences > SAME).sum()),
        equal=int((np.abs(differences) <= SAME).sum()),
        worse=int((differences < -SAME).sum()),
        p_value=_p_value(differences, seed),
    )


def _p_value(differences: np.ndarray, seed: int) -> float | None:
    if differences.size < 2:
        return None
    test = permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=9_999, rng=np.random.default_rng(seed)
    )
    return float(test.pvalue)
