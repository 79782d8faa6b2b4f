"""Copies of the store in a dataset repository on the Hub, for machines that forget: Spaces without persistent storage.

The store is fetched at the start where there is none yet, and written again within a minute of every change and when
the app stops. What must never happen is that a copy is replaced by a store that lacks some of it, be it that the Hub
did not answer at the start, that another app writes to the same repository, or that the answer to an upload was lost.
So this keeps, in a file beside the store, the ids of the contents that the store includes. A copy of any other content
is first fetched and merged into the store; one that cannot be merged is left alone, and this store goes beside it until
it can be. What lies beside the main copy, be it of this store or of another, is merged in the same way, and goes as
soon as the main copy holds it. The repository is one of git: all that was ever written stays in its history.

What the repository holds is never taken for granted for long: somebody may have deleted it. Each process asks for it
once, and now and then later, also where nothing has changed here.

The Hub is asked in a process of its own (storage/hub.py). Nothing here raises into the app.
"""

from __future__ import annotations

import json
import logging
import math
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlite_utils import Database

from storage import copies, database, hub
from storage.hub import MAIN_COPY, HubFailed, content_ids

log = logging.getLogger(__name__)

LOOK_SECONDS = 60
# How long the repository is taken to be as it was.
ASK_SECONDS = 3600
# How long the Hub may be silent at the start.
ANSWER_SECONDS = 4.5
UPLOAD_SECONDS = 300
LAST_UPLOAD_SECONDS = 10
FOLDER = "backup-"
# One that is as old is of an app that was killed: no other is at work on it any more.
LEFT_OVER_SECONDS = 2 * UPLOAD_SECONDS
# Between looking at the copy that is there and replacing it, another app may be faster.
ATTEMPTS = 3
# Uploads of which it is not known whether they arrived; older ones are forgotten.
KEPT_IDS = 40


@dataclass
class Ledger:
    """What is known of the repository, kept beside the store for the next start.

    `name` is the copy that this store writes to where the main one cannot be merged, `stored` the id of what it last
    wrote, `included` the ids of the contents that this store holds all of.
    """

    repo: str
    name: str = MAIN_COPY
    stored: str = ""
    included: list[str] = field(default_factory=list)


