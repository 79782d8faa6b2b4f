"""How many more labels it takes until it can be told whether a model is better. Pure functions.

Whether more labels make a model better is only seen by training on them. What can be told before is how sure a
measurement is: with more held-out queries, smaller gains stand out from chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev

# One-sided, at 95 %, as the bound that promotion looks at (reranker/gate.py). The quantile of the normal distribution.
Z = 1.645
# A gain in nDCG@10 that people who search may notice.
WORTH_SEEING = 0.02
# Of all queries, about so many are held out to choose by.
HELD_OUT = 0.2
LEAST_QUERIES = 4


@dataclass(frozen=True)
class Outlook:
    """What a run's `queries` could tell: gains in nDCG@10 from `visible_gain` on. It takes about `queries_needed` to
    tell one of WORTH_SEEING, for which about `more_labels` are missing."""

    queries: int
    visible_gain: float
    queries_needed: int
    more_labels: int


def outlook(differences: Sequence[float], labels_per_query: float) -> Outlook | None:
    """The outlook from how much each held-out query changed in the last run; None where these are too few or all the
    same, so that nothing can be told from them.

    A mean of n independent differences with standard deviation s is known to within z s / sqrt(n), so it takes
    n = (z s / gain)^2 to see a gain.
    """
    if len(differences) < LEAST_QUERIES or not stdev(differences) > 0:
        return None
    spread = Z * stdev(differences)
    needed = max(math.ceil((spread / WORTH_SEEING) ** 2), LEAST_QUERIES)
    missing = max(needed - len(differences), 0)
    return Outlook(
        queries=len(differences),
        visible_gain=spread / math.sqrt(len(differences)),
        queries_needed=needed,
        more_labels=math.ceil(missing / HELD_OUT * labels_per_query),
    )
