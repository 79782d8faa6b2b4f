"""Whether the model of a finished run becomes the active one."""

from __future__ import annotations

from typing import Any

from reranker.dataset import MIN_QUERIES_TO_MEASURE
from reranker.recipe import Promote


def decide(promote: Promote, comparison: dict[str, Any] | None) -> tuple[bool, str]:
    """Whether a finished run's model becomes the active one, and why, in a sentence for a person.

    `comparison` is the run's `Comparison` on the dev queries as a dict, None where there were none. By itself (auto) a
    model is promoted only when its nDCG@10 is higher than the champion's on enough queries to call it measured.
    """
    if comparison is None:
        measured = "Nothing could be measured: too few labelled queries to hold some back."
        better = False
    else:
        p_value = "" if comparison["p_value"] is None else f", p = {comparison['p_value']:.3f}"
        measured = (
            f"nDCG@10 changed by {comparison['gain']:+.3f} on {comparison['queries']} held-out queries "
            f"({comparison['better']} better, {comparison['worse']} worse{p_value})."
        )
        enough = comparison["queries"] >= MIN_QUERIES_TO_MEASURE
        better = enough and comparison["gain"] > 0
        if not enough:
            measured += " These are too few to go by."
    if promote == "always":
        return True, f"{measured} Promoted, as asked."
    if promote == "never":
        return False, f"{measured} Kept without promoting it, as asked."
    return better, f"{measured} {'Promoted.' if better else 'Not promoted by itself; you can do it on the Models tab.'}"


def figures(evaluations: dict[str, Any]) -> dict[str, float]:
    """The dev figures by name, and those of the test queries with `test_` before the name."""
    figures = dict(evaluations.get("dev", {}).get("metrics", {}))
    return figures | {f"test_{name}": value for name, value in evaluations.get("test", {}).get("metrics", {}).items()}
