"""The store, on a real file: what annotators do to it, and that nothing is ever lost or half done."""

from __future__ import annotations

import multiprocessing
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from labeling.queue import Queue
from storage import copies, database
from storage.label_store import LabelStore
from storage.model_store import ModelStore
from storage.queue_store import QueueStore
from storage.records import Candidate, Judgment, Task, now, text_id
from storage.text_edits import edit_text
from tests.at_once import THREADS, in_threads
from tests.unit.test_model_store import make_run, make_version

QUERY = "what is a reranker"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "workbench.db"
    database.create(path)
    return path


@pytest.fixture
def store(path: Path) -> LabelStore:
    return LabelStore(path)


@pytest.fixture
def models(path: Path) -> ModelStore:
    return ModelStore(path)


def add(store: LabelStore, *passages: str, query: str = QUERY) -> None:
    store.add_candidates(Candidate(query, passage) for passage in passages)


def judge(store: LabelStore, passage: str, label: int, annotator: str = "anna", note: str | None = None) -> None:
    store.save([Judgment(QUERY, passage, label, annotator, note=note)])


def sets_in(store: LabelStore) -> dict[str, str]:
    """The set of each query that has one, by its id."""
    return {query_id: split for query_id, _, split in store.settled_queries()}


def skip(store: LabelStore, passage: str, reason: str, annotator: str = "anna") -> None:
    store.skip(text_id(QUERY), text_id(passage), annotator, reason, None)  # type: ignore[arg-type]


def seen(store: LabelStore, passage: str, annotator: str = "anna") -> Task:
    """A pair as this annotator sees it."""
    task = QueueStore(store.path).task(text_id(QUERY), text_id(passage), annotator)
    assert task is not None
    return task


def next_passage(store: LabelStore, annotator: str = "anna", order: str = "oldest") -> str | None:
    task = Queue(QueueStore(store.path)).next_task(annotator, order)
    return task.passage if task else None


def standing(store: LabelStore, passage: str, annotator: str = "anna") -> tuple[int | None, str | None]:
    """The label and the skip that hold for a pair now."""
    task = seen(store, passage, annotator)
    return task.label, task.skip


def count(path: Path, table: str) -> int:
    with database.read(path) as db:
        return db[table].count


# Candidates


def test_a_pair_is_added_once(store: LabelStore, path: Path) -> None:
    first = store.add_candidates([Candidate(QUERY, "a"), Candidate(QUERY, "b"), Candidate("other", "a")])
    assert (first.queries, first.passages, first.candidates, first.duplicates) == (2, 2, 3, 0)
    again = store.add_candidates([Candidate(QUERY, "a", source="bm25", rank=1), Candidate(QUERY, "c")])
    assert (again.queries, again.passages, again.candidates, again.duplicates) == (0, 1, 1, 1)
    assert seen(store, "a").source == "api"
    assert (count(path, "queries"), count(path, "passages"), count(path, "candidates")) == (2, 3, 4)


def test_texts_are_kept_to_the_letter(store: LabelStore) -> None:
    passage = " spaces \r\n\ttab 🙂 عربي e\u0301 é "
    add(store, passage)
    assert seen(store, passage).passage == passage


def test_an_unknown_pair_is_no_task(store: LabelStore) -> None:
    assert QueueStore(store.path).task("nothing", "nowhere", "anna") is None


# The next task


def test_an_empty_queue_has_no_task(store: LabelStore) -> None:
    assert next_passage(store) is None


def test_tasks_come_in_the_order_in_which_they_were_added(store: LabelStore) -> None:
    add(store, "c", "a", "b")
    order = []
    while passage := next_passage(store):
        order.append(passage)
        judge(store, passage, 1)
    assert order == ["c", "a", "b"]


