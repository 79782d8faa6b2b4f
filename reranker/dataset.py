"""From labels to the sets that a model is trained and measured on.

The split is by query, never by pair, and a query keeps its set for good, also when its labels are deleted and come back
in another spelling: what was trained on is never measured on (learned.py). New queries that ask the same, or share a
relevant passage, get one set together. Where a passage stands on both sides all the same, because queries had their
sets before or a first stage found it for many, it is not trained on, unless too little would be left (make_sets).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from reranker import near
from texts import words_or_all

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
HELD_OUT: tuple[Split, ...] = ("dev", "test")

# Out of fewer queries than this no dev set is taken: it would be too small to tell two models apart.
MIN_QUERIES_TO_SPLIT = 20
DEV_SHARE = 0.2
TEST_SHARE = 0.1
# Queries that share a relevant passage belong together, also over others. Where that would join more than this share of
# all, hardly any could be held out: then only those with most of their relevant passages in common do (near.groups),
# and what stands on both sides is not trained on (make_sets).
MOST_TOGETHER = 0.5
# A mean over fewer dev queries than this is not called a measurement.
MIN_QUERIES_TO_MEASURE = 4


@dataclass(frozen=True)
class LabelledPair:
    """A (query, passage) pair and what it counts as: 1 relevant, 0 not; whether that is only assumed (assumed.py)."""

    query_id: str
    query: str
    passage: str
    label: int
    assumed: bool = False


@dataclass(frozen=True)
class JudgedQuery:
    """A query with the passages that were judged for it, and their labels in the same order."""

    query_id: str
    query: str
    passages: list[str]
    labels: list[int]

    @property
    def tells_models_apart(self) -> bool:
        """Whether a ranking of these passages can be better or worse: some are relevant and some are not."""
        return 0 < sum(self.labels) < len(self.labels)


@dataclass(frozen=True)
class Suspect:
    """A label that the others contradict, and the probability that the passage is relevant, going by the others.

    It may be no label, but only assumed.
    """

    query: str
    passage: str
    label: int
    probability: float
    assumed: bool = False


@dataclass(frozen=True)
class TrainingSets:
    """The labelled pairs of each set."""

    train: list[LabelledPair] = field(default_factory=list)
    dev: list[LabelledPair] = field(default_factory=list)
    test: list[LabelledPair] = field(default_factory=list)
    # Pairs of train queries whose passage is held out, too: not trained on, or trained on for want of others.
    left_out: list[LabelledPair] = field(default_factory=list)
    shared: int = 0
    # Whether what nobody judged was to be taken as not relevant (assumed.py), be there any or not.
    assuming: bool = False

    def why_not_trainable(self) -> str | None:
        """What stands in the way of a training run, for a person; None when nothing does."""
        if not (self.train or self.dev or self.test):
            return (
                "There are no labels to learn from yet. Judge pairs on the Label tab, or import some, or the sample, "
                "on the Data tab."
            )
        classes = {pair.label for pair in self.train}
        if len(classes) < 2:
            only = "relevant" if classes == {1} else "not relevant" if classes == {0} else "set aside for measuring"
            instead = ""
            if classes == {1}:
                instead = (
                    " There are no other passages to be taken as not relevant: add some to be judged."
                    if self.assuming
                    else " Or have passages that nobody judged taken as not relevant, under More settings "
                    "(`assume_not_relevant` over HTTP)."
                )
            return (
                f"All labels that could be trained on are {only}. A model learns from the difference: "
                f"label some pairs the other way, and from several queries.{instead}"
            )
        return None

    def measurable(self) -> bool:
        """Whether the dev set can tell two models apart."""
        return len(queries_that_tell(self.dev)) >= MIN_QUERIES_TO_MEASURE

    def measurable_by_folds(self) -> bool:
        """Whether the train and dev sets could, where those to train on are cross-checked."""
        pairs = [*self.train, *self.dev]
        queries, group = queries_that_tell(pairs), groups_of(pairs)
        # Those that belong together are in one fold, and of one group alone there would be no other.
        return len(queries) >= MIN_QUERIES_TO_MEASURE and len({group[judged.query_id] for judged in queries}) > 1


@dataclass(frozen=True)
class PlacedQuery:
    """A labelled query, the set that it is in and why; `is_new` when that is settled with the next run only."""

    query: str
    split: str
    is_new: bool
    relevant: int
    not_relevant: int
    why: str


def split_of(query: str) -> Split:
    """The set that a query belongs to, by a hash of its text: the same everywhere and for ever."""
    share = int(hashlib.sha256(b"split:" + query.encode()).hexdigest()[:8], 16) / 0x1_0000_0000
    if share < TEST_SHARE:
        return "test"
    return "dev" if share < TEST_SHARE + DEV_SHARE else "train"


@dataclass(frozen=True)
class Settled:
    """The sets of all queries that have one, whether they are labelled now or not: by id, and by what they say."""

    by_id: Mapping[str, str] = field(default_factory=dict)
    by_words: Mapping[tuple[str, ...], str] = field(default_factory=dict)

    @classmethod
    def of(cls, queries: Iterable[tuple[str, str, str]]) -> Settled:
        """From (id, text, set). Of queries that have come to say the same, all are in one set: what one was trained on
        cannot be held out any more."""
        rows = [(query_id, words_or_all(text), split) for query_id, text, split in queries]
        by_words: dict[tuple[str, ...], str] = {}
        for _, words, split in sorted(rows, key=lambda row: SPLITS.index(row[2])):
            by_words.setdefault(words, split)
        return cls({query_id: by_words[words] for query_id, words, _ in rows}, by_words)


def assign_splits(
    queries: Mapping[str, str], settled: Settled, groups: Mapping[str, int] | None = None
) -> dict[str, str]:
    """Sets for the labelled queries (id -> text) that have none yet, as id -> set.

    The queries of a group (id -> group) get one set, that of those of them that have one already, or say the same as
    one that has. With fewer than MIN_QUERIES_TO_SPLIT queries in all, every other new one is trained on, and stays with
    that.
    """
    known = settled.by_id
    new = {query_id: text for query_id, text in queries.items() if query_id not in known}
    members: dict[object, list[str]] = defaultdict(list)
    for query_id in queries:
        members[groups[query_id] if groups else query_id].append(query_id)
    splits: dict[str, str] = {}
    for together in members.values():
        texts = [queries[query_id] for query_id in together]
        split = "train" if len(queries) < MIN_QUERIES_TO_SPLIT else _split_together(texts, len(queries))
        # What one of them was trained on cannot be held out any more.
        before = {known.get(query_id) or settled.by_words.get(words_or_all(queries[query_id])) for query_id in together}
        split = next((name for name in SPLITS if name in before), split)
        splits |= {query_id: split for query_id in together if query_id in new}
    return {query_id: splits[query_id] for query_id in new}


def _split_together(texts: list[str], all_queries: int) -> str:
    """The set of queries that belong together. Too many of them would be all that is held out, so they are not."""
    if len(texts) > 1 and len(texts) > DEV_SHARE * all_queries:
        return "train"
    return split_of(min(texts))


def groups_of(pairs: Iterable[LabelledPair], most: float = MOST_TOGETHER) -> dict[str, int]:
    """Which queries of these pairs belong together, as query id -> group; see near.groups."""
    pairs = list(pairs)
    queries = {pair.query_id: pair.query for pair in pairs}
    return near.groups([(pair.query_id, pair.passage) for pair in pairs if pair.label], queries, most)


def make_sets(pairs: Iterable[LabelledPair], splits: Mapping[str, str]) -> TrainingSets:
    """Sort the pairs into their sets by the set of their query, and leave out what would be in two sets.

    A passage that stands in nearly the same words among those held out is not trained on. Where that would take more
    than half of the training pairs, or all of one label, the passages are few and every query is about all of them;
    then only what is relevant on both sides is left out, as far as enough remains.
    """
    sets: dict[str, list[LabelledPair]] = {name: [] for name in SPLITS}
    for pair in pairs:
        sets[splits[pair.query_id]].append(pair)
    train, held_back = sets["train"], [*sets["dev"], *sets["test"]]
    cluster = near.clusters(pair.passage for pair in [*train, *held_back])
    seen = {cluster[pair.passage] for pair in held_back}
    answers = {cluster[pair.passage] for pair in held_back if pair.label}
    crossing = [pair for pair in train if cluster[pair.passage] in seen]
    for out in (crossing, [pair for pair in crossing if pair.label and cluster[pair.passage] in answers]):
        gone = set(out)
        kept = [pair for pair in train if pair not in gone]
        if {pair.label for pair in kept} == {pair.label for pair in train} and len(out) <= len(train) / 2:
            return TrainingSets(kept, sets["dev"], sets["test"], out, len(crossing) - len(out))
    return TrainingSets(train, sets["dev"], sets["test"], [], len(crossing))


def place_queries(pairs: list[LabelledPair], settled: Settled) -> list[PlacedQuery]:
    """The queries of these pairs with the set that each has, or would get now, in the order of their first pair."""
    queries = {pair.query_id: pair.query for pair in pairs}
    groups = groups_of(pairs)
    splits = {**assign_splits(queries, settled, groups), **settled.by_id}
    # Queries may have had their sets before they came to belong together.
    together = Counter((groups[query_id], splits[query_id]) for query_id in queries)
    relevant = Counter(pair.query_id for pair in pairs if pair.label)
    judged = Counter(pair.query_id for pair in pairs)
    return [
        PlacedQuery(
            query=text,
            split=splits[query_id],
            is_new=query_id not in settled.by_id,
            relevant=relevant[query_id],
            not_relevant=judged[query_id] - relevant[query_id],
            why=_why_there(splits[query_id], text, together[groups[query_id], splits[query_id]]),
        )
        for query_id, text in queries.items()
    ]


def _why_there(split: str, text: str, together: int) -> str:
    if together > 1:
        if together == 2:
            return "together with another query that asks the same or shares a relevant passage"
        return f"together with {together - 1} other queries that ask the same or share a relevant passage"
    if split == split_of(text):
        return "by the hash of its text"
    return f"first labelled while there were fewer than {MIN_QUERIES_TO_SPLIT} queries, or as one that asks the same"


def texts_of(queries: Iterable[JudgedQuery]) -> list[tuple[str, str]]:
    """Each query with each of its passages, to be scored."""
    return [(judged.query, passage) for judged in queries for passage in judged.passages]


def part_by_query(queries: Iterable[JudgedQuery], scores: Iterable[float]) -> list[list[float]]:
    """The scores of `texts_of` these queries, parted again: a list for each query."""
    left = iter(scores)
    return [[next(left) for _ in judged.passages] for judged in queries]


def by_query(pairs: Iterable[LabelledPair]) -> list[JudgedQuery]:
    """Gather the pairs of each query."""
    queries: dict[str, JudgedQuery] = {}
    for pair in pairs:
        judged = queries.setdefault(pair.query_id, JudgedQuery(pair.query_id, pair.query, [], []))
        judged.passages.append(pair.passage)
        judged.labels.append(pair.label)
    return list(queries.values())


def queries_that_tell(pairs: Iterable[LabelledPair]) -> list[JudgedQuery]:
    """The queries among these pairs for which one ranking can be better than another."""
    return [judged for judged in by_query(pairs) if judged.tells_models_apart]


def only_relevant_known(pairs: Iterable[LabelledPair]) -> list[JudgedQuery]:
    """The queries among these pairs of which only relevant passages are known."""
    return [judged for judged in by_query(pairs) if all(judged.labels)]


def count_passages(queries: Iterable[JudgedQuery]) -> int:
    """How many pairs these queries have to score."""
    return sum(len(judged.passages) for judged in queries)


def count_given(pairs: Iterable[LabelledPair]) -> int:
    """How many of these pairs somebody has labelled."""
    return sum(not pair.assumed for pair in pairs)


def count_labels(pairs: Iterable[LabelledPair]) -> dict[str, int]:
    """How many queries, relevant and not relevant pairs there are."""
    counts: dict[str, int] = defaultdict(int)
    seen = set()
    for pair in pairs:
        seen.add(pair.query_id)
        counts["relevant" if pair.label else "not_relevant"] += 1
    return {"queries": len(seen), "relevant": counts["relevant"], "not_relevant": counts["not_relevant"]}


def read_pairs(path: Path) -> list[LabelledPair]:
    """The labelled pairs in a JSONL file that `write_pairs` wrote."""
    with path.open(encoding="utf-8") as lines:
        return [LabelledPair(**json.loads(line)) for line in lines]


def count_given_in(path: Path) -> int:
    """`count_given` of a file that `write_pairs` wrote; quicker than to read it. In a text its quotes are escaped."""
    with path.open("rb") as lines:
        return sum(b'"assumed": true' not in line for line in lines)


def write_pairs(path: Path, pairs: list[LabelledPair]) -> None:
    """Write labelled pairs as JSONL."""
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(asdict(pair)) + "\n" for pair in pairs)
