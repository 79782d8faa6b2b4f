"""The schema, as an append-only list of migrations. One that has shipped is never edited; a change is a new one.

Texts are stored once, under the hash of their content. What happened (`label_events`, `model_events`,
`training_events`) is only ever added to; what holds now (`labels`, `skips`, `training_runs`) is derived from it.
"""

import hashlib

from sqlite_utils import Database, Migrations

migrations = Migrations("rerank-workbench")

M001 = """
CREATE TABLE queries (id TEXT PRIMARY KEY, text TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;
CREATE TABLE passages (id TEXT PRIMARY KEY, text TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;
CREATE TABLE candidates (
    id INTEGER PRIMARY KEY,
    query_id TEXT NOT NULL REFERENCES queries(id),
    passage_id TEXT NOT NULL REFERENCES passages(id),
    source TEXT NOT NULL,
    rank INTEGER,
    created_at TEXT NOT NULL,
    UNIQUE (query_id, passage_id)
) STRICT;
CREATE TABLE labels (
    query_id TEXT NOT NULL REFERENCES queries(id),
    passage_id TEXT NOT NULL REFERENCES passages(id),
    annotator TEXT NOT NULL,
    label INTEGER NOT NULL CHECK (label IN (0, 1)),
    note TEXT,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (query_id, passage_id, annotator)
) STRICT;
CREATE INDEX labels_by_annotator ON labels (annotator);
CREATE TABLE label_events (
    id INTEGER PRIMARY KEY,
    query_id TEXT NOT NULL REFERENCES queries(id),
    passage_id TEXT NOT NULL REFERENCES passages(id),
    annotator TEXT NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('label', 'skip', 'flag', 'unflag', 'undo')),
    label INTEGER CHECK (label IN (0, 1)),
    skip TEXT,
    previous_label INTEGER,
    previous_note TEXT,
    previous_skip TEXT,
    undoes INTEGER UNIQUE REFERENCES label_events(id),
    note TEXT,
    seconds REAL,
    model_version TEXT,
    score_visible INTEGER,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX label_events_by_annotator ON label_events (annotator, id);
CREATE TABLE skips (
    query_id TEXT NOT NULL REFERENCES queries(id),
    passage_id TEXT NOT NULL REFERENCES passages(id),
    annotator TEXT NOT NULL,
    reason TEXT NOT NULL CHECK (reason IN ('cannot_tell', 'later')),
    created_at TEXT NOT NULL,
    PRIMARY KEY (query_id, passage_id, annotator)
) STRICT;
CREATE TABLE flags (
    query_id TEXT NOT NULL REFERENCES queries(id),
    passage_id TEXT NOT NULL REFERENCES passages(id),
    annotator TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (query_id, passage_id, annotator)
) STRICT;
CREATE TABLE adjudications (
    query_id TEXT NOT NULL REFERENCES queries(id),
    passage_id TEXT NOT NULL REFERENCES passages(id),
    label INTEGER NOT NULL CHECK (label IN (0, 1)),
    decided_by TEXT NOT NULL,
    note TEXT,
    created_at TEXT NOT NULL,
    PRIMARY KEY (query_id, passage_id)
) STRICT;
CREATE TABLE splits (
    query_id TEXT PRIMARY KEY REFERENCES queries(id),
    split TEXT NOT NULL CHECK (split IN ('train', 'dev', 'test')),
    created_at TEXT NOT NULL
) STRICT;
CREATE TABLE training_runs (
    id TEXT PRIMARY KEY,
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    config TEXT NOT NULL,
    phase TEXT NOT NULL,
    progress REAL NOT NULL,
    step INTEGER NOT NULL,
    total_steps INTEGER NOT NULL,
    loss REAL,
    seconds_left REAL,
    metrics TEXT NOT NULL,
    outcome TEXT,
    model_version TEXT,
    promoted INTEGER NOT NULL,
    error TEXT,
    pid INTEGER,
    pid_started REAL,
    created_at TEXT NOT NULL,
    finished_at TEXT
) STRICT;
CREATE UNIQUE INDEX one_run_at_a_time ON training_runs ((1)) WHERE status IN ('queued', 'running');
CREATE TABLE training_events (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES training_runs(id),
    event TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX training_events_by_run ON training_events (run_id, id);
CREATE TABLE model_versions (
    version TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('hub', 'directory', 'starter', 'trained')),
    location TEXT,
    base TEXT,
    run_id TEXT REFERENCES training_runs(id),
    labels INTEGER NOT NULL,
    metrics TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE TABLE model_events (
    id INTEGER PRIMARY KEY,
    version TEXT NOT NULL REFERENCES model_versions(version),
    previous_version TEXT,
    action TEXT NOT NULL CHECK (action IN ('promote', 'rollback')),
    reason TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE TABLE evaluations (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES training_runs(id),
    version TEXT NOT NULL,
    split TEXT NOT NULL,
    metrics TEXT NOT NULL,
    per_query TEXT NOT NULL,
    created_at TEXT NOT NULL,
    UNIQUE (run_id, version, split)
) STRICT;
"""


