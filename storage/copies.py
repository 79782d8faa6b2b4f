"""Copies of the store as single files: take one, tell whether one is sound, and take in what another one holds.

Two copies grow apart when two apps write to what was one store: a Space that is replaced while its last minute is not
uploaded yet, or one that could not fetch its copy at the start. `merge` brings them together, so that nobody has to
choose which labels to keep. What was corrected or deleted in one is so in both (storage/replay.py). Judgments have
their history with times: of each annotator's judgments of a pair, the latest one counts. What was trained comes along
as history; which model is active stays as it is here.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlite_utils import Database

from storage import database
from storage.migrations import recount
from storage.replay import steps_of

# What is made anew where it is missing, and is no reason to copy a store again: who holds which pair just now, and
# what the models think of the candidates.
PASSING = ("leases", "candidate_scores")
TEXTS = ("queries", "passages", "splits")
# The tables that say what holds now of a judgment, with whether that is about its flag.
JUDGMENTS = {"labels": 0, "skips": 0, "flags": 1}

KEY = "query_id, passage_id, annotator"
EVENT = f"{KEY}, action, created_at"

# When each annotator last judged each pair, and last flagged it.
LAST_EVENTS = f"""
    SELECT {KEY}, action IN ('flag', 'unflag') AS flags, max(created_at) AS moment
    FROM {{}}.label_events GROUP BY {KEY}, flags
"""
LATER = f"""
    CREATE TEMP TABLE later AS
    SELECT o.* FROM ({LAST_EVENTS.format("other")}) o
    LEFT JOIN ({LAST_EVENTS.format("main")}) m USING ({KEY}, flags)
    WHERE m.moment IS NULL OR o.moment > m.moment
"""
# Undoing goes by the number of an event, so the events of both are numbered anew by their time.
EVENTS = f"""
    CREATE TEMP TABLE events AS
    SELECT row_number() OVER (ORDER BY created_at, origin, id) AS number, * FROM (
        SELECT 0 AS origin, e.*, u.action AS undone_action, u.created_at AS undone_at
        FROM main.label_events e LEFT JOIN main.label_events u ON u.id = e.undoes
        UNION ALL
        SELECT 1, e.*, u.action, u.created_at
        FROM other.label_events e LEFT JOIN other.label_events u ON u.id = e.undoes
        WHERE (e.query_id, e.passage_id, e.annotator, e.action, e.created_at) NOT IN (
            SELECT {EVENT} FROM main.label_events
        )
    )
"""
# An event is undone once: where both copies undid the same one, the first of the two keeps it.
UNDOES = """
    CASE WHEN undone_at IS NOT NULL AND 1 = row_number() OVER (
        PARTITION BY query_id, passage_id, annotator, undone_action, undone_at ORDER BY number
    ) THEN (
        SELECT min(u.number) FROM events u
        WHERE u.query_id = e.query_id AND u.passage_id = e.passage_id AND u.annotator = e.annotator
        AND u.action = e.undone_action AND u.created_at = e.undone_at
    ) END
"""
OUTDATED_ADJUDICATIONS = """
    DELETE FROM main.adjudications AS m WHERE EXISTS (
        SELECT 1 FROM other.adjudications o
        WHERE o.query_id = m.query_id AND o.passage_id = m.passage_id AND o.created_at > m.created_at
    )
"""
NEW_DELETIONS = """
    (created_at, rows) NOT IN (SELECT created_at, rows FROM main.deletions)
    AND created_at NOT IN (SELECT step FROM main.restorations)