class Backup:
    """Keeps one store and its copy in `repo` together."""

    def __init__(self, repo: str, path: Path, look_seconds: float = LOOK_SECONDS) -> None:
        """`repo` is the id of a dataset repository, `path` the database file; it is looked at every `look_seconds`."""
        self.repo = repo
        self.path = path
        self.look_seconds = look_seconds
        # What is to be said about the copies, for a person; empty when all is well.
        self.notice = ""
        # Copies that this process could not merge, and why.
        self._left: dict[str, str] = {}
        self._asked_at = -math.inf
        self._was_restored = False
        self._ledger_path = path.with_name("backup.json")
        self._stopping = threading.Event()
        self._end_at = math.inf
        self._thread: threading.Thread | None = None

    # At the start

    def restore(self) -> None:
        """Where there is no store yet, put the copy from the Hub in its place. Called before the store is opened."""
        if self.path.exists():
            return
        # It spoke of a store that is gone: the next one holds nothing of what that one held.
        self._ledger_path.unlink(missing_ok=True)
        # These are left of it too, and SQLite would apply them to the store that is put in its place.
        for suffix in ("-wal", "-shm", "-journal"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        try:
            with self._folder() as folder:
                answer = self._ask(ANSWER_SECONDS, watched=folder, do="fetch", folder=str(folder))
                if answer:
                    self._put_in_place(Path(answer["file"]), answer["name"])
                else:
                    log.info("There is no copy of the store in %s yet", self.repo)
        except (HubFailed, OSError) as error:
            self._tell(
                f"The copy of the store in {self.repo} could not be fetched, so the app started with an empty one. "
                f"Nothing there is overwritten; its labels are added here as soon as it can be read. {error}"
            )

    def _put_in_place(self, file: Path, name: str) -> None:
        ids = content_ids(file)
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())
        try:
            # Unlike renaming, this never replaces the store that another app has made here in the meantime.
            os.link(file, self.path)
        except FileExistsError:
            return
        except OSError:  # a file system without links
            if self.path.exists():
                return
            file.rename(self.path)
        self._write(Ledger(self.repo, name, ids[0], ids))
        self._was_restored = True
        log.info("The store was restored from %s in %s", name, self.repo)

    # While the app runs

    def start(self) -> None:
        """Look after changes in the background; returns at once."""
        self._thread = threading.Thread(target=self._run, name="backup", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Upload what has changed, within LAST_UPLOAD_SECONDS."""
        if self._thread:
            self._end_at = time.monotonic() + LAST_UPLOAD_SECONDS
            self._stopping.set()
            self._thread.join(LAST_UPLOAD_SECONDS + 1)

    def _run(self) -> None:
        with database.read(self.path) as db:
            uploaded = None
            # What lies beside the copy that was restored is missed here, so it is added at once.
            pause = 0 if self._was_restored else self.look_seconds
            while True:
                stopping = self._stopping.wait(pause)
                pause = self.look_seconds
                uploaded = self._look(db, uploaded)
                if stopping:
                    return

    def _look(self, db: Database, uploaded: int | None) -> int | None:
        """Upload the store unless it is as it was when it had this version; returns the version that is uploaded."""
        try:
            # Differs as soon as any other connection, of any process, has changed the file.
            version = db.conn.execute("PRAGMA data_version").fetchone()[0]
            if version == uploaded and not self._is_time_to_ask():
                return uploaded
            ledger = self._upload()
        except Exception as error:  # whatever it is, it must not end this thread: the next look tries again
            self._tell(f"The store could not be copied to {self.repo}; it is tried again every minute. {error}")
            return uploaded
        self.notice = ""
        if self._left:
            names = " and ".join(f"{name} ({why})" for name, why in self._left.items())
            self._tell(
                f"In {self.repo}, {names} could not be brought together with this store, which is kept there as "
                f"{ledger.name}. Nothing is lost: it is tried again at every start. Look at each before you delete one."
            )
        return version

    def _is_time_to_ask(self) -> bool:
        return time.monotonic() - self._asked_at > ASK_SECONDS

    def _upload(self) -> Ledger:
        ledger = self._read()
        for _ in range(ATTEMPTS):
            with self._folder() as folder:
                copy = folder / "copy"
                copies.take(self.path, copy)
                ids = content_ids(copy)
                if ids[0] == ledger.stored and not self._is_time_to_ask():
                    return ledger
                if not copies.is_sound(copy):
                    raise HubFailed(f"The database file {self.path} is damaged; the copy on the Hub is left as it is.")
                # Noted first: should the answer be lost, this copy is known again by its content.
                ledger.included = [*ledger.included[-KEPT_IDS:], *ids]
                self._write(ledger)
                name = ledger.name if MAIN_COPY in self._left else MAIN_COPY
                request = {"file": str(copy), "name": name, "known": ledger.included, "left": [*self._left]}
                unseen = self._ask(UPLOAD_SECONDS, do="push", folder=str(folder), **request)["unseen"]
                for other, path in unseen.items():
                    self._take_in(other, Path(path), ledger)
                if not unseen:
                    ledger.name, ledger.stored, ledger.included = name, ids[0], ids
                    self._asked_at = time.monotonic()
                self._write(ledger)
                if not unseen:
                    return ledger
        raise HubFailed("Others keep writing to it.")

    def _take_in(self, name: str, unseen: Path, ledger: Ledger) -> None:
        """Merge a copy that holds what this store does not; where that cannot be, leave it and write beside it."""
        ids = content_ids(unseen)
        try:
            copies.merge(self.path, unseen)
        except copies.CannotMerge as error:
            log.warning("%s in %s is left as it is: %s", name, self.repo, error)
            self._left[name] = str(error)
            if name == ledger.name:
                ledger.name = f"workbench-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}.db"
        else:
            log.info("What %s in %s held beyond this store was added to it", name, self.repo)
            self._left.pop(name, None)
            ledger.included += ids

    def _tell(self, message: str) -> None:
        self.notice = message
        log.warning(message)

    def _ask(self, seconds: float, watched: Path | None = None, **request: Any) -> dict[str, Any]:
        return hub.ask({**request, "repo": self.repo}, seconds, UPLOAD_SECONDS, lambda: self._end_at, watched)

    # Files

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """A directory beside the store, so that a file can be put in its place without being copied."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for left_over in self.path.parent.glob(f"{FOLDER}*"):
            with suppress(OSError):  # another app that uses this store was faster
                if time.time() - left_over.stat().st_mtime > LEFT_OVER_SECONDS:
                    shutil.rmtree(left_over)
        with TemporaryDirectory(prefix=FOLDER, dir=self.path.parent) as folder:
            yield Path(folder)

    def _read(self) -> Ledger:
        try:
            ledger = Ledger(**json.loads(self._ledger_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return Ledger(self.repo)
        return ledger if ledger.repo == self.repo else Ledger(self.repo)

    def _write(self, ledger: Ledger) -> None:
        new = self._ledger_path.with_suffix(".new")
        new.write_text(json.dumps(asdict(ledger)), encoding="utf-8")
        new.replace(self._ledger_path)
