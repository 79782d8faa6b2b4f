"""What the Rerank tab shows of a ranking, apart from how it looks, and what a page has asked for."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace

from errors import InvalidInput
from reranker.model import RankedPassage, Ranking
from reranker.scoring_queue import Cancelled


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

    @property
    def query_is_cut(self) -> bool:
        """Whether the model read the query only in part: a pair is too long, and its passage was read whole."""
        return any(passage.tokens > self.max_tokens and not passage.truncated for passage in self.ranked)


@dataclass
class PageRankings:
    """The rankings of one page: the one that it shows, and the one that it has asked for last.

    The events of a page are answered side by side. So this is changed in place: what an event would hand back could be
    older than what another has made of it meanwhile, and the page would show one ranking and judge another.

    `asked` stands for the ranking that is being worked out and is None where there is none; `beside` is the version
    that was asked for beside the active one, empty where there was none.
    """

    view: RankingView | None = None
    beside: str = ""
    asked: object | None = None
    _before: RankingView | None = None
    _under_way: Ranking | None = None

    def ask(self, beside: str) -> object:
        """Ask for a ranking in place of the one that is being worked out; returns what stands for it."""
        asked = object()
        self.beside, self.asked = beside, asked
        self.stop()
        return asked

    def stop(self) -> None:
        """Work out no further what was asked for."""
        if self._under_way is not None:
            self._under_way.cancel()

    def check(self, asked: object, ranking: Ranking | None = None) -> None:
        """Raise Cancelled where another ranking was asked for meanwhile. `ranking` is what `stop` is to end."""
        if self.asked is not asked:
            raise Cancelled
        self._under_way = ranking

    def show(self, view: RankingView) -> None:
        """Have this ranking be the one that the page shows."""
        self._before, self.view = self.view, view
        self._end()

    def give_up(self) -> None:
        """Go on with what was shown before."""
        self.beside = self.view.other if self.view else ""
        self._end()

    def find(self, ranking: str) -> RankingView:
        """The ranking with this id, which may have been replaced in the moment when it was judged.

        Raises InvalidInput where it was replaced before.
        """
        for view in (self.view, self._before):
            if view is not None and view.id == ranking:
                return view
        raise InvalidInput("This ranking is not the present one any more. Rerank, and judge again.")

    def label(self, query: str, given: dict[str, int]) -> None:
        """Have the shown ranking, if it is one of this query, hold the labels that were given to these texts."""
        if self.view is not None and self.view.query == query:
            self.view = self.view.with_labels(given)

    def _end(self) -> None:
        self.asked = self._under_way = None
