"""Passages that nobody called not relevant, taken as such: for queries of which only relevant passages are known.

Many collections say which passage answers a question and nothing else, and from what is all relevant no model learns
anything. Nearly every other passage is not relevant. The most is learned from those that a first stage found for the
query and nobody has judged; where there are none, from those of other queries that share words with it.

What is taken so is a guess. It goes into a training run that asks for it, is marked there, and never becomes a label.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from reranker import near
from reranker.dataset import JudgedQuery, LabelledPair, TrainingSets, groups_of, only_relevant_known
from texts import words_or_all

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# As many for each query as an annotator judges of one besides what is relevant (storage/queue_store.py).
EACH = 4
# Queries that are compared with all passages at a time: as many as keep the table of likeness small.
ROWS = 500
# Of the passages that are likest to a query so many are sorted at first.
SORTED_FIRST = 50

ByQuery = Callable[[Iterable[str]], Mapping[str, Sequence[str]]]


def with_assumed(sets: TrainingSets, not_judged: ByQuery, something_said: ByQuery = lambda ids: {}) -> TrainingSets:
    """These sets with what is assumed in each of them; of what is held out, nothing is trained on.

    `not_judged` gives the passages that wait to be judged, by the id of their query, for the ids of queries;
    `something_said` those that somebody has judged or could not tell: they may be disputed, and are never assumed.
    """
    ids = [judged.query_id for judged in only_relevant_known([*sets.train, *sets.dev, *sets.test])]
    waiting, said = not_judged(ids), something_said(ids)
    dev, test = ([*pairs, *assumed(pairs, waiting, (), said)] for pairs in (sets.dev, sets.test))
    held_back = [pair.passage for pair in (*dev, *test)]
    train = [*sets.train, *assumed(sets.train, waiting, held_back, said)]
    return replace(sets, train=train, dev=dev, test=test, assuming=True)


def assumed(
    pairs: Sequence[LabelledPair],
    not_judged: Mapping[str, Sequence[str]],
    excluded: Sequence[str] = (),
    something_said: Mapping[str, Sequence[str]] | None = None,
) -> list[LabelledPair]:
    """For each query of which only relevant passages are known, EACH others as not relevant: first of those that wait
    to be judged, then of those of other queries the likest to the query by their words (TF-IDF).

    Those that wait share words with the query as it is. The likest of them would teach that to share words is wrong, so
    any of them are taken, always the same.

    Left out is what is nearly the same as a passage that is `excluded`, that something was said of for the query, or
    that is relevant to one that asks the same.
    """
    queries = only_relevant_known(pairs)
    own = {judged.query_id: list(not_judged.get(judged.query_id, ())) for judged in queries}
    known = [pair.passage for pair in pairs]
    passages = list(dict.fromkeys([*known, *(passage for waiting in own.values() for passage in waiting)]))
    if not queries or len(passages) < 2:
        return []
    said = {judged.query_id: (something_said or {}).get(judged.query_id, ()) for judged in queries}
    cluster = near.clusters([*passages, *excluded, *(passage for passages in said.values() for passage in passages)])
    never = {cluster[passage] for passage in excluded}
    group = groups_of(pairs, most=1.0)
    relevant: dict[int, set[int]] = {}
    for pair in pairs:
        if pair.label:
            relevant.setdefault(group[pair.query_id], set()).add(cluster[pair.passage])

    def first(ordered: Iterable[str], judged: JudgedQuery) -> list[str]:
        """The first EACH of these passages, each once, that may be taken for the query."""
        left_out = relevant[group[judged.query_id]] | {cluster[passage] for passage in said[judged.query_id]}
        found: dict[str, None] = {}
        for passage in ordered:
            if cluster[passage] not in left_out and cluster[passage] not in never:
                found[passage] = None
            if len(found) == EACH:
                break
        return list(found)

    others: dict[str, list[str]] = {}
    for judged in queries:
        random.Random(judged.query_id).shuffle(own[judged.query_id])
        others[judged.query_id] = first(own[judged.query_id], judged)
    # What is likest to a query is looked for only where too few wait: it takes a look at all passages.
    short = [judged for judged in queries if len(others[judged.query_id]) < EACH]
    for judged, likest in zip(short, _likest(short, passages), strict=True):
        others[judged.query_id] = first(chain(own[judged.query_id], likest), judged)
    return [
        LabelledPair(judged.query_id, judged.query, passage, 0, assumed=True)
        for judged in queries
        for passage in others[judged.query_id]
    ]


def _likest(queries: Sequence[JudgedQuery], passages: Sequence[str]) -> Iterator[Iterator[str]]:
    """The passages for each query in turn, those first that are likest to it."""
    if not queries:
        return
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(tokenizer=words_or_all, token_pattern=None, lowercase=False, sublinear_tf=True)
    of_passages: csr_matrix = vectorizer.fit_transform(passages)
    of_queries = vectorizer.transform([judged.query for judged in queries])
    for start in range(0, len(queries), ROWS):
        likeness = (of_queries[start : start + ROWS] @ of_passages.T).toarray()
        for row in likeness:
            yield (passages[place] for place in _best_first(row))


def _best_first(likeness: np.ndarray) -> Iterator[int]:
    """The places of these numbers, the highest first, of equal ones the first. Most of them are seldom asked for, and
    not sorted before they are."""
    if len(likeness) > SORTED_FIRST:
        least = np.partition(likeness, -SORTED_FIRST)[-SORTED_FIRST]
        high = np.flatnonzero(likeness > least)
        yield from high[np.argsort(-likeness[high], kind="stable")].tolist()
        likeness = np.where(likeness > least, -np.inf, likeness)
    order = np.argsort(-likeness, kind="stable")
    yield from order[: np.count_nonzero(np.isfinite(likeness))].tolist()
