"""The store's half that belongs to judging: texts, candidates, labels and everything that annotators said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from sqlite_utils import Database

from storage import database
from storage.records import (
    AddedCandidates,
    Candidate,
    ConsensusLabel,
    Judgment,
    Progress,
    SkipReason,
    StoredLabel,
    Task,
    text_id,
)

Order = Literal["oldest", "random", "top"]

# How many rows a streaming read fetches at once.
PAGE = 5_000

TASK_COLUMNS = """
    c.query_id, q.text AS query, c.passage_id, p.text AS passage, c.source,
    l.label, s.reason AS skip, f.annotator IS NOT NULL AS flagged
"""
TASK_TABLES = """
    candidates c
    JOIN queries q ON q.id = c.query_id
    JOIN passages p ON p.id = c.passage_id
    LEFT JOIN labels l ON l.query_id = c.query_id AND l.passage_id = c.passage_id AND l.annotator = :annotator
    LEFT JOIN skips s ON s.query_id = c.query_id AND s.passage_id = c.passage_id AND s.annotator = :annotator
    LEFT JOIN flags f ON f.query_id = c.query_id AND f.passage_id = c.passage_id AND f.annotator = :annotator
"""
ORDER_BY: dict[Order, str] = {
    "oldest": "c.id",
    "random": "random()",
    "top": "coalesce(c.rank, 1e9), c.id",
}

LABELS = """
    SELECT l.query_id, q.text AS query, l.passage_id, p.text AS passage, l.label, l.annotator, l.note, l.updated_at
    FROM labels l JOIN queries q ON q.id = l.query_id JOIN passages p ON p.id = l.passage_id
"""

CONSENSUS = """
    SELECT v.query_id, q.text AS query, v.passage_id, p.text AS passage, v.label
    FROM (
        SELECT query_id, passage_id, label FROM adjudications
        UNION ALL
        SELECT query_id, passage_id, sum(label) * 2 > count(*) AS label FROM labels
        WHERE NOT EXISTS (
            SELECT 1 FROM adjudications a WHERE a.query_id = labels.query_id AND a.passage_id = labels.passage_id
        )
        GROUP BY query_id, passage_id HAVING sum(label) * 2 != count(*)
    ) v
    JOIN queries q ON q.id = v.query_id
    JOIN passages p ON p.id = v.passage_id
    ORDER BY v.query_id, v.passage_id
"""


def now() -> str:
    """The present moment in UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat()