def test_the_best_of_the_first_stage_come_first_and_the_unranked_last(store: LabelStore) -> None:
    ranks = {"none": None, "third": 3, "first": 1, "also first": 1}
    store.add_candidates(Candidate(QUERY, passage, rank=rank) for passage, rank in ranks.items())
    order = []
    while passage := next_passage(store, order="top"):
        order.append(passage)
        judge(store, passage, 0)
    assert order == ["first", "also first", "third", "none"]


def test_the_random_order_reaches_every_task_and_is_not_always_the_same(store: LabelStore) -> None:
    add(store, *"abcdefgh")
    assert len({next_passage(store, f"annotator {number}", "random") for number in range(50)}) > 3
    order = set()
    while passage := next_passage(store, order="random"):
        order.add(passage)
        judge(store, passage, 1)
    assert order == set("abcdefgh")


def test_each_annotator_has_a_queue_of_their_own(store: LabelStore) -> None:
    add(store, "a", "b")
    judge(store, "a", 1, "anna")
    # What nobody has judged comes first, unless somebody else is at it.
    assert (next_passage(store, "anna"), next_passage(store, "bo")) == ("b", "a")
    assert seen(store, "a", "bo").label is None


def test_a_later_skip_comes_back_last(store: LabelStore) -> None:
    add(store, "a", "b", "c")
    skip(store, "a", "later")
    assert next_passage(store) == "b"
    judge(store, "b", 1)
    assert next_passage(store) == "c"
    judge(store, "c", 0)
    assert next_passage(store) == "a"
    assert standing(store, "a") == (None, "later")
    judge(store, "a", 1)
    assert next_passage(store) is None
    assert standing(store, "a") == (1, None)


@pytest.mark.parametrize("order", ["oldest", "top", "random"])
def test_what_is_put_off_again_goes_behind_what_was_put_off_before(store: LabelStore, order: str) -> None:
    add(store, "a", "b", "c")
    for passage in "abc":
        skip(store, passage, "later")
    shown = []
    for _ in range(6):
        passage = next_passage(store, order=order)
        assert passage is not None
        shown.append(passage)
        skip(store, passage, "later")
    assert shown == ["a", "b", "c", "a", "b", "c"]


def test_what_nobody_can_tell_never_comes_back(store: LabelStore) -> None:
    add(store, "a", "b")
    skip(store, "a", "cannot_tell")
    judge(store, "b", 1)
    assert next_passage(store) is None
    assert next_passage(store, "bo") == "a"


def test_a_skip_withdraws_the_label(store: LabelStore) -> None:
    judge(store, "a", 1)
    skip(store, "a", "cannot_tell")
    assert standing(store, "a") == (None, "cannot_tell")
    assert list(store.labels()) == []


# Flags


def test_a_flag_is_set_and_taken_away(store: LabelStore) -> None:
    add(store, "a")
    key = text_id(QUERY), text_id("a")
    assert store.toggle_flag(*key, "anna")
    assert seen(store, "a").flagged
    assert not seen(store, "a", "bo").flagged
    assert not store.toggle_flag(*key, "anna")
    assert not seen(store, "a").flagged


def test_a_flag_neither_labels_nor_hides_and_undo_leaves_it(store: LabelStore) -> None:
    add(store, "a")
    judge(store, "a", 1)
    store.toggle_flag(text_id(QUERY), text_id("a"), "anna")
    assert store.undo("anna") == [(text_id(QUERY), text_id("a"))]
    assert standing(store, "a") == (None, None)
    assert seen(store, "a").flagged
    assert next_passage(store) == "a"


# Undo


def test_there_is_nothing_to_undo_at_first(store: LabelStore) -> None:
    assert store.undo("anna") == []


def test_undo_goes_back_step_by_step(store: LabelStore) -> None:
    judge(store, "a", 1, note="sure")
    judge(store, "a", 0, note="not so sure")
    store.undo("anna")
    assert [(label.label, label.note) for label in store.labels()] == [(1, "sure")]
    store.undo("anna")
    assert standing(store, "a") == (None, None)
    assert store.undo("anna") == []


