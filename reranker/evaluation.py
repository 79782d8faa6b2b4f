"""How good a ranking is, and whether one model's rankings are better than another's. Pure functions.

Only queries with both relevant and not relevant passages count: any order of the others is as good as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import comb
from typing import Any

import numpy as np
from scipy.stats import bootstrap, permutation_test
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from reranker.dataset import JudgedQuery
from reranker.figures import METRICS, SAME

CUTOFF = 10
RESAMPLES = 9_999
# So many resamples at a time keep the memory small.
BATCH = 500


@dataclass(frozen=True)
class Evaluation:
    """The figures of one model on one set.

    `metrics` are means over the queries, `intervals` their 95 % confidence intervals, none with fewer than two queries.
    `per_query` has the figures of each query by its id, and its `scores` in the order of its passages.
    """

    metrics: dict[str, float]
    per_query: dict[str, dict[str, Any]]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Champion and challenger on the same queries.

    `gain` is in mean nDCG@10; it is at least `low` and at most `high`, each with 95 % confidence. `p_value` is
    two-sided. The three are None with fewer than two queries.
    """

    queries: int
    gain: float
    better: int
    equal: int
    worse: int
    p_value: float | None
    low: float | None
    high: float | None


def ndcg(labels: Sequence[int], scores: Sequence[float]) -> float:
    """nDCG@10 of ranking the passages of a query by `scores`; see `query_metrics`."""
    return float(ndcg_score([labels], [scores], k=CUTOFF))


def query_metrics(labels: Sequence[int], scores: Sequence[float]) -> dict[str, float]:
    """The figures of ranking the passages of a query by `scores` (logits), best first.

    nDCG@10 with binary gains and a log2 discount (Järvelin & Kekäläinen, 2002), ties averaged, by scikit-learn;
    reciprocal rank at 10, as expected over the orders of what is tied; average precision; accuracy, the share of
    passages on the right side of probability 0.5; AUC, how often a relevant passage scores higher than one that is not.
    """
    return {
        "ndcg@10": ndcg(labels, scores),
        "mrr@10": _reciprocal_rank(np.asarray(labels), np.asarray(scores)),
        "map": float(average_precision_score(labels, scores)),
        "accuracy": float(np.mean((np.asarray(scores) > 0) == np.asarray(labels, dtype=bool))),
        "auc": float(roc_auc_score(labels, scores)),
    }


def _reciprocal_rank(labels: np.ndarray, scores: np.ndarray) -> float:
    """The expected reciprocal rank at 10 where what has the same score is in any order.

    Of m passages that are tied, r of them relevant, the first relevant one is at place k in comb(m - k, r - 1) of
    comb(m, r) orders.
    """
    best = scores[labels == 1].max()
    above, tied = int((scores > best).sum()), scores == best
    m, r = int(tied.sum()), int(labels[tied].sum())
    places = range(1, min(m - r + 1, CUTOFF - above) + 1)
    return float(sum(comb(m - k, r - 1) / comb(m, r) / (above + k) for k in places))


def evaluate(queries: Sequence[JudgedQuery], scores: Sequence[Sequence[float]]) -> Evaluation:
    """The figures of a model that gave these scores: one list for each query, in the order of its passages."""
    per_query = {
        judged.query_id: {**query_metrics(judged.labels, list(query_scores)), "scores": list(query_scores)}
        for judged, query_scores in zip(queries, scores, strict=True)
    }
    if not per_query:
        return Evaluation({}, {})
    values = np.array([[figures[name] for figures in per_query.values()] for name in METRICS])
    means = dict(zip(METRICS, values.mean(axis=1).tolist(), strict=True))
    return Evaluation({**means, "queries": len(per_query)}, per_query, _intervals(values))


def _intervals(values: np.ndarray) -> dict[str, tuple[float, float]]:
    """None with fewer than two queries: one says nothing about how much others differ from it."""
    if values.shape[1] < 2:
        return {}
    low, high = bounds_of_mean(values, 0.95)
    return {name: (float(low[row]), float(high[row])) for row, name in enumerate(METRICS)}


def bounds_of_mean(values: np.ndarray, confidence: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The two-sided confidence interval of the mean over the last axis, by the percentile bootstrap over queries.

    Efron & Tibshirani (1993), chapter 13. Not scipy's default BCa, which has no answer where all values are equal.
    """
    found = bootstrap(
        (values,), np.mean, axis=-1, n_resamples=RESAMPLES, batch=BATCH, confidence_level=confidence,
        method="percentile", rng=np.random.default_rng(seed),
    )  # fmt: skip
    return found.confidence_interval.low, found.confidence_interval.high


def compare(champion: Evaluation, challenger: Evaluation, seed: int = 0) -> Comparison:
    """How the challenger's nDCG@10 differs from the champion's, query by query.

    The p-value is that of a paired randomisation test on the mean difference (Smucker, Allan & Carterette, 2007), the
    bounds those of a paired bootstrap: both ends of a 90 % interval are one-sided bounds at 95 %.
    """
    differences = np.array(
        [challenger.per_query[query]["ndcg@10"] - figures["ndcg@10"] for query, figures in champion.per_query.items()]
    )
    low, high = bounds_of_mean(differences, 0.9, seed) if differences.size > 1 else (None, None)
    return Comparison(
        queries=len(differences),
        gain=float(differences.mean()) if differences.size else 0.0,
        better=int((differences > SAME).sum()),
        equal=int((np.abs(differences) <= SAME).sum()),
        worse=int((differences < -SAME).sum()),
        p_value=_p_value(differences, seed),
        low=None if low is None else float(low),
        high=None if high is None else float(high),
    )


def _p_value(differences: np.ndarray, seed: int) -> float | None:
    if differences.size < 2:
        return None
    test = permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=9_999,
        batch=BATCH,
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)
