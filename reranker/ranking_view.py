"""What the Rerank tab shows of a ranking, apart from how it looks."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace

from errors import InvalidInput
from reranker.model import RankedPassage


@dataclass(frozen=True)
class RankingView:
    """A ranking on the page, and the labels of its passages, by their index in the input.

    `seconds` is how long it took; None where all scores were remembered. `closed` says why it is not to be labelled by
    whoever sees it, and what to do; it is empty for those who may. `other` is the version that has ranked the same
    passages beside it, and `by_other` where, by the passages' index in the input; both are empty where there is none.
    """

    query: str
    ranked: list[RankedPassage]
    version: str
    max_tokens: int
    seconds: float | None
    labels: dict[int, int] = field(default_factory=dict)
    closed: str = ""
    other: str = ""
    by_other: dict[int, RankedPassage] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def passage(self, index: int) -> RankedPassage:
        """The passage that was number `index` (from 0) in the input."""
        for passage in self.ranked:
            if passage.index == index:
                return passage
        raise InvalidInput(f"There is no passage {index + 1} in this ranking. Rerank, and judge again.")

    def with_other(self, version: str, ranked: list[RankedPassage]) -> RankingView:
        """The same ranking with that of another version beside it; it stays as it is where that is the same one."""
        if version == self.version:
            return self
        return replace(self, other=version, by_other={passage.index: passage for passage in ranked})

    @property
    def moved_by_other(self) -> int:
        """How many passages the other version puts in another place."""
        return sum(self.by_other[passage.index].rank != passage.rank for passage in self.ranked if self.other)

    def with_labels(self, given: dict[str, int]) -> RankingView:
        """The same ranking with the labels that were given to these texts before."""
        labels = {passage.index: given[passage.text] for passage in self.ranked if passage.text in given}
        return replace(self, labels=labels)

    def with_label(self, index: int, label: int) -> RankingView:
        """The same ranking with one more label, which all passages of the same text have."""
        text = self.passage(index).text
        same = {passage.index: label for passage in self.ranked if passage.text == text}
        return replace(self, labels={**self.labels, **same})

    @property
    def query_is_cut(self) -> bool:
        """Whether the model read the query only in part: a pair is too long, and its passage was read whole."""
        return any(passage.tokens > self.max_tokens and not passage.truncated for passage in self.ranked)
