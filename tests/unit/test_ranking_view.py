"""What the Rerank tab remembers of a ranking."""

from __future__ import annotations

from dataclasses import replace

from page.render import render
from reranker.model import RankedPassage
from reranker.ranking_view import RankingView


def ranking(*passages: tuple[str, int, int]) -> RankingView:
    """A ranking of (text, tokens of the pair, characters read), for a model that reads 512 tokens."""
    ranked = [
        RankedPassage(place, place, text, 0.0, 0.5, tokens, read) for place, (text, tokens, read) in enumerate(passages)
    ]
    return RankingView("query", ranked, "v1", 512, 0.1)


def test_a_label_is_that_of_every_passage_of_the_same_text() -> None:
    view = ranking(("same", 9, 4), ("other", 9, 5), ("same", 9, 4))
    assert view.with_label(0, 1).labels == {0: 1, 2: 1}
    assert view.with_label(0, 1).with_label(2, 0).labels == {0: 0, 2: 0}


def test_labels_given_before_are_found_by_their_text() -> None:
    view = ranking(("same", 9, 4), ("other", 9, 5), ("same", 9, 4))
    assert view.with_labels({"same": 0, "not here": 1}).labels == {0: 0, 2: 0}
    assert view.with_labels({"same": 0}).with_label(1, 1).labels == {0: 0, 1: 1, 2: 0}


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