# What the queue needs to be quick however long it is. `shuffle` puts candidates into an order that is as good as random
# and stays; `voices` and `relevant` count the annotators who labelled a candidate and who called it relevant. Counts
# are kept by triggers, so that no writer can forget them.
M002 = """
ALTER TABLE candidates ADD COLUMN shuffle INTEGER NOT NULL DEFAULT 0;
ALTER TABLE candidates ADD COLUMN voices INTEGER NOT NULL DEFAULT 0;
ALTER TABLE candidates ADD COLUMN relevant INTEGER NOT NULL DEFAULT 0;
ALTER TABLE label_events ADD COLUMN batch TEXT;
ALTER TABLE label_events ADD COLUMN strategy TEXT;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
INSERT INTO counters VALUES ('candidates', 0), ('judged', 0), ('relevant', 0);
CREATE TABLE annotators (
    annotator TEXT PRIMARY KEY,
    labels INTEGER NOT NULL DEFAULT 0,
    cannot_tell INTEGER NOT NULL DEFAULT 0,
    later INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE leases (
    query_id TEXT NOT NULL REFERENCES queries(id),
    passage_id TEXT NOT NULL REFERENCES passages(id),
    annotator TEXT NOT NULL,
    strategy TEXT NOT NULL,
    drawn TEXT NOT NULL,
    expires_at REAL NOT NULL,
    PRIMARY KEY (query_id, passage_id, annotator)
) STRICT;
CREATE INDEX leases_by_annotator ON leases (annotator);
CREATE TABLE candidate_scores (
    query_id TEXT NOT NULL REFERENCES queries(id),
    passage_id TEXT NOT NULL REFERENCES passages(id),
    model_version TEXT NOT NULL,
    score REAL NOT NULL,
    PRIMARY KEY (model_version, query_id, passage_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE guidelines (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL,
    written_by TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT
"""
RECOUNT = """
UPDATE candidates SET
    voices = (SELECT count(*) FROM labels l
        WHERE l.query_id = candidates.query_id AND l.passage_id = candidates.passage_id),
    relevant = (SELECT count(*) FROM labels l
        WHERE l.query_id = candidates.query_id AND l.passage_id = candidates.passage_id AND l.label = 1);
DELETE FROM annotators;
INSERT INTO annotators (annotator, labels, cannot_tell, later)
    SELECT annotator, sum(label), sum(cannot_tell), sum(later) FROM (
        SELECT annotator, 1 AS label, 0 AS cannot_tell, 0 AS later FROM labels
        UNION ALL SELECT annotator, 0, reason = 'cannot_tell', reason = 'later' FROM skips
    ) GROUP BY annotator;
UPDATE counters SET value = (SELECT count(*) FROM candidates) WHERE name = 'candidates';
UPDATE counters SET value = (SELECT count(*) FROM candidates WHERE voices > 0) WHERE name = 'judged';
UPDATE counters SET value = (SELECT count(*) FROM candidates WHERE relevant > 0) WHERE name = 'relevant'
"""
M002_INDEXES = """
CREATE INDEX candidates_by_age ON candidates (voices, id);
CREATE INDEX candidates_by_shuffle ON candidates (voices, shuffle);
CREATE INDEX candidates_by_rank ON candidates (voices, coalesce(rank, 1000000000), id);
CREATE INDEX candidates_in_dispute ON candidates (id) WHERE relevant > 0 AND relevant < voices;
CREATE INDEX labels_by_time ON labels (updated_at);
CREATE INDEX skips_by_annotator ON skips (annotator, reason, created_at);
CREATE INDEX label_events_by_batch ON label_events (batch) WHERE batch IS NOT NULL;
CREATE INDEX label_events_by_pair ON label_events (query_id, passage_id)
"""
M002_TRIGGERS = (
    """
    CREATE TRIGGER candidate_added AFTER INSERT ON candidates BEGIN
        UPDATE counters SET value = value + 1 WHERE name = 'candidates';
    END
    """,
    """
    CREATE TRIGGER candidate_removed AFTER DELETE ON candidates BEGIN
        UPDATE counters SET value = value - CASE name
            WHEN 'candidates' THEN 1 WHEN 'judged' THEN OLD.voices > 0 ELSE OLD.relevant > 0 END
        WHERE name IN ('candidates', 'judged', 'relevant');
    END
    """,
    """
    CREATE TRIGGER candidate_judged AFTER UPDATE OF voices, relevant ON candidates
    WHEN (OLD.voices > 0) != (NEW.voices > 0) OR (OLD.relevant > 0) != (NEW.relevant > 0) BEGIN
        UPDATE counters SET value = value + CASE name
            WHEN 'judged' THEN (NEW.voices > 0) - (OLD.voices > 0)
            ELSE (NEW.relevant > 0) - (OLD.relevant > 0) END
        WHERE name IN ('judged', 'relevant');
    END
    """,
    """
    CREATE TRIGGER label_added AFTER INSERT ON labels BEGIN
        UPDATE candidates SET voices = voices + 1, relevant = relevant + NEW.label
        WHERE query_id = NEW.query_id AND passage_id = NEW.passage_id;
        INSERT INTO annotators (annotator, labels) VALUES (NEW.annotator, 1)
        ON CONFLICT (annotator) DO UPDATE SET labels = labels + 1;
    END
    """,
    """
    CREATE TRIGGER label_changed AFTER UPDATE OF label ON labels WHEN OLD.label != NEW.label BEGIN
        UPDATE candidates SET relevant = relevant + NEW.label - OLD.label
        WHERE query_id = NEW.query_id AND passage_id = NEW.passage_id;
    END
    """,
    """
    CREATE TRIGGER label_removed AFTER DELETE ON labels BEGIN
        UPDATE candidates SET voices = voices - 1, relevant = relevant - OLD.label
        WHERE query_id = OLD.query_id AND passage_id = OLD.passage_id;
        UPDATE annotators SET labels = labels - 1 WHERE annotator = OLD.annotator;
    END
    """,
    """
    CREATE TRIGGER skip_added AFTER INSERT ON skips BEGIN
        INSERT INTO annotators (annotator, cannot_tell, later)
        VALUES (NEW.annotator, NEW.reason = 'cannot_tell', NEW.reason = 'later')
        ON CONFLICT (annotator) DO UPDATE SET
            cannot_tell = cannot_tell + (NEW.reason = 'cannot_tell'), later = later + (NEW.reason = 'later');
    END
    """,
    """
    CREATE TRIGGER skip_removed AFTER DELETE ON skips BEGIN
        UPDATE annotators SET
            cannot_tell = cannot_tell - (OLD.reason = 'cannot_tell'), later = later - (OLD.reason = 'later')
        WHERE annotator = OLD.annotator;
    END
    """,
)


