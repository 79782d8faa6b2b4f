"""Where an annotator is: the pair that is shown, and the way back through those seen before."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from storage.records import Task


@dataclass(frozen=True)
class LabelSession:
    """What the Label tab remembers of one annotator in one browser tab.

    `seen` lists the (query id, passage id) of each pair that was shown, in order; `place` is the one shown now, and is
    past the end when nothing is left. `shown_at` is a monotonic time in seconds.
    """

    annotator: str = ""
    task: Task | None = None
    seen: tuple[tuple[str, str], ...] = ()
    place: int = 0
    shown_at: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long the pair has been on the screen."""
        return time.monotonic() - self.shown_at

    def show_next(self, task: Task | None) -> LabelSession:
        """Show a new pair, or that nothing is left, after all those seen."""
        seen = self.seen
        if task is not None:
            key = (task.query_id, task.passage_id)
            # A pair that was put off and comes back is seen once, at its new place.
            seen = (*(pair for pair in seen if pair != key), key)
        return replace(self, task=task, seen=seen, place=len(seen) - (task is not None), shown_at=time.monotonic())

    def show_at(self, place: int, task: Task) -> LabelSession:
        """Show a pair that was seen before."""
        return replace(self, task=task, place=place, shown_at=time.monotonic())

    def show_undone(self, task: Task) -> LabelSession:
        """Show the pair whose judgment was taken back."""
        key = (task.query_id, task.passage_id)
        if key in self.seen:
            return self.show_at(self.seen.index(key), task)
        return replace(self, task=task, seen=(key, *self.seen), place=0, shown_at=time.monotonic())
