"""What there is to learn from: the labels in the store, each query in its set."""

from __future__ import annotations

from dataclasses import dataclass

from reranker.assumed import with_assumed
from reranker.dataset import (
    LabelledPair,
    PlacedQuery,
    Settled,
    TrainingSets,
    assign_splits,
    groups_of,
    make_sets,
    place_queries,
)
from storage.label_store import LabelStore


@dataclass(frozen=True)
class LabelSets:
    """The labels of this store as a run would have them now. To look decides nothing for good."""

    labels: LabelStore

    def sets(self, assume_not_relevant: bool = False) -> TrainingSets:
        """What would be trained on and measured with; with what is to be taken as not relevant, where that is asked."""
        return self.sets_and_new_splits(assume_not_relevant)[0]

    def sets_and_new_splits(self, assume_not_relevant: bool = False) -> tuple[TrainingSets, dict[str, str]]:
        """The same, and the sets that new queries get by it (query id -> set): for good once they are stored."""
        pairs, settled = self._pairs(), Settled.of(self.labels.settled_queries())
        new = assign_splits({pair.query_id: pair.query for pair in pairs}, settled, groups_of(pairs))
        sets = make_sets(pairs, {**settled.by_id, **new})
        if assume_not_relevant:
            sets = with_assumed(sets, self.labels.not_judged, self.labels.something_said)
        return sets, new

    def placed_queries(self) -> list[PlacedQuery]:
        """The labelled queries with the set that each is in, or will be in with the next run, and why."""
        return place_queries(self._pairs(), Settled.of(self.labels.settled_queries()))

    def _pairs(self) -> list[LabelledPair]:
        return [LabelledPair(row.query_id, row.query, row.passage, row.label) for row in self.labels.consensus()]