"""
OF_A_RUN = "run_id IN (SELECT id FROM main.training_runs)"


class CannotMerge(Exception):
    """The other copy holds what this version of the app cannot take over; the message says why."""


def take(path: Path, copy: Path) -> None:
    """Write a consistent copy of the store, compact and the same byte for byte as long as nothing in it changes."""
    with database.read(path) as db:
        passing = any(db.conn.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in PASSING)
        # A copy that rows were deleted from would not be the same byte for byte, so they are deleted before.
        whole = copy.with_name(f"{copy.name}-whole") if passing else copy
        db.conn.execute("VACUUM INTO ?", [str(whole)])
    if passing:
        try:
            with database.read(whole) as db:
                for table in PASSING:
                    db.conn.execute(f"DELETE FROM {table}")
                db.conn.commit()
                db.conn.execute("VACUUM INTO ?", [str(copy)])
        finally:
            for file in whole.parent.glob(f"{whole.name}*"):
                file.unlink()
    with database.read(copy) as db:
        # VACUUM counts this up; alone in its file, and with nothing else open, it may be set.
        db.conn.execute("PRAGMA schema_version=1")


def is_sound(path: Path) -> bool:
    """Whether this file is an undamaged store, of whatever version of the schema."""
    try:
        with database.read(path) as db:
            # An empty file would pass for a database.
            return db.conn.execute("PRAGMA quick_check").fetchone() == ("ok",) and db["label_events"].exists()
    except sqlite3.DatabaseError:
        return False


def merge(path: Path, copy: Path) -> None:
    """Add to the store at `path` what the `copy` holds beyond it, all of it or nothing. Raises CannotMerge.

    The copy may be of an earlier version of the app; it is brought up to date.
    """
    if not is_sound(copy):
        raise CannotMerge("it is damaged, or not a copy of a store")
    try:
        database.create(copy)
    except sqlite3.Error as error:
        raise CannotMerge(f"its tables are not those of a store: {error}") from error
    try:
        while not _merge_unless_corrected(path, copy):
            pass
    except sqlite3.IntegrityError as error:
        raise CannotMerge(f"its rows do not go together with those here: {error}") from error


def _merge_unless_corrected(path: Path, copy: Path) -> bool:
    """Merge; returns False where something was corrected or deleted here after the copy was told of what was before."""
    with database.read(path, own=True) as db:
        db.attach("other", copy)
        if _columns(db, "main") != _columns(db, "other"):
            raise CannotMerge("it was written by another version of the app")
        here = steps_of(db, "main", beyond="other")
    with database.write(copy) as db:
        for step in here:
            step.replay(db)
    with database.write(path, attached={"other": copy}) as db:
        # What did not concern the copy is still beyond it.
        if not set(steps_of(db, "main", beyond="other")) <= set(here):
            return False
        for step in steps_of(db, "other", beyond="main"):
            step.replay(db)
        _merge(db)
    return True


def _columns(db: Database, schema: str) -> dict[str, list[tuple]]:
    tables = db.conn.execute(f"SELECT name FROM {schema}.sqlite_master WHERE type = 'table'").fetchall()
    return {name: db.conn.execute(f"PRAGMA {schema}.table_info([{name}])").fetchall() for (name,) in tables}


def _merge(db: Database) -> None:
    run = db.conn.execute
    for table in TEXTS:
        run(f"INSERT OR IGNORE INTO main.{table} SELECT * FROM other.{table}")
    _append(db, "candidates", "true")
    run(OUTDATED_ADJUDICATIONS)
    run("INSERT OR IGNORE INTO main.adjudications SELECT * FROM other.adjudications")
    _append(db, "deletions", NEW_DELETIONS)
    run("INSERT OR IGNORE INTO main.restorations SELECT * FROM other.restorations")
    _append(db, "text_edits", "created_at NOT IN (SELECT created_at FROM main.text_edits)")
    _append(db, "guidelines", "created_at NOT IN (SELECT created_at FROM main.guidelines)")

    run(LATER)
    for table, flags in JUDGMENTS.items():
        where = f"WHERE ({KEY}) IN (SELECT {KEY} FROM later WHERE flags = {flags})"
        run(f"DELETE FROM main.{table} {where}")
        run(f"INSERT INTO main.{table} SELECT * FROM other.{table} {where}")
    run(EVENTS)
    run(f"CREATE INDEX temp.events_by_key ON events ({EVENT})")
    columns = [column.name for column in db["label_events"].columns]
    values = [{"id": "number", "undoes": UNDOES}.get(name, name) for name in columns]
    run("DELETE FROM main.label_events")
    run(f"INSERT INTO main.label_events ({', '.join(columns)}) SELECT {', '.join(values)} FROM events e")

    # The counts of the other store came along with its candidates.
    recount(db)

    # A run that is under way elsewhere is not ours to follow, and the name of a version may be taken here.
    run("INSERT OR IGNORE INTO main.training_runs SELECT * FROM other.training_runs WHERE finished_at IS NOT NULL")
    for table in ("training_events", "evaluations"):
        _append(db, table, f"{OF_A_RUN} AND run_id NOT IN (SELECT run_id FROM main.{table})")
    usable = f"run_id IS NULL OR {OF_A_RUN}"
    run(f"INSERT OR IGNORE INTO main.model_versions SELECT * FROM other.model_versions WHERE {usable}")
    # Two histories of promotions have no common order: only a store that has none takes over the other's.
    if not db["model_events"].count:
        _append(db, "model_events", "version IN (SELECT version FROM main.model_versions)")


def _append(db: Database, table: str, where: str) -> None:
    """Take over the rows of a table that numbers its rows, under new numbers."""
    columns = ", ".join(column.name for column in db[table].columns if column.name != "id")
    db.conn.execute(
        f"INSERT OR IGNORE INTO main.{table} ({columns}) SELECT {columns} FROM other.{table} WHERE {where} ORDER BY id"
    )
