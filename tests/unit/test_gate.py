"""Which models are promoted, and what is said about it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from reranker.evaluation import Evaluation, compare
from reranker.figures import by_name
from reranker.gate import MARGIN, decide, forgot


def measured(*gains: float) -> dict[str, Any]:
    """The comparison of two models, the second of which ranks the queries better by so much."""
    before = Evaluation({}, {str(place): {"ndcg@10": 0.5} for place in range(len(gains))})
    after = Evaluation({}, {str(place): {"ndcg@10": 0.5 + gain} for place, gain in enumerate(gains)})
    return asdict(compare(before, after))


BETTER = measured(*[0.1, 0.2, 0.0, 0.05] * 5)
EQUAL = measured(*[0.0] * 20)
WORSE = measured(*[-0.1, -0.2, 0.0, -0.05] * 5)
# A gain in the mean that one query makes, while others lose.
LUCKY = measured(0.45, *[-0.03] * 9, *[0.0] * 2)


def test_a_better_model_is_promoted_by_itself() -> None:
    promoted, why = decide("auto", {"dev": BETTER})
    assert promoted
    assert "+0.087 on 20 held-out queries, with 95 % confidence by at least +0.0" in why
    assert "(15 better, 0 worse, p < 0.001)" in why


def test_a_model_that_is_surely_not_worse_is_promoted_by_itself() -> None:
    assert decide("auto", {"dev": EQUAL})[0]
    # A loss of half the margin, on so many queries that there is no doubt about it.
    assert decide("auto", {"dev": measured(*[-0.01, 0.0] * 200)})[0]


def test_a_worse_model_is_not() -> None:
    promoted, why = decide("auto", {"dev": WORSE})
    assert not promoted
    assert "It may be worse. Not promoted automatically" in why


def test_where_no_query_changed_it_says_so_and_speaks_of_no_gain() -> None:
    why = decide("auto", {"dev": EQUAL})[1]
    assert why == "No query changed: nDCG@10 is as before on 20 held-out queries. Promoted."
    why = decide("never", {"judged": EQUAL, "cross": measured(*[0.0] * 8)})[1]
    assert why.startswith("No query changed: nDCG@10 is as before on 20 queries (12 held out, 8 cross-checked). Kept")
    # As much won as lost is a change.
    assert "No query changed" not in decide("auto", {"dev": measured(0.25, -0.25)})[1]


def test_a_tie_counts_for_the_new_model() -> None:
    tie = measured(*[0.25, -0.25, 0.0, 0.0] * 2)
    assert tie["gain"] == 0 and tie["low"] < -MARGIN
    assert decide("auto", {"dev": tie})[0]
    # As much is won as is lost, but by one query.
    assert not decide("auto", {"dev": measured(0.5, *[-0.125] * 4, 0.0)})[0]


def test_a_gain_that_may_be_luck_is_not_enough() -> None:
    assert LUCKY["gain"] > 0
    assert not decide("auto", {"dev": LUCKY})[0]


def test_a_gain_on_most_queries_is_enough_though_a_dozen_leave_doubt() -> None:
    few = measured(*[0.2, 0.1, -0.15] * 4)
    assert few["low"] < -MARGIN
    assert decide("auto", {"dev": few})[0]
    assert not decide("auto", {"dev": measured(*[-0.2, -0.1, 0.15] * 4)})[0]


def test_a_small_loss_on_one_query_is_not_enough_to_refuse() -> None:
    slipped = measured(-0.03, *[0.0] * 7)
    assert -MARGIN < slipped["gain"] < 0 and slipped["low"] < -MARGIN
    promoted, why = decide("auto", {"dev": slipped})
    assert promoted and "So small a loss counts as no loss. Promoted." in why
    assert "So small" not in decide("auto", {"dev": EQUAL})[1]
    # A larger one is, and so are two queries that slip.
    assert not decide("auto", {"dev": measured(-0.1, *[0.0] * 7)})[0]
    assert not decide("auto", {"dev": measured(-0.03, -0.03, *[0.0] * 6)})[0]


def test_what_could_not_be_measured_is_not_promoted_by_itself() -> None:
    promoted, why = decide("auto", {"general": EQUAL})
    assert not promoted
    assert "Nothing could be measured" in why


def test_it_is_judged_by_what_is_held_back_and_what_is_cross_checked_together() -> None:
    compared = {"dev": measured(-0.1, 0.0), "cross": measured(*[0.1] * 6), "judged": measured(-0.1, 0.0, *[0.1] * 6)}
    promoted, why = decide("auto", compared)
    assert promoted
    assert "on 8 queries (2 held out, 6 cross-checked)" in why
    assert not decide("auto", compared | {"judged": WORSE})[0]


@pytest.mark.parametrize("gains", [(0.5,), (0.5, 0.5, 0.5)])
def test_a_gain_on_too_few_queries_does_not_count(gains: tuple[float, ...]) -> None:
    promoted, why = decide("auto", {"dev": measured(*gains)})
    assert not promoted
    assert "too few to decide by" in why


def test_a_model_that_has_forgotten_is_not_promoted_by_itself() -> None:
    promoted, why = decide("auto", {"dev": BETTER, "general": WORSE})
    assert not promoted
    assert "It has forgotten: nDCG@10 changed by -0.087 on the general set." in why


@pytest.mark.parametrize("general", [EQUAL, BETTER, LUCKY, measured(-0.1, *[0.0] * 23)])
def test_a_loss_that_may_be_chance_is_no_forgetting(general: dict[str, Any]) -> None:
    assert not forgot(general)
    assert decide("auto", {"dev": BETTER, "general": general})[0]


@pytest.mark.parametrize("comparison", [None, WORSE, BETTER])
@pytest.mark.parametrize("general", [None, WORSE, BETTER])
def test_always_and_never_do_as_asked(comparison: dict[str, Any] | None, general: dict[str, Any] | None) -> None:
    compared = {name: found for name, found in (("dev", comparison), ("general", general)) if found}
    assert decide("always", compared)[0]
    assert not decide("never", compared)[0]


def test_figures_are_those_of_dev_and_those_of_other_sets_by_other_names() -> None:
    result = {
        "dev": {"metrics": {"map": 0.5}, "intervals": {"map": [0.25, 0.75]}},
        "test": {"metrics": {"map": 0.125}},
        "general": {"metrics": {"map": 1.0}, "intervals": {"map": (0.75, 1.0)}},
    }
    assert by_name(result) == {
        "map": 0.5, "map_low": 0.25, "map_high": 0.75,
        "test_map": 0.125,
        "general_map": 1.0, "general_map_low": 0.75, "general_map_high": 1.0,
    }  # fmt: skip
    assert by_name({}) == {}
