"""Who holds which pair: handed out, and neither judged nor put aside yet. For the stores, which hold the transaction.

A lease runs out by itself, so that a pair that somebody left on the screen does not wait for ever.
"""

from __future__ import annotations

import time

from sqlite_utils import Database

from storage.records import Judgment, Quota, text_id

# How many annotators a candidate `c` is to be judged by.
WANTED = "CASE WHEN c.shuffle < :shared_below THEN :overlap ELSE 1 END"
FULL = f"""
    SELECT 1 FROM candidates c WHERE c.query_id = :query_id AND c.passage_id = :passage_id AND c.voices >= {WANTED}
    AND NOT EXISTS (SELECT 1 FROM labels l WHERE l.query_id = c.query_id AND l.passage_id = c.passage_id
        AND l.annotator = :annotator)
"""
HOLD = """
    INSERT INTO leases (query_id, passage_id, annotator, strategy, drawn, expires_at) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET strategy = excluded.strategy, expires_at = excluded.expires_at
"""


def hold(
    db: Database, query_id: str, passage_id: str, annotator: str, *, strategy: str, drawn: str, seconds: float
) -> None:
    """Keep a pair for an annotator. `strategy` was asked for, `drawn` is how the pair was found."""
    db.conn.execute(HOLD, (query_id, passage_id, annotator, strategy, drawn, time.time() + seconds))


def let_go(db: Database, query_id: str, passage_id: str, annotator: str) -> None:
    """Give a pair back to the queue."""
    key = (query_id, passage_id, annotator)
    db.conn.execute("DELETE FROM leases WHERE query_id = ? AND passage_id = ? AND annotator = ?", key)


def is_full(db: Database, judgment: Judgment, quota: Quota | None) -> bool:
    """Whether others have judged this pair as often as the quota wants, so that it takes no further annotator."""
    if quota is None:
        return False
    values = {
        "query_id": text_id(judgment.query), "passage_id": text_id(judgment.passage), "annotator": judgment.annotator,
        "overlap": quota.overlap, "shared_below": quota.shared_below,
    }  # fmt: skip
    return db.conn.execute(FULL, values).fetchone() is not None
