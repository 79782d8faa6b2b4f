"""Who holds which pair: handed out, and neither judged nor put aside yet. For the stores, which hold the transaction.

A lease runs out by itself, so that a pair that somebody left on the screen does not wait for ever.
"""

from __future__ import annotations

import time

from sqlite_utils import Database

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
