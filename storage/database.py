"""Opening the SQLite file, and the one way to write to it.

Every operation has its own connection, so threads never share one. While the app runs, a thread keeps its connection
for its next operation: opening one and reading the schema takes longer than most operations do.

A write takes the lock at its start (BEGIN IMMEDIATE): two writers wait for each other up to BUSY_SECONDS instead of one
failing half way. Within this process they queue up before that, since SQLite itself lets them sleep and try again.

A commit is durable before the call returns, also across a power cut. With a WAL the wait for the disk comes after the
lock is free, so that nobody else waits for it: what many have written at once goes to the disk together.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import sqlite_utils
from filelock import FileLock

from storage.migrations import migrations

BUSY_SECONDS = 30
# The values of a column that an index begins with, and a NULL after them: one step along the index for each, however
# many rows there are.
DISTINCT = """
    WITH RECURSIVE found (value) AS (
        SELECT min({column}) FROM {table}
        UNION ALL
        SELECT (SELECT min({column}) FROM {table} WHERE {column} > found.value) FROM found WHERE value IS NOT NULL
    )
"""
# Room for pages in memory, in KiB, for the few operations that touch most of the file.
BIG_CACHE = 256_000
# The WAL is taken over into the store when it has so many pages. That waits for the disk under the lock, so it is to
# be rare; and the same pages are written again and again, so a longer one is hardly more work.
CHECKPOINT_PAGES = 4_000
NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "fuse", "9p", "afs", "ceph", "gluster", "lustre")


def create(path: Path) -> None:
    """Make the database file where it is missing, and bring its schema up to date."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # WAL needs shared memory between the processes that open the file, which network mounts do not have.
    mode = "delete" if on_network_mount(path) else "wal"
    with read(path) as db:
        if _journal_mode(db) != mode:
            # Of two that change it at the same time SQLite does not let the second wait: it fails at once.
            with FileLock(path.with_name(f"{path.name}.lock"), timeout=BUSY_SECONDS):
                db.conn.execute(f"PRAGMA journal_mode={mode}").fetchone()
    # Under the write lock: of two processes that start at once, the second finds the work done.
    with write(path) as db:
        migrations.apply(db)


def _journal_mode(db: sqlite_utils.Database) -> str:
    return db.conn.execute("PRAGMA journal_mode").fetchone()[0]


class _Kept(threading.local):
    """The idle connections of this thread, by the file that they are open on."""

    def __init__(self) -> None:
        self.idle: dict[Path, list[sqlite3.Connection]] = {}


_kept = _Kept()
# Files whose connections are kept, each with one that stays open. When the last one on a file is closed, SQLite tidies
# up what lies beside it, and that takes longer than most operations too.
_keeping: dict[Path, sqlite3.Connection] = {}


def keep_open(path: Path) -> None:
    """From now on keep the connections to this file for the next operation of their thread."""
    _keeping.setdefault(path, _connect(path)).execute("SELECT count(*) FROM sqlite_schema").fetchone()


def let_close(path: Path) -> None:
    """Keep connections to this file no longer."""
    connection = _keeping.pop(path, None)
    for idle in [*_kept.idle.pop(path, []), *([connection] if connection else [])]:
        idle.close()


@contextmanager
def read(path: Path, own: bool = False) -> Iterator[sqlite_utils.Database]:
    """A connection for reading; with `own`, one that nothing uses before or after, and that may attach other files."""
    keep = path in _keeping and not own
    idle = _kept.idle.setdefault(path, []) if keep else []
    connection = idle.pop() if idle else _connect(path)
    is_sound = False
    try:
        connection.execute("PRAGMA synchronous=FULL")
        yield sqlite_utils.Database(connection)
        is_sound = True
    finally:
        if keep and is_sound and not connection.in_transaction and path in _keeping:
            # A generator may end on another thread than it began on.
            _kept.idle.setdefault(path, []).append(connection)
        else:
            connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
    try:
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    except BaseException:
        connection.close()
        raise
    return connection


_writing = threading.Lock()


@contextmanager
def write(
    path: Path, durable: bool = True, attached: dict[str, Path] | None = None
) -> Iterator[sqlite_utils.Database]:
    """A connection that holds the write lock; committed at the end of the block, rolled back on any error.

    Other files are `attached` under their names; the connection is then one of its own.

    What is written with `durable` off may be lost in a power cut, and nothing else with it: it does not wait for the
    disk.
    """
    with _writing, read(path, own=bool(attached)) as db:
        for name, file in (attached or {}).items():
            db.attach(name, file)
        has_wal = not attached and _journal_mode(db) == "wal"
        if has_wal or not durable:
            db.conn.execute("PRAGMA synchronous=NORMAL")
        db.conn.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.conn.rollback()
            raise
        db.conn.commit()
    if has_wal and durable:
        _wait_for_the_disk(path.with_name(f"{path.name}-wal"))


# The files whose entry in their directory is on the disk, by their numbers.
_known_files: set[tuple[int, int]] = set()


def _wait_for_the_disk(wal: Path) -> None:
    """Return when all that was committed to this WAL before lies on the disk: here, or in the store itself."""
    try:
        descriptor = os.open(wal, os.O_RDWR)
    except FileNotFoundError:
        return  # the last connection took all of it over into the store, and waited for the disk
    try:
        os.fsync(descriptor)
        number = (os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino)
    finally:
        os.close(descriptor)
    if number not in _known_files and os.name == "posix":
        directory = os.open(wal.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        _known_files.add(number)


def on_network_mount(path: Path) -> bool:
    """Whether `path` lies on a file system that several machines may share."""
    path = path.absolute()
    mounts = [part for part in psutil.disk_partitions(all=True) if path.is_relative_to(part.mountpoint)]
    if not mounts:
        return False
    nearest = max(mounts, key=lambda part: len(part.mountpoint))
    return nearest.fstype.lower().startswith(NETWORK_FILE_SYSTEMS)
