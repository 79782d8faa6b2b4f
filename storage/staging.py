"""Pairs and labels on their way into the store: in a file beside it, where they are counted before they are stored.

What makes an import slow is reading and checking, and that happens here, where nobody waits for it. Taking the rows
over into the store is left to SQL, in one transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import islice
from pathlib import Path

from storage import database
from storage.migrations import shuffle_of
from storage.records import Candidate, Judgment, StagedCounts, now, text_id

SCHEMA = """
    CREATE TABLE queries (id TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE passages (id TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE rows (
        line INTEGER, query_id TEXT, passage_id TEXT, source TEXT, rank INTEGER, shuffle INTEGER,
        label INTEGER, annotator TEXT, note TEXT
    );
"""
# Of a pair that a file holds several times the first row counts, of several labels of one annotator the last.
DISTINCT = """
    CREATE TABLE pairs AS SELECT min(rowid) AS id, query_id, passage_id, source, rank, shuffle
        FROM rows GROUP BY query_id, passage_id;
    CREATE TABLE votes AS SELECT max(rowid) AS id, query_id, passage_id, annotator, label, note, line,
        sum(label) NOT IN (0, count(*)) AS contradicted
        FROM rows WHERE label IS NOT NULL GROUP BY query_id, passage_id, annotator;
"""
# The same label again, without a note or with the same, is nothing new: its note and its day stay.
SAID_AGAIN = "l.label = v.label AND (v.note IS NULL OR v.note IS l.note)"
SAME_VOTE = "l.query_id = v.query_id AND l.passage_id = v.passage_id AND l.annotator = v.annotator"
COUNT = f"""
    SELECT
        (SELECT count(*) FROM staged.rows WHERE label IS NULL) AS pairs,
        (SELECT count(*) FROM staged.rows WHERE label IS NOT NULL) AS labels,
        (SELECT count(*) FROM staged.pairs p WHERE NOT EXISTS (
            SELECT 1 FROM main.candidates c WHERE c.query_id = p.query_id AND c.passage_id = p.passage_id
        )) AS new_pairs,
        (SELECT count(*) FROM staged.votes WHERE contradicted) AS contradicted,
        (SELECT count(*) FROM staged.votes v WHERE NOT EXISTS (
            SELECT 1 FROM main.labels l WHERE {SAME_VOTE}
        )) AS new_labels,
        (SELECT count(*) FROM staged.votes v WHERE EXISTS (
            SELECT 1 FROM main.labels l WHERE {SAME_VOTE} AND l.label != v.label
        )) AS changed_labels
"""
# Of each of the first ones the last line that is overruled, and the line that counts.
CONTRADICTIONS = """
    SELECT max(r.line), v.line
    FROM (SELECT * FROM votes WHERE contradicted ORDER BY id LIMIT :most) v CROSS JOIN rows r
        ON r.query_id = v.query_id AND r.passage_id = v.passage_id AND r.annotator = v.annotator AND r.label != v.label
    GROUP BY v.id ORDER BY v.id
"""
# Texts go in sorted by their id, as their index is; pairs in the order of the file, since that is their age.
TAKE_OVER = (
    ("texts", "INSERT OR IGNORE INTO main.queries (id, text, created_at) SELECT id, text, :moment FROM staged.queries"),
    (
        "texts",
        "INSERT OR IGNORE INTO main.passages (id, text, created_at) SELECT id, text, :moment FROM staged.passages",
    ),
    (
        "pairs",
        """
        INSERT OR IGNORE INTO main.candidates (query_id, passage_id, source, rank, created_at, shuffle)
        SELECT query_id, passage_id, source, rank, :moment, shuffle FROM staged.pairs ORDER BY id
        """,
    ),
    (
        "labels",
        f"""
        INSERT INTO main.label_events (query_id, passage_id, annotator, action, label, note, previous_label,
            previous_note, previous_skip, created_at)
        SELECT v.query_id, v.passage_id, v.annotator, 'label', v.label, v.note, l.label, l.note, s.reason, :moment
        FROM staged.votes v
        LEFT JOIN main.labels l
            ON l.query_id = v.query_id AND l.passage_id = v.passage_id AND l.annotator = v.annotator
        LEFT JOIN main.skips s
            ON s.query_id = v.query_id AND s.passage_id = v.passage_id AND s.annotator = v.annotator
        WHERE l.label IS NULL OR NOT ({SAID_AGAIN}) ORDER BY v.id
        """,
    ),
    (
        "labels",
        f"""
        INSERT INTO main.labels (query_id, passage_id, annotator, label, note, updated_at)
        SELECT query_id, passage_id, annotator, label, note, :moment FROM staged.votes v WHERE NOT EXISTS (
            SELECT 1 FROM main.labels l WHERE {SAME_VOTE} AND {SAID_AGAIN}
        ) ORDER BY id
        ON CONFLICT DO UPDATE SET label = excluded.label, note = excluded.note, updated_at = excluded.updated_at
        """,
    ),
    *(
        (
            "labels",
            f"""
            DELETE FROM main.{table} WHERE (query_id, passage_id, annotator) IN (
                SELECT query_id, passage_id, annotator FROM staged.votes
            )
            """,
        )
        for table in ("skips", "leases")
    ),
)
AT_ONCE = 2_000


class Staging:
    """One file's rows, in a database of their own at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, rows: Iterable[tuple[int, Candidate | Judgment]]) -> int:
        """Put these rows, with their line numbers, in the place of those before; returns how many they were."""
        self.remove()
        total = 0
        waiting = iter(rows)
        with closing(sqlite3.connect(self.path)) as db:
            # Should it break off, it is made anew.
            db.execute("PRAGMA journal_mode=OFF")
            db.execute("PRAGMA synchronous=OFF")
            db.execute(f"PRAGMA cache_size=-{database.BIG_CACHE}")
            db.executescript(SCHEMA)
            db.execute("BEGIN")
            while some := list(islice(waiting, AT_ONCE)):
                _insert(db, some)
                total += len(some)
            db.commit()
            db.executescript(DISTINCT)
            db.commit()
        return total

    def count(self, store: Path) -> StagedCounts:
        """What of the rows is new to the store."""
        with database.read(store, own=True) as db:
            db.attach("staged", self.path)
            return StagedCounts(**next(iter(db.query(COUNT))))

    def contradictions(self, most: int) -> list[tuple[int, int]]:
        """Where the file labels a pair both relevant and not for one annotator: a line that says the one and a later
        one, which counts, that says the other; at most so many."""
        with closing(sqlite3.connect(self.path)) as db:
            return db.execute(CONTRADICTIONS, {"most": most}).fetchall()

    def take_over(
        self, store: Path, on_progress: Callable[[str, float], None] = lambda what, part: None
    ) -> StagedCounts:
        """Write the rows into the store: all of them, or none on any error. Returns what was new at that moment.

        `on_progress(what, part)` hears what is being written and how far it has come, from 0 to 1; what it raises
        cancels the import.
        """
        with database.write(store, attached={"staged": self.path}) as db:
            db.conn.execute(f"PRAGMA cache_size=-{database.BIG_CACHE}")
            counts = StagedCounts(**next(iter(db.query(COUNT))))
            for place, (what, sql) in enumerate(TAKE_OVER):
                on_progress(what, place / len(TAKE_OVER))
                db.conn.execute(sql, {"moment": now()})
            on_progress("labels", 1.0)
        return counts

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)


def _insert(db: sqlite3.Connection, rows: list[tuple[int, Candidate | Judgment]]) -> None:
    keys = [(text_id(row.query), text_id(row.passage)) for _, row in rows]
    texts = list(zip(keys, (row for _, row in rows), strict=True))
    db.executemany("INSERT OR IGNORE INTO queries VALUES (?, ?)", [(key[0], row.query) for key, row in texts])
    db.executemany("INSERT OR IGNORE INTO passages VALUES (?, ?)", [(key[1], row.passage) for key, row in texts])
    db.executemany(
        "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (line, *key, row.source, row.rank, shuffle_of(*key), *_vote(row))
            for key, (line, row) in zip(keys, rows, strict=True)
        ],
    )


def _vote(row: Candidate | Judgment) -> tuple[int | None, str | None, str | None]:
    return (row.label, row.annotator, row.note) if isinstance(row, Judgment) else (None, None, None)
