"""Copies of the store: the same bytes for the same content, and two that grew apart brought together without a loss."""

from __future__ import annotations

import shutil
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlite_utils import Database

from labeling.queue import Queue
from storage import copies, database
from storage.browse_store import BrowseStore, Search
from storage.label_store import LabelStore
from storage.model_store import ModelStore
from storage.queue_store import QueueStore
from storage.records import Candidate, Judgment, ModelEvent, ModelVersion, TrainingRun, now, text_id
from storage.replay import Step
from storage.score_store import ScoreStore
from tests.unit.test_storage import sets_in

BRIDGE = Judgment("how long is the bridge", "two miles", 1, "anna")
RAIN = Judgment("when does it rain", "in spring", 0, "bo")
VERSION = ModelVersion("base", "base", "starter", None, None, None, 0, {}, "2025-01-01")
RUN = TrainingRun("abc", "succeeded", {}, "2025-01-01", finished_at="2025-01-02")


def new_store(path: Path, *judgments: Judgment) -> LabelStore:
    database.create(path)
    store = LabelStore(path)
    store.save(judgments)
    return store


@pytest.fixture
def two(tmp_path: Path) -> tuple[LabelStore, LabelStore]:
    """Two stores that were one when anna had judged the bridge."""
    one = new_store(tmp_path / "one.db", BRIDGE)
    copies.take(one.path, tmp_path / "two.db")
    return one, LabelStore(tmp_path / "two.db")


def merge(one: LabelStore, two: LabelStore) -> None:
    """Bring the second into the first, and leave the second as it is."""
    copy = one.path.with_name("copy.db")
    shutil.copy(two.path, copy)
    copies.merge(one.path, copy)
    copy.unlink()


def rows(store: LabelStore, sql: str) -> list[tuple]:
    with database.read(store.path) as db:
        return db.conn.execute(sql).fetchall()


def labels(store: LabelStore) -> dict[tuple[str, str], int]:
    return {(label.query, label.annotator): label.label for label in store.labels()}


def content(path: Path) -> bytes:
    copy = path.with_name("content.db")
    copies.take(path, copy)
    taken = copy.read_bytes()
    copy.unlink()
    return taken


# Taking and checking


