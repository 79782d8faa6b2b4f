"""The schema: made from nothing, made again without harm, and strict about what it takes."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from storage import database
from storage.browse_store import BrowseStore
from storage.label_store import LabelStore
from storage.migrations import migrations, recount, shuffle_of
from storage.model_store import ModelStore
from storage.records import Judgment, text_id

TABLES = {
    "queries", "passages", "candidates", "labels", "label_events", "skips", "flags", "adjudications", "splits",
    "training_runs", "training_events", "model_versions", "model_events", "evaluations",
    "counters", "annotators", "leases", "candidate_scores", "guidelines", "deletions",
}  # fmt: skip
FIRST = "m001_create_tables"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "workbench.db"
    database.create(path)
    return path


def schema(path: Path) -> str:
    with database.read(path) as db:
        return db.schema


def own_tables(db: Database) -> set[str]:
    return {name for name in db.table_names() if not name.startswith(("sqlite_", "_sqlite_"))}


def pragma(path: Path, name: str) -> Any:
    with database.read(path) as db:
        return db.conn.execute(f"PRAGMA {name}").fetchone()[0]


def applied(db: Database) -> list[str]:
    return [migration.name for migration in migrations.applied(db)]


def test_the_first_migration_makes_the_schema_from_nothing() -> None:
    db = Database(memory=True)
    assert [migration.name for migration in migrations.pending(db)][0] == FIRST
    migrations.apply(db)
    assert own_tables(db) >= TABLES
    assert applied(db)[0] == FIRST
    assert list(migrations.pending(db)) == []


def test_the_second_migration_counts_what_the_first_schema_holds(tmp_path: Path) -> None:
    path = tmp_path / "workbench.db"
    with database.write(path) as db:
        migrations.apply(db, stop_before="m002_make_the_queue_quick")
        moment = "2026-01-01"
        for table, names in (("queries", "q"), ("passages", "abcd")):
            db[table].insert_all({"id": name, "text": f"text {name}", "created_at": moment} for name in names)
        pairs = [{"query_id": "q", "passage_id": name} for name in "abcd"]
        db["candidates"].insert_all({**pair, "source": "api", "rank": None, "created_at": moment} for pair in pairs)
        judged = [(pairs[0], "anna", 1), (pairs[0], "bo", 0), (pairs[1], "anna", 0)]
        db["labels"].insert_all(
            {**pair, "annotator": who, "label": label, "note": None, "updated_at": moment}
            for pair, who, label in judged
        )
        db["skips"].insert({**pairs[2], "annotator": "anna", "reason": "cannot_tell", "created_at": moment})
        db["skips"].insert({**pairs[3], "annotator": "anna", "reason": "later", "created_at": moment})
        event = {**pairs[0], "annotator": "anna", "action": "label", "label": 1, "created_at": moment}
        db["label_events"].insert(event)
    database.create(path)
    with database.read(path) as db:
        rows = db.conn.execute("SELECT passage_id, voices, relevant, shuffle FROM candidates ORDER BY id").fetchall()
        annotators = db.conn.execute("SELECT * FROM annotators ORDER BY annotator").fetchall()
    assert rows == [
        (name, *counts, shuffle_of("q", name))
        for name, counts in {"a": (2, 1), "b": (1, 0), "c": (0, 0), "d": (0, 0)}.items()
    ]
    assert annotators == [("anna", 2, 1, 1), ("bo", 1, 0, 0)]
    progress = LabelStore(path).progress("anna")
    assert (progress.candidates, progress.judged, progress.relevant, progress.mine_left) == (4, 2, 1, 1)
    assert LabelStore(path).undo("anna") == [("q", "a")]
    assert LabelStore(path).progress("anna").mine == 1


def test_counts_follow_every_way_in_which_rows_change(path: Path) -> None:
    store = LabelStore(path)
    store.save([Judgment("q", "a", 1, "anna"), Judgment("q", "a", 0, "bo"), Judgment("q", "b", 0, "anna")])
    store.save([Judgment("q", "a", 0, "anna"), Judgment("q", "b", 0, "anna")])
    pair = text_id("q"), text_id("b")
    store.skip(*pair, "anna", "later", None)
    store.skip(*pair, "anna", "cannot_tell", None)
    store.undo("anna")
    store.save([Judgment("q", "c", 1, "cy")])
    counts = ["SELECT name, value FROM counters ORDER BY 1", "SELECT * FROM annotators ORDER BY 1",
              "SELECT id, voices, relevant FROM candidates ORDER BY 1"]  # fmt: skip
    with database.write(path) as db:
        kept = [db.conn.execute(sql).fetchall() for sql in counts]
        recount(db)
        counted = [db.conn.execute(sql).fetchall() for sql in counts]
    assert kept == counted
    assert kept[0] == [("candidates", 3), ("judged", 2), ("relevant", 1)]
    with database.write(path) as db:
        db.conn.execute("DELETE FROM labels WHERE annotator = 'cy'")
        db.conn.execute("DELETE FROM candidates WHERE passage_id = ?", [text_id("c")])
    assert LabelStore(path).progress("").candidates == 2
    assert LabelStore(path).progress("").relevant == 0


def test_a_fresh_store_is_made_with_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "workbench.db"
    database.create(path)
    with database.read(path) as db:
        assert own_tables(db) >= TABLES


def test_making_the_store_twice_changes_nothing(path: Path) -> None:
    LabelStore(path).save([Judgment("query", "passage", 1, "anna")])
    before, labels = schema(path), list(LabelStore(path).labels())
    database.create(path)
    assert schema(path) == before
    assert list(LabelStore(path).labels()) == labels
    with database.read(path) as db:
        names = applied(db)
    assert len(names) == len(set(names))


def test_every_table_is_strict(path: Path) -> None:
    with database.read(path) as db:
        strict = {row["name"]: row["strict"] for row in db.query("PRAGMA table_list") if row["type"] == "table"}
        assert {name for name in own_tables(db) if not strict[name]} == set()


def test_a_wrong_type_is_refused(path: Path) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="TEXT value in INTEGER column"), database.write(path) as db:
        db.conn.execute(
            "INSERT INTO candidates (query_id, passage_id, source, rank, created_at) VALUES ('q', 'p', 's', 'best', '')"
        )


def test_foreign_keys_are_on(path: Path) -> None:
    assert pragma(path, "foreign_keys") == 1
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"), database.write(path) as db:
        db["labels"].insert(
            {"query_id": "q", "passage_id": "p", "annotator": "anna", "label": 1, "note": None, "updated_at": ""}
        )


def test_a_commit_is_durable_before_it_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync
    on_the_disk: list[tuple[int, int]] = []

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        file = os.fstat(descriptor)
        on_the_disk.append((file.st_ino, file.st_size))

    monkeypatch.setattr(os, "fsync", watched)
    wal = path.with_name(f"{path.name}-wal")
    database.keep_open(path)
    try:
        assert pragma(path, "journal_mode") == "wal"
        with database.write(path, durable=False) as db:
            db["guidelines"].insert({"text": "one", "written_by": "anna", "created_at": ""})
        assert on_the_disk == []
        LabelStore(path).save([Judgment("query", "passage", 1, "anna")])
        file = wal.stat()
        assert (file.st_ino, file.st_size) in on_the_disk
    finally:
        database.let_close(path)


def test_without_a_wal_sqlite_itself_waits_for_the_disk(path: Path) -> None:
    with database.read(path) as db:
        db.conn.execute("PRAGMA journal_mode=delete").fetchone()
    with database.write(path) as db:
        assert db.conn.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_press_from_before_presses_had_names_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with database.read(path) as db:
        migrations.apply(db, stop_before="m006_note_presses")
        moment = "2026-01-01T00:00:00+00:00"
        db["queries"].insert({"id": "q", "text": "a query", "created_at": moment})
        db["passages"].insert({"id": "p", "text": "a passage", "created_at": moment})
        pair = {"query_id": "q", "passage_id": "p"}
        db["candidates"].insert({**pair, "source": "api", "rank": None, "created_at": moment})
        db["labels"].insert({**pair, "annotator": "anna", "label": 1, "note": None, "updated_at": moment})
        event = {**pair, "annotator": "anna", "action": "label", "label": 1, "created_at": moment}
        db["label_events"].insert(event)
        db.conn.commit()
    database.create(path)
    store = LabelStore(path)
    assert store.judged_by("anna", 5)[0].task.label == 1
    assert store.undo("anna", press="1") == store.undo("anna", press="1") == [("q", "p")]
    assert store.undo("anna", press="2") == []


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("skips", {"reason": "no idea", "created_at": ""}),
        ("labels", {"label": 2, "updated_at": ""}),
        ("label_events", {"action": "shrug", "created_at": ""}),
    ],
)
def test_values_outside_the_vocabulary_are_refused(path: Path, table: str, row: dict[str, Any]) -> None:
    LabelStore(path).save([Judgment("query", "passage", 1, "anna")])
    with database.read(path) as db:
        query_id, passage_id = db.execute("SELECT query_id, passage_id FROM candidates").fetchone()
    key = {"query_id": query_id, "passage_id": passage_id, "annotator": "bo"}
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"), database.write(path) as db:
        db[table].insert({**key, **row})


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "in the way.db"
    with database.read(path) as db:
        # The last table of the first migration is there already, so the migration fails at its end.
        db.conn.execute("CREATE TABLE evaluations (id INTEGER)")
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        database.create(path)
    with database.read(path) as db:
        assert own_tables(db) == {"evaluations"}
        assert applied(db) == []


def test_an_error_inside_a_write_rolls_back_all_of_it(path: Path) -> None:
    with pytest.raises(RuntimeError), database.write(path) as db:
        db["queries"].insert({"id": "q", "text": "query", "created_at": ""})
        db["passages"].insert_all([{"id": "p", "text": "passage", "created_at": ""}])
        db["queries"].upsert({"id": "q", "text": "changed", "created_at": ""}, pk="id")
        raise RuntimeError
    with database.read(path) as db:
        assert (db["queries"].count, db["passages"].count) == (0, 0)


def test_runs_and_versions_from_before_memory_was_noted_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with database.read(path) as db:
        migrations.apply(db, stop_before="m004_note_memory_and_deletions")
        assert "m004_note_memory_and_deletions" not in applied(db)
        db.conn.execute(
            "INSERT INTO training_runs VALUES ('r', 'succeeded', '{\"seed\": 1}', 'Finished', 1.0, 3, 3, 0.5, NULL, "
            "'{}', 'Promoted.', 'v1', 1, NULL, 77, 1.5, '2026-01-01T00:00:00+00:00', '2026-01-01T00:01:00+00:00')"
        )
        db.conn.execute(
            "INSERT INTO model_versions VALUES "
            "('v1', 'tiny-v1', 'trained', NULL, 'base', 'r', 12, '{}', '2026-01-01T00:01:00+00:00')"
        )
        db.conn.commit()
    database.create(path)
    store = ModelStore(path)
    run, version = store.run("r"), store.version("v1")
    assert (run.config, run.loss, run.pid, run.promoted, run.memory, run.note) == (
        {"seed": 1},
        0.5,
        77,
        True,
        None,
        None,
    )
    assert (version.base, version.run_id, version.labels, version.deleted_at) == ("base", "r", 12, None)
    assert store.update_run("r", memory=1_000, note="stopped early").memory == 1_000


def test_a_store_from_before_texts_were_corrected_keeps_its_pairs_and_corrects_them(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with database.read(path) as db:
        migrations.apply(db, stop_before="m005_add_text_edits")
        assert not db["text_edits"].exists()
        moment = "2026-01-01T00:00:00+00:00"
        pair = {"query_id": text_id("query"), "passage_id": text_id("passage")}
        db["queries"].insert({"id": pair["query_id"], "text": "query", "created_at": moment})
        db["passages"].insert({"id": pair["passage_id"], "text": "passage", "created_at": moment})
        db["candidates"].insert({**pair, "source": "api", "rank": None, "created_at": moment})
        db["labels"].insert({**pair, "annotator": "anna", "label": 1, "note": None, "updated_at": moment})
        db.conn.commit()
    database.create(path)
    assert [label.passage for label in LabelStore(path).labels()] == ["passage"]
    BrowseStore(path).edit("passage", text_id("passage"), "Passage", "ed", keep_labels=True)
    assert [label.passage for label in LabelStore(path).labels()] == ["Passage"]
