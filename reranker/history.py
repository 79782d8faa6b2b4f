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
        if event.previous_version:
            # Without an event another one answers where the files of those upon it were lost.
            _cut_to(event.previous_version, stack)
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
        _cut_to(active, stack)
    return stack


def _cut_to(version: str, stack: list[str]) -> None:
    """Take from the stack what is upon this version; where it is not in there, it comes on top."""
    if version not in stack:
        stack.append(version)
    while stack[-1] != version:
        stack.pop()
