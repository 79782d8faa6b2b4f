"""One queue for everybody who wants scores.

A single thread scores, so that requests do not fight for the processor, and it works in turns: a turn takes pairs from
the requests that wait, the one that has waited longest first, each its share, and scores them together. So requests
that wait at the same time share their batches, a small request is answered after the turn it comes into, and a huge
one, which goes to the end of the line after each of its shares, holds nobody up.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import wait as wait_for
from contextlib import suppress

import numpy as np

from reranker.engine import Engine
from reranker.tokens import EncodedPair, padded_length

log = logging.getLogger(__name__)

# Of what a turn holds, the share that one request gets before the next in line gets some.
SHARES_IN_A_TURN = 4
# What is longer than a whole turn has one for itself.
LONGEST = sys.maxsize


class Cancelled(Exception):  # noqa: N818 - it is no error
    """The scores were not wanted any more."""


class ScoringJob:
    """The pairs of one request and, as they come in, their scores."""

    def __init__(self, engine: Engine, pairs: Sequence[EncodedPair]) -> None:
        self.engine = engine
        self.pairs = pairs
        self.scores = np.zeros(len(pairs), np.float32)
        self.scored = np.zeros(len(pairs), bool)
        self.done = 0
        # Places of the pairs that no turn has taken yet, longest first: taken from the end, they come by length.
        self.waiting = sorted(range(len(pairs)), key=lambda place: -len(pairs[place].ids))
        self.cancelled = False
        self._error: Exception | None = None
        self._ended: Future[None] = Future()
        if not pairs:
            self._end()

    def cancel(self) -> None:
        """Give up what is not scored yet; of a job that has ended, nothing. A turn under way is still finished."""
        if not self._ended.done():
            self.cancelled = True
            self._end()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until all pairs are scored, or that long; returns whether there is nothing left to wait for."""
        wait_for([self._ended], seconds)
        return self._ended.done()

    def when_ended(self, call: Callable[[], object]) -> None:
        """Have `call` called, in whichever thread, once there is nothing left to wait for; now, where that is so."""
        self._ended.add_done_callback(lambda _: call())

    def result(self) -> np.ndarray:
        """The (N,) float32 scores; waits for them. Raises what went wrong while scoring, or Cancelled."""
        self.wait()
        if self._error is not None:
            raise self._error
        if self.cancelled:
            raise Cancelled
        return self.scores

    # For the queue

    def take(self, share: int, left: int) -> list[int]:
        """The next places to score, as many as fit into a share of so many tokens with their padding.

        A pair that is longer than the share is one all the same, if it fits into what is `left` of the turn.
        """
        taken: list[int] = []
        while self.waiting:
            length = padded_length(self.pairs[self.waiting[-1]])
            if length > (share if taken else left):
                break
            taken.append(self.waiting.pop())
            share -= length
            left -= length
        return taken

    def put(self, places: Sequence[int], scores: np.ndarray) -> None:
        """Take in the scores of these places."""
        self.scores[places] = scores
        self.scored[places] = True
        self.done += len(places)
        if self.done == len(self.pairs):
            self._end()

    def fail(self, error: Exception) -> None:
        """End this job with an error."""
        self._error = error
        self.waiting.clear()
        self._end()

    def _end(self) -> None:
        with suppress(InvalidStateError):  # whoever cancels it was faster than its last score, or the other way round
            self._ended.set_result(None)


class ScoringQueue:
    """Scores the pairs of all requests in one thread, which starts with the first of them."""

    def __init__(self) -> None:
        self._jobs: deque[ScoringJob] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def submit(self, engine: Engine, pairs: Sequence[EncodedPair]) -> ScoringJob:
        """Put pairs in line to be scored by `engine`; returns at once."""
        job = ScoringJob(engine, pairs)
        with self._changed:
            if pairs:
                self._jobs.append(job)
                self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="scoring", daemon=True)
                self._thread.start()
        return job

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (turn := self._next_turn()):
                    self._changed.wait()
            self._score(turn)

    def _next_turn(self) -> list[tuple[ScoringJob, list[int]]]:
        """What to score next, from the jobs in line that use the same engine as the first. Empty when none waits."""
        self._jobs = deque(job for job in self._jobs if job.waiting and not job.cancelled)
        if not self._jobs:
            return []
        engine = self._jobs[0].engine
        left, share = engine.turn_tokens, engine.turn_tokens // SHARES_IN_A_TURN
        turn: list[tuple[ScoringJob, list[int]]] = []
        while job := next((job for job in self._jobs if job.engine is engine), None):
            places = job.take(min(share, left), left if turn else LONGEST)
            if not places:
                break
            left -= sum(padded_length(job.pairs[place]) for place in places)
            turn.append((job, places))
            self._jobs.remove(job)
            if job.waiting:
                self._jobs.append(job)
        return turn

    def _score(self, turn: list[tuple[ScoringJob, list[int]]]) -> None:
        try:
            scores = turn[0][0].engine.score([job.pairs[place] for job, places in turn for place in places])
        except Exception as error:
            log.exception("Scoring failed")
            for job, _ in turn:
                job.fail(error)
            return
        start = 0
        for job, places in turn:
            job.put(places, scores[start : start + len(places)])
            start += len(places)
