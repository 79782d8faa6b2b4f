"""Where an annotator is: the pair that is shown, and the way back through those seen before."""

from __future__ import annotations

from dataclasses import dataclass, replace

from storage.records import Task


@dataclass(frozen=True)
class LabelSession:
    """What the Label tab remembers of one annotator in one browser tab.

    `seen` lists the (query id, passage id) of each pair that was shown, in order; `place` is the one shown now, and is
    past the end when nothing is left.
    """

    annotator: str = ""
    task: Task | None = None
    seen: tuple[tuple[str, str], ...] = ()
    place: int = 0

    @property
    def key_after(self) -> tuple[str, str] | None:
        """The pair that was seen after the one that is shown; None where this one is the newest."""
        return self.seen[self.place + 1] if self.place + 1 < len(self.seen) else None

    def show_next(self, task: Task | None) -> LabelSession:
        """Show a new pair, or that nothing is left, after all those seen."""
        seen = self.seen
        if task is not None:
            # A pair that was put off and comes back is seen once, at its new place.
            seen = (*(pair for pair in seen if pair != task.key), task.key)
        return replace(self, task=task, seen=seen, place=len(seen) - (task is not None))

    def show_at(self, place: int, task: Task) -> LabelSession:
        """Show a pair that was seen before."""
        return replace(self, task=task, place=place)

    def show_again(self, task: Task) -> LabelSession:
        """Show a pair where it was seen; before all others where it was not."""
        if task.key in self.seen:
            return self.show_at(self.seen.index(task.key), task)
        return replace(self, task=task, seen=(task.key, *self.seen), place=0)

    def without(self, key: tuple[str, str]) -> LabelSession:
        """The session as if that pair had not been shown."""
        seen = tuple(pair for pair in self.seen if pair != key)
        return replace(self, task=None, seen=seen, place=len(seen))
