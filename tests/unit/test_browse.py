"""What is stored is found by its words, has a history, and comes back when it was deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from errors import NotFound
from storage import database
from storage.browse_store import BrowseStore, Filter, Sort
from storage.label_store import LabelStore
from storage.records import Candidate, Judgment, text_id
from storage.review_store import ReviewStore
from storage.score_store import ScoreStore


@pytest.fixture
def labels(tmp_path: Path) -> LabelStore:
    database.create(tmp_path / "workbench.db")
    return LabelStore(tmp_path / "workbench.db")


@pytest.fixture
def browse(labels: LabelStore) -> BrowseStore:
    return BrowseStore(labels.path)


def found(browse: BrowseStore, words: str = "", kept: Filter = "all", skip: int = 0) -> list[str]:
    while browse.index_more():
        pass
    return [pair.passage for pair in browse.find(words, kept, skip, 10)]


def key(passage: str) -> tuple[str, str]:
    return text_id("a query"), text_id(passage)


def add(labels: LabelStore, *passages: str) -> None:
    labels.add_candidates(Candidate("a query", passage) for passage in passages)


def test_words_are_found_in_queries_and_passages(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, "The red bridge", "A bridge of stone", "Rain in Köln")
    labels.add_candidates([Candidate("how long is the bridge", "Two miles")])
    assert found(browse, "bridge") == ["Two miles", "A bridge of stone", "The red bridge"]
    assert found(browse, "BRIDGE stone") == ["A bridge of stone"]
    assert found(browse, "bri") == ["Two miles", "A bridge of stone", "The red bridge"]
    assert found(browse, "koln") == ["Rain in Köln"]
    assert found(browse, "nothing of this") == []
    assert len(found(browse)) == 4


@pytest.mark.parametrize("words", ["a AND", "NEAR(", "col:x", "' OR 1=1"])
def test_what_is_typed_is_never_a_query_language(labels: LabelStore, browse: BrowseStore, words: str) -> None:
    add(labels, "one", "and, near, or, col x, 1")
    assert found(browse, words) == ["and, near, or, col x, 1"]


@pytest.mark.parametrize("words", ['"', "*", "  "])
def test_signs_without_a_word_leave_nothing_out(labels: LabelStore, browse: BrowseStore, words: str) -> None:
    add(labels, "one", "another")
    assert found(browse, words) == ["another", "one"]


def test_filters(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, "open", "yes", "no", "both")
    labels.save([Judgment("a query", "yes", 1, "anna", note="sure"), Judgment("a query", "no", 0, "anna")])
    labels.save([Judgment("a query", "both", 0, "anna"), Judgment("a query", "both", 1, "bo")])
    labels.toggle_flag(*key("open"), "anna")
    expected: dict[Filter, list[str]] = {
        "all": ["both", "no", "yes", "open"], "judged": ["both", "no", "yes"], "not judged": ["open"],
        "relevant": ["both", "yes"], "not relevant": ["both", "no"], "disputed": ["both"], "flagged": ["open"],
        "with a note": ["yes"],
    }  # fmt: skip
    assert {kept: found(browse, kept=kept) for kept in expected} == expected


def test_pages_go_back_in_time(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, *(f"passage {number}" for number in range(15)))
    assert found(browse)[0] == "passage 14"
    assert found(browse, skip=10) == [f"passage {number}" for number in range(4, -1, -1)]


def test_orders(labels: LabelStore, browse: BrowseStore) -> None:
    labels.add_candidates(Candidate(query, passage) for passage in "ab" for query in ("x", "y"))
    labels.save([Judgment("x", "b", 1, "anna"), Judgment("x", "b", 0, "bo"), Judgment("y", "a", 0, "bo")])

    def pairs(sort: Sort) -> list[str]:
        return [pair.query + pair.passage for pair in browse.find("", "all", 0, 10, sort)]

    assert pairs("newest first") == ["yb", "xb", "ya", "xa"]
    assert pairs("oldest first") == ["xa", "ya", "xb", "yb"]
    assert pairs("most judged first") == ["xb", "ya", "yb", "xa"]
    by_query = [pair[0] for pair in pairs("query by query")]
    assert by_query in (list("xxyy"), list("yyxx"))


def test_a_deleted_pair_is_gone_and_comes_back_with_all_that_was_said(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, "one", "two")
    labels.save([Judgment("a query", "one", 1, "anna", note="sure"), Judgment("a query", "one", 0, "bo")])
    labels.toggle_flag(*key("one"), "cy")
    ReviewStore(labels.path).decide(*key("one"), 1, "ed", None)
    ScoreStore(labels.path).save_scores("v1", [(*key("one"), 1.0)])
    assert found(browse, "one") == ["one"]
    number = browse.delete(*key("one"), "ed")
    assert (found(browse, "one"), found(browse)) == ([], ["two"])
    assert (list(labels.labels()), labels.consensus()) == ([], [])
    progress = labels.progress("anna")
    assert (progress.candidates, progress.judged, progress.relevant, progress.mine) == (1, 0, 0, 0)
    assert labels.undo("anna") == []
    browse.restore(number)
    assert found(browse, "one") == ["one"]
    assert {(label.annotator, label.label, label.note) for label in labels.labels()} == {
        ("anna", 1, "sure"), ("bo", 0, None),
    }  # fmt: skip
    assert [label.label for label in labels.consensus()] == [1]
    progress = labels.progress("anna")
    assert (progress.candidates, progress.judged, progress.relevant, progress.mine) == (2, 1, 1, 1)
    with pytest.raises(NotFound):
        browse.restore(number)


def test_a_number_that_is_given_out_again_does_not_confuse_the_search(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, "first", "last")
    assert found(browse, "last") == ["last"]
    browse.delete(*key("last"), "ed")
    add(labels, "another")
    assert (found(browse, "last"), found(browse, "another")) == ([], ["another"])


def test_what_is_gone_cannot_be_deleted(labels: LabelStore, browse: BrowseStore) -> None:
    with pytest.raises(NotFound):
        browse.delete(*key("nothing"), "ed")


def test_the_history_of_a_pair(labels: LabelStore, browse: BrowseStore) -> None:
    labels.save([Judgment("a query", "one", 1, "anna")])
    labels.save([Judgment("a query", "one", 0, "anna", note="no")])
    labels.undo("anna")
    assert [(event.action, event.label, event.previous_label) for event in browse.history(*key("one"))] == [
        ("label", 1, None), ("label", 0, 1), ("undo", 1, 0),
    ]  # fmt: skip


def test_the_index_is_made_again_where_it_is_missing(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, "one")
    assert found(browse, "one") == ["one"]
    browse.index_path.unlink()
    assert browse.not_indexed() == 1
    assert found(browse, "one") == ["one"]