def test_a_copy_has_all_that_was_committed_and_is_sound(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store.db", BRIDGE)
    with database.write(store.path) as db:
        db.conn.execute("DELETE FROM labels")  # not committed yet when the copy is taken
        copies.take(store.path, tmp_path / "copy.db")
    assert copies.is_sound(tmp_path / "copy.db")
    assert labels(LabelStore(tmp_path / "copy.db")) == {(BRIDGE.query, "anna"): 1}


def test_a_copy_is_the_same_bytes_until_something_changes(tmp_path: Path) -> None:
    store, models = new_store(tmp_path / "store.db", BRIDGE), ModelStore(tmp_path / "store.db")
    models.add_version(VERSION)
    before = content(store.path)
    models.add_version(VERSION)  # as every start does
    assert content(store.path) == before
    restored = tmp_path / "restored.db"
    restored.write_bytes(before)
    database.create(restored)
    assert content(restored) == before
    store.save([RAIN])
    assert content(store.path) != before


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "torn", "another database"])
def test_what_is_not_a_sound_store_is_told(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "store.db"
    new_store(path, *(replace(BRIDGE, query=f"query {number}") for number in range(500)))
    whole = content(path)
    path.with_name("store.db-wal").unlink(missing_ok=True)
    if damage == "another database":
        path.unlink()
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE t (a)")
        db.close()
    else:
        torn = whole[:8192] + b"\x5a" * (len(whole) - 8192)
        path.write_bytes({"empty": b"", "text": b"<html>Not here</html>", "cut": whole[:50_000], "torn": torn}[damage])
    assert not copies.is_sound(path)
    with pytest.raises(copies.CannotMerge):
        copies.merge(new_store(tmp_path / "other.db", RAIN).path, path)


# Merging


def test_what_either_store_has_is_in_both_afterwards(two: tuple[LabelStore, LabelStore]) -> None:
    one, other = two
    one.save([RAIN])
    other.save([replace(RAIN, annotator="cy", label=1), replace(BRIDGE, query="is it old")])
    other.add_candidates([Candidate("not judged", "yet", rank=3)])
    everything = {
        (BRIDGE.query, "anna"): 1, (RAIN.query, "bo"): 0, (RAIN.query, "cy"): 1, ("is it old", "anna"): 1,
    }  # fmt: skip
    merge(one, other)
    assert labels(one) == everything
    merge(other, one)
    assert labels(other) == everything
    for store in two:
        assert Queue(QueueStore(store.path)).next_task("dee", "top").query == "not judged"  # type: ignore[union-attr]
        assert rows(store, "SELECT count(*) FROM candidates") == [(4,)]
        assert rows(store, "SELECT count(*) FROM label_events") == [(4,)]
        assert rows(store, "PRAGMA foreign_key_check") == []


def test_stores_that_never_were_one_are_merged(tmp_path: Path) -> None:
    one, other = new_store(tmp_path / "one.db", RAIN), new_store(tmp_path / "two.db", BRIDGE)
    merge(one, other)
    assert labels(one) == {(BRIDGE.query, "anna"): 1, (RAIN.query, "bo"): 0}


def test_merging_again_changes_nothing(two: tuple[LabelStore, LabelStore]) -> None:
    one, other = two
    one.save([RAIN])
    other.save([replace(BRIDGE, label=0)])
    other.undo("anna")
    merge(one, other)
    before = content(one.path)
    merge(one, other)
    merge(one, one)
    assert content(one.path) == before


def test_the_latest_judgment_counts_whichever_store_has_it(two: tuple[LabelStore, LabelStore]) -> None:
    one, other = two
    one.save([replace(BRIDGE, label=0), RAIN])
    other.save([RAIN])
    other.save([replace(RAIN, label=1, note="I was wrong")])
    other.save([replace(BRIDGE, query="another")])
    one.save([replace(BRIDGE, query="another", label=0)])
    merge(one, other)
    merge(other, one)
    for store in two:
        assert labels(store) == {(BRIDGE.query, "anna"): 0, (RAIN.query, "bo"): 1, ("another", "anna"): 0}
        assert "I was wrong" in [label.note for label in store.labels()]


@pytest.mark.parametrize("into", [0, 1])
def test_a_label_that_was_withdrawn_later_stays_withdrawn(two: tuple[LabelStore, LabelStore], into: int) -> None:
    one, other = two
    other.skip(text_id(BRIDGE.query), text_id(BRIDGE.passage), "anna", "cannot_tell", 2.0)
    merge(two[into], two[1 - into])
    assert labels(two[into]) == {}
    assert rows(two[into], "SELECT reason FROM skips") == [("cannot_tell",)]


def test_a_flag_on_one_side_does_not_hide_a_label_on_the_other(two: tuple[LabelStore, LabelStore]) -> None:
    one, other = two
    one.save([replace(BRIDGE, label=0)])
    other.toggle_flag(text_id(BRIDGE.query), text_id(BRIDGE.passage), "anna")
    merge(one, other)
    merge(other, one)
    for store in two:
        assert labels(store) == {(BRIDGE.query, "anna"): 0}
        assert rows(store, "SELECT count(*) FROM flags") == [(1,)]


def test_undoing_goes_back_through_both_in_the_order_of_time(two: tuple[LabelStore, LabelStore]) -> None:
    one, other = two
    queries = [f"query {number}" for number in range(6)]
    for number, query in enumerate(queries):
        two[number % 2].save([replace(BRIDGE, query=query)])
    other.undo("anna")
    merge(one, other)
    undone = [pair for _ in range(6) for pair in one.undo("anna")]
    expected = [*reversed(queries[:5]), BRIDGE.query]
    assert undone == [(text_id(query), text_id(BRIDGE.passage)) for query in expected]
    assert one.undo("anna") == []
    assert labels(one) == {}


def test_who_holds_what_and_what_models_think_is_not_copied(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store.db", BRIDGE)
    before = content(store.path)
    pair = (text_id(BRIDGE.query), text_id(BRIDGE.passage))
    queue = QueueStore(store.path)
    assert queue.hold(*pair, "bo", "oldest", "oldest")
    ScoreStore(store.path).save_scores("v1", [(*pair, 0.5)])
    assert content(store.path) == before
    assert [path.name for path in tmp_path.glob("*-whole*")] == []
    assert ScoreStore(store.path).scored_versions() == ["v1"]


def test_counts_are_those_of_both_afterwards(two: tuple[LabelStore, LabelStore]) -> None:
    one, other = two
    one.save([replace(RAIN, annotator="cy")])
    other.save([RAIN, replace(BRIDGE, annotator="bo", label=0)])
    other.add_candidates([Candidate("a third query", "a third passage")])
    merge(one, other)
    progress = one.progress("bo")
    assert (progress.candidates, progress.judged, progress.relevant, progress.annotators) == (3, 2, 1, 3)
    assert (progress.mine, progress.mine_left) == (2, 1)
    assert rows(one, "SELECT voices, relevant FROM candidates ORDER BY id") == [(2, 1), (2, 0), (0, 0)]


def test_what_both_have_undone_is_undone_once(two: tuple[LabelStore, LabelStore]) -> None:
    one, other = two
    one.undo("anna")
    other.undo("anna")
    merge(one, other)
    assert labels(one) == {}
    assert rows(one, "SELECT action, undoes FROM label_events ORDER BY id") == [
        ("label", None), ("undo", 1), ("undo", None),
    ]  # fmt: skip
    assert one.undo("anna") == []


def test_the_later_adjudication_counts(two: tuple[LabelStore, LabelStore]) -> None:
    decision = {"query_id": text_id(BRIDGE.query), "passage_id": text_id(BRIDGE.passage), "decided_by": "ed"}
    for store, label in zip(two, (0, 1), strict=True):
        with database.write(store.path) as db:
            db["adjudications"].insert({**decision, "label": label, "created_at": now()})
    merge(*two)
    merge(*reversed(two))
    for store in two:
        assert rows(store, "SELECT label FROM adjudications") == [(1,)]


def test_the_split_of_a_query_stays_what_it_is(two: tuple[LabelStore, LabelStore]) -> None:
    one, other = two
    other.save([RAIN])
    one.assign_splits({text_id(BRIDGE.query): "test"})
    other.assign_splits({text_id(BRIDGE.query): "train", text_id(RAIN.query): "dev"})
    merge(one, other)
    assert sets_in(one) == {text_id(BRIDGE.query): "test", text_id(RAIN.query): "dev"}


def add_training(store: LabelStore, run: TrainingRun, version: str) -> None:
    models = ModelStore(store.path)
    models.add_version(VERSION)
    models.add_run(run)
    models.add_events(run.id, [{"step": 1}, {"step": 2}])
    models.add_evaluation(run.id, version, "test", {"map": 0.5}, {})
    models.add_version(replace(VERSION, version=version, source="trained", run_id=run.id))
    models.add_model_event(ModelEvent(version, "base", "promote", "better", now()))


def test_training_runs_come_along_as_history(two: tuple[LabelStore, LabelStore]) -> None:
    one, other = two
    add_training(other, RUN, "v1")
    merge(one, other)
    merge(one, other)
    models = ModelStore(one.path)
    assert [run.id for run in models.runs()] == ["abc"]
    assert models.events("abc") == [{"step": 1}, {"step": 2}]
    assert {version.version for version in models.versions()} == {"base", "v1"}
    assert [event.version for event in models.model_events()] == ["v1"]
    assert rows(one, "SELECT run_id, version FROM evaluations") == [("abc", "v1")]


def test_versions_and_the_active_one_of_this_store_stay(two: tuple[LabelStore, LabelStore]) -> None:
    one, other = two
    add_training(one, replace(RUN, id="here"), "v1")
    add_training(other, replace(RUN, id="there"), "v1")
    add_training(other, replace(RUN, id="there too"), "v2")
    merge(one, other)
    models = ModelStore(one.path)
    assert {run.id for run in models.runs()} == {"here", "there", "there too"}
    assert (models.version("v1").run_id, models.version("v2").run_id) == ("here", "there too")
    assert [event.version for event in models.model_events()] == ["v1"]


def test_a_run_that_is_under_way_elsewhere_is_not_taken_over(two: tuple[LabelStore, LabelStore]) -> None:
    one, other = two
    add_training(other, replace(RUN, status="running", finished_at=None), "v1")
    merge(one, other)
    assert ModelStore(one.path).runs() == []
    assert rows(one, "SELECT count(*) FROM training_events") == [(0,)]
    ModelStore(one.path).add_run(replace(RUN, id="mine", status="running", finished_at=None))


def test_every_table_is_merged(two: tuple[LabelStore, LabelStore]) -> None:
    """A table that a later migration adds has to be thought of here too."""
    one, other = two
    pair = (text_id(BRIDGE.query), text_id(BRIDGE.passage))
    other.save([RAIN])
    other.skip(*pair, "cy", "later", None)
    other.toggle_flag(*pair, "cy")
    other.assign_splits({pair[0]: "test"})
    with database.write(other.path) as db:
        db["adjudications"].insert(
            {"query_id": pair[0], "passage_id": pair[1], "label": 1, "decided_by": "ed", "created_at": now()}
        )
        db["deletions"].insert({"deleted_by": "ed", "rows": "{}", "created_at": now()})
        db["restorations"].insert({"step": "2025-01-01", "created_at": now()})
        db["guidelines"].insert({"text": "Be kind.", "written_by": "ed", "created_at": now()})
        edit = {"kind": "query", "old_id": pair[0], "new_id": "q", "edited_by": "ed", "kept_labels": 1}
        db["text_edits"].insert({**edit, "created_at": now()})
    add_training(other, RUN, "v1")
    merge(one, other)
    tables = [name for (name,) in rows(other, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert "labels" in tables
    for table in tables:
        if table != "_sqlite_migrations" and table not in copies.PASSING:
            count = rows(other, f"SELECT count(*) FROM {table}")
            assert count != [(0,)], f"Put a row into {table} here"
            assert rows(one, f"SELECT count(*) FROM {table}") == count, table


def test_a_copy_of_a_newer_version_is_refused_and_nothing_changes(two: tuple[LabelStore, LabelStore]) -> None:
    one, other = two
    other.save([RAIN])
    with database.write(other.path) as db:
        db.conn.execute("ALTER TABLE labels ADD COLUMN confidence REAL")
    with pytest.raises(copies.CannotMerge, match="another version"):
        merge(one, other)
    assert labels(one) == {(BRIDGE.query, "anna"): 1}


def test_rows_that_do_not_go_together_are_refused_and_nothing_changes(two: tuple[LabelStore, LabelStore]) -> None:
    one, other = two
    other.save([RAIN])
    connection = sqlite3.connect(other.path)
    connection.execute("DELETE FROM passages WHERE id = ?", [text_id(RAIN.passage)])
    connection.commit()
    connection.close()
    before = content(one.path)
    with pytest.raises(copies.CannotMerge, match="do not go together"):
        merge(one, other)
    assert content(one.path) == before


def test_many_judgments_are_merged_in_seconds(tmp_path: Path) -> None:
    judgments = [Judgment(f"query {n % 2_000}", f"passage {n}", n % 2, "anna") for n in range(20_000)]
    one = new_store(tmp_path / "one.db", *judgments)
    copies.take(one.path, tmp_path / "two.db")
    other = LabelStore(tmp_path / "two.db")
    other.save([RAIN])
    before = time.monotonic()
    merge(one, other)
    # Comparing each with each would take minutes.
    assert time.monotonic() - before < 20
    assert rows(one, "SELECT count(*) FROM labels") == [(20_001,)]


# What was corrected and deleted


TYPO, SPAM = Judgment("q", "a tyop", 1, "anna"), Judgment("q", "spam", 1, "anna")
OTHER = Judgment("q", "other", 0, "bo")


def passages(store: LabelStore) -> dict[str, list[str]]:
    """Who judged each candidate's passage."""
    with database.read(store.path) as db:
        found: dict[str, list[str]] = {
            text: [] for (text,) in db.conn.execute(
                "SELECT text FROM candidates JOIN passages p ON p.id = passage_id ORDER BY text"
            )
        }  # fmt: skip
    for label in store.labels():
        found[label.passage].append(label.annotator)
    return found


@pytest.fixture
def corrected(tmp_path: Path) -> tuple[LabelStore, LabelStore]:
    """A store in which one passage was corrected and another deleted, and the copy from before, with a label more."""
    one = new_store(tmp_path / "one.db", TYPO, SPAM)
    copies.take(one.path, tmp_path / "two.db")
    two = LabelStore(tmp_path / "two.db")
    browse = BrowseStore(one.path)
    browse.edit("passage", text_id("a tyop"), "a typo", "boss", keep_labels=True)
    browse.delete(text_id("q"), text_id("spam"), "boss")
    two.save([OTHER])
    return one, two


@pytest.mark.parametrize("into", [0, 1])
def test_what_was_corrected_or_deleted_in_one_is_so_in_both(
    corrected: tuple[LabelStore, LabelStore], into: int
) -> None:
    one, two = corrected[into], corrected[1 - into]
    merge(one, two)
    assert passages(one) == {"a typo": ["anna"], "other": ["bo"]}
    [deletion] = BrowseStore(one.path).deletions(0, 10)
    assert (deletion.pairs, deletion.labels, deletion.deleted_by) == (1, 1, "boss")
    before = content(one.path)
    merge(one, two)
    assert content(one.path) == before
    assert list(BrowseStore(one.path).restore(deletion.step)) == [1]
    assert passages(one)["spam"] == ["anna"]
    # It goes on: she takes back what she said of the text that was corrected.
    assert one.undo("bo") and one.undo("anna") == [(text_id("q"), text_id("spam"))]


def test_what_was_judged_after_the_deletion_stays_with_that(corrected: tuple[LabelStore, LabelStore]) -> None:
    one, two = corrected
    two.save([replace(SPAM, annotator="cy", label=0)])
    merge(one, two)
    assert passages(one) == {"a typo": ["anna"], "other": ["bo"], "spam": ["cy"]}


def test_what_was_deleted_with_labels_that_the_other_did_not_know_comes_back_with_all(
    corrected: tuple[LabelStore, LabelStore],
) -> None:
    one, two = corrected
    with database.write(two.path) as db:
        db.conn.execute("DELETE FROM labels WHERE label = 0")
    two.save([replace(SPAM, annotator="cy", label=0)])
    with database.write(two.path) as db:
        # Before the deletion, as it happens where the other copy is the later one.
        db.conn.execute("UPDATE label_events SET created_at = '2020-01-01' WHERE annotator = 'cy'")
    merge(one, two)
    assert "spam" not in passages(one)
    [deletion] = BrowseStore(one.path).deletions(0, 10)
    list(BrowseStore(one.path).restore(deletion.step))
    assert sorted(passages(one)["spam"]) == ["anna", "cy"]


@pytest.mark.parametrize("into", [0, 1])
def test_what_was_put_back_in_one_stays_so(tmp_path: Path, into: int) -> None:
    one = new_store(tmp_path / "one.db", TYPO, SPAM)
    browse = BrowseStore(one.path)
    step = browse.delete(text_id("q"), text_id("spam"), "boss")
    copies.take(one.path, tmp_path / "two.db")
    list(browse.restore(step))
    stores = (one, LabelStore(tmp_path / "two.db"))
    merge(stores[into], stores[1 - into])
    assert passages(stores[into]) == {"a tyop": ["anna"], "spam": ["anna"]}
    assert BrowseStore(stores[into].path).deletions(0, 10) == []


def test_what_stores_that_never_were_one_have_deleted_is_their_own(tmp_path: Path) -> None:
    one, two = new_store(tmp_path / "one.db", SPAM), new_store(tmp_path / "two.db", replace(SPAM, annotator="bo"))
    BrowseStore(two.path).delete(text_id("q"), text_id("spam"), "boss")
    merge(one, two)
    assert passages(one) == {"spam": ["anna"]}


@pytest.mark.parametrize("into", [0, 1])
def test_what_was_deleted_in_parts_while_the_copy_was_taken_stays_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, into: int
) -> None:
    monkeypatch.setattr("storage.browse_store.DELETED_AT_ONCE", 1)
    one = new_store(tmp_path / "one.db", TYPO, SPAM)
    deleting = BrowseStore(one.path).delete_found(Search(), 2, "boss")
    next(deleting)
    copies.take(one.path, tmp_path / "two.db")
    list(deleting)
    stores = (one, LabelStore(tmp_path / "two.db"))
    merge(stores[into], stores[1 - into])
    assert passages(stores[into]) == {}
    [deletion] = BrowseStore(stores[into].path).deletions(0, 10)
    assert (deletion.pairs, deletion.labels) == (2, 2)


def test_what_is_corrected_or_deleted_during_a_merge_is_so_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.browse_store.DELETED_AT_ONCE", 1)
    one = new_store(tmp_path / "one.db", TYPO, SPAM, replace(SPAM, passage="more spam"), RAIN)
    copies.take(one.path, tmp_path / "two.db")
    two = LabelStore(tmp_path / "two.db")
    two.save([OTHER])
    browse = BrowseStore(one.path)
    deleting = browse.delete_found(Search("spam"), browse.count(Search()).last_id, "boss")
    browse.index_more()
    next(deleting)
    meanwhile = [
        lambda: list(deleting),
        lambda: browse.edit("passage", text_id("a tyop"), "a typo", "boss", keep_labels=True),
        lambda: browse.delete(text_id(RAIN.query), text_id(RAIN.passage), "boss"),
    ]

    looked_at = copies.steps_of

    def steps_of(db: Database, of: str, beyond: str) -> list[Step]:
        steps = looked_at(db, of, beyond)
        if meanwhile and not db.conn.in_transaction:
            meanwhile.pop(0)()
        return steps

    monkeypatch.setattr(copies, "steps_of", steps_of)
    merge(one, two)
    assert not meanwhile
    assert passages(one) == {"a typo": ["anna"], "other": ["bo"]}
    assert sum(deletion.pairs for deletion in browse.deletions(0, 10)) == 3
