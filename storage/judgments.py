"""What one annotator says of one pair, in an open store: read it, set it, and record that it changed; and what was
decided of a pair on which they differ.

For the stores, which hold the transaction. What holds now is in `labels`, `skips` and `flags`; every change is an
event in `label_events`. Whoever has judged a pair, or put it aside, holds it no longer.
"""

from __future__ import annotations

from typing import Any

from sqlite_utils import Database

from storage.records import Decision, Judgment, Task, Vote, now, text_id

PAIR = "query_id = :query_id AND passage_id = :passage_id AND annotator = :annotator"
# A candidate as an annotator sees it, judged or not. The note on one that was put aside is in its history alone.
TASK = """
    SELECT c.query_id, q.text AS query, c.passage_id, p.text AS passage, c.source,
        l.label, s.reason AS skip, f.annotator IS NOT NULL AS flagged,
        CASE WHEN s.reason IS NULL THEN l.note ELSE (
            SELECT e.note FROM label_events e
            WHERE e.query_id = c.query_id AND e.passage_id = c.passage_id AND e.annotator = :annotator
                AND e.action = 'skip' AND NOT EXISTS (SELECT 1 FROM label_events u WHERE u.undoes = e.id)
            ORDER BY e.id DESC LIMIT 1
        ) END AS note
    FROM candidates c
    JOIN queries q ON q.id = c.query_id
    JOIN passages p ON p.id = c.passage_id
    LEFT JOIN labels l ON l.query_id = c.query_id AND l.passage_id = c.passage_id AND l.annotator = :annotator
    LEFT JOIN skips s ON s.query_id = c.query_id AND s.passage_id = c.passage_id AND s.annotator = :annotator
    LEFT JOIN flags f ON f.query_id = c.query_id AND f.passage_id = c.passage_id AND f.annotator = :annotator
"""
VOTES = """
    SELECT annotator, label, note, updated_at FROM labels
    WHERE query_id = ? AND passage_id = ? ORDER BY updated_at
"""
DECISIONS = """
    SELECT a.query_id, q.text, a.passage_id, p.text, a.label, a.decided_by, a.note, a.created_at
    FROM adjudications a JOIN queries q ON q.id = a.query_id JOIN passages p ON p.id = a.passage_id
"""
SET_LABEL = """
    INSERT INTO labels (query_id, passage_id, annotator, label, note, updated_at)
    VALUES (:query_id, :passage_id, :annotator, :label, :note, :moment)
    ON CONFLICT DO UPDATE SET label = excluded.label, note = excluded.note, updated_at = excluded.updated_at
"""
SET_SKIP = """
    INSERT INTO skips (query_id, passage_id, annotator, reason, created_at)
    VALUES (:query_id, :passage_id, :annotator, :skip, :moment)
"""


def as_task(row: dict[str, Any]) -> Task:
    """A row of TASK as a record."""
    return Task(**{**row, "flagged": bool(row["flagged"])})


def votes_of(db: Database, query_id: str, passage_id: str) -> list[Vote]:
    """What everybody says of this pair, the first who said it first."""
    return [Vote(*row) for row in db.conn.execute(VOTES, (query_id, passage_id))]


def decision_on(db: Database, query_id: str, passage_id: str) -> Decision | None:
    """What was decided of this pair; None where nothing is."""
    row = db.conn.execute(f"{DECISIONS} WHERE a.query_id = ? AND a.passage_id = ?", (query_id, passage_id)).fetchone()
    return Decision(*row) if row else None


def judge(db: Database, judgment: Judgment, batch: str | None = None, press: str | None = None) -> bool:
    """Store one judgment with its event; returns whether it replaced a different label."""
    key = (text_id(judgment.query), text_id(judgment.passage), judgment.annotator)
    before = state(db, *key)
    note = judgment.note or None
    if judgment.note is None and judgment.label == before["previous_label"]:
        note = before["previous_note"]
    set_state(db, *key, label=judgment.label, skip=None, note=note)
    record(
        db,
        *key,
        "label",
        before,
        label=judgment.label,
        note=note,
        seconds=judgment.seconds,
        model_version=judgment.model_version,
        score_visible=judgment.score_visible,
        batch=batch,
        press=press,
    )
    return before["previous_label"] not in (None, judgment.label)


def stored_by(db: Database, annotator: str, press: str | None) -> list[tuple[str, str]]:
    """The (query id, passage id) of what this press of this annotator has changed; none where it is not stored yet."""
    sql = "SELECT query_id, passage_id FROM label_events WHERE press = ? AND annotator = ? ORDER BY id"
    return db.conn.execute(sql, (press, annotator)).fetchall() if press else []


def state(db: Database, query_id: str, passage_id: str, annotator: str) -> dict:
    """What this annotator says of this pair at present, by the names of the event's `previous_` columns.

    `strategy` is how the pair was drawn for the annotator, None where it was not.
    """
    key = {"query_id": query_id, "passage_id": passage_id, "annotator": annotator}
    label = db.conn.execute(f"SELECT label, note FROM labels WHERE {PAIR}", key).fetchone() or (None, None)
    skip = db.conn.execute(f"SELECT reason FROM skips WHERE {PAIR}", key).fetchone() or (None,)
    lease = db.conn.execute(f"SELECT drawn FROM leases WHERE {PAIR}", key).fetchone() or (None,)
    return {"previous_label": label[0], "previous_note": label[1], "previous_skip": skip[0], "strategy": lease[0]}


def set_state(
    db: Database,
    query_id: str,
    passage_id: str,
    annotator: str,
    *,
    label: int | None,
    skip: str | None,
    note: str | None,
) -> None:
    """Make this what the annotator says of the pair: a label, a skip, or nothing at all."""
    row = {
        "query_id": query_id, "passage_id": passage_id, "annotator": annotator,
        "label": label, "skip": skip, "note": note, "moment": now(),
    }  # fmt: skip
    # What was put off again goes behind what was put off before, so a skip is always a new row.
    db.conn.execute(f"DELETE FROM skips WHERE {PAIR}", row)
    if label is None:
        db.conn.execute(f"DELETE FROM labels WHERE {PAIR}", row)
    else:
        db.conn.execute(SET_LABEL, row)
    if skip is not None:
        db.conn.execute(SET_SKIP, row)
    db.conn.execute(f"DELETE FROM leases WHERE {PAIR}", row)


def record(
    db: Database, query_id: str, passage_id: str, annotator: str, action: str, before: dict, **columns: object
) -> None:
    """Append an event; `before` is the state that it changed."""
    row = {
        "query_id": query_id, "passage_id": passage_id, "annotator": annotator, "action": action,
        **before, **columns, "created_at": now(),
    }  # fmt: skip
    names = ", ".join(row)
    db.conn.execute(f"INSERT INTO label_events ({names}) VALUES ({', '.join(f':{name}' for name in row)})", row)
