"""The part of the store that hands out work: which candidates wait for whom, and who holds which.

The queue may hold a million candidates, and no call looks at more than a few hundred of them: each order has its index,
led by how many annotators have judged a candidate ("voices"), and a random draw is a stretch of the shuffled order
that begins anywhere. Only when a bounded look finds nothing that is still open to an annotator is all of it looked at.

Without a quota every annotator may judge every pair, and those that nobody has judged come first. With one, a pair is
open until it has its number of voices; a lease counts as one, so that the number is never passed.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from storage import database
from storage.judgments import TASK, as_task
from storage.leases import WANTED, hold, let_go
from storage.pairs import OF_CANDIDATE
from storage.records import Quota, Task, Waiting

Order = Literal["oldest", "random", "top", "disputed", "begun"]

# Rows that a bounded look may pass over.
BOUND = 400
EVERYTHING = 2**62
# An annotator stays with a query until so many of its passages are judged: one model ranks it better than another only
# where some are relevant and some are not.
ENOUGH_OF_A_QUERY = 5
# How far back it is looked for queries that the annotator is in the middle of.
LAST_PAIRS, LAST_QUERIES = 12, 3

# Neither judged by the annotator nor put aside.
NEW_TO_ME = f"""
    NOT EXISTS (SELECT 1 FROM labels WHERE {OF_CANDIDATE} AND annotator = :annotator)
    AND NOT EXISTS (SELECT 1 FROM skips WHERE {OF_CANDIDATE} AND annotator = :annotator)
"""
HELD_BY_OTHERS = f"""
    (SELECT count(*) FROM leases WHERE {OF_CANDIDATE} AND annotator != :annotator AND expires_at > :moment)
"""
BY_RANK = "coalesce(c.rank, 1000000000)"
SORTED: dict[Order, str] = {
    "oldest": "c.id",
    "random": "c.shuffle",
    "top": f"{BY_RANK}, c.id",
    "disputed": "c.id",
    "begun": "c.shuffle",
}
# The stretch of an order that is looked at; the names of the indexes keep SQLite from choosing another way.
STRETCH: dict[Order, str] = {
    "oldest": "candidates c INDEXED BY candidates_by_age WHERE c.voices = :voices",
    "random": (
        "candidates c INDEXED BY candidates_by_shuffle "
        "WHERE c.voices = :voices AND c.shuffle >= :start AND c.shuffle < :end"
    ),
    "top": "candidates c INDEXED BY candidates_by_rank WHERE c.voices = :voices",
    # Those that the annotator has a part in, or that were decided, may be more than a bounded look passes over.
    "disputed": f"""candidates c INDEXED BY candidates_in_dispute WHERE c.relevant > 0 AND c.relevant < c.voices
        AND {NEW_TO_ME} AND NOT EXISTS (SELECT 1 FROM adjudications WHERE {OF_CANDIDATE})""",
    "begun": "candidates c WHERE c.query_id = :query_id",
}
# All in one row: between two rows Python lets other threads go first, and there may be many of them.
WAITING = """
    SELECT json_group_array(json_array(id, query_id, passage_id, rank, score, other_score, disputed, begun)) FROM (
    SELECT c.id, c.query_id, c.passage_id, c.rank, s.score, o.score AS other_score,
        c.relevant > 0 AND c.relevant < c.voices AS disputed,
        EXISTS (SELECT 1 FROM labels WHERE query_id = c.query_id) AS begun
    FROM (SELECT c.* FROM {stretch} ORDER BY {sorted} LIMIT :bound) c
    LEFT JOIN candidate_scores s
        ON s.model_version = :version AND s.query_id = c.query_id AND s.passage_id = c.passage_id
    LEFT JOIN candidate_scores o
        ON o.model_version = :other AND o.query_id = c.query_id AND o.passage_id = c.passage_id
    WHERE {new_to_me} AND {open}
    AND c.query_id || c.passage_id NOT IN (SELECT value FROM json_each(:beside))
    AND c.query_id NOT IN (SELECT value FROM json_each(:away_from))
    LIMIT :limit)
"""
# What an annotator judged or holds, the latest first.
LAST = """
    SELECT query_id, passage_id FROM (
        SELECT query_id, passage_id, 1 AS held, rowid AS place FROM leases WHERE annotator = :annotator
        UNION ALL
        SELECT * FROM (
            SELECT query_id, passage_id, 0, id FROM label_events WHERE annotator = :annotator
            ORDER BY id DESC LIMIT :limit
        )
    ) ORDER BY held DESC, place DESC LIMIT :limit
