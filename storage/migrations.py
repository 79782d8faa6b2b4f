"""The schema, as an append-only list of migrations. One that has shipped is never edited; a change is a new one.

Texts are stored once, under the hash of their content. What happened (`label_events`, `model_events`,
`training_events`) is only ever added to; what holds now (`labels`, `skips`, `training_runs`) is derived from it.
"""

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


@migrations()
def m001_create_tables(db: Database) -> None:
    # One statement at a time: executescript() would commit the transaction that the migration runs in.
    for statement in M001.split(";"):
        if statement.strip():
            db.conn.execute(statement)


@migrations()
def m003_note_memory_and_deletions(db: Database) -> None:
    # `note` is what a run has to say beside its outcome: that it stopped early, and where.
    db.conn.execute("ALTER TABLE training_runs ADD COLUMN memory INTEGER")
    db.conn.execute("ALTER TABLE training_runs ADD COLUMN note TEXT")
    # The row of a deleted version stays: others were made from it.
    db.conn.execute("ALTER TABLE model_versions ADD COLUMN deleted_at TEXT")
