"""Whether the model of a finished run becomes the active one.

Both models are judged by the queries that are held out and those that are cross-checked (cross_check.py). By itself
(auto) a model is promoted when it did at least about as well or is, beyond doubt, not worse. About as well: its mean
nDCG@10 over these queries is not lower by more than MARGIN, and at most one more of them is worse than better, so that
a few lucky queries are not enough. Not worse is the question of a one-sided test of non-inferiority (CONSORT
extension on non-inferiority trials, Piaggio et al., 2012, JAMA 308:2594): the lower bound of the gain, by a paired
bootstrap over the queries, lies above -MARGIN. To ask for that confidence of every model would refuse most true gains:
what can be hoped for from some dozen labels does not stand out among so few queries, and a loss so small is as often
chance. What this rule lets through and throws away is measured in benchmarks/README.md.

Beside it stands a guard against forgetting: a model that has beyond doubt lost more than MARGIN on the general set that
ships with the app is not promoted by itself, however good it is on the held-out queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reranker.dataset import MIN_QUERIES_TO_MEASURE
from reranker.recipe import Promote
from texts import counted, p_value_said

# The loss of nDCG@10 that is small enough to be none.
MARGIN = 0.01
# So many more of the queries may be worse than better: one that slips is chance.
MORE_WORSE = 1
RULE = (
    f"As good: on unseen queries mean nDCG@10 falls by at most {MARGIN} (with 95 % confidence if {MORE_WORSE + 1} or "
    "more queries more got worse than better), and the general set is not forgotten."
)
KEPT = "Not promoted automatically; you can do that on the Models tab."


def decide(promote: Promote, compared: Mapping[str, dict[str, Any]]) -> tuple[bool, str]:
    """Whether a finished run's model becomes the active one, and why, in a sentence for a person.

    `compared` has the run's `Comparison`s as dicts, as far as there are any: on the `dev` queries, on those that were
    cross-checked (`cross`), on both together (`judged`), and on the `general` set.
    """
    comparison = compared.get("judged", compared.get("dev"))
    crossed = compared["cross"]["queries"] if "cross" in compared else 0
    general = compared.get("general")
    passed = False
    if comparison is None:
        measured = "Nothing could be measured: there are too few labelled queries that neither model has learned from."
    else:
        measured = _say(comparison, crossed)
        enough = comparison["queries"] >= MIN_QUERIES_TO_MEASURE
        passed = enough and (is_as_good(comparison) or is_not_worse(comparison))
        if not enough:
            measured += " These are too few to decide by."
        elif not passed:
            measured += " It may be worse."
        elif comparison["gain"] < 0:
            measured += " So small a loss counts as no loss."
    if general and forgot(general):
        passed = False
        measured += f" It has forgotten: nDCG@10 changed by {general['gain']:+.3f} on the general set."
    if promote == "always":
        return True, f"{measured} Promoted, as asked."
    if promote == "never":
        return False, f"{measured} Kept without promoting it, as asked."
    return passed, f"{measured} {'Promoted.' if passed else KEPT}"


def is_as_good(comparison: dict[str, Any]) -> bool:
    """Whether a model lost next to nothing in the mean, and gained on about as many queries as it lost on, or more."""
    return comparison["gain"] >= -MARGIN and comparison["worse"] <= comparison["better"] + MORE_WORSE


def is_not_worse(comparison: dict[str, Any]) -> bool:
    """Whether a model has surely lost little or nothing: with 95 % confidence no more than MARGIN."""
    return comparison["low"] is not None and comparison["low"] > -MARGIN


def forgot(general: dict[str, Any]) -> bool:
    """Whether a model has clearly lost on the general set: with 95 % confidence more than MARGIN."""
    return general["high"] is not None and general["high"] < -MARGIN


def _say(comparison: dict[str, Any], crossed: int) -> str:
    p_value = "" if comparison["p_value"] is None else f", {p_value_said(comparison['p_value'])}"
    bound = "" if comparison["low"] is None else f", with 95 % confidence by at least {comparison['low']:+.3f}"
    queries = comparison["queries"]
    which = counted(queries, "held-out query")
    if crossed:
        which = f"{counted(queries, 'query')} ({queries - crossed} held out, {crossed} cross-checked)"
    if comparison["better"] == comparison["worse"] == 0:
        # A bound of +0.000 would read as if something had been gained for sure.
        return f"No query changed: nDCG@10 is as before on {which}."
    return (
        f"nDCG@10 changed by {comparison['gain']:+.3f} on {which}{bound} "
        f"({comparison['better']} better, {comparison['worse']} worse{p_value})."
    )
