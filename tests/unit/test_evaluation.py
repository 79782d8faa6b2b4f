"""The figures of a ranking against values worked out by hand, and the comparison of two models."""

from __future__ import annotations

from itertools import permutations
from math import log2
from statistics import mean

import pytest

from reranker.dataset import JudgedQuery
from reranker.evaluation import Evaluation, compare, evaluate, query_metrics


def falling(count: int) -> list[float]:
    """Scores that rank passages in the order in which they stand."""
    return [float(-place) for place in range(count)]


def with_ndcg(*values: float) -> Evaluation:
    """An evaluation in which the queries have these nDCGs."""
    return Evaluation({}, {f"q{place}": {"ndcg@10": value} for place, value in enumerate(values)})


# One ranking


def test_a_perfect_ranking_has_the_highest_figures() -> None:
    figures = query_metrics([1, 1, 0, 0], [3.0, 2.0, -1.0, -2.0])
    assert figures == {"ndcg@10": 1.0, "mrr@10": 1.0, "map": 1.0, "accuracy": 1.0, "auc": 1.0}


def test_relevant_first_and_third() -> None:
    # DCG 1 + 1/log2(4) = 1.5; ideal 1 + 1/log2(3); precision 1/1 and 2/3 at the relevant ones.
    figures = query_metrics([1, 0, 1], falling(3))
    assert figures["ndcg@10"] == pytest.approx(1.5 / (1 + 1 / log2(3)))
    assert figures["mrr@10"] == 1.0
    assert figures["map"] == pytest.approx((1 + 2 / 3) / 2)


def test_the_only_relevant_passage_in_fourth_place() -> None:
    figures = query_metrics([0, 0, 0, 1], falling(4))
    assert figures["ndcg@10"] == pytest.approx(1 / log2(5))
    assert figures["mrr@10"] == pytest.approx(1 / 4)
    assert figures["map"] == pytest.approx(1 / 4)


def test_the_order_of_the_input_does_not_matter() -> None:
    assert query_metrics([1, 0, 0, 1], [0.1, 0.4, 0.3, 0.2]) == pytest.approx(query_metrics([0, 0, 1, 1], falling(4)))


def test_what_stands_below_the_tenth_place_does_not_count() -> None:
    figures = query_metrics([0] * 10 + [1], falling(11))
    assert (figures["ndcg@10"], figures["mrr@10"]) == (0.0, 0.0)
    assert figures["map"] == pytest.approx(1 / 11)


def test_the_ideal_ranking_is_cut_off_as_well() -> None:
    # Twelve relevant of thirteen, the first place wrong: nine hits in the places 2 to 10, of ten possible.
    figures = query_metrics([0] + [1] * 12, falling(13))
    ideal = sum(1 / log2(place + 1) for place in range(1, 11))
    assert figures["ndcg@10"] == pytest.approx((ideal - 1) / ideal)
    assert figures["mrr@10"] == pytest.approx(1 / 2)


def test_ties_are_worth_their_average() -> None:
    # The one relevant passage is in first or second place, with equal chances.
    figures = query_metrics([1, 0], [0.5, 0.5])
    assert figures["ndcg@10"] == pytest.approx((1 + 1 / log2(3)) / 2)
    assert figures == pytest.approx({**query_metrics([0, 1], [0.5, 0.5]), "mrr@10": figures["mrr@10"]})


def test_a_tie_at_the_top_is_worth_what_its_orders_are_worth_in_the_mean() -> None:
    for labels, scores in (([1, 0, 0], [1, 1, 1]), ([0, 1, 1, 0], [3, 1, 1, 1]), ([1, 1, 0, 0, 0, 0], [2] * 5 + [1])):
        ranked = []
        for order in permutations(range(len(labels))):
            # So small a difference breaks the ties, and nothing else.
            apart = [score - 1e-6 * order[place] for place, score in enumerate(scores)]
            ranked.append(query_metrics(labels, apart)["mrr@10"])
        assert query_metrics(labels, scores)["mrr@10"] == pytest.approx(mean(ranked))
    # A model that says the same of everything is no good at it.
    assert query_metrics([1] + [0] * 29, [0.0] * 30)["mrr@10"] == pytest.approx(sum(1 / k for k in range(1, 11)) / 30)
    assert query_metrics([0] * 10 + [1], [1.0] * 10 + [0.0])["mrr@10"] == 0


def test_accuracy_counts_the_right_side_of_an_even_chance() -> None:
    # Logits of 0 and less say not relevant.
    assert query_metrics([1, 1, 0, 0], [0.1, -0.1, -2.0, 0.0])["accuracy"] == pytest.approx(3 / 4)


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    # Of 2 x 3 pairs, the relevant one scores higher in four, and one is a tie.
    assert query_metrics([1, 1, 0, 0, 0], [5, 2, 3, 2, 1])["auc"] == pytest.approx(4.5 / 6)


def test_logits_of_any_size_and_sign_are_ranked() -> None:
    assert query_metrics([1, 0, 0], [-11.2, -11.3, -900.0])["ndcg@10"] == 1.0


# One model


def test_the_figures_of_a_model_are_means_over_the_queries() -> None:
    queries = [
        JudgedQuery("a", "first", ["x", "y"], [1, 0]),
        JudgedQuery("b", "second", ["x", "y", "z", "w"], [0, 0, 0, 1]),
    ]
    evaluation = evaluate(queries, [falling(2), falling(4)])
    assert evaluation.per_query == {
        "a": {**query_metrics([1, 0], falling(2)), "scores": falling(2)},
        "b": {**query_metrics([0, 0, 0, 1], falling(4)), "scores": falling(4)},
    }
    assert evaluation.metrics == pytest.approx(
        {
            "ndcg@10": (1 + 1 / log2(5)) / 2,
            "mrr@10": (1 + 1 / 4) / 2,
            "map": (1 + 1 / 4) / 2,
            "accuracy": (1 / 2 + 3 / 4) / 2,
            "auc": (1 + 0) / 2,
            "queries": 2,
        }
    )


