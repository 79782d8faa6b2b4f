"""Adding pairs to an open store: each text once, each pair once. For the stores, which hold the transaction."""

from __future__ import annotations

from collections.abc import Iterable

from sqlite_utils import Database

from storage.migrations import shuffle_of
from storage.records import AddedCandidates, Candidate, now, text_id


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
