"""The part of the store that belongs to judging: texts, candidates, labels and everything that annotators said."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from errors import Conflict
from storage import database
from storage.judgments import PAIR, TASK, as_task, judge, record, set_state, state, stored_by
from storage.leases import hold, is_full
from storage.pairs import OF_CANDIDATE, add_pair, add_pairs
from storage.records import (
    AddedCandidates,
    Candidate,
    ConsensusLabel,
    Guidelines,
    Judged,
    Judgment,
    Progress,
    Quota,
    SkipReason,
    StoredLabel,
    now,
    text_id,
)

# How many rows a streaming read fetches at once.
PAGE = 5_000

# Labels and skips that are not taken back, of pairs that are not deleted: nor were, and then added anew, since of such
# a pair its annotator says nothing any more.
OF_EVENT = "query_id = e.query_id AND passage_id = e.passage_id AND annotator = e.annotator"
STANDING = f"""
    SELECT * FROM label_events e WHERE action IN ('label', 'skip')
    AND NOT EXISTS (SELECT 1 FROM label_events u WHERE u.undoes = e.id)
    AND (EXISTS (SELECT 1 FROM labels WHERE {OF_EVENT}) OR EXISTS (SELECT 1 FROM skips WHERE {OF_EVENT}))
"""

GUIDELINES = "SELECT text, written_by, created_at FROM guidelines ORDER BY created_at DESC, id DESC LIMIT 1"

LABELS = """
    SELECT l.query_id, q.text AS query, l.passage_id, p.text AS passage, l.label, l.annotator, l.note, l.updated_at
    FROM labels l JOIN queries q ON q.id = l.query_id JOIN passages p ON p.id = l.passage_id
"""

# What each judged pair counts as: what was decided, else what most say, and nothing where as many say either.
COUNTS_AS = """
    SELECT query_id, passage_id, label FROM adjudications
    UNION ALL
    SELECT query_id, passage_id, iif(sum(label) * 2 = count(*), NULL, sum(label) * 2 > count(*)) FROM labels
    WHERE NOT EXISTS (
        SELECT 1 FROM adjudications a WHERE a.query_id = labels.query_id AND a.passage_id = labels.passage_id
    )
    GROUP BY query_id, passage_id
"""
CONSENSUS = f"""
    SELECT v.query_id, q.text AS query, v.passage_id, p.text AS passage, v.label
    FROM ({COUNTS_AS}) v
    JOIN queries q ON q.id = v.query_id
    JOIN passages p ON p.id = v.passage_id
    WHERE v.label IS NOT NULL
    ORDER BY v.query_id, v.passage_id
"""
SOMETHING_SAID = f"""
    c.voices > 0 OR EXISTS (SELECT 1 FROM skips WHERE {OF_CANDIDATE} AND reason = 'cannot_tell')