def shuffle_of(query_id: str, passage_id: str) -> int:
    """A candidate's place in the shuffled order, from 0 to 2**32 - 1. Stored: it must never be computed otherwise."""
    return int.from_bytes(hashlib.sha256(f"{query_id} {passage_id}".encode()).digest()[:4], "big")


def recount(db: Database) -> None:
    """Set every count that triggers keep to what the rows say."""
    _execute(db, RECOUNT)


def _execute(db: Database, script: str) -> None:
    # One statement at a time: executescript() would commit the transaction that the migration runs in.
    for statement in script.split(";"):
        if statement.strip():
            db.conn.execute(statement)


@migrations()
def m001_create_tables(db: Database) -> None:
    _execute(db, M001)


@migrations()
def m002_make_the_queue_quick(db: Database) -> None:
    _execute(db, M002)
    db.conn.create_function("shuffle_of", 2, shuffle_of, deterministic=True)
    db.conn.execute("UPDATE candidates SET shuffle = shuffle_of(query_id, passage_id)")
    _execute(db, RECOUNT)
    _execute(db, M002_INDEXES)
    for trigger in M002_TRIGGERS:
        db.conn.execute(trigger)


@migrations()
def m003_add_deletions(db: Database) -> None:
    # What was deleted, as JSON, until it is put back.
    db.conn.execute(
        "CREATE TABLE deletions (id INTEGER PRIMARY KEY, deleted_by TEXT NOT NULL, rows TEXT NOT NULL, "
        "created_at TEXT NOT NULL) STRICT"
    )


