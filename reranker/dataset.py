"""From labels to the sets that a model is trained and measured on.

The split is by query, never by pair, and a query keeps its set for good: what was trained on is never measured on.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

Split = Literal["train", "dev", "test"]

# Out of fewer queries than this no dev set is taken: it would be too small to tell two models apart.
MIN_QUERIES_TO_SPLIT = 20
DEV_SHARE = 0.2
TEST_SHARE = 0.1
# A mean over fewer dev queries than this is not called a measurement.
MIN_QUERIES_TO_MEASURE = 4


@dataclass(frozen=True)
class LabelledPair:
    """A (query, passage) pair and what it counts as: 1 relevant, 0 not."""

    query_id: str
    query: str
    passage: str
    label: int


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
class TrainingSets:
    """The labelled pairs of each set."""

    train: list[LabelledPair] = field(default_factory=list)
    dev: list[LabelledPair] = field(default_factory=list)
    test: list[LabelledPair] = field(default_factory=list)

    def why_not_trainable(self) -> str | None:
        """What stands in the way of a training run, for a person; None when nothing does."""
        if not (self.train or self.dev or self.test):
            return "There are no labels to learn from yet. Judge pairs on the Label tab or import them on the Data tab."
        classes = {pair.label for pair in self.train}
        if len(classes) < 2:
            only = "relevant" if classes == {1} else "not relevant" if classes == {0} else "set aside for measuring"
            return (
                f"All labels that could be trained on are {only}. A model learns from the difference: "
                "label some pairs the other way, and from several queries."
            )
        return None

    def measurable(self) -> bool:
        """Whether the dev set can tell two models apart."""
        return len(queries_that_tell(self.dev)) >= MIN_QUERIES_TO_MEASURE


def split_of(query: str) -> Split:
    """The set that a query belongs to, by a hash of its text: the same everywhere and for ever."""
    share = int(hashlib.sha256(b"split:" + query.encode()).hexdigest()[:8], 16) / 0x1_0000_0000
    if share < TEST_SHARE:
        return "test"
    return "dev" if share < TEST_SHARE + DEV_SHARE else "train"


def assign_splits(queries: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """Sets for the labelled queries (id -> text) that have none yet, as id -> set.

    With fewer than MIN_QUERIES_TO_SPLIT queries in all, every new one is trained on, and stays with that.
    """
    new = {query_id: text for query_id, text in queries.items() if query_id not in known}
    if len(queries) < MIN_QUERIES_TO_SPLIT:
        return dict.fromkeys(new, "train")
    return {query_id: split_of(text) for query_id, text in new.items()}


def make_sets(pairs: Iterable[LabelledPair], splits: Mapping[str, str]) -> TrainingSets:
    """Sort the pairs into their sets by the set of their query."""
    sets = TrainingSets()
    for pair in pairs:
        getattr(sets, splits[pair.query_id]).append(pair)
    return sets


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


def write_pairs(path: Path, pairs: list[LabelledPair]) -> None:
    """Write labelled pairs as JSONL."""
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(asdict(pair)) + "\n" for pair in pairs)
