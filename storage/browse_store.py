"""The part of the store that is looked through: candidates are found by their words, corrected, deleted and put back.

The index of words is a file of its own beside the store, made from it and made again where it is missing: it is never
backed up, and filling it does not hold up those who judge. It is filled up in steps, whenever somebody searches; where
that would take too long to wait for, also behind it.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from errors import NotFound
from storage import database
from storage.judgments import decision_on, votes_of
from storage.pairs import OF_CANDIDATE, put_back, take_out
from storage.records import FoundPair, PairEvent, now
from storage.text_edits import Kind, edit_text
from texts import words, words_together

log = logging.getLogger(__name__)

Filter = Literal["all", "judged", "not judged", "relevant", "not relevant", "disputed", "flagged", "with a note"]
FILTERS: dict[Filter, str] = {
    "all": "true",
    "judged": "c.voices > 0",
    "not judged": "c.voices = 0",
    "relevant": "c.relevant > 0",
    "not relevant": "c.voices > c.relevant",
    "disputed": f"""
        c.relevant > 0 AND c.relevant < c.voices AND NOT EXISTS (SELECT 1 FROM adjudications WHERE {OF_CANDIDATE})
    """,
    "flagged": f"EXISTS (SELECT 1 FROM flags WHERE {OF_CANDIDATE})",
    "with a note": f"EXISTS (SELECT 1 FROM labels WHERE {OF_CANDIDATE} AND note IS NOT NULL)",
}
Sort = Literal["newest first", "oldest first", "query by query", "most judged first"]
SORTS: dict[Sort, str] = {
    "newest first": "c.id DESC",
    "oldest first": "c.id",
    "query by query": "c.query_id, c.passage_id",
    "most judged first": "c.voices DESC, c.id DESC",
}
INDEXED_AT_ONCE = 5_000
# What the index holds, and `progress`: the last candidate whose words are in it, by its number and its moment. One that
# says otherwise of the store, or has another version, belongs to another store or app, and is made anew.
INDEX_VERSION = 2
# The words are those of texts.py, and SQLite is not to part them again, as it does at vowels and other marks by itself.
INDEX = f"""
    DROP TABLE IF EXISTS words; DROP TABLE IF EXISTS progress;
    CREATE VIRTUAL TABLE words USING fts5 (
        query, passage, content='', tokenize="unicode61 categories 'L* M* N* Co'"
    );
    CREATE TABLE progress AS SELECT 0 AS done, '' AS moment;
    PRAGMA user_version = {INDEX_VERSION};
"""
# So many are deleted, or put back, in one transaction: those who judge meanwhile wait for no more than that.
DELETED_AT_ONCE = 200
# Sources that are listed, at most: programs may name as many as they like.
MOST_SOURCES = 500
SOURCES = f"""
    {database.DISTINCT.format(table="candidates", column="source")}
    SELECT value FROM found WHERE value IS NOT NULL LIMIT ?
"""

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
        SELECT decided_by, 'decide', label, NULL, NULL, note, created_at, 0 FROM adjudications
        WHERE query_id = :query AND passage_id = :passage
        UNION ALL
        SELECT edited_by, kind, NULL, iif(kept_labels, NULL, 'again'), NULL, coalesce(q.text, p.text), e.created_at, 0
        FROM text_edits e
        LEFT JOIN queries q ON kind = 'query' AND q.id = old_id
        LEFT JOIN passages p ON kind = 'passage' AND p.id = old_id
        WHERE kind = 'query' AND new_id IN (SELECT id FROM asked)
        OR kind = 'passage' AND new_id IN (SELECT id FROM read)
    ) ORDER BY created_at, id
"""

# Held from before candidates go until they are out of the index, so that nothing is indexed between.
_indexing = threading.Lock()


@dataclass(frozen=True)
class Search:
    """What is looked for: candidates that hold all of these words, the last one as the beginning of a word; of those
    the filter's; and where a source is named, what came from there."""

    words: str = ""
    filter: Filter = "all"
    source: str | None = None

    @property
    def is_for_everything(self) -> bool:
        """Whether every candidate is looked for."""
        return not words(self.words) and self.filter == "all" and self.source is None


@dataclass(frozen=True)
class FoundCounts:
    """How many candidates were found, how many labels they have, and the number of the newest among them."""

    pairs: int
    labels: int
    last_id: int


@dataclass(frozen=True)
class Deletion:
    """A step in which candidates were deleted: its name, which is its moment, and one of the passages."""

    step: str
    deleted_by: str
    pairs: int
    labels: int
    passage: str


