"""Correcting the text of a query or a passage, in every pair that it stands in.

A text is stored under the hash of its content, so one that is corrected is another text, and its pairs are other pairs.
What was said of them moves along where the correction changes nothing in what is relevant: labels, decisions, flags and
their history. Where it does, the pairs wait to be judged anew, and what was said of the former text stays in the
history alone. A query keeps the set (train, dev or test) that it is in; where two become one and either was trained on,
that one is trained on. Every correction is recorded in `text_edits`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from errors import InvalidInput, NotFound
from storage import database
from storage.migrations import shuffle_of
from storage.pairs import EITHER, SAID, put_in, take_out
from storage.records import now, text_id

Kind = Literal["query", "passage"]
TABLES: dict[Kind, str] = {"query": "queries", "passage": "passages"}


@dataclass(frozen=True)
class Edited:
    """In how many pairs a text was put in the place of another, and the last candidate that it did not touch."""

    pairs: int
    last_untouched: int


def edit_text(path: Path, kind: Kind, old_id: str, text: str, edited_by: str, keep_labels: bool) -> Edited:
    """Put `text` in the place of a query's or a passage's text.

    Its candidates become the newest ones. Where a pair with the new text is there already, it takes over what those say
    who have not judged it. Raises NotFound where no pair has the old text, InvalidInput where the text is the same.
    """
    new_id = text_id(text)
    if new_id == old_id:
        raise InvalidInput("The text is the same as before. Change it, or press Cancel.")
    with database.write(path) as db:
        moment = now()
        edited = put_in_place(db, kind, old_id, text, keep_labels, moment)
        if not edited.pairs:
            raise NotFound(f"This {kind} is no longer there.")
        edit = {"kind": kind, "old_id": old_id, "new_id": new_id, "edited_by": edited_by}
        db["text_edits"].insert({**edit, "kept_labels": int(keep_labels), "created_at": moment})
    return edited


def put_in_place(db: Database, kind: Kind, old_id: str, text: str, keep_labels: bool, moment: str) -> Edited:
    """Do what `edit_text` does in an open store, without recording it; in no pair where none has the old text."""
    new_id = text_id(text)
    pairs = db.conn.execute(f"SELECT query_id, passage_id FROM candidates WHERE {kind}_id = ?", [old_id]).fetchall()
    if not pairs:
        return Edited(0, 0)
    text_row = (new_id, text, moment)
    db.conn.execute(f"INSERT OR IGNORE INTO {TABLES[kind]} (id, text, created_at) VALUES (?, ?, ?)", text_row)
    if kind == "query":
        keep_set = """
            INSERT INTO splits (query_id, split, created_at)
            SELECT ?, split, created_at FROM splits WHERE query_id = ?
            ON CONFLICT (query_id) DO UPDATE SET split = 'train' WHERE excluded.split = 'train'
        """
        db.conn.execute(keep_set, (new_id, old_id))
    taken = [(pair, take_out(db, [pair])) for pair in pairs]
    last = db.conn.execute("SELECT coalesce(max(id), 0) FROM candidates").fetchone()[0]
    for old, rows in taken:
        _put_in(db, old, (new_id, old[1]) if kind == "query" else (old[0], new_id), rows, keep_labels)
    return Edited(len(pairs), last)


def _put_in(
    db: Database,
    old: tuple[str, str],
    new: tuple[str, str],
    rows: dict[str, list[dict[str, Any]]],
    keep_labels: bool,
) -> None:
    """Put the rows of a pair in as those of another. Who has said something of that one stays with it: what they said
    of the former, and what led to it, is in the history of that alone."""
    said = "SELECT annotator FROM {} WHERE query_id = ? AND passage_id = ?"
    has_said = [name for table in EITHER for (name,) in db.conn.execute(said.format(table), new)]
    for table, found in rows.items():
        if table in SAID and not keep_labels:
            continue
        for row in found:
            row |= {"query_id": new[0], "passage_id": new[1]}
            if table == "candidates":
                row["shuffle"] = shuffle_of(*new)
            put_in(db, table, row)
    if keep_labels:
        # So that who gave a label finds it, and can take it back.
        move = """
            UPDATE label_events SET query_id = ?, passage_id = ? WHERE query_id = ? AND passage_id = ?
            AND annotator NOT IN (SELECT value FROM json_each(?))
        """
        db.conn.execute(move, (*new, *old, json.dumps(has_said)))
