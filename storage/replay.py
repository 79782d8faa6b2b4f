"""What was corrected, deleted and put back in one copy of the store, done in another one that grew apart from it.

Without that, what was deleted in one would come back from the other, and what was corrected would be there twice, with
its labels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlite_utils import Database

from storage.pairs import OF_CANDIDATE, THESE, put_back, take_out
from storage.text_edits import Kind, put_in_place

# Whether two stores were ever one: of the same pairs in others nothing is said by what was done here.
WERE_ONE = """
    SELECT 1 FROM main.candidates WHERE (query_id, passage_id, created_at) IN (
        SELECT query_id, passage_id, created_at FROM other.candidates
    )
    UNION ALL SELECT 1 FROM main.deletions WHERE (created_at, rows) IN (SELECT created_at, rows FROM other.deletions)
    UNION ALL SELECT 1 FROM main.label_events
    WHERE (query_id, passage_id, annotator, action, created_at) IN (
        SELECT query_id, passage_id, annotator, action, created_at FROM other.label_events
    ) LIMIT 1
"""
EDITS = """
    SELECT e.created_at, e.kind, e.old_id, coalesce(q.text, p.text), e.kept_labels FROM {seen}.text_edits e
    LEFT JOIN {seen}.queries q ON e.kind = 'query' AND q.id = e.new_id
    LEFT JOIN {seen}.passages p ON e.kind = 'passage' AND p.id = e.new_id
    WHERE e.created_at NOT IN (SELECT created_at FROM {unseen}.text_edits)
    AND coalesce(q.text, p.text) IS NOT NULL
"""
DELETIONS = """
    SELECT created_at, deleted_by, rows FROM {seen}.deletions
    WHERE (created_at, rows) NOT IN (SELECT created_at, rows FROM {unseen}.deletions)
    AND created_at NOT IN (SELECT step FROM main.restorations UNION ALL SELECT step FROM other.restorations)
"""
# A step may be deleted in several parts, and a copy be taken between two of them. What the other copy has of a part is
# not the same row: it had its own labels to delete, or not all of the pairs.
DELETED_PAIRS = """
    SELECT created_at, json_extract(value, '$.query_id'), json_extract(value, '$.passage_id')
    FROM {unseen}.deletions, json_each(rows, '$.candidates')
    WHERE created_at IN (SELECT created_at FROM {seen}.deletions)
"""
RESTORATIONS = """
    SELECT created_at, step FROM {seen}.restorations WHERE step IN (SELECT created_at FROM {unseen}.deletions)
"""
# What somebody brought in anew or judged since stays.
STILL_THERE = f"""
    SELECT query_id, passage_id FROM candidates c WHERE {THESE} AND created_at <= :moment AND NOT EXISTS (
        SELECT 1 FROM label_events WHERE {OF_CANDIDATE} AND created_at > :moment
    )
"""


@dataclass(frozen=True)
class Correction:
    """A text that was put in the place of another, and when."""

    moment: str
    kind: Kind
    old_id: str
    text: str
    kept_labels: bool

    def replay(self, db: Database) -> None:
        """Do it in an open store, where the former text is still there."""
        there = f"SELECT 1 FROM candidates WHERE {self.kind}_id = ? AND created_at <= ? LIMIT 1"
        if db.conn.execute(there, (self.old_id, self.moment)).fetchone():
            put_in_place(db, self.kind, self.old_id, self.text, self.kept_labels, self.moment)


@dataclass(frozen=True)
class Removal:
    """Pairs (query id, passage id) that were deleted together, and when."""

    moment: str
    deleted_by: str
    pairs: tuple[tuple[str, str], ...]

    def replay(self, db: Database) -> None:
        """Do it in an open store, so that it can be put back there as well."""
        values = {"pairs": json.dumps(self.pairs), "moment": self.moment}
        if there := db.conn.execute(STILL_THERE, values).fetchall():
            rows = json.dumps(take_out(db, there))
            db["deletions"].insert({"deleted_by": self.deleted_by, "rows": rows, "created_at": self.moment})


@dataclass(frozen=True)
class Restoration:
    """A step of deleting that was put back, and when."""

    moment: str
    step: str

    def replay(self, db: Database) -> None:
        """Do it in an open store."""
        while put_back(db, self.step, self.moment) is not None:
            pass


Step = Correction | Removal | Restoration


def steps_of(db: Database, of: str, beyond: str) -> list[Step]:
    """What the one of the stores `main` and `other`, both open, has seen `beyond` the other, in the order of time."""
    if db.conn.execute(WERE_ONE).fetchone() is None:
        return []
    names = {"seen": of, "unseen": beyond}
    edits = db.conn.execute(EDITS.format(**names)).fetchall()
    restorations = db.conn.execute(RESTORATIONS.format(**names)).fetchall()
    steps: list[Step] = [Correction(*edit[:-1], bool(edit[-1])) for edit in edits]
    steps += [Restoration(*row) for row in restorations]
    deleted = set(db.conn.execute(DELETED_PAIRS.format(**names)))
    for moment, deleted_by, rows in db.conn.execute(DELETIONS.format(**names)).fetchall():
        pairs = tuple((row["query_id"], row["passage_id"]) for row in json.loads(rows).get("candidates", []))
        if deleted.isdisjoint((moment, *pair) for pair in pairs):
            steps.append(Removal(moment, deleted_by, pairs))
    return sorted(steps, key=lambda step: step.moment)