def test_undo_after_undo_and_a_new_label(store: LabelStore) -> None:
    judge(store, "a", 1)
    judge(store, "b", 1)
    assert store.undo("anna") == [(text_id(QUERY), text_id("b"))]
    judge(store, "b", 0)
    assert store.undo("anna") == [(text_id(QUERY), text_id("b"))]
    assert standing(store, "b") == (None, None)
    assert store.undo("anna") == [(text_id(QUERY), text_id("a"))]
    assert store.undo("anna") == []
    assert next_passage(store) == "a"


def test_undo_brings_back_what_a_skip_withdrew(store: LabelStore) -> None:
    judge(store, "a", 1, note="sure")
    skip(store, "a", "cannot_tell")
    store.undo("anna")
    assert [(label.label, label.note) for label in store.labels()] == [(1, "sure")]
    assert standing(store, "a") == (1, None)


def test_undo_brings_back_the_skip_that_a_label_replaced(store: LabelStore) -> None:
    add(store, "a")
    skip(store, "a", "later")
    judge(store, "a", 1)
    store.undo("anna")
    assert standing(store, "a") == (None, "later")
    store.undo("anna")
    assert standing(store, "a") == (None, None)


def test_undo_touches_nobody_elses_labels(store: LabelStore) -> None:
    judge(store, "a", 1, "anna")
    judge(store, "a", 0, "bo")
    store.undo("anna")
    assert [(label.annotator, label.label) for label in store.labels()] == [("bo", 0)]
    assert store.undo("cy") == []


def test_every_step_is_kept_as_an_event(store: LabelStore, path: Path) -> None:
    judge(store, "a", 1)
    judge(store, "a", 0)
    skip(store, "a", "later")
    store.undo("anna")
    with database.read(path) as db:
        events = list(db.query("SELECT action, label, skip, previous_label, undoes FROM label_events ORDER BY id"))
    assert [(event["action"], event["label"], event["skip"], event["previous_label"]) for event in events] == [
        ("label", 1, None, None),
        ("label", 0, None, 1),
        ("skip", None, "later", 0),
        ("undo", 0, None, None),
    ]
    assert events[-1]["undoes"] == 3


# Saving


def test_saving_counts_what_was_stored_and_what_changed(store: LabelStore) -> None:
    first = [Judgment(QUERY, "a", 1, "anna"), Judgment(QUERY, "b", 0, "anna")]
    assert store.save(first) == (2, 0)
    assert store.save([*first, Judgment(QUERY, "a", 0, "bo")]) == (3, 0)
    assert store.save([replace(first[0], label=0), first[1]]) == (2, 1)


def test_a_judged_pair_that_was_not_in_the_queue_is_one_now(store: LabelStore) -> None:
    judge(store, "a", 1)
    assert next_passage(store, "bo") == "a"


def test_an_error_inside_a_save_leaves_nothing_of_it(store: LabelStore, path: Path) -> None:
    judge(store, "before", 1)
    tables = ("queries", "passages", "candidates", "labels", "label_events")
    counts = [count(path, table) for table in tables]
    new, changed = Judgment("new query", "new", 1, "anna"), Judgment(QUERY, "before", 0, "anna")
    with pytest.raises(sqlite3.IntegrityError):
        store.save([new, changed, Judgment(QUERY, "x", 7, "anna")])
    assert [count(path, table) for table in tables] == counts
    assert standing(store, "before") == (1, None)
    judge(store, "after", 1)


def test_an_error_while_candidates_come_in_leaves_none_of_them(store: LabelStore, path: Path) -> None:
    def candidates():  # noqa: ANN202 - a generator that breaks off
        yield Candidate(QUERY, "a")
        raise OSError("the file broke off")

    with pytest.raises(OSError, match="broke off"):
        store.add_candidates(candidates())
    assert (count(path, "queries"), count(path, "candidates")) == (0, 0)


def test_a_skip_of_an_unknown_pair_is_refused_whole(store: LabelStore, path: Path) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        skip(store, "nowhere", "later")
    assert (count(path, "skips"), count(path, "label_events")) == (0, 0)


