"""What the child process says while it works: one JSON object to a line, for the parent to follow."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TextIO

# The phase in which a run trains its own model. Steps and losses are told of no other.
TRAINING = "Training"
# Within a phase it is told so often how far it is. Whoever scores hears of it ten times a second; each event is kept
# for good, and all of them are read whenever somebody looks at the run.
SECONDS_BETWEEN_NEWS = 1.0
# How fast it goes is not told by less: others that take part begin meanwhile, and what they got ready counts at once.
SECONDS_TO_JUDGE_BY = 5.0


def write_event(stream: TextIO, kind: str, **values: Any) -> None:
    """Write one event, with the time of now."""
    stream.write(json.dumps({"event": kind, "time": time.time(), **values}) + "\n")
    stream.flush()


class Reporter:
    """Writes events for the parent, and knows how much of the whole work is done: `done_before` by a child before, and
    as much as `beside` returns by other processes that work at the same time."""

    def __init__(self, stream: TextIO, total_work: float, done_before: float = 0) -> None:
        self.stream = stream
        self.total_work = max(total_work, 1)
        self.finished_work = 0.0
        self.skipped_work = done_before
        self.beside: Callable[[], float] = lambda: 0
        self.most_done = 0.0
        self.started: float | None = None
        self.recent: deque[tuple[float, float]] = deque()
        self.last_news: tuple[str, float] = ("", 0.0)

    def event(self, kind: str, **values: Any) -> None:
        """Write one event."""
        write_event(self.stream, kind, **values)

    def start_clock(self) -> None:
        """Measure the speed from now on. To load programs and models takes as long whatever there is to train, and to
        count that as slowness would make the time left far too long until half-time."""
        if self.started is None:
            self.started = time.monotonic()

    def progress(self, phase: str, work: float, **values: Any) -> None:
        """Report that `work` of this phase is done; the time left assumes the speed since half-time. What comes with
        `values`, such as a loss, is told each time, and the end of it all; the rest of a phase every
        SECONDS_BETWEEN_NEWS."""
        done = max(self.finished_work + work + self.beside(), self.skipped_work, self.most_done)
        done = self.most_done = min(done, self.total_work)
        left, (last_phase, last_time), now = self._seconds_left(done), self.last_news, time.monotonic()
        is_end = done > self.total_work * 0.9999
        if not (values or is_end) and phase == last_phase and now - last_time < SECONDS_BETWEEN_NEWS:
            return
        self.last_news = (phase, now)
        self.event("progress", phase=phase, progress=done / self.total_work, seconds_left=left, **values)

    def _seconds_left(self, done: float) -> float | None:
        if self.started is None:
            return None
        now = time.monotonic()
        self.recent.append((now, done - self.skipped_work))
        while len(self.recent) > 1 and self.recent[1][0] < (self.started + now) / 2:
            self.recent.popleft()
        seconds, worked = (last - first for first, last in zip(self.recent[0], self.recent[-1], strict=True))
        told = worked > 0 and now - self.started >= SECONDS_TO_JUDGE_BY
        return seconds * (self.total_work - done) / worked if told else None

    def finish_phase(self, work: float) -> None:
        """Count a phase as done."""
        self.finished_work += work

    def skip(self, work: float) -> None:
        """Leave work out of the speed: somebody did it before."""
        self.skipped_work += work


class PhaseReporter:
    """Reports one phase of a run, whatever goes on in it; its steps and losses are not those of the run. Only a share
    of its work was counted, where it was not sure to come."""

    def __init__(self, whole: Reporter, phase: str, share: float = 1) -> None:
        self.whole = whole
        self.phase = phase
        self.share = share
        self.finished_work = 0.0

    def event(self, kind: str, **values: Any) -> None:
        """Say nothing: it is not for the run."""

    def start_clock(self) -> None:
        """Measure the speed from now on, where that has not begun."""
        self.whole.start_clock()

    def progress(self, phase: str, work: float, **values: Any) -> None:
        """Report how much of the phase is done."""
        self.whole.progress(self.phase, self.share * (self.finished_work + work))

    def finish_phase(self, work: float) -> None:
        """Count a part of the phase as done."""
        self.finished_work += work

    def skip(self, work: float) -> None:
        """Nothing was done before: a part is trained from its beginning."""
