"""The store's half that is looked through: candidates are found by their words, with all that was said, and deleted.

The index of words is a file of its own beside the store, made from it and made again where it is missing: it is never
backed up, and filling it does not hold up those who judge. It is filled up in steps, whenever somebody searches.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from errors import NotFound
from storage import database
from storage.records import FoundPair, PairEvent, Vote, now

Filter = Literal["all", "judged", "not judged", "relevant", "not relevant", "disputed", "flagged", "with a note"]
OF_THE_PAIR = "query_id = c.query_id AND passage_id = c.passage_id"
FILTERS: dict[Filter, str] = {
    "all": "true",
    "judged": "c.voices > 0",
    "not judged": "c.voices = 0",
    "relevant": "c.relevant > 0",
    "not relevant": "c.voices > c.relevant",
    "disputed": "c.relevant > 0 AND c.relevant < c.voices",
    "flagged": f"EXISTS (SELECT 1 FROM flags WHERE {OF_THE_PAIR})",
    "with a note": f"EXISTS (SELECT 1 FROM labels WHERE {OF_THE_PAIR} AND note IS NOT NULL)",
}
INDEXED_AT_ONCE = 5_000
# What belongs to a pair and goes with it, in the order in which it can be put back.
OF_A_PAIR = ("candidates", "labels", "skips", "flags", "adjudications")
WITHOUT_COUNTS = {"voices", "relevant"}

_WORD = re.compile(r"\w+")
_indexing = threading.Lock()


class BrowseStore:
    """Finds, deletes and restores candidates."""

    def __init__(self, path: Path) -> None:
        """`path` is the store; the index of words is kept beside it."""
        self.path = path
        self.index_path = path.with_name("search.db")

    # Finding

    def find(self, words: str, kept: Filter, before: int | None, limit: int) -> list[FoundPair]:
        """The candidates that hold all of these words, the last one as the beginning of a word, newest first.

        Only those that the filter keeps, and that come before the candidate with the id `before`.
        """
        terms = [f'"{word}"' for word in _WORD.findall(words)]
        match = " ".join(terms) + "*" if terms else None
        found = "c.id IN (SELECT rowid FROM search.words WHERE words MATCH :match)" if match else "true"
        sql = f"""
            SELECT c.id, c.query_id, q.text, c.passage_id, p.text, c.source, c.rank FROM candidates c
            JOIN queries q ON q.id = c.query_id JOIN passages p ON p.id = c.passage_id
            WHERE {found} AND {FILTERS[kept]} AND c.id < :before ORDER BY c.id DESC LIMIT :limit
        """
        votes = """
            SELECT query_id, passage_id, annotator, label, note, updated_at FROM labels
            WHERE query_id = ? AND passage_id = ? ORDER BY updated_at
        """
        with self._both() as db:
            rows = db.conn.execute(sql, {"match": match, "before": before or 2**62, "limit": limit}).fetchall()
            return [FoundPair(*row, [Vote(*vote) for vote in db.conn.execute(votes, (row[1], row[3]))]) for row in rows]

    def index_more(self, limit: int = INDEXED_AT_ONCE) -> int:
        """Index the words of up to `limit` candidates that are not indexed yet; returns how many they were."""
        sql = """
            SELECT c.id, q.text, p.text FROM candidates c
            JOIN queries q ON q.id = c.query_id JOIN passages p ON p.id = c.passage_id
            WHERE c.id > ? ORDER BY c.id LIMIT ?
        """
        with _indexing, closing(self._index()) as index, database.read(self.path) as db:
            # An id that was deleted at the end is given out again.
            last = db.conn.execute("SELECT coalesce(max(id), 0) FROM candidates").fetchone()[0]
            done = min(index.execute("SELECT done FROM progress").fetchone()[0], last)
            rows = db.conn.execute(sql, (done, limit)).fetchall()
            with index:
                index.executemany("INSERT INTO words (rowid, query, passage) VALUES (?, ?, ?)", rows)
                index.execute("UPDATE progress SET done = ?", [rows[-1][0] if rows else done])
        return len(rows)

    def not_indexed(self) -> int:
        """How many candidates the search cannot find yet, about."""
        with closing(self._index()) as index, database.read(self.path) as db:
            done = index.execute("SELECT done FROM progress").fetchone()[0]
            return db.conn.execute("SELECT count(*) FROM candidates WHERE id > ?", [done]).fetchone()[0]

    def history(self, query_id: str, passage_id: str) -> list[PairEvent]:
        """Everything that anybody did with a pair, oldest first."""
        sql = """
            SELECT annotator, action, label, skip, previous_label, note, created_at FROM label_events
            WHERE query_id = ? AND passage_id = ? ORDER BY id
        """
        with database.read(self.path) as db:
            return [PairEvent(*row) for row in db.conn.execute(sql, (query_id, passage_id))]

    # Deleting

    def delete(self, query_id: str, passage_id: str, deleted_by: str) -> int:
        """Take a candidate out of the store with all that was said of it; the history of it stays.

        Returns the number under which `restore` puts it back. Raises NotFound.
        """
        with database.write(self.path) as db:
            text = f"SELECT c.id, q.text, p.text {_OF} "
            pair = db.conn.execute(text, (query_id, passage_id)).fetchone()
            if pair is None:
                raise NotFound("This pair is no longer there.")
            kept = {table: _rows(db, table, query_id, passage_id) for table in OF_A_PAIR}
            for table in (*reversed(OF_A_PAIR), "leases", "candidate_scores"):
                db.conn.execute(f"DELETE FROM {table} WHERE query_id = ? AND passage_id = ?", (query_id, passage_id))
            row = {"deleted_by": deleted_by, "rows": json.dumps(kept), "created_at": now()}
            number = db["deletions"].insert(row).last_pk
            last = db.conn.execute("SELECT coalesce(max(id), 0) FROM candidates").fetchone()[0]
        with _indexing, closing(self._index()) as index, index:
            if pair[0] <= index.execute("SELECT done FROM progress").fetchone()[0]:
                index.execute("INSERT INTO words (words, rowid, query, passage) VALUES ('delete', ?, ?, ?)", pair)
            index.execute("UPDATE progress SET done = min(done, ?)", [last])
        return int(number)

    def restore(self, number: int) -> None:
        """Put back what was deleted under that number. Raises NotFound when that has been done."""
        with database.write(self.path) as db:
            found = db.conn.execute("SELECT rows FROM deletions WHERE id = ?", [number]).fetchone()
            if found is None:
                raise NotFound("This was put back already.")
            for table, rows in json.loads(found[0]).items():
                for row in rows:
                    # As the newest one: its own number may be another's by now.
                    row = {name: value for name, value in row.items() if (table, name) != ("candidates", "id")}
                    names = ", ".join(row)
                    marks = ", ".join(f":{name}" for name in row)
                    db.conn.execute(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})", row)
            db.conn.execute("DELETE FROM deletions WHERE id = ?", [number])

    # The index

    def _index(self) -> sqlite3.Connection:
        index = sqlite3.connect(self.index_path, timeout=database.BUSY_SECONDS)
        index.execute("PRAGMA synchronous=OFF")
        index.execute("CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (query, passage, content='')")
        index.execute("CREATE TABLE IF NOT EXISTS progress (id INTEGER PRIMARY KEY CHECK (id = 1), done INTEGER)")
        index.execute("INSERT OR IGNORE INTO progress VALUES (1, 0)")
        index.commit()
        return index

    @contextmanager
    def _both(self) -> Iterator[Database]:
        self._index().close()
        with database.read(self.path, own=True) as db:
            db.attach("search", self.index_path)
            yield db


_OF = """
    FROM candidates c JOIN queries q ON q.id = c.query_id JOIN passages p ON p.id = c.passage_id
    WHERE c.query_id = ? AND c.passage_id = ?
"""


def _rows(db: Database, table: str, query_id: str, passage_id: str) -> list[dict[str, Any]]:
    rows = db.query(f"SELECT * FROM {table} WHERE query_id = ? AND passage_id = ?", (query_id, passage_id))
    # The counts of a candidate come back with its labels.
    return [{name: value for name, value in row.items() if name not in WITHOUT_COUNTS} for row in rows]