class BrowseStore:
    """Finds, deletes and restores candidates."""

    def __init__(self, path: Path) -> None:
        """`path` is the store; the index of words is kept beside it."""
        self.path = path
        self.index_path = path.with_name("search.db")
        self._indexing_all = threading.Lock()

    # Finding

    def find(self, search: Search, skip: int, limit: int, sort: Sort = "newest first") -> list[FoundPair]:
        """The candidates that are looked for, in this order, without the first `skip` of them."""
        where, values = _where(search)
        sql = f"""
            SELECT c.id, c.query_id, q.text, c.passage_id, p.text, c.source, c.rank FROM candidates c
            JOIN queries q ON q.id = c.query_id JOIN passages p ON p.id = c.passage_id
            WHERE {where} ORDER BY {SORTS[sort]} LIMIT :limit OFFSET :skip
        """
        with self._both() as db:
            rows = db.conn.execute(sql, values | {"skip": skip, "limit": limit}).fetchall()
            return [FoundPair(*row, votes_of(db, row[1], row[3]), decision_on(db, row[1], row[3])) for row in rows]

    def count(self, search: Search) -> FoundCounts:
        """How many candidates are looked for, and what was said of them."""
        where, values = _where(search)
        sql = f"SELECT count(*), coalesce(sum(c.voices), 0), coalesce(max(c.id), 0) FROM candidates c WHERE {where}"
        with self._both() as db:
            return FoundCounts(*db.conn.execute(sql, values).fetchone())

    def sources(self) -> list[str]:
        """Where the candidates come from, sorted; at most MOST_SOURCES."""
        with database.read(self.path) as db:
            return [source for (source,) in db.conn.execute(SOURCES, [MOST_SOURCES])]

    def index_more(self) -> int:
        """Index the words of the next INDEXED_AT_ONCE candidates that are not indexed; returns how many they were."""
        sql = """
            SELECT c.id, q.text, p.text FROM candidates c
            JOIN queries q ON q.id = c.query_id JOIN passages p ON p.id = c.passage_id
            WHERE c.id > ? ORDER BY c.id LIMIT ?
        """
        with _indexing, closing(self._index()) as index, database.read(self.path) as db:
            done, moment = index.execute("SELECT done, moment FROM progress").fetchone()
            known = "SELECT 1 FROM candidates WHERE id = ? AND created_at = ?"
            if done and db.conn.execute(known, (done, moment)).fetchone() is None:
                index.executescript(INDEX)
                done = 0
            rows = db.conn.execute(sql, (done, INDEXED_AT_ONCE)).fetchall()
            with index:
                insert = "INSERT INTO words (rowid, query, passage) VALUES (?, ?, ?)"
                index.executemany(insert, [_indexed(*row) for row in rows])
                _note_down(index, db, rows[-1][0] if rows else done)
        return len(rows)

    def index_the_rest(self) -> None:
        """Index all that is not indexed, without holding up the caller."""
        if self._indexing_all.acquire(blocking=False):
            threading.Thread(target=self._index_all, name="index-words", daemon=True).start()

    def _index_all(self) -> None:
        try:
            while self.index_more():
                pass
        except Exception:
            log.exception("Indexing words has stopped; it goes on with the next search")
        finally:
            self._indexing_all.release()

    def not_indexed(self) -> int:
        """How many candidates the search cannot find yet, about."""
        with closing(self._index()) as index, database.read(self.path) as db:
            done = index.execute("SELECT done FROM progress").fetchone()[0]
            return db.conn.execute("SELECT count(*) FROM candidates WHERE id > ?", [done]).fetchone()[0]

    def history(self, query_id: str, passage_id: str) -> list[PairEvent]:
        """Everything that anybody did with a pair, also while its texts were others, oldest first.

        A correction has the action "query" or "passage", and the former text as its note. Of decisions, the one that
        holds is among it.
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
        with _indexing:
            with database.read(self.path) as db:
                pairs = db.conn.execute(former, [old_id]).fetchall()
            edited = edit_text(self.path, kind, old_id, text, edited_by, keep_labels)
            self._forget(pairs, edited.last_untouched)
        return edited.pairs

    # Deleting

    def delete(self, query_id: str, passage_id: str, deleted_by: str) -> str:
        """Take a candidate out of the store with all that was said of it; the history of it stays.

        Returns the name of the step, by which `restore` puts it back. Raises NotFound.
        """
        step = now()
        with database.read(self.path) as db:
            sql = "SELECT id, created_at FROM candidates WHERE query_id = ? AND passage_id = ?"
            found = db.conn.execute(sql, (query_id, passage_id)).fetchall()
        if not found or not self._delete(found, step, deleted_by):
            raise NotFound("This pair is no longer there.")
        return step

    def delete_found(self, search: Search, last_id: int, deleted_by: str) -> Iterator[tuple[str, int]]:
        """Delete all that is looked for, but for what came after the candidate `last_id`.

        Yields the name of the step, by which `restore` puts all of it back, and how many are deleted so far. What is
        deleted stays so when it breaks off.
        """
        step, done = now(), 0
        where, values = _where(search)
        sql = f"SELECT c.id, c.created_at FROM candidates c WHERE {where} AND c.id <= :last ORDER BY c.id"
        with self._both() as db:
            found = db.conn.execute(sql, values | {"last": last_id}).fetchall()
        for start in range(0, len(found), DELETED_AT_ONCE):
            done += self._delete(found[start : start + DELETED_AT_ONCE], step, deleted_by)
            yield step, done

    def _delete(self, found: list[tuple[int, str]], step: str, deleted_by: str) -> int:
        """Delete these candidates (id, created at) as a part of a step; returns how many of them there still were."""
        ids, newest = json.dumps([candidate for candidate, _ in found]), max(created_at for _, created_at in found)
        # An id may be another's by now; that one is newer.
        sql = """
            SELECT c.id, q.text, p.text, c.query_id, c.passage_id FROM candidates c
            JOIN queries q ON q.id = c.query_id JOIN passages p ON p.id = c.passage_id
            WHERE c.id IN (SELECT value FROM json_each(:ids)) AND c.created_at <= :newest
        """
        with _indexing:
            with database.write(self.path) as db:
                there = db.conn.execute(sql, {"ids": ids, "newest": newest}).fetchall()
                if there:
                    kept = take_out(db, [row[3:] for row in there])
                    db["deletions"].insert({"deleted_by": deleted_by, "rows": json.dumps(kept), "created_at": step})
                last = db.conn.execute("SELECT coalesce(max(id), 0) FROM candidates").fetchone()[0]
            self._forget([row[:3] for row in there], last)
        return len(there)

    def restore(self, step: str) -> Iterator[int]:
        """Put back what was deleted in that step; yields how many are back so far. Raises NotFound when that has been
        done."""
        done = 0
        while True:
            with database.write(self.path) as db:
                pairs = put_back(db, step, now())
            if pairs is None:
                break
            done += pairs
            yield done
        if not done:
            raise NotFound("This was put back already.")

    def deletions(self, skip: int, limit: int) -> list[Deletion]:
        """The steps that can be put back, the latest first."""
        sql = """
            SELECT created_at, max(deleted_by), sum(json_array_length(rows, '$.candidates')),
                sum(json_array_length(rows, '$.labels')), max(json_extract(rows, '$.candidates[0].passage_id'))
            FROM deletions WHERE created_at IN (
                SELECT DISTINCT created_at FROM deletions ORDER BY created_at DESC LIMIT ? OFFSET ?
            ) GROUP BY created_at ORDER BY created_at DESC
        """
        with database.read(self.path) as db:
            rows = db.conn.execute(sql, (limit, skip)).fetchall()
            one = "SELECT text FROM passages WHERE id = ?"
            return [Deletion(*row[:-1], (db.conn.execute(one, [row[-1]]).fetchone() or [""])[0]) for row in rows]

    def count_deletions(self) -> int:
        """How many steps can be put back."""
        with database.read(self.path) as db:
            return db.conn.execute("SELECT count(DISTINCT created_at) FROM deletions").fetchone()[0]

    # The index

    def _index(self) -> sqlite3.Connection:
        index = sqlite3.connect(self.index_path, timeout=database.BUSY_SECONDS)
        index.execute("PRAGMA synchronous=OFF")
        if index.execute("PRAGMA user_version").fetchone()[0] != INDEX_VERSION:
            index.executescript(f"BEGIN IMMEDIATE; {INDEX} COMMIT")
        return index

    def _forget(self, pairs: Sequence[tuple[int, str, str]], last: int) -> None:
        """Take candidates (id, query, passage) that are gone out of the index, and go on indexing after the id `last`:
        an id that was deleted at the end is given out again."""
        with closing(self._index()) as index, database.read(self.path) as db, index:
            done = index.execute("SELECT done FROM progress").fetchone()[0]
            gone = [_indexed(*pair) for pair in pairs if pair[0] <= done]
            index.executemany("INSERT INTO words (words, rowid, query, passage) VALUES ('delete', ?, ?, ?)", gone)
            _note_down(index, db, min(done, last))

    @contextmanager
    def _both(self) -> Iterator[Database]:
        self._index().close()
        with database.read(self.path, own=True) as db:
            db.attach("search", self.index_path)
            yield db


def _indexed(number: int, query: str, passage: str) -> tuple[int, str, str]:
    """A candidate as the index has it."""
    # Of plain ASCII SQLite makes the same words, and that faster.
    return number, *(text if text.isascii() else " ".join(words(text)) for text in (query, passage))


def _note_down(index: sqlite3.Connection, db: Database, done: int) -> None:
    """Keep which candidate up to this number is the last one, of which the words are in the index."""
    last = "SELECT id, created_at FROM candidates WHERE id <= ? ORDER BY id DESC LIMIT 1"
    index.execute("UPDATE progress SET done = ?, moment = ?", db.conn.execute(last, [done]).fetchone() or (0, ""))


def _where(search: Search) -> tuple[str, dict[str, Any]]:
    """The condition on candidates `c`, and the values in it."""
    terms = [f'"{" ".join(together)}"' for together in words_together(search.words)]
    conditions = [FILTERS[search.filter]]
    if terms:
        conditions.append("c.id IN (SELECT rowid FROM search.words WHERE words MATCH :match)")
    if search.source is not None:
        conditions.append("c.source = :source")
    return " AND ".join(conditions), {"match": " ".join(terms) + "*", "source": search.source}
