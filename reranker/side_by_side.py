"""Several trainings of one run at the same time, each in a process of its own with its part of the cores.

A step works through a few hundred tokens at a time, and cores that share so little wait for each other for much of it;
where anything else wants one of them, they do for most of it. A training to a core gets more done (see
benchmarks/README.md). So where a run trains several models on processors, it has processes beside it that take one
training after the other, and takes part itself when it has trained its own.

What a process has done is in its files. What one leaves undone because it ended before its time, the run does itself:
so nothing here needs to know why it ended.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import psutil

from reranker.dataset import JudgedQuery, LabelledPair
from reranker.reporter import PhaseReporter, Reporter
from reranker.run_files import RunFiles
from reranker.training import part_work, processes, train_part

SECONDS_BETWEEN_LOOKS = 0.2
# To take a part is to count up by one.
SECONDS_TO_TAKE = 10
# What a training takes beside the weights, their gradients and AdamW's two moments, in bytes: the libraries, and what a
# step keeps for its way back.
BESIDE_WEIGHTS = 1.5e9
# The share of the memory that trainings side by side may take: the app has its own model there.
MEMORY_SHARE = 0.5
# Where a container is told how much memory it may have: cgroups of the second and of the first version.
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Part:
    """A training beside a run's own: how, on which pairs, where, and what says when to stop early."""

    config: dict[str, Any]
    pairs: list[LabelledPair]
    files: RunFiles
    dev: list[JudgedQuery]

    @property
    def work(self) -> float:
        """The cost of it, in pairs that are scored."""
        return part_work(self.config, self.pairs, self.dev)

    @property
    def is_done(self) -> bool:
        """Whether it came to its end; what was also measured may have put its model away."""
        return self.files.manifest.is_file() or self.files.is_whole()

    def train(self, reporter: PhaseReporter | PartReporter) -> None:
        """Train it, from beginning to end."""
        train_part(self.config, self.pairs, self.files, reporter, self.dev)


def how_many(trainings: int, model: Path) -> int:
    """How many of a run's trainings of this model go on at the same time: one for each core, as far as there is memory.

    The same for a run each time on a machine, since so many threads as a training has decide how its sums are rounded.
    """
    import torch

    if torch.accelerator.is_available() or processes() > 1 or not can_share():
        return 1
    weights = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    by_memory = MEMORY_SHARE * memory_limit() / (4 * weights + BESIDE_WEIGHTS)
    return max(1, min(torch.get_num_threads(), trainings, int(by_memory)))


def can_share() -> bool:
    """Whether processes can share a lock here; some places that run no more than one program do not have them."""
    try:
        multiprocessing.get_context("spawn").Lock()
    except (ImportError, OSError):
        return False
    return True


def memory_limit() -> int:
    """The bytes of memory that this machine has, or that this container may have."""
    told = [path.read_text().strip() for path in MEMORY_LIMITS if path.is_file()]
    return min([psutil.virtual_memory().total, *(int(limit) for limit in told if limit.isdigit())])


@contextmanager
def side_by_side(parts: Sequence[Part], model: Path) -> Iterator[Crew]:
    """Train these parts, as far as that is not done, beside whatever goes on within this context; at its end what is
    not done is let go."""
    import torch

    threads = torch.get_num_threads()
    count = how_many(1 + len(parts), model)
    crew = Crew([part for part in parts if not part.is_done], count, threads // count)
    torch.set_num_threads(threads // count)
    try:
        crew.start()
        yield crew
    finally:
        crew.end()
        torch.set_num_threads(threads)


@dataclass
class Crew:
    """The processes that train parts: `count` of them with this one, which has its own training first."""

    parts: list[Part]
    count: int
    threads: int
    queue: Queue | None = None
    workers: list[SpawnProcess] = field(default_factory=list)

    def start(self) -> None:
        """Start the other processes, where there are to be any."""
        others = min(self.count - 1, len(self.parts))
        if not others:
            return
        # A process that begins anew takes what it needs with it, and that is possible on every system.
        spawn = multiprocessing.get_context("spawn")
        taken, done = spawn.Value(ctypes.c_int), spawn.Array(ctypes.c_double, len(self.parts), lock=False)
        self.queue = Queue(self.parts, taken, done)
        for _ in range(others):
            worker = spawn.Process(target=_work, args=(self.queue, self.threads), daemon=True)
            worker.start()
            self.workers.append(worker)

    def work_done(self) -> float:
        """How much of the parts is done by all, in pairs that are scored."""
        return sum(self.queue.done) if self.queue else 0

    def work_through(self, reporter: Reporter, phase: str) -> None:
        """Take part until all parts are taken, wait for the others, and do what one of them has left undone. With one
        process, nothing is done here."""
        if not self.queue:
            return

        def tell() -> None:
            done = sum(part.is_done for part in self.parts)
            reporter.progress(f"{phase}: {done} of {len(self.parts)} trainings done", 0)

        self.queue.work_through(tell)
        while any(worker.is_alive() for worker in self.workers):
            tell()
            time.sleep(SECONDS_BETWEEN_LOOKS)
        # Here, where a training has the threads that it was to have.
        for number, part in enumerate(self.parts):
            if not part.is_done:
                self.queue.train(number, tell)

    def end(self) -> None:
        """End the other processes, whatever they do."""
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.join()


@dataclass
class Queue:
    """Parts that several processes take from: how many are taken, and how much of each is done, in shared memory."""

    parts: list[Part]
    taken: Any
    done: Any

    def work_through(self, tell: Callable[[], None] = lambda: None) -> None:
        """Train one part after the other that nobody has taken; `tell` is called whenever more is done."""
        while (number := self._take()) < len(self.parts):
            self.train(number, tell)

    def train(self, number: int, tell: Callable[[], None]) -> None:
        """Train a part, unless the run is asked to stop."""
        if not self.parts[number].files.stop.is_file():
            self.parts[number].train(PartReporter(self, number, tell))

    def _take(self) -> int:
        """The number of the next part; that of none where a process was killed while it took one, and holds the lock:
        what nobody can take any more is left for the end."""
        lock = self.taken.get_lock()
        if not lock.acquire(timeout=SECONDS_TO_TAKE):
            return len(self.parts)
        try:
            self.taken.value += 1
            return self.taken.value - 1
        finally:
            lock.release()


@dataclass
class PartReporter:
    """Notes down how much of a part is done, where all processes see it."""

    queue: Queue
    number: int
    tell: Callable[[], None]
    finished_work: float = 0

    def event(self, kind: str, **values: Any) -> None:
        """Say nothing: it is not for the run."""

    def start_clock(self) -> None:
        """Nothing to do: the run's own training starts it."""

    def progress(self, phase: str, work: float, **values: Any) -> None:
        """Note down how much of the part is done."""
        self.queue.done[self.number] = self.finished_work + work
        self.tell()

    def finish_phase(self, work: float) -> None:
        """Count a phase as done."""
        self.finished_work += work
        self.progress("", 0)

    def skip(self, work: float) -> None:
        """Nothing to do: a part is trained from its beginning."""


def _work(queue: Queue, threads: int) -> None:
    """What a process beside the run does."""
    import torch

    threading.Thread(target=_end_with_run, daemon=True).start()
    torch.set_num_threads(threads)
    queue.work_through()


def _end_with_run() -> None:
    """End this process when the run that it belongs to is gone, even by a kill."""
    run = multiprocessing.parent_process()
    if run:
        run.join()
        os._exit(1)
