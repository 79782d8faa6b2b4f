"""What the Rerank tab remembers of a ranking."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from errors import InvalidInput
from page.render import render
from reranker.model import RankedPassage, Reranker
from reranker.ranking_view import PageRankings, RankingView
from reranker.scoring_queue import Cancelled


def ranking(*passages: tuple[str, int, int]) -> RankingView:
    """A ranking of (text, tokens of the pair, characters read), for a model that reads 512 tokens."""
    ranked = [
        RankedPassage(place, place, text, 0.0, 0.5, tokens, read) for place, (text, tokens, read) in enumerate(passages)
    ]
    return RankingView("query", ranked, "v1", 512, 0.1)


def test_labels_are_those_of_every_passage_of_the_same_text() -> None:
    view = ranking(("same", 9, 4), ("other", 9, 5), ("same", 9, 4))
    assert view.with_labels({"same": 0, "not here": 1}).labels == {0: 0, 2: 0}
    assert view.with_labels({"same": 0}).with_labels({"other": 1}).labels == {1: 1}


def test_of_two_rankings_that_a_page_asked_for_the_last_one_counts(model_dir: Path) -> None:
    rankings, reranker = PageRankings(), Reranker(model_dir)
    first = rankings.ask("")
    under_way = reranker.start("river", [f"passage {number}" for number in range(5_000)])
    rankings.check(first, under_way)
    second = rankings.ask("v2")
    with pytest.raises(Cancelled):
        under_way.ranked()
    with pytest.raises(Cancelled):
        rankings.check(first)
    rankings.check(second)
    assert rankings.beside == "v2"


def test_what_was_given_up_leaves_what_was_shown_before() -> None:
    rankings = PageRankings()
    rankings.ask("")
    rankings.give_up()
    assert rankings.view is None and rankings.asked is None
    view = ranking(("one", 9, 3))
    beside_it = view.with_other("v2", view.ranked)
    rankings.ask("v2")
    rankings.show(beside_it)
    rankings.ask("v3")
    rankings.give_up()
    assert (rankings.view, rankings.beside, rankings.asked) == (beside_it, "v2", None)


def test_the_ranking_before_can_still_be_judged_and_older_ones_cannot() -> None:
    rankings = PageRankings()
    views = [replace(ranking(("same", 9, 4), ("other", 9, 5)), id=str(number)) for number in range(3)]
    for view in views:
        rankings.show(view)
    assert [rankings.find(number) for number in "12"] == views[1:]
    with pytest.raises(InvalidInput, match="Rerank, and judge again"):
        rankings.find("0")
    rankings.label("another query", {"same": 1})
    assert rankings.find("2").labels == {}
    rankings.label("query", {"same": 1})
    assert rankings.find("2").labels == {0: 1}


def test_a_query_is_cut_where_a_pair_is_too_long_and_its_passage_is_not() -> None:
    assert ranking(("short", 600, 5)).query_is_cut
    assert not ranking(("a long one", 600, 3)).query_is_cut
    assert not ranking(("short", 512, 5)).query_is_cut


def test_what_was_remembered_is_not_said_to_have_taken_any_time() -> None:
    view = ranking(("short", 9, 5))
    assert "in 0.10 s" in render("ranking.html", view=view)
    shown = render("ranking.html", view=replace(view, seconds=None))
    assert "scored before" in shown and " ms" not in shown


def test_another_version_is_beside_it_by_the_place_in_the_input_and_never_the_same_one() -> None:
    view = ranking(("one", 9, 3), ("two", 9, 3), ("three", 9, 5))
    one, two, three = view.ranked
    beside = view.with_other("v2", [replace(two, rank=0), replace(one, rank=1), three])
    assert [beside.by_other[index].rank for index in range(3)] == [1, 0, 2]
    assert beside.moved_by_other == 2 and view.moved_by_other == 0
    assert "2 passages in another place" in render("ranking.html", view=beside)
    assert "the same order" in render("ranking.html", view=view.with_other("v2", view.ranked))
    assert view.with_other("v1", view.ranked) is view
