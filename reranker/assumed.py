"""Passages that nobody called not relevant, taken as such: for queries of which only relevant passages are known.

Many collections say which passage answers a question and nothing else, and from what is all relevant no model learns
anything. Nearly every other passage is not relevant; the most is learned from those that share words with the query.
What is taken so is a guess. It goes into a training run that asks for it, is marked there, and never becomes a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from reranker import near
from reranker.dataset import JudgedQuery, LabelledPair, TrainingSets, groups_of, queries_without_opposite

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# As many for each query as an annotator judges of one besides what is relevant (storage/queue_store.py).
EACH = 4
# Queries that are compared with all passages at a time: as many as keep the table of likeness small.
ROWS = 500


def with_assumed(sets: TrainingSets) -> TrainingSets:
    """These sets with what is assumed in each of them, so that none is trained on a passage that another holds back."""
    added = {split: [*pairs, *assumed(pairs)] for split, pairs in
             (("train", sets.train), ("dev", sets.dev), ("test", sets.test))}  # fmt: skip
    return replace(sets, **added)


def assumed(pairs: Sequence[LabelledPair]) -> list[LabelledPair]:
    """For each query of which only relevant passages are known, the EACH passages of other queries that are likest to
    it by their words (TF-IDF), as not relevant.

    Passages that are nearly the same as a relevant one, and those of queries that ask the same, are left out.
    """
    queries = queries_without_opposite(pairs)
    passages = list(dict.fromkeys(pair.passage for pair in pairs))
    if not queries or len(passages) < 2:
        return []
    cluster = near.clusters(passages)
    group = groups_of(pairs)
    relevant_of: dict[int, set[int]] = {}
    for pair in pairs:
        if pair.label:
            relevant_of.setdefault(group[pair.query_id], set()).add(cluster[pair.passage])
    found: list[LabelledPair] = []
    for judged, order in zip(queries, _likest(queries, passages), strict=True):
        excluded = relevant_of[group[judged.query_id]]
        others = (passages[place] for place in order)
        chosen = [passage for passage in others if cluster[passage] not in excluded][:EACH]
        found += [LabelledPair(judged.query_id, judged.query, passage, 0, assumed=True) for passage in chosen]
    return found


def _likest(queries: Sequence[JudgedQuery], passages: Sequence[str]) -> list[np.ndarray]:
    """The numbers of the passages for each query, those first that are likest to it."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    of_passages: csr_matrix = vectorizer.fit_transform(passages)
    of_queries = vectorizer.transform([judged.query for judged in queries])
    orders: list[np.ndarray] = []
    for start in range(0, len(queries), ROWS):
        likeness = (of_queries[start : start + ROWS] @ of_passages.T).toarray()
        orders.extend(np.argsort(-likeness, axis=1, kind="stable"))
    return orders
