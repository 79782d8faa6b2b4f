"""Scores the candidates with the champion, behind everything else, so that the queue knows what the model is unsure of.

It works in small batches and rests longer than it works; nobody waits for it. When another version is promoted it
begins anew with that one, and the scores of the version before are kept to compare the two.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from storage.score_store import ScoreStore

log = logging.getLogger(__name__)

Score = Callable[[Sequence[tuple[str, str]]], list[float]]

BATCH = 16
LOOK = 1_000
# For each second of work, this many of rest.
REST = 2.0
IDLE_SECONDS = 3.0
SECONDS_AFTER_AN_ERROR = 60.0
FORGOTTEN_AT_ONCE = 2_000
NICENESS = 10


class Scorer:
    """A thread that keeps the scores of the candidates complete."""

    def __init__(
        self, store: ScoreStore, champion: Callable[[], tuple[str, Score] | None], idle_seconds: float = IDLE_SECONDS
    ) -> None:
        """`champion` gives the version that answers now and the function that scores (query, passage) pairs with it,
        as logits; None while no model is there."""
        self.store = store
        self.champion = champion
        self.idle_seconds = idle_seconds
        self._versions: tuple[str, ...] = ()
        self._after = 0
        self._numbers: object = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def versions(self) -> tuple[str, ...]:
        """The champion whose scores are stored, and the version that it is compared with where there is one."""
        return self._versions

    def start(self) -> None:
        """Score in the background; returns at once."""
        self._thread = threading.Thread(target=self._run, name="score-candidates", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the batch that is under way."""
        self._stopping.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        _be_nice()
        pause = 0.0
        while not self._stopping.wait(pause):
            try:
                pause = self.idle_seconds if self.step() == 0 else 0.0
            except Exception:
                log.exception("The candidates could not be scored; it is tried again")
                pause = SECONDS_AFTER_AN_ERROR

    def step(self) -> int:
        """Score the next candidates that have no score yet; returns how many were looked at, 0 when all is done."""
        champion = self.champion()
        if champion is None:
            return 0
        version, score = champion
        if not self._versions or self._versions[0] != version:
            self._begin(version)
        if (numbers := self.store.numbers_given_anew()) != self._numbers:
            # What came since may be among those that were looked at; what has a score is passed over quickly.
            self._numbers, self._after = numbers, 0
        rows, after = self.store.not_scored(version, self._after, LOOK)
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            began = time.monotonic()
            scores = score([(query, passage) for _, _, query, _, passage in batch])
            keys = [(query_id, passage_id) for _, query_id, _, passage_id, _ in batch]
            self.store.save_scores(version, [(*key, value) for key, value in zip(keys, scores, strict=True)])
            self._after = batch[-1][0]
            if self._stopping.wait(REST * (time.monotonic() - began)) or self._is_replaced(version):
                return len(rows)
        looked_at, self._after = after - self._after, after
        return len(rows) or looked_at

    def _is_replaced(self, version: str) -> bool:
        champion = self.champion()
        return champion is None or champion[0] != version

    def _begin(self, version: str) -> None:
        """Turn to another champion; the one before it is kept to compare with, and all others are forgotten."""
        known = [name for name in self.store.scored_versions() if name != version]
        before = next((name for name in self._versions if name in known), known[-1] if known else None)
        for name in known:
            while name != before and self.store.forget_scores(name, FORGOTTEN_AT_ONCE):
                pass
        self._versions = (version, before) if before else (version,)
        self._after = 0


def _be_nice() -> None:
    """Let everything else go first, where the system can do that for one thread."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    except (AttributeError, OSError):
        log.debug("The priority of a thread cannot be set here")