# Reading


def test_progress_counts_pairs_and_mine(store: LabelStore) -> None:
    add(store, "a", "b", "c", "d")
    judge(store, "a", 1, "anna")
    judge(store, "a", 0, "bo")
    judge(store, "b", 0, "bo")
    skip(store, "c", "cannot_tell", "anna")
    skip(store, "d", "later", "anna")
    mine = store.progress("anna")
    assert (mine.candidates, mine.judged, mine.relevant, mine.annotators) == (4, 2, 1, 2)
    assert (mine.mine, mine.mine_left) == (1, 2)
    assert (store.progress("cy").mine, store.progress("cy").mine_left) == (0, 4)


def test_my_labels_of_a_query(store: LabelStore) -> None:
    judge(store, "a", 1)
    judge(store, "b", 0)
    judge(store, "c", 1, annotator="bo")
    add(store, "d")
    skip(store, "d", "later")
    store.save([Judgment("another query", "a", 0, "anna")])
    assert store.labels_of(QUERY, "anna") == {"a": 1, "b": 0}
    assert store.labels_of("an unknown query", "anna") == store.labels_of(QUERY, "nobody") == {}


def test_labels_come_oldest_first_and_a_changed_one_counts_as_new(store: LabelStore) -> None:
    judge(store, "a", 1)
    judge(store, "b", 1)
    judge(store, "a", 0)
    assert [(label.passage, label.label) for label in store.labels()] == [("b", 1), ("a", 0)]


