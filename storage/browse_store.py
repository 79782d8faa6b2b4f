"""The store's half that is looked through: candidates are found by their words, corrected and deleted.

The index of words is a file of its own beside the store, made from it and made again where it is missing: it is never
backed up, and filling it does not hold up those who judge. It is filled up in steps, whenever somebody searches.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from errors import NotFound
from storage import database
from storage.records import FoundPair, PairEvent, Vote, now
from storage.text_edits import Kind, edit_text

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
Sort = Literal["newest first", "oldest first", "query by query", "most judged first"]
SORTS: dict[Sort, str] = {
    "newest first": "c.id DESC",
    "oldest first": "c.id",
    "query by query": "c.query_id, c.passage_id",
    "most judged first": "c.voices DESC, c.id DESC",
}
INDEXED_AT_ONCE = 5_000
# What belongs to a pair and goes with it, in the order in which it can be put back.
OF_A_PAIR = ("candidates", "labels", "skips", "flags", "adjudications")
WITHOUT_COUNTS = {"voices", "relevant"}

FORMER = """
    {0} (id) AS (
        SELECT :{1} UNION SELECT old_id FROM text_edits JOIN {0} ON new_id = {0}.id WHERE kind = '{1}'
    )
"""
HISTORY = f"""
    WITH RECURSIVE {FORMER.format("asked", "query")}, {FORMER.format("read", "passage")}
    SELECT annotator, action, label, skip, previous_label, note, created_at FROM (
        SELECT annotator, action, label, skip, previous_label, note, created_at, id FROM label_events
        WHERE query_id IN (SELECT id FROM asked) AND passage_id IN (SELECT id FROM read)
        UNION ALL
        SELECT edited_by, kind, NULL, iif(kept_labels, NULL, 'again'), NULL, coalesce(q.text, p.text), e.created_at, 0
        FROM text_edits e
        LEFT JOIN queries q ON kind = 'query' AND q.id = old_id
        LEFT JOIN passages p ON kind = 'passage' AND p.id = old_id
        WHERE kind = 'query' AND new_id IN (SELECT id FROM asked)
        OR kind = 'passage' AND new_id IN (SELECT id FROM read)
    ) ORDER BY created_at, id
"""

_WORD = re.compile(r"\w+")
_indexing = threading.Lock()


class BrowseStore:
    """Finds, deletes and restores candidates."""

    def __init__(self, path: Path) -> None:
        """`path` is the store; the index of words is kept beside it."""
        self.path = path
        self.index_path = path.with_name("search.db")

    # Finding

    def find(self, words: str, kept: Filter, skip: int, limit: int, sort: Sort = "newest first") -> list[FoundPair]:
        """The candidates that hold all of these words, the last one as the beginning of a word.

        Only those that the filter keeps, without the first `skip` of them.
        """
        terms = [f'"{word}"' for word in _WORD.findall(words)]
        match = " ".join(terms) + "*" if terms else None
        found = "c.id IN (SELECT rowid FROM search.words WHERE words MATCH :match)" if match else "true"
        sql = f"""
            SELECT c.id, c.query_id, q.text, c.passage_id, p.text, c.source, c.rank FROM candidates c
            JOIN queries q ON q.id = c.query_id JOIN passages p ON p.id = c.passage_id
            WHERE {found} AND {FILTERS[kept]} ORDER BY {SORTS[sort]} LIMIT :limit OFFSET :skip
        """
        votes = """
            SELECT query_id, passage_id, annotator, label, note, updated_at FROM labels
            WHERE query_id = ? AND passage_id = ? ORDER BY updated_at
        """
        with self._both() as db:
            rows = db.conn.execute(sql, {"match": match, "skip": skip, "limit": limit}).fetchall()
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
        """Everything that anybody did with a pair, also while its texts were others, oldest first.

        A correction has the action "query" or "passage", and the former text as its note.
        """
        with database.read(self.path) as db:
            return [PairEvent(*row) for row in db.conn.execute(HISTORY, {"query": query_id, "passage": passage_id})]

    # Correcting

    def count_pairs(self, query_id: str, passage_id: str) -> tuple[int, int]:
        """In how many pairs this query stands, and this passage."""
        sql = """
            SELECT (SELECT count(*) FROM candidates WHERE query_id = ?),
                (SELECT count(*) FROM candidates WHERE passage_id = ?)
        """
        with database.read(self.path) as db:
            return db.conn.execute(sql, (query_id, passage_id)).fetchone()

    def edit(self, kind: Kind, old_id: str, text: str, edited_by: str, keep_labels: bool) -> int:
        """Correct a text in all of its pairs (see storage/text_edits.py); returns how many they are."""
        former = f"""
            SELECT c.id, q.text, p.text FROM candidates c
            JOIN queries q ON q.id = c.query_id JOIN passages p ON p.id = c.passage_id WHERE c.{kind}_id = ?
        """
        with database.read(self.path) as db:
            pairs = db.conn.execute(former, [old_id]).fetchall()
        edited = edit_text(self.path, kind, old_id, text, edited_by, keep_labels)
        self._forget(pairs, edited.last_untouched)
        return edited.pairs

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
        self._forget([pair], last)
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

    def _forget(self, pairs: Sequence[tuple[int, str, str]], last: int) -> None:
        """Take candidates (id, query, passage) that are gone out of the index, and go on indexing after the id `last`:
        an id that was deleted at the end is given out again."""
        with _indexing, closing(self._index()) as index, index:
            done = index.execute("SELECT done FROM progress").fetchone()[0]
            gone = [pair for pair in pairs if pair[0] <= done]
            index.executemany("INSERT INTO words (words, rowid, query, passage) VALUES ('delete', ?, ?, ?)", gone)
            index.execute("UPDATE progress SET done = min(done, ?)", [last])

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