"""
# How many passages of a query need no annotator any more, have one, or are nothing for this one.
TAKEN = """
    SELECT count(*) FROM (
        SELECT passage_id FROM labels WHERE query_id = :query_id
        UNION SELECT passage_id FROM leases WHERE query_id = :query_id AND expires_at > :moment
        UNION SELECT passage_id FROM skips WHERE query_id = :query_id AND annotator = :annotator
    )
"""
LATER = f"""
    {TASK} WHERE s.reason = 'later' AND {{open}} ORDER BY s.created_at, s.rowid LIMIT :limit
"""


class QueueStore:
    """Reads and writes who is to judge what."""

    def __init__(self, path: Path, quota: Quota | None = None, lease_seconds: float = 900) -> None:
        """`quota` is None where every annotator may judge every pair."""
        self.path = path
        self.quota = quota
        self.lease_seconds = lease_seconds

    @property
    def renew_seconds(self) -> float:
        """How long a page keeps pairs before it asks whether it still may: well before their leases run out."""
        return self.lease_seconds / 3

    # Looking

    def task(self, query_id: str, passage_id: str, annotator: str) -> Task | None:
        """One candidate as this annotator sees it, judged or not; None where there is no such candidate."""
        sql = f"{TASK} WHERE c.query_id = :query_id AND c.passage_id = :passage_id"
        with database.read(self.path) as db:
            for row in db.query(sql, {"annotator": annotator, "query_id": query_id, "passage_id": passage_id}):
                return as_task(row)
        return None

    def waiting(
        self,
        annotator: str,
        order: Order,
        limit: int,
        rng: random.Random,
        versions: Sequence[str] = (),
        everything: bool = False,
        held_too: bool = False,
        beside: Iterable[tuple[str, str]] = (),
        away_from: Iterable[str] = (),
    ) -> list[Waiting]:
        """Up to `limit` candidates that are open to this annotator, in that order; of a query that is begun more. None
        of those in `beside`, by (query id, passage id), and none of the queries in `away_from`.

        `versions` are those of the champion and of the model that it is compared with, whose scores come along. Unless
        `everything` is on, the look is a bounded one, and may find nothing although there is something. Those that
        others hold are left out, unless `held_too` is on and there is no quota.
        """
        values = self._values(annotator) | {
            "limit": limit,
            "bound": EVERYTHING if everything else max(limit, BOUND),
            "version": versions[0] if versions else None,
            "other": versions[1] if len(versions) > 1 else None,
            "beside": json.dumps(["".join(key) for key in beside]),
            "away_from": json.dumps(list(away_from)),
        }
        opened = "true" if held_too and self.quota is None else self._open()
        with database.read(self.path) as db:
            if order == "disputed":
                return _look(db, order, values, opened, rng)
            if order == "begun":
                return self._begun(db, values, opened, rng)
            if self.quota is None:
                for voices in range(_most_voices(db) + 1):
                    if found := _look(db, order, values | {"voices": voices}, opened, rng):
                        return found
                return []
            return self._with_quota(db, order, values, opened, rng)

    def _begun(self, db: Database, values: dict[str, Any], opened: str, rng: random.Random) -> list[Waiting]:
        """What is open to the annotator of the query that the annotator is in the middle of; nothing where there is
        no such query. With a quota now and then a second voice that is wanted elsewhere instead."""
        if self._second_voice_is_due(rng) and (found := self._further(db, values, opened, rng)):
            return found
        last = db.conn.execute(LAST, values | {"limit": LAST_PAIRS}).fetchall()
        for query_id in list(dict.fromkeys(query_id for query_id, _ in last))[:LAST_QUERIES]:
            # Its best passage may be anywhere in it.
            of_query = values | {"query_id": query_id, "limit": values["bound"]}
            is_enough = db.conn.execute(TAKEN, of_query).fetchone()[0] >= ENOUGH_OF_A_QUERY
            if not is_enough and (found := _look(db, "begun", of_query, opened, rng)):
                return found
        return []

    def _with_quota(
        self, db: Database, order: Order, values: dict[str, Any], opened: str, rng: random.Random
    ) -> list[Waiting]:
        """Several levels are open at once."""
        first = values | {"voices": 0}
        if order != "random":
            found = _look(db, order, first, opened, rng) + self._further(db, values, opened, rng)
            return sorted(found, key=_KEYS[order])[: values["limit"]]
        if self._second_voice_is_due(rng):
            return self._further(db, values, opened, rng) or _look(db, order, first, opened, rng)
        return _look(db, order, first, opened, rng) or self._further(db, values, opened, rng)

    def _further(self, db: Database, values: dict[str, Any], opened: str, rng: random.Random) -> list[Waiting]:
        """Pairs that have a voice and are to have another: few, so that in every order it is a random stretch."""
        assert self.quota is not None
        found: list[Waiting] = []
        for voices in range(1, self.quota.overlap):
            found += _look(db, "random", values | {"voices": voices}, opened, rng, self.quota.shared_below)
        return found

    def _second_voice_is_due(self, rng: random.Random) -> bool:
        """Second voices are drawn as often as they will be needed, not only once everything has a first."""
        needed = self.quota.share * (self.quota.overlap - 1) if self.quota else 0.0
        return rng.random() < needed / (1 + needed)

    def _open(self) -> str:
        """The condition under which a candidate may be given to one more annotator."""
        if self.quota is None:
            return f"{HELD_BY_OTHERS} = 0"
        return f"c.voices + {HELD_BY_OTHERS} < {WANTED}"

    def _values(self, annotator: str) -> dict[str, Any]:
        values: dict[str, Any] = {"annotator": annotator, "moment": time.time()}
        if self.quota:
            values |= {"overlap": self.quota.overlap, "shared_below": self.quota.shared_below}
        return values

    def left(self, annotator: str) -> int | None:
        """How many candidates this annotator has neither labelled nor put aside; None with a quota, where it depends
        on the others."""
        if self.quota:
            return None
        sql = """
            SELECT (SELECT value FROM counters WHERE name = 'candidates')
            - coalesce((SELECT labels + cannot_tell + later FROM annotators WHERE annotator = ?), 0)
        """
        with database.read(self.path) as db:
            return db.conn.execute(sql, [annotator]).fetchone()[0]

    def later(self, annotator: str, beside: set[tuple[str, str]]) -> Task | None:
        """What this annotator put off first, of what is still open and not in `beside`."""
        opened = self._open() if self.quota else "true"
        values = self._values(annotator) | {"limit": len(beside) + 1}
        with database.read(self.path) as db:
            tasks = [as_task(row) for row in db.query(LATER.format(open=opened), values)]
        return next((task for task in tasks if task.key not in beside), None)

    # Holding

    def held(self, annotator: str, strategy: str, beside: Iterable[tuple[str, str]] = ()) -> Task | None:
        """The pair that this annotator holds already, for as long anew, so that whoever asks twice gets the same one.

        Those in `beside` are left out: they are on the screen. What was drawn by another strategy goes back, since the
        annotator has chosen anew.
        """
        full = f"c.voices >= {WANTED}" if self.quota else "false"
        sql = f"""
            SELECT h.query_id, h.passage_id, h.strategy, h.strategy NOT IN ('', :strategy) OR {full} AS is_outdated
            FROM leases h JOIN candidates c ON c.query_id = h.query_id AND c.passage_id = h.passage_id
            WHERE h.annotator = :annotator AND h.expires_at > :moment ORDER BY h.rowid
        """
        kept = set(beside)
        values = self._values(annotator) | {"strategy": strategy}
        with database.read(self.path) as db:
            rows = [row for row in db.conn.execute(sql, values) if (row[0], row[1]) not in kept]
        outdated = [(query_id, passage_id) for query_id, passage_id, _, is_outdated in rows if is_outdated]
        if outdated:
            with database.write(self.path, durable=False) as db:
                for key in outdated:
                    let_go(db, *key, annotator)
        for query_id, passage_id, asked, is_outdated in rows:
            # With a quota another one may have got it since.
            if not is_outdated and (task := self.hold(query_id, passage_id, annotator, asked, asked, True)):
                return task
        return None

    def hold(
        self, query_id: str, passage_id: str, annotator: str, strategy: str, drawn: str, beside_others: bool = False
    ) -> Task | None:
        """Hand a candidate to this annotator; None where others were faster, or it is judged or put aside by now.

        What the annotator put off until later may be handed out again. Without a quota, `beside_others` lets several
        annotators hold the same pair.
        """
        return self.hold_first([(query_id, passage_id)], annotator, strategy, drawn, beside_others)

    def hold_first(
        self,
        keys: Iterable[tuple[str, str]],
        annotator: str,
        strategy: str,
        drawn: str,
        beside_others: bool = False,
    ) -> Task | None:
        """Hand the first of these candidates to this annotator that can be had; None where there is none."""
        opened = "true" if beside_others and self.quota is None else self._open()
        sql = f"""
            {TASK} WHERE c.query_id = :query_id AND c.passage_id = :passage_id
            AND l.label IS NULL AND s.reason IS NOT 'cannot_tell' AND {opened}
        """
        values = self._values(annotator)
        with database.write(self.path, durable=False) as db:
            db.conn.execute("DELETE FROM leases WHERE expires_at < ?", [values["moment"]])
            for query_id, passage_id in keys:
                for row in db.query(sql, values | {"query_id": query_id, "passage_id": passage_id}):
                    seconds = self.lease_seconds
                    hold(db, query_id, passage_id, annotator, strategy=strategy, drawn=drawn, seconds=seconds)
                    return as_task(row)
        return None

    def hold_query(
        self,
        query_id: str,
        annotator: str,
        strategy: str,
        order: Callable[[str], Any],
        limit: int,
        beside: set[tuple[str, str]],
    ) -> list[Task]:
        """The candidates of a query for this annotator but for those in `beside`, sorted by `order` of their passage's
        id.

        Those that are open to the annotator are held, the first `limit` of them; as far as there is room, those that
        the annotator has judged or put aside come along.
        """
        opened = self._open() if self.quota else "true"
        mine = "l.label IS NOT NULL OR s.reason IS NOT NULL"
        candidates = f"""
            SELECT c.passage_id, {mine} AS is_mine FROM candidates c
            LEFT JOIN labels l ON l.query_id = c.query_id AND l.passage_id = c.passage_id AND l.annotator = :annotator
            LEFT JOIN skips s ON s.query_id = c.query_id AND s.passage_id = c.passage_id AND s.annotator = :annotator
            WHERE c.query_id = :query_id AND ({mine} OR {opened})
        """
        with database.write(self.path, durable=False) as db:
            rows = db.conn.execute(candidates, self._values(annotator) | {"query_id": query_id}).fetchall()
            rows = [row for row in rows if (query_id, row[0]) not in beside]
            rows = sorted(rows, key=lambda row: (row[1], order(row[0])))[:limit]
            for passage_id, is_mine in rows:
                if not is_mine:
                    seconds = self.lease_seconds
                    hold(db, query_id, passage_id, annotator, strategy=strategy, drawn="query", seconds=seconds)
            one = f"{TASK} WHERE c.query_id = :query_id AND c.passage_id = :passage_id"
            key = {"annotator": annotator, "query_id": query_id}
            tasks = [
                as_task(row)
                for passage_id, _ in sorted(rows, key=lambda row: order(row[0]))
                for row in db.query(one, key | {"passage_id": passage_id})
            ]
        return tasks

    def let_go(self, annotator: str, keys: Iterable[tuple[str, str]]) -> None:
        """Give the pairs with these (query id, passage id) back."""
        with database.write(self.path, durable=False) as db:
            for key in keys:
                let_go(db, *key, annotator)

    def last_passages(self, annotator: str, limit: int) -> list[str]:
        """The passages that this annotator judged or holds, the latest first."""
        sql = f"SELECT p.text FROM ({LAST}) r JOIN passages p ON p.id = r.passage_id"
        with database.read(self.path) as db:
            return [text for (text,) in db.conn.execute(sql, {"annotator": annotator, "limit": limit})]

    def passages(self, passage_ids: Sequence[str]) -> dict[str, str]:
        """The texts of these passages, by id."""
        marks = ", ".join("?" * len(passage_ids))
        with database.read(self.path) as db:
            return dict(db.conn.execute(f"SELECT id, text FROM passages WHERE id IN ({marks})", passage_ids))


_KEYS: dict[Order, Callable[[Waiting], Any]] = {
    "oldest": lambda waiting: waiting.id,
    "top": lambda waiting: (10**9 if waiting.rank is None else waiting.rank, waiting.id),
    "random": lambda waiting: 0,
    "disputed": lambda waiting: waiting.id,
    "begun": lambda waiting: 0,
}


def _most_voices(db: Database) -> int:
    return db.conn.execute("SELECT max(voices) FROM candidates").fetchone()[0] or 0


def _look(
    db: Database, order: Order, values: dict[str, Any], opened: str, rng: random.Random, below: int = 2**32
) -> list[Waiting]:
    """What is open in a stretch of this order. One of the shuffled order begins anywhere `below` that place, and goes
    on at the beginning; the others begin at theirs."""
    sql = WAITING.format(stretch=STRETCH[order], sorted=SORTED[order], new_to_me=NEW_TO_ME, open=opened)
    start = rng.randrange(max(below, 1)) if order == "random" else 0
    found: list[Waiting] = []
    for begin, end in ((start, below), (0, start)):
        if begin < end and len(found) < values["limit"]:
            rows = json.loads(db.conn.execute(sql, values | {"start": begin, "end": end}).fetchone()[0])
            found += [Waiting(*row[:-2], *map(bool, row[-2:])) for row in rows]
    return sorted(found[: values["limit"]], key=_KEYS[order])
