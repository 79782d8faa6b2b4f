"""The files of a training run: what the parent gives, what the child gives, and what a run that was broken off goes on
from. Both sides know a run by these alone, so either may die at any moment.

Whatever is read back is written beside its place and then renamed: it is either whole or not there. A checkpoint, which
is a directory that a library writes, gets a mark when it is whole; one without it is as good as none.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from reranker.dataset import SPLITS, LabelledPair, read_pairs, write_pairs
from reranker.reporter import write_event

MARK = "whole"
LOG_LINES = 200
# The models that a run's configuration names, each as `..._path`: what it starts from, what answers, and what the
# first of these was first made from.
MODELS = ("base", "champion", "untaught")


class RunFiles:
    """The directory of one run, as paths and what is done with them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # From the parent.
        self.config = directory / "config.json"
        self.stop = directory / "stop"
        # While a job on the Hub trains: what it was asked for, and which it is. See hub_job.py.
        self.job = directory / "job.json"
        # From the child.
        self.events = directory / "events.jsonl"
        self.log = directory / "log.txt"
        self.job_log = directory / "job-log.txt"
        self.model = directory / "model"
        self.manifest = directory / "manifest.json"
        # What a run that was broken off goes on from.
        self.before = directory / "before.json"
        self.history = directory / "history.json"
        self.trained = directory / "trained.json"
        self.checkpoints = directory / "checkpoints"
        # Beside the run's own training: models that some of the queries were kept from, and its own before the mean.
        self.folds = directory / "folds"
        self.alone = self.folds / "alone"

    def pairs(self, split: str) -> Path:
        """Where the labelled pairs of a set are."""
        return self.directory / f"{split}.jsonl"

    def part(self, *names: str) -> RunFiles:
        """Where a part of the run is trained beside it. What stops the run stops it."""
        own = RunFiles(self.directory.joinpath(*names))
        own.stop = self.stop
        return own

    # The parent's side

    def create(self, config: Mapping[str, Any], sets: Mapping[str, list[LabelledPair]]) -> None:
        """Make the directory with what the child needs, in one step."""
        unfinished = RunFiles(self.directory.with_name(f"{self.directory.name}.part"))
        shutil.rmtree(unfinished.directory, ignore_errors=True)
        unfinished.directory.mkdir(parents=True)
        write_json(unfinished.config, config)
        for split in SPLITS:
            write_pairs(unfinished.pairs(split), sets[split])
        unfinished.directory.rename(self.directory)

    def read_sets(self) -> dict[str, list[LabelledPair]]:
        """The labelled pairs that the run was given. Raises OSError where they are gone."""
        return {split: read_pairs(self.pairs(split)) for split in SPLITS}

    def can_go_on(self) -> bool:
        """Whether everything that a child starts from is here, and it has not finished."""
        given = [self.config, *(self.pairs(split) for split in SPLITS)]
        return all(path.is_file() for path in given) and not self.manifest.is_file()

    def log_tail(self, lines: int = LOG_LINES) -> str:
        """The last lines of what was written to the log here, and then in the job on the Hub, where there was one."""
        # As bytes, since to read text is to take carriage returns for new lines.
        written = (path.read_bytes() for path in (self.log, self.job_log) if path.is_file())
        text = b"".join(written).decode(errors="replace").replace("\r\n", "\n")
        # A progress bar redraws its line with carriage returns; what counts is its last state.
        return "\n".join(line.split("\r")[-1] for line in text.split("\n")[-lines:])

    def stop_after(self) -> int | None:
        """The step after which a run was cancelled whose model was kept all the same."""
        training = read_json(self.manifest).get("training", {}) if self.manifest.is_file() else {}
        # One that was cancelled after its folds had been trained has all that it was to have.
        broken_off = training.get("stopped") in ("cancelled", "stop_after") and not training.get("folds")
        return training["step"] if broken_off else None

    def mend_events(self) -> None:
        """Take away a last line that was not written to its end, so that another child can add its own."""
        if self.events.is_file():
            with self.events.open("rb+") as events:
                whole = events.read()
                events.truncate(whole.rfind(b"\n") + 1)

    def add_event(self, kind: str, **values: Any) -> None:
        """Say that something happened, where it is not the child's reporter that says it."""
        with self.events.open("a", encoding="utf-8") as events:
            write_event(events, kind, **values)

    def forget_wish_to_stop(self) -> None:
        """Let a run that was asked to stop, and was then broken off, go on as if nobody had asked."""
        self.stop.unlink(missing_ok=True)
        if not self.trained.is_file():
            return
        if self._was_cut_short():
            self.trained.unlink()
            shutil.rmtree(self.model, ignore_errors=True)
        elif (trained := read_json(self.trained))["stopped"] == "cancelled":
            ended_early = trained["last_step"] < trained["total_steps"]
            write_json(self.trained, trained | {"stopped": "early" if ended_early else None})

    def _was_cut_short(self) -> bool:
        """Whether the run's own training was ended by a wish to stop, before its last step."""
        trained = read_json(self.trained)
        is_before_the_last = trained["last_step"] < trained["total_steps"]
        # What has its folds came to its end, be it early, before somebody cancelled.
        return trained["stopped"] == "cancelled" and is_before_the_last and not trained.get("folds")

    def tidy(self) -> None:
        """Remove what only a run that may go on needs. What tells how a version was made stays."""
        curve, parts = self.directory / "curve", self.directory.glob("*.part")
        for directory in (self.checkpoints, self.model, *parts, curve, self.folds):
            shutil.rmtree(directory, ignore_errors=True)
        files = [self.history, *self.directory.glob("best-*"), *self.directory.glob("*.part")]
        for path in [*files, self.stop, self.job, self.trained]:
            path.unlink(missing_ok=True)

    # The child's side

    def last_checkpoint(self) -> Path | None:
        """The latest checkpoint that is whole."""
        return max(self._whole_checkpoints(), key=step_of, default=None)

    def mark_checkpoint(self, step: int) -> None:
        """Say that the checkpoint of this step is whole, and remove the others: it takes their place."""
        new = self.checkpoints / f"checkpoint-{step}"
        sync(files_in(new))
        (new / MARK).touch()
        for other in self.checkpoints.glob("checkpoint-*"):
            if other != new:
                shutil.rmtree(other, ignore_errors=True)

    def is_trained(self) -> bool:
        """Whether the run's own training has come to its end."""
        return self.trained.is_file() and (self.model.is_dir() or self.alone.is_dir())

    def is_whole(self) -> bool:
        """Whether it has, and nobody asked it to stop before."""
        return self.is_trained() and read_json(self.trained)["stopped"] in (None, "early")

    def saved_step(self) -> int:
        """The step that the run would go on from; 0 stands for its beginning."""
        if self.is_trained() and not self._was_cut_short():
            return read_json(self.trained)["step"]
        last = self.last_checkpoint()
        return step_of(last) if last else 0

    def best_weights(self, step: int) -> Path:
        """Where the weights of this step are, if they were the best so far."""
        return self.directory / f"best-{step}.safetensors"

    def _whole_checkpoints(self) -> Iterable[Path]:
        return (path.parent for path in self.checkpoints.glob(f"checkpoint-*/{MARK}"))


