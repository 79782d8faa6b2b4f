"""Which versions were active, one upon the other: what rolling back returns to. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable

from storage.records import ModelEvent


def stack_of(events: Iterable[ModelEvent], deleted: Collection[str], active: str | None) -> list[str]:
    """The versions that are stacked up: the active one last, before it those that rolling back returns to.

    Empty where nothing was ever promoted: then the model of the settings is the active one. `events` come oldest first.
    `active` is the version that answers, if any does yet: those upon it could not be loaded any more, and are left out.
    """
    stack: list[str] = []
    for event in events:
        if not stack and event.previous_version:
            stack = [event.previous_version]
        if event.action == "rollback":
            # Of those between, some may have been deleted by then.
            below = stack[:-1]
            while below and below[-1] != event.version:
                below.pop()
            stack = below or [event.version]
        else:
            stack.append(event.version)
    stack = [name for name, _ in itertools.groupby(name for name in stack if name not in deleted)]
    if active in stack:
        while stack[-1] != active:
            stack.pop()
    return stack
