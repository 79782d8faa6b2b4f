"""The part of the store that counts: labels by day, and what training runs have measured so far."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from storage import database
from storage.label_store import COUNTS_AS

CHIEF = "ndcg@10"


@dataclass(frozen=True)
class MeasuredRun:
    """What a finished run measured: the labels it was trained on, and by how much each held-out query's nDCG@10
    changed."""

    labels: int
    differences: list[float]


@dataclass(frozen=True)
class Balance:
    """How many judged pairs count as relevant, as not relevant, and as neither, where as many say either."""

    relevant: int
    not_relevant: int
    undecided: int


class ProgressStore:
    """Reads how the judging goes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def labels_by_day(self, annotator: str, days: int) -> list[tuple[str, int, int]]:
        """The last `days` on which labels were given that still stand, oldest first: (day in UTC, all labels, those of
        this annotator). A label belongs to the day on which it was given or changed last."""
        everyone = """
            SELECT substr(updated_at, 1, 10) AS day, count(*) FROM labels INDEXED BY labels_by_time
            GROUP BY day ORDER BY day DESC LIMIT ?
        """
        mine = "SELECT substr(updated_at, 1, 10) AS day, count(*) FROM labels WHERE annotator = ? GROUP BY day"
        with database.read(self.path) as db:
            own = dict(db.conn.execute(mine, [annotator]))
            return [
                (day, total, own.get(day, 0)) for day, total in reversed(db.conn.execute(everyone, [days]).fetchall())
            ]

    def balance(self) -> Balance:
        """What the judged pairs count as, for training and in the exports with one label for each pair."""
        sql = f"SELECT total(label = 1), total(label = 0), total(label IS NULL) FROM ({COUNTS_AS})"
        with database.read(self.path) as db:
            return Balance(*map(int, db.conn.execute(sql).fetchone()))

    def judged_queries(self) -> int:
        """How many queries have a label."""
        with database.read(self.path) as db:
            return db.conn.execute("SELECT count(DISTINCT query_id) FROM labels").fetchone()[0]

    def measured_runs(self, limit: int) -> list[MeasuredRun]:
        """The latest runs that measured both models on held-out queries, oldest first."""
        sql = """
            SELECT v.labels, old.per_query, new.per_query FROM model_versions v
            JOIN evaluations new ON new.run_id = v.run_id AND new.version = v.version AND new.split = 'dev'
            JOIN evaluations old ON old.run_id = v.run_id AND old.version != v.version AND old.split = 'dev'
            ORDER BY v.created_at DESC LIMIT ?
        """
        with database.read(self.path) as db:
            rows = reversed(db.conn.execute(sql, [limit]).fetchall())
            return [MeasuredRun(labels, _differences(json.loads(old), json.loads(new))) for labels, old, new in rows]


def _differences(old: dict[str, dict], new: dict[str, dict]) -> list[float]:
    return [figures[CHIEF] - old[query][CHIEF] for query, figures in new.items() if query in old]
