"""Which candidate an annotator gets next: the strategies by name."""

from __future__ import annotations

from errors import InvalidInput
from storage.label_store import Order

DEFAULT_STRATEGY = "oldest"

# The name that callers use -> (the order in which the store hands candidates out, what it is good for).
STRATEGIES: dict[str, tuple[Order, str]] = {
    "oldest": ("oldest", "as they came in"),
    "top": ("top", "best of the first stage"),
    "random": ("random", "at random"),
}


def order_of(strategy: str | None) -> Order:
    """The store's order for a strategy; the default where none is named. Raises InvalidInput for an unknown one."""
    strategy = strategy or DEFAULT_STRATEGY
    if strategy not in STRATEGIES:
        raise InvalidInput(f"There is no strategy {strategy!r}. Choose one of: {', '.join(STRATEGIES)}.")
    return STRATEGIES[strategy][0]
