"""How somebody judges: how fast, and how far the model's score leads them when they see it. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from storage.records import JudgingEvent

# Somebody who goes for a coffee is not judging; what took longer says nothing about the pace.
LONGEST_SECONDS = 300.0
DAYS_SHOWN = 14


@dataclass(frozen=True)
class Pace:
    """Times are None where none was measured; `by_day` lists (day, labels), oldest first."""

    labels: int
    median_seconds: float | None
    per_hour: float | None
    by_day: list[tuple[str, int]]


@dataclass(frozen=True)
class Anchoring:
    """How often labels go with the model (relevant where its probability is at least one half), with the score on the
    screen and without: the number of labels and the share of them. A share that is higher with it is a warning."""

    seen: int
    with_score: float | None
    hidden: int
    without_score: float | None

    @property
    def difference(self) -> float | None:
        """How much more often labels go with the model when its score is seen; None where nothing can be compared."""
        if self.with_score is None or self.without_score is None:
            return None
        return self.with_score - self.without_score


def pace(events: Sequence[JudgingEvent]) -> Pace:
    """How fast these labels were given."""
    seconds = [event.seconds for event in events if event.seconds is not None and event.seconds <= LONGEST_SECONDS]
    typical = median(seconds) if seconds else None
    days = Counter(event.created_at[:10] for event in events)
    return Pace(len(events), typical, 3600 / typical if typical else None, sorted(days.items())[-DAYS_SHOWN:])


def anchoring(events: Sequence[JudgingEvent]) -> Anchoring:
    """How far these labels follow the model when its score is seen, and when it is not."""
    goes_along: dict[bool, list[bool]] = {True: [], False: []}
    for event in events:
        if event.score is not None and event.score_visible is not None:
            goes_along[event.score_visible].append((event.score >= 0) == (event.label == 1))
    return Anchoring(len(goes_along[True]), _share(goes_along[True]), len(goes_along[False]), _share(goes_along[False]))


def _share(values: list[bool]) -> float | None:
    return sum(values) / len(values) if values else None