@migrations()
def m004_note_memory_and_deletions(db: Database) -> None:
    # `note` is what a run has to say beside its outcome: that it stopped early, and where.
    db.conn.execute("ALTER TABLE training_runs ADD COLUMN memory INTEGER")
    db.conn.execute("ALTER TABLE training_runs ADD COLUMN note TEXT")
    # The row of a deleted version stays: others were made from it.
    db.conn.execute("ALTER TABLE model_versions ADD COLUMN deleted_at TEXT")


@migrations()
def m005_add_text_edits(db: Database) -> None:
    # A corrected text has another id; `kept_labels` says whether what was said of the former one was taken along.
    db.conn.execute(
        "CREATE TABLE text_edits (id INTEGER PRIMARY KEY, kind TEXT NOT NULL CHECK (kind IN ('query', 'passage')), "
        "old_id TEXT NOT NULL, new_id TEXT NOT NULL, edited_by TEXT NOT NULL, "
        "kept_labels INTEGER NOT NULL CHECK (kept_labels IN (0, 1)), created_at TEXT NOT NULL) STRICT"
    )
    db.conn.execute("CREATE INDEX text_edits_by_new_id ON text_edits (new_id)")
    # All pairs of a passage: those of a query are found by the index of the pair.
    db.conn.execute("CREATE INDEX candidates_by_passage ON candidates (passage_id)")


@migrations()
def m006_note_presses(db: Database) -> None:
    # The page names each press, and sends it again while no answer comes; one whose name is there is stored already.
    db.conn.execute("ALTER TABLE label_events ADD COLUMN press TEXT")
    db.conn.execute("CREATE INDEX label_events_by_press ON label_events (press) WHERE press IS NOT NULL")


@migrations()
def m007_find_by_source(db: Database) -> None:
    db.conn.execute("CREATE INDEX candidates_by_source ON candidates (source)")
    # All that was deleted at once is put back at once.
    db.conn.execute("CREATE INDEX deletions_by_step ON deletions (created_at)")


@migrations()
def m008_note_what_was_put_back(db: Database) -> None:
    # By its name a step that was put back is told from one that another copy of the store has not seen.
    db.conn.execute("CREATE TABLE restorations (step TEXT PRIMARY KEY, created_at TEXT NOT NULL) STRICT")
