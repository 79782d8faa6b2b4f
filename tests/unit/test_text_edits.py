"""Correcting a text: what was said moves along or waits to be said anew, and the history tells of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from errors import InvalidInput, NotFound
from storage import database
from storage.browse_store import BrowseStore, Search
from storage.label_store import LabelStore
from storage.queue_store import QueueStore
from storage.records import Candidate, Judgment, text_id
from storage.review_store import ReviewStore
from storage.score_store import ScoreStore
from tests.unit.test_storage import sets_in


@pytest.fixture
def labels(tmp_path: Path) -> LabelStore:
    database.create(tmp_path / "workbench.db")
    store = LabelStore(tmp_path / "workbench.db")
    store.add_candidates([Candidate("how long", "teh bridge", "first stage", 3), Candidate("how wide", "teh bridge")])
    store.add_candidates([Candidate("how long", "rain")])
    return store


@pytest.fixture
def browse(labels: LabelStore) -> BrowseStore:
    return BrowseStore(labels.path)


def found(browse: BrowseStore, words: str = "") -> list[tuple[str, str]]:
    while browse.index_more():
        pass
    return [(pair.query, pair.passage) for pair in browse.find(Search(words), 0, 10)]


def standing(labels: LabelStore) -> set[tuple[str, str, str, int]]:
    return {(label.query, label.passage, label.annotator, label.label) for label in labels.labels()}


def test_a_passage_is_corrected_in_all_its_pairs_and_keeps_what_was_said(
    labels: LabelStore, browse: BrowseStore
) -> None:
    labels.save(
        [Judgment("how long", "teh bridge", 1, "anna", note="sure"), Judgment("how wide", "teh bridge", 0, "bo")]
    )
    labels.toggle_flag(text_id("how wide"), text_id("teh bridge"), "cy")
    ReviewStore(labels.path).decide(text_id("how wide"), text_id("teh bridge"), 1, "ed", None)
    ScoreStore(labels.path).save_scores("v1", [(text_id("how long"), text_id("teh bridge"), 1.0)])
    assert len(found(browse, "teh")) == 2
    assert browse.count_pairs(text_id("how long"), text_id("teh bridge")) == (2, 2)
    assert browse.edit("passage", text_id("teh bridge"), "the bridge", "ed", keep_labels=True) == 2
    assert found(browse, "teh") == []
    assert set(found(browse, "the bridge")) == {("how long", "the bridge"), ("how wide", "the bridge")}
    assert len(found(browse)) == 3
    assert standing(labels) == {("how long", "the bridge", "anna", 1), ("how wide", "the bridge", "bo", 0)}
    assert [label.note for label in labels.labels()] == ["sure", None]
    [decided] = ReviewStore(labels.path).decisions(10)
    assert (decided.passage, decided.label) == ("the bridge", 1)
    [pair] = [
        pair for pair in browse.find(Search(), 0, 10) if (pair.query, pair.passage) == ("how long", "the bridge")
    ]
    assert (pair.source, pair.rank) == ("first stage", 3)
    progress = labels.progress("anna")
    assert (progress.candidates, progress.judged, progress.relevant, progress.mine) == (3, 2, 1, 1)
    # The former text has no score that the model gave to another one.
    assert [row[4] for row in ScoreStore(labels.path).not_scored("v1", 0, 10)[0]].count("the bridge") == 2


def test_who_labelled_finds_the_label_and_can_take_it_back(labels: LabelStore, browse: BrowseStore) -> None:
    labels.save([Judgment("how long", "teh bridge", 1, "anna")])
    browse.edit("passage", text_id("teh bridge"), "the bridge", "ed", keep_labels=True)
    assert [judged.task.passage for judged in labels.judged_by("anna", 5)] == ["the bridge"]
    assert labels.undo("anna") == [(text_id("how long"), text_id("the bridge"))]
    assert standing(labels) == set()


def test_where_the_meaning_changed_the_pairs_are_judged_anew(labels: LabelStore, browse: BrowseStore) -> None:
    labels.save([Judgment("how long", "teh bridge", 1, "anna"), Judgment("how long", "rain", 0, "anna")])
    ReviewStore(labels.path).decide(text_id("how long"), text_id("teh bridge"), 0, "ed", None)
    browse.edit("query", text_id("how long"), "how high", "ed", keep_labels=False)
    assert standing(labels) == set() and labels.consensus() == []
    progress = labels.progress("anna")
    assert (progress.candidates, progress.judged, progress.mine, progress.mine_left) == (3, 0, 0, 3)
    assert QueueStore(labels.path).left("anna") in (None, 3)
    assert labels.undo("anna") == []
    events = browse.history(text_id("how high"), text_id("rain"))
    assert [(event.annotator, event.action, event.label, event.skip, event.note) for event in events] == [
        ("anna", "label", 0, None, None), ("ed", "query", None, "again", "how long"),
    ]  # fmt: skip


def test_the_history_follows_corrections_there_and_back(labels: LabelStore, browse: BrowseStore) -> None:
    labels.save([Judgment("how long", "rain", 0, "anna")])
    browse.edit("passage", text_id("rain"), "snow", "ed", keep_labels=True)
    browse.edit("passage", text_id("snow"), "rain", "ed", keep_labels=False)
    labels.save([Judgment("how long", "rain", 1, "bo")])
    events = browse.history(text_id("how long"), text_id("rain"))
    assert [(event.annotator, event.action, event.note) for event in events] == [
        ("anna", "label", None), ("ed", "passage", "rain"), ("ed", "passage", "snow"), ("bo", "label", None),
    ]  # fmt: skip


def test_a_query_stays_in_its_set(labels: LabelStore, browse: BrowseStore) -> None:
    labels.assign_splits({text_id("how long"): "test"})
    browse.edit("query", text_id("how long"), "how long?", "ed", keep_labels=True)
    assert sets_in(labels)[text_id("how long?")] == "test"


@pytest.mark.parametrize(
    "own,others,expected", [("train", "dev", "train"), ("dev", "train", "train"), ("dev", "test", "test")]
)
def test_a_query_that_becomes_one_with_a_trained_one_is_not_measured_on(
    labels: LabelStore, browse: BrowseStore, own: str, others: str, expected: str
) -> None:
    labels.save([Judgment("how long?", "rain", 0, "bo")])
    labels.assign_splits({text_id("how long"): own, text_id("how long?"): others})
    browse.edit("query", text_id("how long"), "how long?", "ed", keep_labels=True)
    assert sets_in(labels)[text_id("how long?")] == expected


def test_pairs_that_become_one_keep_everybodys_label_once(labels: LabelStore, browse: BrowseStore) -> None:
    labels.save([Judgment("how long", "rain", 0, "anna"), Judgment("how long", "teh bridge", 1, "anna")])
    labels.save([Judgment("how long", "teh bridge", 1, "bo")])
    browse.edit("passage", text_id("teh bridge"), "rain", "ed", keep_labels=True)
    assert standing(labels) == {("how long", "rain", "anna", 0), ("how long", "rain", "bo", 1)}
    assert set(found(browse)) == {("how long", "rain"), ("how wide", "rain")}
    progress = labels.progress("anna")
    assert (progress.candidates, progress.judged, progress.relevant, progress.mine) == (2, 1, 1, 1)


@pytest.mark.parametrize("kind", ["label", "skip"])
def test_where_pairs_become_one_a_label_and_a_skip_do_not_meet(
    labels: LabelStore, browse: BrowseStore, kind: str
) -> None:
    def say(passage: str, label: bool) -> None:
        if label:
            labels.save([Judgment("how long", passage, 1, "anna")])
        else:
            labels.skip(text_id("how long"), text_id(passage), "anna", "cannot_tell", None)

    say("teh bridge", kind == "label")
    say("rain", kind == "skip")
    browse.edit("passage", text_id("teh bridge"), "rain", "ed", keep_labels=True)
    task = QueueStore(labels.path).task(text_id("how long"), text_id("rain"), "anna")
    # What was said of the pair that stays counts.
    assert task is not None
    assert (task.label, task.skip) == ((None, "cannot_tell") if kind == "label" else (1, None))
    assert QueueStore(labels.path).left("anna") == 1  # the other query's
    # And to take it back brings nothing of the other back.
    labels.undo("anna")
    task = QueueStore(labels.path).task(text_id("how long"), text_id("rain"), "anna")
    assert task is not None and (task.label, task.skip) == (None, None)


def test_what_is_not_there_or_not_changed_is_not_edited(labels: LabelStore, browse: BrowseStore) -> None:
    with pytest.raises(NotFound, match="This passage is no longer there"):
        browse.edit("passage", text_id("never seen"), "new", "ed", keep_labels=True)
    with pytest.raises(InvalidInput, match="the same as before"):
        browse.edit("query", text_id("how long"), "how long", "ed", keep_labels=True)
    with database.read(labels.path) as db:
        assert db["text_edits"].count == 0
        assert db["passages"].count == 2
