"""The part of the store that looks back: where annotators differ, who decides, and what shows how well they judge.

A pair that several annotators judged differently is in dispute until somebody decides it; then that decision counts,
whatever the votes. Votes are never changed by it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from errors import Conflict
from storage import database
from storage.judgments import DECISIONS, decision_on, votes_of
from storage.records import Decision, Dispute, JudgingEvent, PairVotes, Task, VoteCounts, now, text_id

IN_DISPUTE = """
    FROM candidates c WHERE c.relevant > 0 AND c.relevant < c.voices
    AND NOT EXISTS (SELECT 1 FROM adjudications a WHERE a.query_id = c.query_id AND a.passage_id = c.passage_id)
"""
# Judged by several, without an index of its own: SQLite goes through candidates_by_age from voices 2 on.
SHARED_PAIRS = "FROM candidates c INDEXED BY candidates_by_age"
SHARED = f"""
    SELECT l.annotator, count(*) {SHARED_PAIRS} JOIN labels l USING (query_id, passage_id)
    WHERE c.voices > 1 GROUP BY l.annotator
"""
# The Monday before, or that day itself: the Sunday that follows, less six days.
BY_WEEK = f"""
    SELECT date(last, 'weekday 0', '-6 days') AS monday, voices, relevant, count(*) FROM (
        SELECT c.voices, c.relevant, max(substr(l.updated_at, 1, 10)) AS last
        {SHARED_PAIRS} JOIN labels l USING (query_id, passage_id) WHERE c.voices > 1 GROUP BY c.id
    ) GROUP BY monday, voices, relevant ORDER BY monday
"""
BY_TWO = f"""
    SELECT a.annotator, b.annotator, a.label, b.label, count(*) {SHARED_PAIRS}
    JOIN labels a USING (query_id, passage_id) JOIN labels b USING (query_id, passage_id)
    WHERE c.voices > 1 AND b.annotator > a.annotator GROUP BY a.annotator, b.annotator, a.label, b.label
"""
# Different whenever a label has come, gone or changed.
REVISION = """
    SELECT (SELECT max(id) FROM label_events), (SELECT sum(labels) FROM annotators),
        (SELECT max(created_at) FROM deletions), (SELECT max(created_at) FROM restorations),
        (SELECT max(id) FROM text_edits), (SELECT group_concat(value) FROM counters)
"""


class ReviewStore:
    """Reads disputes, decisions and the history of judgments, and writes decisions."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._counting = threading.Lock()
        self._counted: tuple[tuple, VoteCounts] | None = None

    # Disputes

    def disputes(self, limit: int) -> list[Dispute]:
        """The pairs that annotators judged differently and that nobody has decided yet, the oldest first."""
        sql = f"""
            SELECT d.query_id, q.text AS query, d.passage_id, p.text AS passage, d.source
            FROM (SELECT * {IN_DISPUTE} ORDER BY c.id LIMIT ?) d
            JOIN queries q ON q.id = d.query_id JOIN passages p ON p.id = d.passage_id ORDER BY d.id
        """
        with database.read(self.path) as db:
            tasks = [Task(**row) for row in db.query(sql, [limit])]
            return [Dispute(task, votes_of(db, *task.key)) for task in tasks]

    def count_disputes(self) -> int:
        """How many pairs wait for a decision."""
        with database.read(self.path) as db:
            return db.conn.execute(f"SELECT count(*) {IN_DISPUTE}").fetchone()[0]

    def votes_on(self, pairs: Iterable[tuple[str, str]]) -> list[PairVotes]:
        """The votes on each of these pairs of texts (query, passage)."""
        with database.read(self.path) as db:
            return [
                PairVotes(votes_of(db, *key), decision_on(db, *key) is not None)
                for key in ((text_id(query), text_id(passage)) for query, passage in pairs)
            ]

    def decide(self, query_id: str, passage_id: str, label: int, decided_by: str, note: str | None) -> None:
        """Say what a pair counts as, whatever its annotators say.

        Raises Conflict where somebody has decided it already: that one is taken back first. To press twice is to decide
        once.
        """
        sql = """
            INSERT INTO adjudications (query_id, passage_id, label, decided_by, note, created_at)
            VALUES (?, ?, ?, ?, ?, ?)
        """
        with database.write(self.path) as db:
            before = decision_on(db, query_id, passage_id)
            if before is None:
                db.conn.execute(sql, (query_id, passage_id, label, decided_by, note, now()))
            elif (before.label, before.decided_by, before.note) != (label, decided_by, note):
                raise Conflict(
                    f"\u2068{before.decided_by}\u2069 has decided this meanwhile: "
                    f"{'relevant' if before.label else 'not relevant'}. To change that, take it back first, under "
                    "Decided."
                )

    def withdraw(self, query_id: str, passage_id: str) -> bool:
        """Take a decision back, so that the votes count again. Returns whether there was one."""
        sql = "DELETE FROM adjudications WHERE query_id = ? AND passage_id = ?"
        with database.write(self.path) as db:
            return db.conn.execute(sql, (query_id, passage_id)).rowcount > 0

    def decisions(self, limit: int) -> list[Decision]:
        """The latest decisions, newest first."""
        with database.read(self.path) as db:
            rows = db.conn.execute(f"{DECISIONS} ORDER BY a.created_at DESC LIMIT ?", [limit])
            return [Decision(*row) for row in rows]

    # How well they judge

    def vote_counts(self) -> VoteCounts:
        """The labels of all pairs that at least two annotators judged, counted; anew only where a label has changed."""
        with self._counting, database.read(self.path) as db:
            # One snapshot for all of it.
            db.conn.execute("BEGIN")
            revision = db.conn.execute(REVISION).fetchone()
            if self._counted is None or self._counted[0] != revision:
                everyone = db.conn.execute("SELECT annotator FROM annotators WHERE labels > 0 ORDER BY annotator")
                counts = VoteCounts(
                    annotators=[name for (name,) in everyone],
                    shared=dict(db.conn.execute(SHARED)),
                    by_week=db.conn.execute(BY_WEEK).fetchall(),
                    by_two=db.conn.execute(BY_TWO).fetchall(),
                )
                self._counted = (revision, counts)
            db.conn.commit()
            return self._counted[1]

    def judging_events(self, annotator: str, limit: int) -> list[JudgingEvent]:
        """The labels that this annotator gave and did not take back, newest first, each with the logit of the model
        that answered at that time, where it is stored. To write a note on a label is not to give it once more."""
        sql = """
            SELECT e.label, e.seconds, e.score_visible, s.score, e.created_at
            FROM (
                SELECT * FROM label_events e WHERE annotator = ? AND action = 'label'
                AND label IS NOT previous_label AND NOT EXISTS (SELECT 1 FROM label_events u WHERE u.undoes = e.id)
                ORDER BY id DESC LIMIT ?
            ) e
            LEFT JOIN candidate_scores s ON s.model_version = e.model_version AND s.query_id = e.query_id
                AND s.passage_id = e.passage_id
            ORDER BY e.id DESC
        """
        with database.read(self.path) as db:
            return [
                JudgingEvent(label, seconds, None if visible is None else bool(visible), score, moment)
                for label, seconds, visible, score, moment in db.conn.execute(sql, (annotator, limit))
            ]

    def annotators(self) -> list[tuple[str, int]]:
        """Who has labelled how many pairs, the most first."""
        sql = "SELECT annotator, labels FROM annotators WHERE labels > 0 ORDER BY labels DESC, annotator"
        with database.read(self.path) as db:
            return db.conn.execute(sql).fetchall()
