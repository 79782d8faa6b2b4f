"""A small set of everyday and technical questions that ships with the app, to see whether a model has forgotten.

A model that learns from the labels of one subject can lose what it knew of all others. These texts were written for
this purpose; nothing is ever trained on them.
"""

from __future__ import annotations

import json
from pathlib import Path

from reranker.dataset import JudgedQuery

FILE = Path(__file__).parent / "general_set.jsonl"


def general_queries() -> list[JudgedQuery]:
    """The queries of the general set, each with one or two relevant passages before those that are not."""
    with FILE.open(encoding="utf-8") as lines:
        return [_judged(json.loads(line)) for line in lines]


def _judged(row: dict) -> JudgedQuery:
    labels = [1] * len(row["relevant"]) + [0] * len(row["not_relevant"])
    return JudgedQuery(row["query"], row["query"], row["relevant"] + row["not_relevant"], labels)
