"""What the figures of a run are called, and the sets of queries that they are of: on the page, in model cards and over
HTTP. Imports nothing, so that the page need not wait for what computes them (evaluation.py)."""

from __future__ import annotations

from typing import Any, NamedTuple

METRICS = {"ndcg@10": "nDCG@10", "mrr@10": "MRR@10", "map": "MAP", "accuracy": "Accuracy", "auc": "AUC"}
# Queries whose nDCG@10 differs by less than this count as equal.
SAME = 1e-9


class MeasuredOn(NamedTuple):
    """The words for a set of queries; a model card is read on the Hub, where nobody knows the app."""

    prefix: str
    words: str
    in_card: str
    query: str


# In the order in which they are shown. What stands before the names of a set's figures tells it from the others.
SETS = {
    "dev": MeasuredOn("", "Held-out queries", "Held-out labelled queries", "held-out query"),
    "cross": MeasuredOn(
        "cross_", "Cross-checked queries", "Cross-checked labelled queries", "cross-checked query"
    ),
    "test": MeasuredOn("test_", "Test queries", "Labelled test queries", "test query"),
    "general": MeasuredOn("general_", "General set", "Rerank Workbench general set", "general-set query"),
}


def by_name(evaluations: dict[str, Any]) -> dict[str, float]:
    """The figures of each set by name with their intervals, from `Evaluation`s as dicts by set."""
    figures: dict[str, float] = {}
    for split, (prefix, *_) in SETS.items():
        evaluation = evaluations.get(split, {})
        figures |= {f"{prefix}{name}": value for name, value in evaluation.get("metrics", {}).items()}
        for name, (low, high) in evaluation.get("intervals", {}).items():
            figures |= {f"{prefix}{name}_low": low, f"{prefix}{name}_high": high}
    return figures
