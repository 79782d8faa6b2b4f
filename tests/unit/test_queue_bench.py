"""How the labels that a strategy needs are read off its curve."""

from __future__ import annotations

import pytest

from benchmarks.queue import COUNTS, compare, labels_needed


def curve(*ndcg: float) -> list[dict]:
    labels = (0, *COUNTS)
    return [{"labels": count, "ndcg": value, "relevant": count // 4} for count, value in zip(labels, ndcg, strict=True)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [(0.5, 20), (0.4, 20), (0.55, 30), (0.6, 40), (0.8, 80)],
)
def test_the_labels_needed_lie_on_the_line_between_two_points(wanted: float, expected: float) -> None:
    assert labels_needed([20, 40, 80], [0.5, 0.6, 0.8], wanted) == pytest.approx(expected)


def test_what_is_reached_first_counts_though_it_is_lost_again() -> None:
    assert labels_needed([20, 40, 80], [0.5, 0.7, 0.6], 0.6) == pytest.approx(30)


def test_what_is_never_reached_is_no_number() -> None:
    with pytest.raises(ValueError, match="never reaches"):
        labels_needed([20, 40, 80], [0.5, 0.6, 0.7], 0.8)


def test_the_same_ndcg_is_the_best_that_both_reach() -> None:
    rows = compare({"random": [curve(0.4, 0.4, 0.5, 0.6)], "gain": [curve(0.4, 0.5, 0.6, 0.7)]})
    assert [row.rpartition("| ")[2] for row in rows] == ["-", "2.00 (80 and 40 for 0.6000)"]
    assert "| 25% |" in rows[0]


def test_each_strategy_is_held_against_random_by_itself() -> None:
    curves = {
        "random": [curve(0.4, 0.4, 0.5, 0.6)],
        "gain": [curve(0.4, 0.6, 0.6, 0.6)],
        "top": [curve(0.4, 0.4, 0.5, 0.5)],
    }
    assert [row.rpartition("| ")[2].split(" ")[0] for row in compare(curves)] == ["-", "4.00", "1.00"]


def test_means_are_taken_over_seeds() -> None:
    curves = {"random": [curve(0.4, 0.4, 0.4, 0.5)] * 2, "gain": [curve(0.4, 0.5, 0.5, 0.5), curve(0.4, 0.3, 0.5, 0.5)]}
    assert compare(curves)[1].endswith("2.00 (80 and 40 for 0.5000)")


def test_where_one_never_gains_there_is_nothing_to_compare() -> None:
    rows = compare({"random": [curve(0.5, 0.4, 0.3, 0.2)], "gain": [curve(0.5, 0.5, 0.6, 0.7)]})
    assert all(row.endswith("| -") for row in rows)