"""


class LabelStore:
    """Reads and writes candidates and labels.

    A `press` is the name of a key or button that an annotator pressed: a press that is stored already changes nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    # Candidates

    def add_candidates(self, candidates: Iterable[Candidate]) -> AddedCandidates:
        """Add pairs to be judged. Pairs that are there already are counted as duplicates and left as they are."""
        with database.write(self.path) as db:
            return add_pairs(db, candidates)

    # Judging

    def save(self, judgments: Iterable[Judgment]) -> tuple[int, int]:
        """Store all of these judgments or none.

        Returns (how many were stored, how many of them replaced a different label of the same annotator).
        """
        with database.write(self.path) as db:
            return _judge_all(db, judgments)

    def save_press(
        self, judgments: Sequence[Judgment], press: str | None, quota: Quota | None = None
    ) -> list[tuple[str, str]]:
        """Store what one press of an annotator says of pairs that were handed out, to be undone together.

        Returns the (query id, passage id) of those that were left out: by now others have judged them as often as the
        quota wants, which happens where a lease ran out.
        """
        with database.write(self.path) as db:
            if judgments and stored_by(db, judgments[0].annotator, press):
                return []
            full = [judgment for judgment in judgments if is_full(db, judgment, quota)]
            batch = secrets.token_hex(8) if len(judgments) > 1 else None
            _judge_all(db, [judgment for judgment in judgments if judgment not in full], batch, press)
        return [(text_id(judgment.query), text_id(judgment.passage)) for judgment in full]

    def skip(
        self,
        query_id: str,
        passage_id: str,
        annotator: str,
        reason: SkipReason,
        seconds: float | None,
        note: str | None = None,
        press: str | None = None,
    ) -> None:
        """Put a candidate aside without a label. A label that this annotator gave it before is withdrawn."""
        key = (query_id, passage_id, annotator)
        with database.write(self.path) as db:
            if stored_by(db, annotator, press):
                return
            before = state(db, *key)
            set_state(db, *key, label=None, skip=reason, note=None)
            record(db, *key, "skip", before, skip=reason, seconds=seconds, note=note, press=press)

    def toggle_flag(self, query_id: str, passage_id: str, annotator: str, press: str | None = None) -> bool:
        """Flag a candidate for someone to look at, or take the flag away. Returns whether it is flagged now."""
        key = {"query_id": query_id, "passage_id": passage_id, "annotator": annotator}
        with database.write(self.path) as db:
            if stored_by(db, annotator, press):
                return db.conn.execute(f"SELECT 1 FROM flags WHERE {PAIR}", key).fetchone() is not None
            removed = db.conn.execute(f"DELETE FROM flags WHERE {PAIR}", key).rowcount
            if not removed:
                db["flags"].insert({**key, "created_at": now()})
            before = state(db, query_id, passage_id, annotator)
            record(db, query_id, passage_id, annotator, "unflag" if removed else "flag", before, press=press)
        return not removed

    def undo(
        self, annotator: str, event_id: int | None = None, hold_seconds: float = 0, press: str | None = None
    ) -> list[tuple[str, str]]:
        """Take back this annotator's last label or skip that is not taken back yet, with all of its step; or the one
        label or skip with that event id.

        The pairs are held for the annotator for `hold_seconds`, so that nobody else is given them meanwhile. Returns
        the (query id, passage id) of each; none when there is nothing to undo. Raises Conflict where the annotator has
        judged the pair again since.
        """
        last = f"SELECT * FROM ({STANDING}) WHERE annotator = :annotator ORDER BY id DESC LIMIT 1"
        step = f"SELECT * FROM ({STANDING}) WHERE annotator = :annotator AND batch = :batch ORDER BY id DESC"
        one = f"SELECT * FROM ({STANDING}) WHERE annotator = :annotator AND id = :event_id"
        with database.write(self.path) as db:
            if undone := stored_by(db, annotator, press):
                return undone
            if event_id is None:
                events = list(db.query(last, {"annotator": annotator}))
                if events and events[0]["batch"]:
                    events = list(db.query(step, {"annotator": annotator, "batch": events[0]["batch"]}))
            else:
                events = list(db.query(one, {"annotator": annotator, "event_id": event_id}))
                if events and _is_outdated(db, events[0]):
                    raise Conflict("You judged this pair again since. Undo or correct the later judgment.")
            for event in events:
                _take_back(db, event, hold_seconds, press)
        return [(event["query_id"], event["passage_id"]) for event in events]

    # Reading

    def progress(self, annotator: str) -> Progress:
        """How far the team has come, and this annotator."""
        mine = "SELECT labels, cannot_tell FROM annotators WHERE annotator = ?"
        with database.read(self.path) as db:
            counted = dict(db.conn.execute("SELECT name, value FROM counters"))
            annotators = db.conn.execute("SELECT count(*) FROM annotators WHERE labels > 0").fetchone()[0]
            labels, cannot_tell = db.conn.execute(mine, [annotator]).fetchone() or (0, 0)
        return Progress(
            candidates=counted["candidates"],
            judged=counted["judged"],
            relevant=counted["relevant"],
            mine=labels,
            mine_left=counted["candidates"] - labels - cannot_tell,
            annotators=annotators,
        )

    def anything_judged(self) -> bool:
        """Whether anybody has judged anything."""
        with database.read(self.path) as db:
            return db.conn.execute("SELECT value FROM counters WHERE name = 'judged'").fetchone()[0] > 0

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

    def judged_by(self, annotator: str, limit: int) -> list[Judged]:
        """The pairs that this annotator judged or put aside last, each once and as it stands, the latest first."""
        sql = f"""
            SELECT e.id, e.created_at, t.* FROM ({STANDING}) e JOIN ({TASK}) t USING (query_id, passage_id)
            WHERE e.annotator = :annotator AND NOT EXISTS (
                SELECT 1 FROM ({STANDING}) n WHERE n.query_id = e.query_id AND n.passage_id = e.passage_id
                AND n.annotator = e.annotator AND n.id > e.id
            )
            ORDER BY e.id DESC LIMIT :limit
        """
        with database.read(self.path) as db:
            judged = []
            for row in db.query(sql, {"annotator": annotator, "limit": limit}):
                event_id, moment = row.pop("id"), row.pop("created_at")
                judged.append(Judged(event_id, as_task(row), moment))
        return judged

    def event_of(self, query_id: str, passage_id: str, annotator: str) -> int | None:
        """The id of the event with which this annotator judged a pair last, or put it aside; None where it is open."""
        sql = f"SELECT max(id) FROM ({STANDING}) WHERE {PAIR}"
        with database.read(self.path) as db:
            key = {"query_id": query_id, "passage_id": passage_id, "annotator": annotator}
            return db.conn.execute(sql, key).fetchone()[0]

    def guidelines(self) -> Guidelines | None:
        """What annotators are asked to go by, as it was written last; None where nothing was written."""
        with database.read(self.path) as db:
            row = db.conn.execute(GUIDELINES).fetchone()
        return Guidelines(*row) if row else None

    def write_guidelines(self, text: str, written_by: str, instead_of: str | None) -> None:
        """Put another text in the place of the guidelines that were written at this moment; those before it are kept.

        Raises Conflict where others were written meanwhile: whoever wrote this one has not seen them.
        """
        with database.write(self.path) as db:
            row = db.conn.execute(GUIDELINES).fetchone()
            last = Guidelines(*row) if row else None
            if last and last.created_at != instead_of and last.text != text:
                raise Conflict(
                    f"\u2068{last.written_by}\u2069 has saved other guidelines meanwhile: they are shown "
                    "above the box now. Yours are still in it, and not saved. Put in what is to stay of the others, "
                    "and press Save again: then yours take their place."
                )
            db["guidelines"].insert({"text": text, "written_by": written_by, "created_at": now()})

    def consensus(self) -> list[ConsensusLabel]:
        """What each judged pair counts as. Pairs on which the annotators are split evenly are left out."""
        with database.read(self.path) as db:
            return [ConsensusLabel(*row) for row in db.conn.execute(CONSENSUS)]

    def as_corrected(self, query_ids: Iterable[str]) -> set[str]:
        """These queries' ids, with those that they got when their text was corrected."""
        sql = """
            WITH RECURSIVE found (id) AS (
                SELECT value FROM json_each(?) UNION SELECT new_id FROM text_edits JOIN found ON old_id = found.id
                WHERE kind = 'query'
            ) SELECT id FROM found
        """
        with database.read(self.path) as db:
            return {query_id for (query_id,) in db.conn.execute(sql, [json.dumps(list(query_ids))])}

    def not_judged(self, query_ids: Iterable[str]) -> dict[str, list[str]]:
        """The passages of these queries that nobody has judged, or could not tell, by the query's id, in the order of
        their rank."""
        sql = f"""
            SELECT c.query_id, p.text FROM candidates c JOIN passages p ON p.id = c.passage_id
            WHERE c.query_id IN (SELECT value FROM json_each(?)) AND NOT ({SOMETHING_SAID})
            ORDER BY c.query_id, coalesce(c.rank, 1000000000), c.id
        """
        return self._passages_by_query(sql, query_ids)

    def something_said(self, query_ids: Iterable[str]) -> dict[str, list[str]]:
        """The passages of these queries that somebody has judged, whatever they count as, or could not tell."""
        sql = f"""
            SELECT c.query_id, p.text FROM candidates c JOIN passages p ON p.id = c.passage_id
            WHERE c.query_id IN (SELECT value FROM json_each(?)) AND ({SOMETHING_SAID})
        """
        return self._passages_by_query(sql, query_ids)

    def _passages_by_query(self, sql: str, query_ids: Iterable[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        with database.read(self.path) as db:
            for query_id, passage in db.conn.execute(sql, [json.dumps(list(query_ids))]):
                found.setdefault(query_id, []).append(passage)
        return found

    def settled_queries(self) -> list[tuple[str, str, str]]:
        """The queries whose set has been decided, labelled now or not: their ids, texts and sets."""
        with database.read(self.path) as db:
            sql = "SELECT s.query_id, q.text, s.split FROM splits s JOIN queries q ON q.id = s.query_id"
            return db.conn.execute(sql).fetchall()

    def assign_splits(self, splits: dict[str, str]) -> None:
        """Decide the set of these queries for good; a query that has one keeps it."""
        rows = [{"query_id": query_id, "split": split, "created_at": now()} for query_id, split in splits.items()]
        with database.write(self.path) as db:
            db["splits"].insert_all(rows, pk="query_id", ignore=True)


def _judge_all(
    db: Database, judgments: Iterable[Judgment], batch: str | None = None, press: str | None = None
) -> tuple[int, int]:
    saved = changed = 0
    for judgment in judgments:
        add_pair(db, Candidate(judgment.query, judgment.passage, judgment.source, judgment.rank))
        changed += judge(db, judgment, batch, press)
        saved += 1
    return saved, changed


def _is_outdated(db: Database, event: dict[str, Any]) -> bool:
    later = f"SELECT 1 FROM ({STANDING}) WHERE {PAIR} AND id > :id"
    return db.conn.execute(later, event).fetchone() is not None


def _take_back(db: Database, event: dict[str, Any], hold_seconds: float, press: str | None) -> None:
    key = (event["query_id"], event["passage_id"], event["annotator"])
    before = state(db, *key)
    label, skip, note = event["previous_label"], event["previous_skip"], event["previous_note"]
    set_state(db, *key, label=label, skip=skip, note=note)
    record(db, *key, "undo", before, label=label, skip=skip, undoes=event["id"], press=press)
    if label is None and hold_seconds:
        hold(db, *key, strategy="", drawn=event["strategy"] or "", seconds=hold_seconds)
