"""What the Label tab asks of the server: a press counts once, quotas hold where a lease ran out, pairs come ahead."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from errors import Conflict, InvalidInput, NotFound
from page.judging_calls import JudgingCalls, Said
from services import Services
from storage import database
from storage.records import Candidate, text_id
from tests.conftest import make_settings

PASSAGES = ["first", "second", "third", "fourth"]


@pytest.fixture
def calls(services: Services) -> JudgingCalls:
    """The calls, on a store with four pairs of one query."""
    return filled(services)


def filled(services: Services) -> JudgingCalls:
    services.label_store.add_candidates(Candidate("query", passage) for passage in PASSAGES)
    return JudgingCalls(services)


@pytest.fixture
def with_quota(tmp_path: Path, model_dir: Path) -> JudgingCalls:
    """The same where each pair is judged by one annotator."""
    return filled(Services.build(make_settings(tmp_path / "quota", model_dir, OVERLAP="1")))


def said(annotator: str = "anna", **more: object) -> Said:
    return Said(annotator=annotator, strategy="oldest", **more)  # type: ignore[arg-type]


def keys_ahead(calls: JudgingCalls, annotator: str = "anna", want: int = 3) -> list[tuple[str, str]]:
    return [task["key"] for task in calls.pairs(said(annotator, want=want))["tasks"]]


def let_run_out(calls: JudgingCalls) -> None:
    """The time of every pair that somebody holds is over."""
    with database.write(calls.services.settings.database_path) as db:
        db.conn.execute("UPDATE leases SET expires_at = 1")


def events(calls: JudgingCalls) -> list[tuple[str, str]]:
    with database.read(calls.services.settings.database_path) as db:
        return db.conn.execute("SELECT annotator, action FROM label_events ORDER BY id").fetchall()


def test_the_next_pairs_come_with_the_answer_and_none_twice(calls: JudgingCalls) -> None:
    first, second, third = keys_ahead(calls)
    answer = calls.judge(said(key=first, state="relevant", press="1", shown=[second, third], want=1))
    assert [row["state"] for row in answer["rows"]] == ["relevant"]
    assert len({first, second, third, *(task["key"] for task in answer["tasks"])}) == 4
    assert "empty" not in answer
    answer = calls.judge(said(key=second, state="later", press="2", shown=[third], want=3))
    assert [task["state"] for task in answer["tasks"]] == ["open", "later"]
    assert "Nothing is left" in answer["empty"]


@pytest.mark.parametrize("state", ["cannot-tell", "later"])
def test_the_note_on_what_is_put_aside_is_kept_and_shown(calls: JudgingCalls, state: str) -> None:
    first, *_ = keys_ahead(calls)

    def shown(answer: dict) -> list[tuple[str, str | None]]:
        return [(row["state"], row["note"]) for row in answer["rows"]]

    assert shown(calls.judge(said(key=first, state=state, note="what year?", press="1"))) == [(state, "what year?")]
    assert "what year?" in calls.mine(said())["html"]
    assert shown(calls.judge(said(key=first, state=state, note="in which year?", press="2"))) == [
        (state, "in which year?")
    ]
    # Undone, it is as it was; and a label has a note of its own.
    assert shown(calls.undo(said(key=first, press="3"))) == [(state, "what year?")]
    assert shown(calls.judge(said(key=first, state="relevant", press="4"))) == [("relevant", None)]


@pytest.mark.parametrize("state", ["relevant", "cannot-tell"])
def test_a_press_that_arrives_again_is_answered_and_not_stored_again(calls: JudgingCalls, state: str) -> None:
    first, *_ = keys_ahead(calls)
    press = said(key=first, state=state, press="1", note="why", seconds=2)
    once = calls.judge(press)
    again = JudgingCalls(Services.build(calls.services.settings)).judge(press)
    assert again["rows"] == once["rows"]
    assert len(events(calls)) == 1


def test_a_press_that_arrives_many_times_at_once_is_stored_once(calls: JudgingCalls) -> None:
    first, second, _ = keys_ahead(calls)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: calls.judge(said(key=first, state="relevant", press="1")), range(16)))
        list(threads.map(lambda _: calls.flag(said(key=second, press="2")), range(16)))
        list(threads.map(lambda _: calls.rest(said(keys=[second], press="3")), range(16)))
        list(threads.map(lambda _: calls.undo(said(press="4")), range(16)))
    assert [action for _, action in events(calls)] == ["label", "flag", "label", "undo"]
    assert calls.flag(said(key=second, press="2"))["rows"][0]["flagged"]


def test_the_same_name_of_another_annotators_press_is_another_press(calls: JudgingCalls) -> None:
    first, *_ = keys_ahead(calls)
    for annotator in ("anna", "bo"):
        calls.judge(said(annotator, key=first, state="relevant", press="1"))
    assert events(calls) == [("anna", "label"), ("bo", "label")]


def test_an_undone_step_is_told_again_when_its_answer_got_lost(calls: JudgingCalls) -> None:
    keys = keys_ahead(calls)
    calls.judge(said(key=keys[0], state="relevant", press="1"))
    calls.rest(said(keys=keys[1:], press="2"))
    once, again = calls.undo(said(press="3")), calls.undo(said(press="3"))
    assert {row["key"] for row in once["rows"]} == {row["key"] for row in again["rows"]} == set(keys[1:])
    assert all("<section" in row["html"] for row in again["rows"])
    assert calls.undo(said(press="4"))["rows"][0]["key"] == keys[0]
    assert calls.undo(said(press="5"))["rows"] == []


def test_a_pair_that_others_have_judged_after_the_lease_ran_out_takes_no_more(with_quota: JudgingCalls) -> None:
    mine = keys_ahead(with_quota)
    let_run_out(with_quota)
    for key in keys_ahead(with_quota, "bo", 2):
        with_quota.judge(said("bo", key=key, state="relevant", press=key[1]))
    with pytest.raises(Conflict, match="Others have judged this pair"):
        with_quota.judge(said(key=mine[0], state="not-relevant", press="1"))
    answer = with_quota.rest(said(keys=mine, press="2"))
    assert answer["message"].startswith("2 of them were left out")
    assert sorted(row["state"] for row in answer["rows"]) == ["not-relevant", "open", "open"]
    # Whoever has judged it may still change their mind.
    changed = with_quota.judge(said("bo", key=mine[0], state="not-relevant", press="3"))
    assert changed["rows"][0]["state"] == "not-relevant"
    votes = [label.passage_id for label in with_quota.services.label_store.labels()]
    assert len(votes) == len(set(votes)) == 3


def test_pairs_on_the_screen_are_held_for_longer_or_gone(with_quota: JudgingCalls) -> None:
    mine = keys_ahead(with_quota)
    let_run_out(with_quota)
    assert [row["key"] for row in with_quota.pairs(said(keys=mine))["rows"]] == mine
    assert not set(keys_ahead(with_quota, "bo")) & set(mine)
    let_run_out(with_quota)
    taken = keys_ahead(with_quota, "cy", 2)
    assert {row["key"] for row in with_quota.pairs(said(keys=mine))["rows"]} == set(mine) - set(taken)


def test_what_cannot_be_done_is_refused(calls: JudgingCalls) -> None:
    [first] = keys_ahead(calls, want=1)
    with pytest.raises(InvalidInput, match="Say relevant"):
        calls.judge(said(key=first, press="1"))
    with pytest.raises(NotFound):
        calls.judge(said(key=("no", "pair"), state="relevant", press="2"))
    with pytest.raises(NotFound):
        calls.flag(said(press="3"))
    with pytest.raises(InvalidInput, match="no strategy"):
        calls.pairs(Said(annotator="anna", strategy="best", want=1))
    assert events(calls) == []


def test_with_a_quota_nobody_is_told_how_many_pairs_are_left(calls: JudgingCalls, with_quota: JudgingCalls) -> None:
    assert "<b>4</b> left<" in calls.pairs(said())["progress"]
    assert "</b> left" not in with_quota.pairs(said())["progress"]
    assert "judged by you" in with_quota.pairs(said())["progress"]


def test_a_note_stays_with_what_was_put_aside(calls: JudgingCalls) -> None:
    [first] = keys_ahead(calls, want=1)
    calls.judge(said(key=first, state="cannot-tell", note=" it is cut off ", press="1"))
    history = calls.services.review_store
    with database.read(history.path) as db:
        assert db.conn.execute("SELECT action, note FROM label_events").fetchall() == [("skip", "it is cut off")]


def test_without_a_name_the_team_is_shown_and_nobody(calls: JudgingCalls) -> None:
    [first] = keys_ahead(calls, want=1)
    named = calls.judge(said(key=first, state="relevant"))["progress"]
    unnamed = calls.team(said("", want=3))
    for progress in (named, unnamed["progress"]):
        assert '<b id="team">1</b> of <b>4</b><' in progress
    assert "by you" in named and "you" not in unnamed["progress"]
    assert unnamed["tasks"] == []


def query_keys(calls: JudgingCalls, annotator: str = "anna", **more: object) -> list[tuple[str, str]]:
    """The pairs of the next query for this annotator, as its HTML has them."""
    html = calls.next_query(said(annotator, **more))["html"]
    return re.findall(r'data-query="(\w+)" data-passage="(\w+)"', html)


def test_the_query_that_comes_next_is_held_beside_the_one_on_the_screen(with_quota: JudgingCalls) -> None:
    with_quota.services.label_store.add_candidates([Candidate("another query", passage) for passage in PASSAGES])
    shown = query_keys(with_quota)
    ahead = query_keys(with_quota, shown=shown)
    assert len(shown) == len(ahead) == 4 and not set(shown) & set(ahead)
    # Whoever asks again gets the same; nobody else gets either.
    assert query_keys(with_quota, shown=shown) == ahead
    assert query_keys(with_quota, "bo") == []
    # With the second on the screen, and the first given back, the first comes again.
    assert query_keys(with_quota, shown=ahead, left=shown) == shown
    with_quota.give_back(said(keys=shown))
    assert sorted(query_keys(with_quota, "bo")) == sorted(shown)


def test_a_query_that_was_fetched_ahead_and_not_looked_at_comes_back_to_the_others(with_quota: JudgingCalls) -> None:
    with_quota.services.label_store.add_candidates([Candidate("another query", passage) for passage in PASSAGES])
    shown = query_keys(with_quota)
    ahead = query_keys(with_quota, shown=shown)
    let_run_out(with_quota)
    seen = query_keys(with_quota, "bo")
    assert sorted([*seen, *query_keys(with_quota, "bo", shown=seen)]) == sorted([*shown, *ahead])


def test_of_a_query_with_very_many_passages_the_next_part_is_fetched_ahead(calls: JudgingCalls) -> None:
    calls.services.label_store.add_candidates(Candidate("query", f"passage {number}") for number in range(150))
    shown = query_keys(calls)
    ahead = query_keys(calls, shown=shown)
    assert (len(shown), len(ahead)) == (100, 54) and not set(shown) & set(ahead)


def test_whoever_leaves_a_query_with_very_many_passages_gets_another_one_and_then_its_rest(calls: JudgingCalls) -> None:
    calls.services.label_store.add_candidates(Candidate("query", f"passage {number}") for number in range(150))
    calls.services.label_store.add_candidates([Candidate("another query", "passage 1")])
    shown = query_keys(calls, query=text_id("query"))
    assert len(shown) == 100
    other = query_keys(calls, left=shown)
    assert [query_id for query_id, _ in other] == [text_id("another query")]
    calls.labeling.skip(calls.labeling.task(*other[0], "anna"), "anna", "cannot_tell")
    # Nothing else is left: then those that were not on the screen.
    rest = query_keys(calls, left=shown)
    assert rest and not set(rest) & set(shown)


def test_lists_are_fetched_as_html(calls: JudgingCalls) -> None:
    html = calls.next_query(said())["html"]
    assert html.count("data-row") == 4
    rows = [task.key for task in calls.labeling.next_query("anna", "oldest")]
    calls.rest(said(keys=rows, press="1"))
    assert "No query is left for you" in calls.next_query(said(left=rows))["html"]
    mine = calls.mine(said())["html"]
    assert mine.count('data-state="not-relevant"') == 4 and "Pace" in mine
    assert "You have judged nothing yet" in calls.mine(said("bo"))["html"]