def test_every_figure_has_an_interval_that_holds_it() -> None:
    queries = [JudgedQuery(str(number), "q", ["x", "y", "z"], [1, 0, 0]) for number in range(30)]
    scores = [[float(number % 3), 1.5, -1.0] for number in range(30)]
    evaluation = evaluate(queries, scores)
    assert evaluation.intervals.keys() == evaluation.metrics.keys() - {"queries"}
    for name, (low, high) in evaluation.intervals.items():
        assert 0 <= low <= evaluation.metrics[name] <= high <= 1
    low, high = evaluation.intervals["mrr@10"]
    # Ten of thirty have 1, the others 1/2: a mean of 2/3 with a standard error of 0.043.
    assert (low, high) == pytest.approx((2 / 3 - 1.96 * 0.043, 2 / 3 + 1.96 * 0.043), abs=0.02)
    assert evaluate(queries, scores) == evaluation


def test_a_single_query_has_figures_and_no_intervals() -> None:
    evaluation = evaluate([JudgedQuery("a", "q", ["x", "y"], [1, 0])], [[0.0, 1.0]])
    assert evaluation.metrics["mrr@10"] == 0.5
    assert evaluation.intervals == {}


def test_no_queries_have_no_figures() -> None:
    assert evaluate([], []) == Evaluation({}, {})


def test_scores_have_to_be_as_many_as_queries() -> None:
    with pytest.raises(ValueError, match="zip"):
        evaluate([JudgedQuery("a", "first", ["x", "y"], [1, 0])], [])


# Two models


def test_queries_that_got_better_and_worse_are_counted() -> None:
    comparison = compare(with_ndcg(0.5, 0.5, 0.5, 1.0), with_ndcg(0.7, 0.6, 0.5, 0.6))
    assert (comparison.queries, comparison.better, comparison.equal, comparison.worse) == (4, 2, 1, 1)
    assert comparison.gain == pytest.approx((0.2 + 0.1 + 0.0 - 0.4) / 4)


def test_the_order_of_the_queries_does_not_matter() -> None:
    champion = with_ndcg(0.1, 0.9)
    challenger = Evaluation({}, dict(reversed(with_ndcg(0.2, 0.8).per_query.items())))
    assert compare(champion, challenger) == compare(champion, with_ndcg(0.2, 0.8))


def test_the_p_value_of_few_queries_is_exact() -> None:
    # Of the 32 ways to give five equal gains a sign, two are as far from zero as this one.
    comparison = compare(with_ndcg(*[0.25] * 5), with_ndcg(*[0.5] * 5))
    assert comparison.p_value == pytest.approx(2 / 32)


def test_the_p_value_counts_both_directions() -> None:
    worse = compare(with_ndcg(*[0.5] * 5), with_ndcg(*[0.25] * 5))
    assert worse.gain == pytest.approx(-0.25)
    assert worse.p_value == pytest.approx(2 / 32)


def test_equal_models_have_a_p_value_of_one() -> None:
    comparison = compare(with_ndcg(0.3, 0.6, 0.9), with_ndcg(0.3, 0.6, 0.9))
    assert (comparison.gain, comparison.equal, comparison.p_value) == (0.0, 3, 1.0)
    assert (comparison.low, comparison.high) == (0.0, 0.0)


def test_the_gain_lies_within_its_bounds_and_more_queries_narrow_them() -> None:
    champion = [0.5 + 0.01 * (place % 7) for place in range(200)]
    challenger = [value + (0.12 if place % 3 else -0.06) for place, value in enumerate(champion)]
    few = compare(with_ndcg(*champion[:12]), with_ndcg(*challenger[:12]))
    many = compare(with_ndcg(*champion), with_ndcg(*challenger))
    for comparison in (few, many):
        assert comparison.low is not None and comparison.high is not None
        assert comparison.low < comparison.gain < comparison.high
    assert many.high - many.low < (few.high - few.low) / 3
    # One-sided at 95 %: 1.645 standard errors of 0.085 / sqrt(200).
    assert many.low == pytest.approx(many.gain - 1.645 * 0.085 / 200**0.5, abs=0.002)


def test_a_clear_gain_on_many_queries_is_significant_and_noise_is_not() -> None:
    champion = [0.5 + 0.01 * (place % 7) for place in range(40)]
    assert (compare(with_ndcg(*champion), with_ndcg(*[value + 0.1 for value in champion])).p_value or 1) < 0.001
    noise = [value + (0.05 if place % 2 else -0.05) for place, value in enumerate(champion)]
    assert (compare(with_ndcg(*champion), with_ndcg(*noise)).p_value or 0) > 0.5


def test_the_p_value_is_the_same_each_time() -> None:
    champion = with_ndcg(*[0.01 * place for place in range(30)])
    challenger = with_ndcg(*[0.01 * place + (0.03 if place % 3 else -0.04) for place in range(30)])
    first = compare(champion, challenger)
    assert first.p_value is not None and 0 < first.p_value < 1
    assert compare(champion, challenger) == first


@pytest.mark.parametrize("values", [(), (0.5,)])
def test_fewer_than_two_queries_have_no_p_value(values: tuple[float, ...]) -> None:
    comparison = compare(with_ndcg(*values), with_ndcg(*values))
    assert (comparison.queries, comparison.gain, comparison.p_value) == (len(values), 0.0, None)
    assert (comparison.low, comparison.high) == (None, None)
