"""Which models are promoted, and what is said about it."""

from __future__ import annotations

from typing import Any

import pytest

from reranker.gate import decide, figures


def comparison(gain: float, queries: int = 8) -> dict[str, Any]:
    return {"queries": queries, "gain": gain, "better": 3, "equal": 4, "worse": 1, "p_value": 0.25}


def test_a_better_model_is_promoted_by_itself() -> None:
    promoted, why = decide("auto", comparison(+0.02))
    assert promoted
    assert "+0.020 on 8 held-out queries (3 better, 1 worse, p = 0.250)" in why


@pytest.mark.parametrize("gain", [0.0, -0.02])
def test_a_model_that_is_not_better_is_not(gain: float) -> None:
    promoted, why = decide("auto", comparison(gain))
    assert not promoted
    assert "Not promoted by itself" in why


def test_what_could_not_be_measured_is_not_promoted_by_itself() -> None:
    promoted, why = decide("auto", None)
    assert not promoted
    assert "Nothing could be measured" in why


def test_a_gain_on_too_few_queries_does_not_count() -> None:
    promoted, why = decide("auto", comparison(+0.5, queries=2))
    assert not promoted
    assert "too few to go by" in why


@pytest.mark.parametrize("measured", [None, comparison(-0.5), comparison(+0.5)])
def test_always_and_never_do_as_asked(measured: dict[str, Any] | None) -> None:
    assert decide("always", measured)[0]
    assert not decide("never", measured)[0]


def test_figures_are_those_of_dev_and_those_of_test_by_another_name() -> None:
    result = {"dev": {"metrics": {"map": 0.5}}, "test": {"metrics": {"map": 0.25}}}
    assert figures(result) == {"map": 0.5, "test_map": 0.25}
    assert figures({}) == {}