class LabelStore:
    """Reads and writes candidates and labels. Every method is one transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # Candidates

    def add_candidates(self, candidates: Iterable[Candidate]) -> AddedCandidates:
        """Add pairs to be judged. Pairs that are there already are counted as duplicates and left as they are."""
        with database.write(self.path) as db:
            return _add_pairs(db, candidates)

    def next_task(self, annotator: str, order: Order = "oldest") -> Task | None:
        """The next candidate that this annotator has neither judged nor put aside.

        When there is none, those put off until later come back, in the order in which they were put off.
        """
        waiting = f"SELECT {TASK_COLUMNS} FROM {TASK_TABLES} WHERE l.label IS NULL AND s.reason IS "
        with database.read(self.path) as db:
            for sql in (
                f"{waiting} NULL ORDER BY {ORDER_BY[order]} LIMIT 1",
                f"{waiting} 'later' ORDER BY s.created_at, s.rowid LIMIT 1",
            ):
                for row in db.query(sql, {"annotator": annotator}):
                    return _task(row)
        return None

    def task(self, query_id: str, passage_id: str, annotator: str) -> Task | None:
        """One candidate as this annotator sees it, judged or not; None where there is no such candidate."""
        sql = f"SELECT {TASK_COLUMNS} FROM {TASK_TABLES} WHERE c.query_id = :query_id AND c.passage_id = :passage_id"
        with database.read(self.path) as db:
            for row in db.query(sql, {"annotator": annotator, "query_id": query_id, "passage_id": passage_id}):
                return _task(row)
        return None

    # Judging

    def save(self, judgments: Iterable[Judgment]) -> tuple[int, int]:
        """Store all of these judgments or none.

        Returns (how many were stored, how many of them replaced a different label of the same annotator).
        """
        with database.write(self.path) as db:
            return _judge_all(db, judgments)

    def import_pairs(
        self, candidates: Iterable[Candidate], judgments: Iterable[Judgment]
    ) -> tuple[AddedCandidates, tuple[int, int]]:
        """Add pairs and store judgments, all or none; returns what `add_candidates` and `save` return."""
        with database.write(self.path) as db:
            return _add_pairs(db, candidates), _judge_all(db, judgments)

    def skip(self, query_id: str, passage_id: str, annotator: str, reason: SkipReason, seconds: float | None) -> None:
        """Put a candidate aside without a label. A label that this annotator gave it before is withdrawn."""
        with database.write(self.path) as db:
            before = _state(db, query_id, passage_id, annotator)
            _set_state(db, query_id, passage_id, annotator, label=None, skip=reason, note=None)
            _record(db, query_id, passage_id, annotator, "skip", before, skip=reason, seconds=seconds)

    def toggle_flag(self, query_id: str, passage_id: str, annotator: str) -> bool:
        """Flag a candidate for somebody to look at, or take the flag away. Returns whether it is flagged now."""
        key = {"query_id": query_id, "passage_id": passage_id, "annotator": annotator}
        with database.write(self.path) as db:
            where = "query_id = :query_id AND passage_id = :passage_id AND annotator = :annotator"
            removed = db.conn.execute(f"DELETE FROM flags WHERE {where}", key).rowcount
            if not removed:
                db["flags"].insert({**key, "created_at": now()})
            before = _state(db, query_id, passage_id, annotator)
            _record(db, query_id, passage_id, annotator, "unflag" if removed else "flag", before)
        return not removed

    def undo(self, annotator: str) -> tuple[str, str] | None:
        """Take back this annotator's last label or skip that is not taken back yet.

        Returns the (query id, passage id) that it was about, or None when there is nothing to undo.
        """
        last = """
            SELECT * FROM label_events e
            WHERE annotator = :annotator AND action IN ('label', 'skip')
            AND NOT EXISTS (SELECT 1 FROM label_events u WHERE u.undoes = e.id)
            ORDER BY id DESC LIMIT 1
        """
        with database.write(self.path) as db:
            event = next(iter(db.query(last, {"annotator": annotator})), None)
            if event is None:
                return None
            key = (event["query_id"], event["passage_id"], annotator)
            before = _state(db, *key)
            label, skip, note = event["previous_label"], event["previous_skip"], event["previous_note"]
            _set_state(db, *key, label=label, skip=skip, note=note)
            _record(db, *key, "undo", before, label=label, skip=skip, undoes=event["id"])
        return event["query_id"], event["passage_id"]

    # Reading

    def progress(self, annotator: str) -> Progress:
        """How far the team has come, and this annotator."""
        sql = """
            SELECT
                (SELECT count(*) FROM candidates) AS candidates,
                (SELECT count(*) FROM (SELECT DISTINCT query_id, passage_id FROM labels)) AS judged,
                (SELECT count(*) FROM (SELECT DISTINCT query_id, passage_id FROM labels WHERE label = 1)) AS relevant,
                (SELECT count(*) FROM labels WHERE annotator = :annotator) AS mine,
                (SELECT count(*) FROM skips WHERE annotator = :annotator AND reason = 'cannot_tell') AS put_aside,
                (SELECT count(DISTINCT annotator) FROM labels) AS annotators
        """
        with database.read(self.path) as db:
            row = next(iter(db.query(sql, {"annotator": annotator})))
        left = row["candidates"] - row["mine"] - row.pop("put_aside")
        return Progress(**row, mine_left=left)

    def labels(self) -> Iterator[StoredLabel]:
        """Every current label of every annotator, oldest first, read as one consistent snapshot."""
        with database.read(self.path) as db:
            cursor = db.conn.execute(f"{LABELS} ORDER BY l.updated_at, l.rowid")
            while rows := cursor.fetchmany(PAGE):
                for row in rows:
                    yield StoredLabel(*row)

    def labels_of(self, query: str, annotator: str) -> dict[str, int]:
        """This annotator's labels of a query, by the passage's text."""
        sql = """
            SELECT p.text, l.label FROM labels l JOIN passages p ON p.id = l.passage_id
            WHERE l.query_id = ? AND l.annotator = ?
        """
        with database.read(self.path) as db:
            return dict(db.conn.execute(sql, (text_id(query), annotator)))

    def latest_labels(self, limit: int) -> list[StoredLabel]:
        """The labels that were given last, newest first."""
        with database.read(self.path) as db:
            rows = db.conn.execute(f"{LABELS} ORDER BY l.updated_at DESC, l.rowid DESC LIMIT ?", [limit])
            return [StoredLabel(*row) for row in rows]

    def consensus(self) -> list[ConsensusLabel]:
        """What each judged pair counts as. Pairs on which the annotators are split evenly are left out."""
        with database.read(self.path) as db:
            return [ConsensusLabel(*row) for row in db.conn.execute(CONSENSUS)]

    def splits(self) -> dict[str, str]:
        """Which set each query belongs to, by query id, as far as that has been decided."""
        with database.read(self.path) as db:
            return dict(db.conn.execute("SELECT query_id, split FROM splits"))

    def assign_splits(self, splits: dict[str, str]) -> None:
        """Decide the set of these queries for good; a query that has one keeps it."""
        rows = [{"query_id": query_id, "split": split, "created_at": now()} for query_id, split in splits.items()]
        with database.write(self.path) as db:
            db["splits"].insert_all(rows, pk="query_id", ignore=True)


def _task(row: dict) -> Task:
    return Task(**{**row, "flagged": bool(row["flagged"])})


def _add_pair(db: Database, candidate: Candidate) -> tuple[bool, bool, bool]:
    """Insert what is new of a pair; returns whether the query, the passage and the pair were."""
    query_id, passage_id, moment = text_id(candidate.query), text_id(candidate.passage), now()
    insert_text = "INSERT OR IGNORE INTO {} (id, text, created_at) VALUES (?, ?, ?)"
    new_query = db.conn.execute(insert_text.format("queries"), (query_id, candidate.query, moment)).rowcount
    new_passage = db.conn.execute(insert_text.format("passages"), (passage_id, candidate.passage, moment)).rowcount
    new_pair = db.conn.execute(
        "INSERT OR IGNORE INTO candidates (query_id, passage_id, source, rank, created_at) VALUES (?, ?, ?, ?, ?)",
        (query_id, passage_id, candidate.source, candidate.rank, moment),
    ).rowcount
    return bool(new_query), bool(new_passage), bool(new_pair)


def _add_pairs(db: Database, candidates: Iterable[Candidate]) -> AddedCandidates:
    queries = passages = added = duplicates = 0
    for candidate in candidates:
        new_query, new_passage, new_pair = _add_pair(db, candidate)
        queries += new_query
        passages += new_passage
        added += new_pair
        duplicates += not new_pair
    return AddedCandidates(queries, passages, added, duplicates)


def _judge_all(db: Database, judgments: Iterable[Judgment]) -> tuple[int, int]:
    saved = changed = 0
    for judgment in judgments:
        _add_pair(db, Candidate(judgment.query, judgment.passage, judgment.source, judgment.rank))
        changed += _judge(db, judgment)
        saved += 1
    return saved, changed


def _judge(db: Database, judgment: Judgment) -> bool:
    """Store one judgment with its event; returns whether it replaced a different label."""
    key = (text_id(judgment.query), text_id(judgment.passage), judgment.annotator)
    before = _state(db, *key)
    _set_state(db, *key, label=judgment.label, skip=None, note=judgment.note)
    _record(
        db,
        *key,
        "label",
        before,
        label=judgment.label,
        note=judgment.note,
        seconds=judgment.seconds,
        model_version=judgment.model_version,
        score_visible=judgment.score_visible,
    )
    return before["previous_label"] not in (None, judgment.label)


def _state(db: Database, query_id: str, passage_id: str, annotator: str) -> dict:
    """What this annotator says of this pair at present, by the names of the event's `previous_` columns."""
    key, where = (query_id, passage_id, annotator), "query_id = ? AND passage_id = ? AND annotator = ?"
    label = db.conn.execute(f"SELECT label, note FROM labels WHERE {where}", key).fetchone() or (None, None)
    skip = db.conn.execute(f"SELECT reason FROM skips WHERE {where}", key).fetchone() or (None,)
    return {"previous_label": label[0], "previous_note": label[1], "previous_skip": skip[0]}


def _set_state(
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
    key = {"query_id": query_id, "passage_id": passage_id, "annotator": annotator}
    for table, value in (("labels", label), ("skips", skip)):
        if value is None:
            db.conn.execute(
                f"DELETE FROM {table} WHERE query_id = :query_id AND passage_id = :passage_id "
                "AND annotator = :annotator",
                key,
            )
    if label is not None:
        db["labels"].insert({**key, "label": label, "note": note, "updated_at": now()}, replace=True)
    if skip is not None:
        db["skips"].insert({**key, "reason": skip, "created_at": now()}, replace=True)


def _record(
    db: Database, query_id: str, passage_id: str, annotator: str, action: str, before: dict, **columns: object
) -> None:
    db["label_events"].insert(
        {
            "query_id": query_id,
            "passage_id": passage_id,
            "annotator": annotator,
            "action": action,
            **before,
            **columns,
            "created_at": now(),
        }
    )