def files_in(directory: Path) -> Iterator[Path]:
    """The files in a directory and in those within it, without those of a directory that is removed meanwhile: there
    `rglob` raises."""
    for place, _, names in os.walk(directory):
        yield from (Path(place, name) for name in names)


def remove_what_never_began(runs_dir: Path, is_known: Callable[[str], bool]) -> None:
    """Remove the directories of an app that was ended between making one and noting the run down.

    One of an unknown run that holds more is kept: the store may be a new one, and its runs come back with a copy.
    """
    for directory in filter(Path.is_dir, runs_dir.glob("*")):
        files = RunFiles(directory)
        has_only_what_is_given = {*directory.iterdir()} <= {files.config, *map(files.pairs, SPLITS)}
        if directory.suffix == ".part" or (has_only_what_is_given and not is_known(directory.name)):
            shutil.rmtree(directory, ignore_errors=True)


def step_of(checkpoint: Path) -> int:
    """The step at which a checkpoint was taken."""
    return int(re.fullmatch(r"checkpoint-(\d+)", checkpoint.name)[1])  # type: ignore[index]


def write_json(path: Path, value: Any) -> None:
    """Write a value in one step."""
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(json.dumps(value, indent=1), encoding="utf-8")
    sync([unfinished])
    unfinished.rename(path)


def read_json(path: Path) -> Any:
    """The value that `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def sync(paths: Iterable[Path]) -> None:
    """Wait until the content of these files is on the disk, so that a power cut cannot undo what is said of them."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
