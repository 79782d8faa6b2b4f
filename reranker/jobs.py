"""Training runs: start, cancel, resume, and find again after a restart.

The parent writes a run directory, starts the child (`train.py`) in a session of its own and follows the file that the
child's events go to (`follow.py`). The child outlives a crash of the app: the next start finds it by its process id and
goes on following. A run's state in the store is only ever what its files say; one whose child was killed goes on from
them when somebody asks for that.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil

from errors import Conflict, InvalidInput, NotFound, WorkbenchError, first_line
from reranker import process as child
from reranker.dataset import SPLITS, LabelledPair
from reranker.finish import keep
from reranker.follow import Follower
from reranker.label_sets import LabelSets
from reranker.launch import Launch
from reranker.learned import leave_out, queries_learned
from reranker.losses import why_not
from reranker.recipe import TrainingConfig
from reranker.registry import ModelRegistry
from reranker.run_files import RunFiles, read_json, remove_what_never_began, write_json
from storage.model_store import ModelStore
from storage.records import ModelVersion, TrainingRun, now

log = logging.getLogger(__name__)

SECONDS_TO_STOP = 5
SECONDS_BETWEEN_TRIES = 2
CANCELLED = "Cancelled before it was done."
# Of so many runs that were broken off, the latest, the checkpoints are kept.
KEPT_INTERRUPTED = 2


class TrainingJobs:
    """Starts training runs, one at a time, and brings what they make into the registry."""

    def __init__(
        self,
        runs_dir: Path,
        models: ModelStore,
        label_sets: LabelSets,
        registry: ModelRegistry,
        checkpoint_seconds: float = 15,
        launch: Launch = Launch(),  # noqa: B008 - frozen
    ) -> None:
        """A run under way is saved every `checkpoint_seconds`, so that it can go on from there; `launch` starts it."""
        self.runs_dir = runs_dir
        self.models = models
        self.label_sets = label_sets
        self.labels = label_sets.labels
        self.registry = registry
        self.checkpoint_seconds = checkpoint_seconds
        self.launch = launch
        self._processes: dict[str, psutil.Process] = {}
        # Runs whose model is being put in place: too late to cancel. The lock makes the two exclude each other.
        self._in_place: set[str] = set()
        self._deciding = threading.Lock()
        self._followers: list[threading.Thread] = []
        self._shutting_down = False

    def files(self, run_id: str) -> RunFiles:
        """The files of a run."""
        return RunFiles(self.runs_dir / run_id)

    # Starting

    def start(self, config: TrainingConfig) -> TrainingRun:
        """Start a run and return it at once.

        Raises InvalidInput when the labels do not allow it or the base is unknown, Conflict while another is under way.
        """
        sets, new_splits = self.label_sets.sets_and_new_splits(config.assume_not_relevant)
        if problem := sets.why_not_trainable() or (config.loss and why_not(config.loss, sets.train)):
            raise InvalidInput(problem)
        return self._launch(config, {split: getattr(sets, split) for split in SPLITS}, new_splits)

    def make_again(self, name: str) -> TrainingRun:
        """Start a run with the labels and the configuration that a version was made with, and return it at once.

        What it makes is a new version, which is not promoted. Raises NotFound for an unknown version, Conflict when
        what it was made from is no longer there, or while another run is under way.
        """
        version = self.models.version(name)
        if version.run_id is None:
            raise Conflict(f"{name} was not trained here, so it cannot be made again.")
        files = self.files(version.run_id)
        try:
            sets = files.read_sets()
        except OSError as error:
            raise Conflict(f"The labels that {name} was made from are no longer on this disk.") from error
        config = replace(TrainingConfig.stored(self.models.run(version.run_id).config), promote="never")
        try:
            return self._launch(config, sets, {}, files.stop_after(), again=True)
        except InvalidInput as error:  # the base was deleted
            raise Conflict(str(error)) from error

    def _launch(
        self,
        config: TrainingConfig,
        sets: dict[str, list[LabelledPair]],
        new_splits: dict[str, str],
        stop_after: int | None = None,
        again: bool = False,
    ) -> TrainingRun:
        """Start a run; one that is made again is given the sets as they were."""
        child.check(self.launch, config.batch_size, config.learning_curve)
        base = self.registry.check_base(config.base)
        config = replace(config, base=base.version)
        champion = self.registry.active().version
        # Both are kept from being deleted while the run is under way.
        needed = asdict(config) | {"champion": champion.version}
        run = TrainingRun(uuid.uuid4().hex[:12], "queued", needed, now())
        files = self.files(run.id)
        given = self._child_config(run, base, champion, sets)
        if not again:
            sets, given["learned_before"] = leave_out(sets, given["learned"] or ())
        files.create({**given, "stop_after": stop_after}, sets)
        try:
            self.models.add_run(run)
        except BaseException:
            shutil.rmtree(files.directory, ignore_errors=True)
            raise
        # They may have been deleted just before the run was noted down.
        return self._begin(run, new_splits, lambda: [self.registry.directory(version) for version in (base, champion)])

    def _child_config(
        self, run: TrainingRun, base: ModelVersion, champion: ModelVersion, sets: dict[str, list[LabelledPair]]
    ) -> dict[str, Any]:
        root = self.registry.root(base)
        try:
            untaught = self.registry.directory(root)
        except NotFound:
            untaught = self.registry.directory(base)
        learned = queries_learned((base, champion), sets, self.models, self.files, self.labels)
        slower = self.launch.job.seconds_between_checkpoints if self.launch.job else 0
        return {
            **run.config,
            "base_path": str(self.registry.directory(base)),
            "base_name": root.name,
            "base_on_hub": root.source == "hub",
            "champion": champion.version,
            "champion_path": str(self.registry.directory(champion)),
            # What the base was first made from: it has learned from none of the labels.
            "untaught_path": str(untaught),
            "learned": None if learned is None else sorted(learned),
            "seconds_between_checkpoints": max(self.checkpoint_seconds, slower),
        }

    def _begin(
        self, run: TrainingRun, new_splits: dict[str, str], prepare: Callable[[], object] = lambda: None
    ) -> TrainingRun:
        """Start the child of a run that is in the store, and follow it; `prepare` does what comes before."""
        process = None
        try:
            prepare()
            self.labels.assign_splits(new_splits)
            process = child.start(self.files(run.id), self.launch)
            run = self.models.update_run(
                run.id,
                status="running",
                phase="Starting the training process",
                pid=process.pid,
                pid_started=process.create_time(),
            )
        except BaseException as error:
            if process is not None:
                self._end_child(run.id, process)
            why = f"The run could not be started: {first_line(error)}."
            failing = threading.Thread(target=self._fail, args=(run.id, why), daemon=True)
            failing.start()
            # What keeps the run from being noted down may keep this from it, too, and nobody is to wait for that.
            failing.join(SECONDS_TO_STOP)
            raise
        self._follow_in_background(run.id, process)
        return run

    # Resuming

    def can_resume(self, run: TrainingRun) -> bool:
        """Whether a run was broken off and can go on."""
        ended = run.status in ("failed", "cancelled") and not self._is_kept(run)
        return ended and (self.files(run.id).can_go_on() or self._is_made(run))

    def _is_kept(self, run: TrainingRun) -> bool:
        """Whether a run's model became a version, which may have been deleted since."""
        return any(version.version == run.model_version for version in self.models.all_versions())

    def _is_made(self, run: TrainingRun) -> bool:
        """Whether a run has its outcome, and its model is still where it was trained or where it was moved to."""
        files = self.files(run.id)
        moved = run.model_version is not None and (self.registry.models_dir / run.model_version).is_dir()
        return files.manifest.is_file() and (files.model.is_dir() or moved)

    def resume(self, run_id: str) -> TrainingRun:
        """Let a run that was broken off go on from its last checkpoint, or from its beginning where it has none.

        One whose model could not be put in place has that done again. Raises NotFound, or Conflict when it cannot go
        on, or while another run is under way.
        """
        run = self.models.run(run_id)
        files = self.files(run_id)
        if not self.can_resume(run):
            why = "" if run.under_way or run.model_version else " What it had is no longer there."
            raise Conflict(f"This run is {run.status}, so it cannot be resumed.{why}")
        if self._is_made(run):
            run = self.models.reopen_run(run_id, "Its model, which was trained already, is put in place.")
            self._follow_in_background(run_id, None)
            return run
        try:
            base = self.registry.check_base(run.config["base"])
            child.check(self.launch, run.config["batch_size"], bool(run.config.get("learning_curve")))
        except InvalidInput as error:
            raise Conflict(str(error)) from error
        # What answers now is what the new model is measured against, and it may be another one than before.
        champion = self.registry.active().version
        sets = files.read_sets()
        config = read_json(files.config) | self._child_config(run, base, champion, sets)
        step = files.saved_step()
        note = f"Resumed from step {step}." if step else "Started again from its beginning: nothing had been saved yet."
        if files.job.is_file():
            note = "Its job on the Hub is followed again."
        run = self.models.reopen_run(run_id, note)

        def prepare() -> None:
            files.forget_wish_to_stop()
            files.mend_events()
            write_json(files.config, config)
            self.models.update_run(run_id, config=run.config | {"champion": champion.version})

        # The app may have been killed before the sets were noted down.
        splits = {pair.query_id: split for split, pairs in sets.items() for pair in pairs}
        return self._begin(run, splits, prepare)

    # Stopping

    def cancel(self, run_id: str) -> TrainingRun:
        """Ask a run to stop and to keep the best it has; asked again, it stops at once and keeps nothing.

        Raises NotFound, or Conflict when it has ended already.
        """
        run = self.models.run(run_id)
        process = self._processes.get(run_id)
        if not run.under_way:
            raise Conflict(f"This run has ended already: it is {run.status}.")
        if process is None:
            raise Conflict("This run is just being started, or its model put in place. Cancel it in a moment.")
        again = run.outcome == CANCELLED
        with self._deciding:
            if run_id in self._in_place:
                raise Conflict("This run is done already; its model is being put in place.")
            # Noted down first: should the app be killed now, the next start knows that the run did not fail.
            run = self.models.update_run(run_id, outcome=CANCELLED)
        if again:
            child.end(process, self.files(run_id))
        else:
            self.files(run_id).stop.touch()
        return run

    def current(self) -> TrainingRun | None:
        """The run under way, or None."""
        return next(iter(self.models.runs(limit=1, under_way=True)), None)

    def recover(self) -> None:
        """Look after the runs that an earlier process of the app left under way, in the background."""
        remove_what_never_began(self.runs_dir, self.models.has_run)
        for run in self.models.runs(under_way=True):
            process, on_hub = child.find(run), self.files(run.id).job.is_file()
            log.info("Training run %s was under way; its process is %s", run.id, "alive" if process else "gone")
            if process or on_hub:
                # The note of a job says where it is.
                note = (on_hub and run.note) or "The app was started anew meanwhile; this run went on."
                run = self.models.update_run(run.id, note=note)
            if process or not on_hub:
                self._follow_in_background(run.id, process)
                continue
            try:
                self._begin(run, {})
            except Exception:
                log.exception("Training run %s cannot be followed", run.id)
        self._drop_what_is_not_needed()

    def shut_down(self) -> None:
        """Stop the runs under way, and wait until the store says so. For a stop that somebody asked for.

        A job on the Hub goes on; the next start follows it again.
        """
        self._shutting_down = True
        for process in list(self._processes.values()):
            child.kill(process)
        # A copy: each takes itself out when it ends.
        for follower in list(self._followers):
            follower.join(SECONDS_TO_STOP + 5)

    # The end of a run

    def _follow_in_background(self, run_id: str, process: psutil.Process | None) -> None:
        if process is not None:
            self._processes[run_id] = process
        follower = threading.Thread(target=self._follow, args=(run_id, process), name=f"run-{run_id}", daemon=True)
        self._followers.append(follower)
        follower.start()

    def _follow(self, run_id: str, process: psutil.Process | None) -> None:
        """Take in what the child reports until it has ended, then its result. None stands for one that is gone."""
        try:
            files = self.files(run_id)
            Follower(self.models, run_id, files).follow(process)
            if not (self._shutting_down and files.job.is_file()):
                self._end(run_id, child.how_it_ended(None if self._shutting_down else process, files))
        except Exception as error:
            log.exception("Following run %s failed", run_id)
            if process is not None:
                self._end_child(run_id, process)
            self._fail(run_id, f"The app lost this run: {first_line(error)}.")
        finally:
            self._processes.pop(run_id, None)
            self._in_place.discard(run_id)
            self._followers.remove(threading.current_thread())
            self._drop_what_is_not_needed()

    def _end_child(self, run_id: str, process: psutil.Process) -> None:
        """End a child that nobody follows: it would go on unseen, and beside one that is resumed."""
        child.end(process, self.files(run_id))
        with contextlib.suppress(psutil.Error):
            process.wait(SECONDS_TO_STOP)

    def _fail(self, run_id: str, why: str) -> None:
        """Let a run end as failed, however long it takes until the store can be written to: no other could start."""
        while not self._shutting_down:
            try:
                can_go_on = self._is_made(self.models.run(run_id)) or self.files(run_id).can_go_on()
                what_to_do = "Resume it." if can_go_on else "Start it again."
                self._close(run_id, "failed", "Failed", error=f"{why} {what_to_do}")
                return
            except Exception:
                log.exception("The end of run %s cannot be stored yet", run_id)
                time.sleep(SECONDS_BETWEEN_TRIES)

    def _close(self, run_id: str, status: str, phase: str, **columns: Any) -> None:
        """Note down that a run has ended."""
        self.models.update_run(run_id, status=status, phase=phase, seconds_left=None, finished_at=now(), **columns)

    def _end(self, run_id: str, how: str) -> None:
        run, files = self.models.run(run_id), self.files(run_id)
        if files.manifest.is_file():
            self._keep(run, read_json(files.manifest))
            files.tidy()
            return
        lost = None if files.directory.is_dir() else child.lost_job(run_id, self.models.events(run_id))
        if run.outcome == CANCELLED:
            self._close(run_id, "cancelled", "Cancelled", error=run.error or lost)
        else:
            error = " ".join(filter(None, (run.error or lost or how, child.what_now(files))))
            self._close(run_id, "failed", "Failed", error=error)

    def _keep(self, run: TrainingRun, manifest: dict[str, Any]) -> None:
        """Make the model of a run that has an outcome a version, and promote it as the run was told to.

        Each step may be done again: after a crash in the middle the next start repeats it.
        """
        self.models.update_run(run.id, phase="Loading the new model")
        kept = keep(run, self.files(run.id), manifest, self.models, self.registry)
        with self._deciding:
            cancelled = self.models.run(run.id).outcome == CANCELLED
            self._in_place.add(run.id)
        promote, outcome = kept.decide(run.config["promote"], cancelled, self.registry.active().version.version)
        if promote:
            try:
                self.registry.promote(kept.version.version, f"training run {run.id}")
            except WorkbenchError as error:
                promote, outcome = False, f"It could not be promoted: {error}"
        note = self.models.run(run.id).note
        if gone := self.registry.make_room():
            note = f"{note or ''} To make room, {' and '.join(gone)} had to go.".strip()
        self._close(
            run.id,
            *(("cancelled", "Cancelled") if kept.cancelled or cancelled else ("succeeded", "Finished")),
            progress=run.progress if kept.cancelled or cancelled else 1.0,
            metrics=kept.metrics,
            outcome=outcome,
            model_version=kept.version.version,
            promoted=promote,
            note=note,
        )

    def _drop_what_is_not_needed(self) -> None:
        """Keep what a run goes on from for the latest of those that can, and for no others."""
        ended = [run for run in self.models.runs() if not run.under_way]
        kept = [run for run in ended if self.can_resume(run)][:KEPT_INTERRUPTED]
        for run in (run for run in ended if run not in kept):
            self.files(run.id).tidy()
