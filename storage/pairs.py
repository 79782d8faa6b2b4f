"""Adding pairs to an open store, each text once and each pair once, and taking them out again with all that belongs to
them. For the stores, which hold the transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlite_utils import Database

from storage.migrations import shuffle_of
from storage.records import AddedCandidates, Candidate, now, text_id
from storage.score_store import SCORED_VERSIONS

# An annotator has either a label for a pair, or has put it aside.
EITHER = {"labels": "skips", "skips": "labels"}
# What is said of a pair, and all that comes back when the pair does, in the order in which it can.
SAID = ("labels", "skips", "adjudications")
OF_A_PAIR = ("candidates", *SAID, "flags")
# Of the pair of a candidate `c`.
OF_CANDIDATE = "query_id = c.query_id AND passage_id = c.passage_id"
THESE = """
    (query_id, passage_id) IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:pairs))
"""
# The scores lie in the order of their model: without its name all of them would be looked at.
FORGET_SCORES = f"""
    {SCORED_VERSIONS} DELETE FROM candidate_scores
    WHERE model_version IN (SELECT value FROM found WHERE value IS NOT NULL) AND {THESE}
"""


def add_pairs(db: Database, candidates: Iterable[Candidate]) -> AddedCandidates:
    """Insert what is new of these pairs; those that are there already are left as they are."""
    queries = passages = added = duplicates = 0
    for candidate in candidates:
        new_query, new_passage, new_pair = add_pair(db, candidate)
        queries += new_query
        passages += new_passage
        added += new_pair
        duplicates += not new_pair
    return AddedCandidates(queries, passages, added, duplicates)


def add_pair(db: Database, candidate: Candidate) -> tuple[bool, bool, bool]:
    """Insert what is new of a pair; returns whether the query, the passage and the pair were."""
    query_id, passage_id, moment = text_id(candidate.query), text_id(candidate.passage), now()
    insert_text = "INSERT OR IGNORE INTO {} (id, text, created_at) VALUES (?, ?, ?)"
    new_query = db.conn.execute(insert_text.format("queries"), (query_id, candidate.query, moment)).rowcount
    new_passage = db.conn.execute(insert_text.format("passages"), (passage_id, candidate.passage, moment)).rowcount
    new_pair = db.conn.execute(
        "INSERT OR IGNORE INTO candidates (query_id, passage_id, source, rank, created_at, shuffle) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (query_id, passage_id, candidate.source, candidate.rank, moment, shuffle_of(query_id, passage_id)),
    ).rowcount
    return bool(new_query), bool(new_passage), bool(new_pair)


def take_out(db: Database, pairs: Sequence[tuple[str, str]]) -> dict[str, list[dict[str, Any]]]:
    """Take these (query id, passage id) out of the queue, with what was said of them; returns the rows, by table.

    Their history and their texts stay.
    """
    values = {"pairs": json.dumps(pairs)}
    rows = {table: list(db.query(f"SELECT * FROM {table} WHERE {THESE}", values)) for table in OF_A_PAIR}
    for table in (*reversed(OF_A_PAIR), "leases"):
        db.conn.execute(f"DELETE FROM {table} WHERE {THESE}", values)
    db.conn.execute(FORGET_SCORES, values)
    return rows


def put_in(db: Database, table: str, row: dict[str, Any]) -> None:
    """Insert a row that was taken out, unless there is one in its place: what an annotator says by now counts. A
    candidate becomes the newest one: its own number may be another's by now, and its counts come back with its
    labels."""
    if table == "candidates":
        row = {name: value for name, value in row.items() if name not in ("id", "voices", "relevant")}
    marks = ", ".join(f":{name}" for name in row)
    place = "query_id = :query_id AND passage_id = :passage_id AND annotator = :annotator"
    free = f"NOT EXISTS (SELECT 1 FROM {EITHER[table]} WHERE {place})" if table in EITHER else "true"
    db.conn.execute(f"INSERT OR IGNORE INTO {table} ({', '.join(row)}) SELECT {marks} WHERE {free}", row)


def put_back(db: Database, step: str, moment: str) -> int | None:
    """Put back a part of what was deleted in this step, and note down that it was; returns how many candidates that
    were, None where no part is left."""
    one = "SELECT id, rows FROM deletions WHERE created_at = ? ORDER BY id LIMIT 1"
    found = db.conn.execute(one, [step]).fetchone()
    if found is None:
        return None
    kept = json.loads(found[1])
    for table, rows in kept.items():
        for row in rows:
            put_in(db, table, row)
    db.conn.execute("DELETE FROM deletions WHERE id = ?", [found[0]])
    db.conn.execute("INSERT OR IGNORE INTO restorations (step, created_at) VALUES (?, ?)", (step, moment))
    return len(kept.get("candidates", []))
