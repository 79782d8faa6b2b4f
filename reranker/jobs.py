"""Training runs: start, follow, cancel, and find again after a restart.

The parent writes a run directory, starts the child (`train.py`) in a session of its own and follows the file that the
child's events go to. The child outlives a crash of the app: the next start finds it by its process id and goes on
following. A run's state in the store is only ever what its files say.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TextIO

import psutil

from errors import Conflict, InvalidInput, WorkbenchError
from reranker import process as child
from reranker.card import add_results
from reranker.dataset import (
    SPLITS,
    LabelledPair,
    PlacedQuery,
    TrainingSets,
    assign_splits,
    groups_of,
    make_sets,
    place_queries,
    read_pairs,
    write_pairs,
)
from reranker.gate import decide, figures
from reranker.recipe import TrainingConfig
from reranker.registry import ModelRegistry
from reranker.results import RunResults, how_made, read_results
from storage.label_store import LabelStore, now
from storage.model_store import ModelStore
from storage.records import ModelVersion, TrainingRun

log = logging.getLogger(__name__)

PROJECT_DIR = Path(__file__).parent.parent
POLL_SECONDS = 0.2
SECONDS_TO_STOP = 5
LOG_LINES = 200
CANCELLED = "Cancelled before it was done."
# What of an event describes the state of its run.
STATE = ("phase", "progress", "seconds_left", "step", "total_steps", "loss", "note")


class TrainingJobs:
    """Starts training runs, one at a time, and brings what they make into the registry."""

    def __init__(self, runs_dir: Path, models: ModelStore, labels: LabelStore, registry: ModelRegistry) -> None:
        self.runs_dir = runs_dir
        self.models = models
        self.labels = labels
        self.registry = registry
        self._processes: dict[str, psutil.Process] = {}
        self._cancelled: set[str] = set()
        # Runs whose model is being put in place: too late to cancel. The lock makes the two exclude each other.
        self._in_place: set[str] = set()
        self._deciding = threading.Lock()
        self._followers: list[threading.Thread] = []

    # What there is to learn from

    def sets(self) -> TrainingSets:
        """The labels as they would be trained on and measured with now; decides nothing for good."""
        return self._sets_and_new_splits()[0]

    def placed_queries(self) -> list[PlacedQuery]:
        """The labelled queries with the set that each is in, or will be in with the next run, and why."""
        return place_queries(self._labelled(), self.labels.splits())

    def _labelled(self) -> list[LabelledPair]:
        return [LabelledPair(row.query_id, row.query, row.passage, row.label) for row in self.labels.consensus()]

    def _sets_and_new_splits(self) -> tuple[TrainingSets, dict[str, str]]:
        pairs, known = self._labelled(), self.labels.splits()
        new = assign_splits({pair.query_id: pair.query for pair in pairs}, known, groups_of(pairs))
        return make_sets(pairs, known | new), new

    # Starting and stopping

    def start(self, config: TrainingConfig) -> TrainingRun:
        """Start a run and return it at once.

        Raises InvalidInput when the labels do not allow it or the base is unknown, Conflict while another is under way.
        """
        sets, new_splits = self._sets_and_new_splits()
        if problem := sets.why_not_trainable():
            raise InvalidInput(problem)
        return self._launch(config, sets, new_splits)

    def make_again(self, name: str) -> TrainingRun:
        """Start a run with the labels and the configuration that a version was made with, and return it at once.

        What it makes is a new version, which is not promoted. Raises NotFound for an unknown version, Conflict when
        what it was made from is no longer there, or while another run is under way.
        """
        version = self.models.version(name)
        if version.run_id is None:
            raise Conflict(f"{name} was not trained here, so it cannot be made again.")
        run_dir = self.runs_dir / version.run_id
        try:
            sets = TrainingSets(**{split: read_pairs(run_dir / f"{split}.jsonl") for split in SPLITS})
        except OSError as error:
            raise Conflict(f"The labels that {name} was made from are no longer on this disk.") from error
        kept = {field.name for field in fields(TrainingConfig)}
        config = {key: value for key, value in self.models.run(version.run_id).config.items() if key in kept}
        try:
            return self._launch(replace(TrainingConfig(**config), promote="never"), sets, {})
        except InvalidInput as error:  # the base was deleted
            raise Conflict(str(error)) from error

    def _launch(self, config: TrainingConfig, sets: TrainingSets, new_splits: dict[str, str]) -> TrainingRun:
        base = self.registry.check_base(config.base)
        config = replace(config, base=base.version)
        run = TrainingRun(uuid.uuid4().hex[:12], "queued", asdict(config), now())
        self.models.add_run(run)
        try:
            self.labels.assign_splits(new_splits)
            self._write_run_dir(run, base, sets)
            process = self._spawn(run)
        except BaseException as error:
            self.models.update_run(run.id, status="failed", error=f"The run could not be started: {error}")
            raise
        run = self.models.update_run(
            run.id,
            status="running",
            phase="Starting the training process",
            pid=process.pid,
            pid_started=process.create_time(),
        )
        self._follow_in_background(run.id, process)
        return run

    def cancel(self, run_id: str) -> TrainingRun:
        """Ask a run to stop. Raises NotFound, or Conflict when it has ended already."""
        run = self.models.run(run_id)
        process = self._processes.get(run_id)
        if not run.under_way or process is None:
            raise Conflict(f"This run has ended already: it is {run.status}.")
        with self._deciding:
            if run_id in self._in_place:
                raise Conflict("This run is done already; its model is being put in place.")
            # Noted down first: should the app be killed now, the next start knows that the run did not fail.
            run = self.models.update_run(run_id, outcome=CANCELLED)
            self._cancelled.add(run_id)
        child.send(process, signal.SIGTERM)
        return run

    def current(self) -> TrainingRun | None:
        """The run under way, or None."""
        return next((run for run in self.models.runs(limit=1) if run.under_way), None)

    def recover(self) -> None:
        """Look after the runs that an earlier process of the app left under way, in the background."""
        for run in self.models.runs():
            if run.under_way:
                process = child.find(run)
                log.info("Training run %s was under way; its process is %s", run.id, "alive" if process else "gone")
                if process:
                    self.models.update_run(run.id, note="The app was started anew meanwhile; this run went on.")
                self._follow_in_background(run.id, process)

    def shut_down(self) -> None:
        """Stop the runs under way, and wait until the store says so. For a stop that somebody asked for."""
        for process in list(self._processes.values()):
            child.send(process, signal.SIGTERM)
        for follower in self._followers:
            follower.join(SECONDS_TO_STOP + 5)

    def results(self, run_id: str) -> RunResults | None:
        """What a run did to each query, and the labels that look doubtful; None until it has finished."""
        return read_results(self.runs_dir / run_id)

    def how_made(self, run: TrainingRun) -> dict[str, str]:
        """What a version was made from and on, in words, for a person."""
        return how_made(run, self.runs_dir / run.id)

    def log_tail(self, run_id: str, lines: int = LOG_LINES) -> str:
        """The last lines of what the child wrote to its log."""
        path = self.runs_dir / run_id / "log.txt"
        if not path.is_file():
            return ""
        # A progress bar redraws its line with carriage returns; what counts is its last state.
        text = path.read_text(errors="replace")
        return "\n".join(line.split("\r")[-1] for line in text.split("\n")[-lines:])

    # The child

    def _write_run_dir(self, run: TrainingRun, base: ModelVersion, sets: TrainingSets) -> None:
        run_dir = self.runs_dir / run.id
        run_dir.mkdir(parents=True)
        champion, root = self.registry.active().version, self.registry.root(base)
        config = {
            **run.config,
            "base_path": str(self.registry.directory(base)),
            "base_name": root.name,
            "base_on_hub": root.source == "hub",
            "champion": champion.version,
            "champion_path": str(self.registry.directory(champion)),
        }
        (run_dir / "config.json").write_text(json.dumps(config, indent=1))
        for split in ("train", "dev", "test"):
            write_pairs(run_dir / f"{split}.jsonl", getattr(sets, split))

    def _spawn(self, run: TrainingRun) -> psutil.Popen:
        run_dir = self.runs_dir / run.id
        # Everything the child needs is on this disk; it must not look for it elsewhere.
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        with (run_dir / "events.jsonl").open("wb") as events, (run_dir / "log.txt").open("wb") as logfile:
            return psutil.Popen(
                [sys.executable, "-m", "reranker.train", str(run_dir.absolute())],
                cwd=PROJECT_DIR,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=events,
                stderr=logfile,
                start_new_session=True,
            )

    def _follow_in_background(self, run_id: str, process: psutil.Process | None) -> None:
        if process is not None:
            self._processes[run_id] = process
        follower = threading.Thread(target=self._follow, args=(run_id, process), name=f"run-{run_id}", daemon=True)
        self._followers.append(follower)
        follower.start()

    def _follow(self, run_id: str, process: psutil.Process | None) -> None:
        """Take in what the child reports until it has ended, then its result. None stands for one that is gone."""
        try:
            path = self.runs_dir / run_id / "events.jsonl"
            if path.is_file():
                with path.open(encoding="utf-8") as events:
                    self._skip_known(run_id, events)
                    self._take_until_ended(run_id, process, events)
            self._end(run_id, child.how_it_ended(process))
        except Exception as error:
            log.exception("Following run %s failed", run_id)
            self.models.update_run(run_id, status="failed", error=f"The app lost this run: {error}", finished_at=now())
        finally:
            self._processes.pop(run_id, None)

    def _take_until_ended(self, run_id: str, process: psutil.Process | None, events: TextIO) -> None:
        kill_at, most_memory = None, self.models.run(run_id).memory or 0
        while process is not None and child.is_alive(process):
            most_memory = max(most_memory, child.memory(process))
            self._take(run_id, events, most_memory)
            if run_id in self._cancelled:
                kill_at = kill_at or time.monotonic() + SECONDS_TO_STOP
                if time.monotonic() > kill_at:
                    child.send(process, signal.SIGKILL)
            time.sleep(POLL_SECONDS)
        self._take(run_id, events, most_memory)

    def _skip_known(self, run_id: str, events: TextIO) -> None:
        """Skip the events that the store has already, from before the app was restarted."""
        for _ in self.models.events(run_id):
            events.readline()

    def _take(self, run_id: str, events: TextIO, memory: int) -> None:
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
            state: dict[str, Any] = {"memory": memory or None}
            for event in new:
                state |= {name: event[name] for name in STATE if event.get(name) is not None}
                if event["event"] == "error":
                    state["error"] = event["message"]
            self.models.add_events(run_id, new)
            self.models.update_run(run_id, **state)

    # The end of a run

    def _end(self, run_id: str, how: str) -> None:
        run = self.models.run(run_id)
        manifest_path = self.runs_dir / run_id / "manifest.json"
        if manifest_path.is_file():
            self._keep(run, json.loads(manifest_path.read_text()))
            return
        shutil.rmtree(self.runs_dir / run_id / "model", ignore_errors=True)
        if run.outcome == CANCELLED:
            self.models.update_run(run_id, status="cancelled", phase="Cancelled", seconds_left=None, finished_at=now())
        else:
            self.models.update_run(
                run_id, status="failed", phase="Failed", seconds_left=None, error=run.error or how, finished_at=now()
            )

    def _keep(self, run: TrainingRun, manifest: dict[str, Any]) -> None:
        """Make the model of a finished run a version, and promote it as the run was told to.

        Each step may be done again: after a crash in the middle the next start repeats it.
        """
        self.models.update_run(run.id, phase="Loading the new model")
        version = self._version_of(run, manifest)
        metrics = {who: figures(manifest[who]) for who in ("champion", "challenger")}
        champion = json.loads((self.runs_dir / run.id / "config.json").read_text())["champion"]
        for who, name in (("champion", champion), ("challenger", version.version)):
            for split, result in manifest[who].items():
                self.models.add_evaluation(run.id, name, split, result["metrics"], result["per_query"])
        promote, outcome = decide(
            run.config["promote"], *(manifest["comparison"].get(name) for name in ("dev", "general"))
        )
        with self._deciding:
            if self.models.run(run.id).outcome == CANCELLED:
                promote, outcome = (
                    False,
                    f"Cancelled when it was done already: {version.version} is kept, not promoted.",
                )
            self._in_place.add(run.id)
        if promote:
            try:
                self.registry.promote(version.version, f"training run {run.id}")
            except WorkbenchError as error:
                promote, outcome = False, f"It could not be promoted: {error}"
        note = self.models.run(run.id).note
        if gone := self.registry.make_room():
            note = f"{note or ''} To make room, {' and '.join(gone)} had to go.".strip()
        self.models.update_run(
            run.id,
            status="succeeded",
            phase="Finished",
            progress=1.0,
            seconds_left=None,
            metrics=metrics,
            outcome=outcome,
            model_version=version.version,
            promoted=promote,
            note=note,
            finished_at=now(),
        )

    def _version_of(self, run: TrainingRun, manifest: dict[str, Any]) -> ModelVersion:
        """Make the run's model a version: choose its name, move it to its place, note it down, in this order.

        The name is stored first, so that whoever repeats this after a crash knows which directory is this run's.
        """
        name = run.model_version or self.registry.next_name()
        self.models.update_run(run.id, model_version=name)
        made, place = self.runs_dir / run.id / "model", self.registry.models_dir / name
        if made.is_dir():
            place.parent.mkdir(parents=True, exist_ok=True)
            made.rename(place)
        base = self.models.version(run.config["base"], deleted=True)
        full_name = f"{self.registry.root(base).name.split('/')[-1]}-{name}"
        add_results(place / "README.md", full_name, manifest)
        version = ModelVersion(
            version=name,
            name=full_name,
            source="trained",
            location=None,
            base=base.version,
            run_id=run.id,
            labels=manifest["labels"],
            metrics=figures(manifest["challenger"]),
            created_at=now(),
        )
        self.models.add_version(version)
        return version
