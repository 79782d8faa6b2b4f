"""Whether the model of a finished run becomes the active one.

By itself (auto) a model is promoted when it is better than the champion or, beyond doubt, not worse. Both are one
question, that of a one-sided test of non-inferiority (CONSORT extension on non-inferiority trials, Piaggio et al.,
2012, JAMA 308:2594): the new model passes when the lower bound of its gain in nDCG@10, by a paired bootstrap over the
held-out queries, lies above -MARGIN. A model that is clearly better passes at once, one that is equal passes when the
queries are many enough to say so, and a gain that a few lucky queries made does not.

Beside it stands a guard against forgetting: a model that has beyond doubt lost more than MARGIN on the general set that
ships with the app is not promoted by itself, however good it is on the held-out queries.
"""

from __future__ import annotations

from typing import Any

from reranker.dataset import MIN_QUERIES_TO_MEASURE
from reranker.recipe import Promote

# The loss of nDCG@10 that is small enough to be none.
MARGIN = 0.01
RULE = (
    "If it is better: on the held-out queries it has to be, with 95 % confidence, not worse than the active model "
    f"by more than {MARGIN} nDCG@10, and it must not have forgotten what other texts are about."
)


def decide(
    promote: Promote, comparison: dict[str, Any] | None, general: dict[str, Any] | None = None
) -> tuple[bool, str]:
    """Whether a finished run's model becomes the active one, and why, in a sentence for a person.

    `comparison` is the run's `Comparison` on the dev queries as a dict, None where there were none; `general` is that
    on the general set.
    """
    passed = False
    if comparison is None:
        measured = "Nothing could be measured: too few labelled queries to hold some back."
    else:
        measured = _say(comparison)
        enough = comparison["queries"] >= MIN_QUERIES_TO_MEASURE
        passed = enough and comparison["low"] is not None and comparison["low"] > -MARGIN
        if not enough:
            measured += " These are too few to go by."
        elif not passed:
            measured += " It may be worse."
    if general and forgot(general):
        passed = False
        measured += f" It has forgotten: nDCG@10 changed by {general['gain']:+.3f} on the general set."
    if promote == "always":
        return True, f"{measured} Promoted, as asked."
    if promote == "never":
        return False, f"{measured} Kept without promoting it, as asked."
    return passed, f"{measured} {'Promoted.' if passed else 'Not promoted by itself; you can do it on the Models tab.'}"


def forgot(general: dict[str, Any]) -> bool:
    """Whether a model has clearly lost on the general set: with 95 % confidence more than MARGIN."""
    return general["high"] is not None and general["high"] < -MARGIN


def _say(comparison: dict[str, Any]) -> str:
    p_value = "" if comparison["p_value"] is None else f", p = {comparison['p_value']:.3f}"
    bound = "" if comparison["low"] is None else f", with 95 % confidence by at least {comparison['low']:+.3f}"
    return (
        f"nDCG@10 changed by {comparison['gain']:+.3f} on {comparison['queries']} held-out queries{bound} "
        f"({comparison['better']} better, {comparison['worse']} worse{p_value})."
    )


def figures(evaluations: dict[str, Any]) -> dict[str, float]:
    """The dev figures by name with their intervals, and those of the other sets with the set's name before theirs."""
    dev = evaluations.get("dev", {})
    figures = dict(dev.get("metrics", {}))
    for name, (low, high) in dev.get("intervals", {}).items():
        figures |= {f"{name}_low": low, f"{name}_high": high}
    for split in ("test", "general"):
        figures |= {f"{split}_{name}": value for name, value in evaluations.get(split, {}).get("metrics", {}).items()}
    return figures
