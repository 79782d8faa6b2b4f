"""Following the child of a training run: what it reports goes into the store, and can be drawn from there."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any, TextIO

import psutil

from reranker import process as child
from reranker.run_files import RunFiles
from storage.model_store import ModelStore

POLL_SECONDS = 0.2
# What of an event describes the state of its run.
STATE = ("phase", "progress", "seconds_left", "step", "total_steps", "loss", "note")


class Follower:
    """Takes what the child of one run writes to its events into the store."""

    def __init__(self, models: ModelStore, run_id: str, files: RunFiles) -> None:
        self.models = models
        self.run_id = run_id
        self.path = files.events
        # The memory of what follows a job on the Hub says nothing about the training.
        self.on_hub = files.job.is_file()
        self.most_memory = models.run(run_id).memory or 0

    def follow(self, process: psutil.Process | None) -> None:
        """Go on until the process has ended and all is taken in. None stands for one that is gone."""
        if not self.path.is_file():
            return
        with self.path.open(encoding="utf-8") as events:
            # What the store has already is from before the app was started anew, or the run was resumed.
            for _ in self.models.events(self.run_id):
                events.readline()
            while process is not None and child.is_alive(process):
                if not self.on_hub:
                    self.most_memory = max(self.most_memory, child.memory(process))
                self._take(events)
                time.sleep(POLL_SECONDS)
            self._take(events)

    def _take(self, events: TextIO) -> None:
        """Bring the events that were written since into the store; a line that is not whole yet stays for later."""
        new = []
        while True:
            position = events.tell()
            line = events.readline()
            if not line.endswith("\n"):
                events.seek(position)
                break
            new.append(json.loads(line))
        if new:
            state: dict[str, Any] = {"memory": self.most_memory or None}
            for event in new:
                state |= {name: event[name] for name in STATE if event.get(name) is not None}
                if event["event"] == "error":
                    state["error"] = event["message"]
            self.models.add_events(self.run_id, new)
            self.models.update_run(self.run_id, **state)


@dataclass(frozen=True)
class Curves:
    """What was seen at the steps of a training: (step, loss), and (step, nDCG@10 on the dev set)."""

    loss: list[tuple[int, float]] = field(default_factory=list)
    dev: list[tuple[int, float]] = field(default_factory=list)


def curves_of(events: list[dict[str, Any]]) -> Curves:
    """The curves in these events. A run that was resumed has done some steps twice; the later word counts."""
    loss: dict[int, float] = {}
    dev: dict[int, float] = {}
    for event in events:
        if "step" in event:
            for curve, name in ((loss, "loss"), (dev, "dev")):
                if event.get(name) is not None:
                    curve[event["step"]] = event[name]
    return Curves(sorted(loss.items()), sorted(dev.items()))
