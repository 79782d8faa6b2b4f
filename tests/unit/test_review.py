"""Disputes, decisions, and the figures of how well annotators judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from errors import Conflict
from labeling.pace import LONGEST_SECONDS, anchoring, pace
from reranker.dataset import Suspect
from reranker.results_tab import look_again
from storage import database
from storage.label_store import LabelStore
from storage.records import JudgingEvent, Judgment, text_id
from storage.review_store import ReviewStore
from storage.score_store import ScoreStore

QUERY = "the query"


@pytest.fixture
def labels(tmp_path: Path) -> LabelStore:
    database.create(tmp_path / "workbench.db")
    return LabelStore(tmp_path / "workbench.db")


@pytest.fixture
def review(labels: LabelStore) -> ReviewStore:
    return ReviewStore(labels.path)


def judge(labels: LabelStore, passage: str, **votes: int) -> None:
    labels.save(Judgment(QUERY, passage, label, annotator) for annotator, label in votes.items())


def disputed(review: ReviewStore) -> list[str]:
    return [dispute.task.passage for dispute in review.disputes(10)]


def test_pairs_that_are_judged_differently_are_in_dispute_until_they_are_decided(
    labels: LabelStore, review: ReviewStore
) -> None:
    judge(labels, "agreed", anna=1, bo=1)
    judge(labels, "tied", anna=1, bo=0)
    judge(labels, "outvoted", anna=1, bo=1, cy=0)
    assert disputed(review) == ["tied", "outvoted"]
    assert review.count_disputes() == 2
    assert [(vote.annotator, vote.label) for vote in review.disputes(1)[0].votes] == [("anna", 1), ("bo", 0)]
    review.decide(text_id(QUERY), text_id("tied"), 0, "ed", "off topic")
    review.decide(text_id(QUERY), text_id("outvoted"), 0, "ed", None)
    assert disputed(review) == []
    assert {label.passage: label.label for label in labels.consensus()} == {"agreed": 1, "tied": 0, "outvoted": 0}
    assert [(item.passage, item.note) for item in review.decisions(5)] == [("outvoted", None), ("tied", "off topic")]


def test_a_decision_is_made_once_and_can_be_taken_back(labels: LabelStore, review: ReviewStore) -> None:
    judge(labels, "tied", anna=1, bo=0)
    pair = text_id(QUERY), text_id("tied")
    review.decide(*pair, 1, "dora", "says the year")
    before = review.decisions(5)
    with pytest.raises(Conflict, match="^\u2068dora\u2069 has decided this meanwhile: relevant"):
        review.decide(*pair, 0, "emil", None)
    with pytest.raises(Conflict):
        review.decide(*pair, 1, "dora", "says the place")
    # The same press, sent twice.
    review.decide(*pair, 1, "dora", "says the year")
    assert review.decisions(5) == before
    assert [(item.label, item.decided_by, item.note) for item in before] == [(1, "dora", "says the year")]
    assert review.withdraw(*pair)
    assert not review.withdraw(*pair)
    assert disputed(review) == ["tied"]
    assert labels.consensus() == []


def test_whoever_comes_round_ends_a_dispute(labels: LabelStore, review: ReviewStore) -> None:
    judge(labels, "tied", anna=1, bo=0)
    judge(labels, "tied", bo=1)
    assert disputed(review) == []
    labels.undo("bo")
    assert disputed(review) == ["tied"]


def event(
    label: int, seconds: float | None = None, visible: bool | None = None, score: float | None = None, day: int = 1
) -> JudgingEvent:
    return JudgingEvent(label, seconds, visible, score, f"2026-01-0{day}T10:00:00+00:00")


def test_pace_leaves_out_breaks() -> None:
    found = pace([event(1, 2.0), event(0, 4.0, day=2), event(1, 6.0, day=2), event(1, LONGEST_SECONDS + 1), event(1)])
    assert (found.labels, found.median_seconds, found.per_hour) == (5, 4.0, 900.0)
    assert found.by_day == [("2026-01-01", 3), ("2026-01-02", 2)]
    assert pace([]).per_hour is None


def test_anchoring_compares_labels_with_and_without_the_score() -> None:
    seen = [event(1, visible=True, score=2.0), event(0, visible=True, score=-2.0)]
    hidden = [event(1, visible=False, score=2.0), event(1, visible=False, score=-2.0)]
    unknown = [event(1, visible=None, score=2.0), event(1, visible=True, score=None)]
    found = anchoring(seen + hidden + unknown)
    assert (found.seen, found.with_score, found.hidden, found.without_score) == (2, 1.0, 2, 0.5)
    assert found.difference == 0.5
    assert anchoring(hidden).difference is None


def test_events_come_with_the_score_of_the_model_that_answered_then(labels: LabelStore, review: ReviewStore) -> None:
    labels.save([Judgment(QUERY, "a", 1, "anna", seconds=3.0, model_version="v1", score_visible=False)])
    labels.save([Judgment(QUERY, "a", 0, "anna", seconds=1.0, model_version="v2", score_visible=True)])
    labels.save([Judgment(QUERY, "b", 0, "anna")])
    labels.undo("anna")
    ScoreStore(labels.path).save_scores("v1", [(text_id(QUERY), text_id("a"), 1.5)])
    found = review.judging_events("anna", 10)
    assert [(item.label, item.seconds, item.score_visible, item.score) for item in found] == [
        (0, 1.0, True, None),
        (1, 3.0, False, 1.5),
    ]
    assert review.annotators() == [("anna", 1)]


def test_a_note_that_is_written_on_a_label_is_no_other_label(labels: LabelStore, review: ReviewStore) -> None:
    for note in (None, "says the year", "says the year and the place"):
        labels.save([Judgment(QUERY, "a", 1, "anna", note=note, seconds=3.0)])
    labels.save([Judgment(QUERY, "a", 0, "anna")])
    assert [item.label for item in review.judging_events("anna", 10)] == [0, 1]


def test_who_looks_at_a_doubtful_label_again_reads_whose_it_is_and_what_came_of_it(
    labels: LabelStore, review: ReviewStore
) -> None:
    def seen_by(name: str) -> tuple[list[str], int | None, str]:
        (pair,) = review.votes_on([(QUERY, "doubtful")])
        return look_again(Suspect(QUERY, "doubtful", 0, 0.9), pair, name)

    assert seen_by("bo") == ([], None, "")  # only assumed, or deleted since
    judge(labels, "doubtful", anna=0)
    judge(labels, "another", anna=0, bo=1)
    assert seen_by("bo") == (["anna"], None, "")
    judge(labels, "doubtful", bo=1)
    authors, own, outcome = seen_by("bo")
    assert (authors, own) == (["anna"], 1)
    assert outcome.startswith("Your label stands beside that of \u2068anna\u2069") and "left out of training" in outcome
    assert seen_by("anna")[1:] == (0, outcome.replace("anna", "bo"))
    assert seen_by("cy")[2].startswith("The labels differ: until that is decided")
    judge(labels, "doubtful", cy=1)
    assert seen_by("bo")[2].endswith("what most say counts.")
    labels.undo("cy")
    review.decide(text_id(QUERY), text_id("doubtful"), 1, "ed", None)
    assert seen_by("bo")[2] == "The labels differ, and it was decided: the decision counts."
    assert review.withdraw(text_id(QUERY), text_id("doubtful"))
    judge(labels, "doubtful", anna=1)
    assert seen_by("anna") == ([], 1, "Corrected.")
