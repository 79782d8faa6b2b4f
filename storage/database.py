"""Opening the SQLite file, and the one way to write to it.

Every operation opens its own connection, so threads never share one. A write takes the lock at its start
(BEGIN IMMEDIATE): two writers wait for each other up to BUSY_SECONDS instead of one failing half way.
`synchronous=FULL` makes a commit durable before the call returns, also across a power cut.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import sqlite_utils

from storage.migrations import migrations

BUSY_SECONDS = 30
NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "fuse", "9p", "afs", "ceph", "gluster", "lustre")


def create(path: Path) -> None:
    """Make the database file where it is missing, and bring its schema up to date."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with read(path) as db:
        # WAL needs shared memory between the processes that open the file, which network mounts do not have.
        mode = "delete" if on_network_mount(path) else "wal"
        db.conn.execute(f"PRAGMA journal_mode={mode}").fetchone()
    # Under the write lock: of two processes that start at once, the second finds the work done.
    with write(path) as db:
        migrations.apply(db)


@contextmanager
def read(path: Path) -> Iterator[sqlite_utils.Database]:
    """A connection for reading; closed at the end of the block."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
    try:
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=FULL")
        yield sqlite_utils.Database(connection)
    finally:
        connection.close()


@contextmanager
def write(path: Path) -> Iterator[sqlite_utils.Database]:
    """A connection that holds the write lock; committed at the end of the block, rolled back on any error."""
    with read(path) as db:
        db.conn.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.conn.rollback()
            raise
        db.conn.commit()


def on_network_mount(path: Path) -> bool:
    """Whether `path` lies on a file system that several machines may share."""
    path = path.absolute()
    mounts = [part for part in psutil.disk_partitions(all=True) if path.is_relative_to(part.mountpoint)]
    if not mounts:
        return False
    nearest = max(mounts, key=lambda part: len(part.mountpoint))
    return nearest.fstype.lower().startswith(NETWORK_FILE_SYSTEMS)