def test_a_read_under_way_is_not_disturbed_by_a_write(store: LabelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.label_store.PAGE", 1)
    for passage in "abc":
        judge(store, passage, 1)
    reading = store.labels()
    first = next(reading)
    judge(store, "d", 0)
    assert [first.passage, *(label.passage for label in reading)] == ["a", "b", "c"]


# Consensus


def votes(store: LabelStore, *labels: int) -> None:
    for place, label in enumerate(labels):
        judge(store, "a", label, f"annotator {place}")


def adjudicate(path: Path, passage: str, label: int) -> None:
    row = {"query_id": text_id(QUERY), "passage_id": text_id(passage), "label": label, "decided_by": "admin"}
    with database.write(path) as db:
        db["adjudications"].insert({**row, "created_at": now()})


@pytest.mark.parametrize(
    ("labels", "consensus"),
    [((1,), [1]), ((0,), [0]), ((1, 1, 0), [1]), ((0, 1, 0), [0]), ((1, 0), []), ((1, 0, 0, 1), []), ((), [])],
)
def test_the_majority_counts_and_a_tie_is_no_label(
    store: LabelStore, labels: tuple[int, ...], consensus: list[int]
) -> None:
    votes(store, *labels)
    assert [label.label for label in store.consensus()] == consensus


@pytest.mark.parametrize("labels", [(1, 0), (1, 1, 1), (0, 0)])
@pytest.mark.parametrize("decision", [0, 1])
def test_an_adjudication_counts_before_the_majority(
    store: LabelStore, path: Path, labels: tuple[int, ...], decision: int
) -> None:
    votes(store, *labels)
    adjudicate(path, "a", decision)
    assert [(label.query, label.passage, label.label) for label in store.consensus()] == [(QUERY, "a", decision)]


def test_skips_are_never_counted_as_labels(store: LabelStore) -> None:
    votes(store, 1)
    skip(store, "a", "cannot_tell", "bo")
    skip(store, "a", "later", "cy")
    assert [label.label for label in store.consensus()] == [1]


# Splits


def test_the_set_of_a_query_is_decided_once(store: LabelStore) -> None:
    add(store, "a")
    add(store, "a", query="other")
    store.assign_splits({text_id(QUERY): "dev"})
    store.assign_splits({text_id(QUERY): "train", text_id("other"): "test"})
    assert sets_in(store) == {text_id(QUERY): "dev", text_id("other"): "test"}


def test_no_new_sets_are_no_error(store: LabelStore) -> None:
    store.assign_splits({})
    assert sets_in(store) == {}


# Many at once


def test_concurrent_writers_lose_nothing(store: LabelStore, path: Path) -> None:
    def work(number: int) -> None:
        for place in range(12):
            judge(store, f"passage {place}", (number + place) % 2, f"annotator {number}")

    in_threads(work)
    assert (count(path, "labels"), count(path, "label_events")) == (THREADS * 12, THREADS * 12)
    assert count(path, "candidates") == 12


def test_concurrent_undoes_undo_each_label_once(store: LabelStore, path: Path) -> None:
    for place in range(2 * THREADS):
        judge(store, f"passage {place}", 1)
    in_threads(lambda _: [store.undo("anna") for _ in range(2)] and None)
    assert count(path, "labels") == 0
    assert store.undo("anna") == []


def test_concurrent_starts_make_one_store(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    in_threads(lambda _: database.create(path))
    judge(LabelStore(path), "a", 1)
    assert count(path, "labels") == 1


def test_apps_that_start_at_once_do_not_fail_each_other(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as apps:
        for start in range(20):
            apps.map(database.create, [tmp_path / str(start) / "new.db"] * 4, chunksize=1)
    assert all(copies.is_sound(tmp_path / str(start) / "new.db") for start in range(20))


# Reopening


def test_reopening_keeps_all(store: LabelStore, models: ModelStore, path: Path) -> None:
    add(store, "a", "b", "c")
    judge(store, "a", 1, note="sure")
    skip(store, "b", "cannot_tell")
    store.toggle_flag(text_id(QUERY), text_id("c"), "anna")
    store.assign_splits({text_id(QUERY): "dev"})
    models.add_run(make_run("one"))
    models.add_version(make_version("v1"))
    before = list(store.labels()), store.progress("anna"), sets_in(store), models.runs(), models.versions()
    database.create(path)
    again, again_models = LabelStore(path), ModelStore(path)
    assert before == (
        list(again.labels()), again.progress("anna"), sets_in(again), again_models.runs(), again_models.versions()
    )  # fmt: skip
    assert seen(again, "c").flagged
    assert again.undo("anna") == [(text_id(QUERY), text_id("b"))]
    assert next_passage(again) == "b"


def test_the_same_label_again_leaves_the_note_unless_it_says_otherwise(store: LabelStore) -> None:
    judge(store, "one", 1, note="only in section 2")
    judge(store, "one", 1)
    assert seen(store, "one").note == "only in section 2"
    judge(store, "one", 1, note="")
    assert seen(store, "one").note is None
    store.undo("anna")
    assert seen(store, "one").note == "only in section 2"
    judge(store, "one", 0)
    assert seen(store, "one").note is None


def test_what_somebody_judged_or_could_not_tell_does_not_wait(store: LabelStore) -> None:
    add(store, "waits", "later", "cannot", "disputed")
    skip(store, "later", "later")
    skip(store, "cannot", "cannot_tell")
    judge(store, "disputed", 1)
    judge(store, "disputed", 0, "bo")
    query = text_id(QUERY)
    assert store.not_judged([query]) == {query: ["waits", "later"]}
    assert set(store.something_said([query])[query]) == {"cannot", "disputed"}


def test_a_query_whose_text_was_corrected_is_followed(store: LabelStore) -> None:
    add(store, "one")
    edit_text(store.path, "query", text_id(QUERY), "what is a re-ranker", "boss", keep_labels=True)
    edit_text(store.path, "query", text_id("what is a re-ranker"), "What is a reranker?", "boss", keep_labels=True)
    edit_text(store.path, "passage", text_id("one"), "two", "boss", keep_labels=True)
    known = {text_id(QUERY), text_id("what is a re-ranker"), text_id("What is a reranker?")}
    assert store.as_corrected([text_id(QUERY), "another"]) == known | {"another"}
