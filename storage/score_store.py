"""The part of the store that keeps how the models score the candidates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from storage import database
from storage.records import ScoredPair

NOT_SCORED = """
    SELECT c.id, c.query_id, q.text, c.passage_id, p.text
    FROM (SELECT * FROM candidates WHERE id > ? ORDER BY id LIMIT ?) c
    JOIN queries q ON q.id = c.query_id
    JOIN passages p ON p.id = c.passage_id
    WHERE NOT EXISTS (SELECT 1 FROM candidate_scores WHERE model_version = ? AND query_id = c.query_id
        AND passage_id = c.passage_id)
    ORDER BY c.id
"""


SCORED_VERSIONS = database.DISTINCT.format(table="candidate_scores", column="model_version")


class ScoreStore:
    """Reads and writes the scores."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def scored_versions(self) -> list[str]:
        """The model versions that have scored candidates."""
        sql = f"{SCORED_VERSIONS} SELECT value FROM found WHERE value IS NOT NULL"
        with database.read(self.path) as db:
            return [version for (version,) in db.conn.execute(sql)]

    def not_scored(self, version: str, after: int, limit: int) -> tuple[list[tuple[int, str, str, str, str]], int]:
        """Candidates without a score of that version among the `limit` that come after the candidate with id `after`:
        (id, query id, query, passage id, passage), and the id to go on after.

        That id is `after` itself when no candidates follow.
        """
        last = "SELECT max(id) FROM (SELECT id FROM candidates WHERE id > ? ORDER BY id LIMIT ?)"
        with database.read(self.path) as db:
            # First how far this goes: a candidate that is added in between would be passed over for good.
            go_on_after = db.conn.execute(last, (after, limit)).fetchone()[0] or after
            return db.conn.execute(NOT_SCORED, (after, limit, version)).fetchall(), go_on_after

    def numbers_given_anew(self) -> tuple[str | None, str | None]:
        """Something else each time that candidates were taken out, whose numbers at the end are given out again."""
        sql = "SELECT (SELECT max(created_at) FROM deletions), (SELECT max(created_at) FROM text_edits)"
        with database.read(self.path) as db:
            return db.conn.execute(sql).fetchone()

    def scored_pairs(self, version: str) -> Iterator[ScoredPair]:
        """Every pair that a version has scored, query by query, the best first."""
        sql = """
            SELECT s.query_id, q.text, s.passage_id, p.text, s.model_version, s.score
            FROM candidate_scores s JOIN queries q ON q.id = s.query_id JOIN passages p ON p.id = s.passage_id
            WHERE s.model_version = ? ORDER BY s.query_id, s.score DESC
        """
        with database.read(self.path) as db:
            for row in db.conn.execute(sql, [version]):
                yield ScoredPair(*row)

    def save_scores(self, version: str, scores: Iterable[tuple[str, str, float]]) -> None:
        """Keep the logits that a version gave to (query id, passage id) pairs."""
        rows = [(version, query_id, passage_id, score) for query_id, passage_id, score in scores]
        sql = """
            INSERT INTO candidate_scores (model_version, query_id, passage_id, score) VALUES (?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET score = excluded.score
        """
        with database.write(self.path, durable=False) as db:
            db.conn.executemany(sql, rows)

    def forget_scores(self, version: str, limit: int) -> int:
        """Delete up to `limit` scores of a version; returns how many there were to delete."""
        sql = """
            DELETE FROM candidate_scores WHERE model_version = :version AND (query_id, passage_id) IN (
                SELECT query_id, passage_id FROM candidate_scores WHERE model_version = :version LIMIT :limit
            )
        """
        with database.write(self.path, durable=False) as db:
            return db.conn.execute(sql, {"version": version, "limit": limit}).rowcount
