"""python -m reranker.in_job MOUNT SECONDS PROCESSES: a training run within a Hugging Face Job.

MOUNT is the bucket that the run's files travel through (see `hub_bucket.py`), with `run` and `models` in it. A file
that is written there is seen by others when it is closed, and cannot be added to. So the run trains on the job's own
disk, by the same command as anywhere, and what has changed is copied to the mount every so many SECONDS, in an order in
which the job may end at any moment: whatever vouches for other files comes after them.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from reranker.launch import Launch
from reranker.run_files import MARK, MODELS, RunFiles, files_in, read_json, write_json

# Written last of all. It holds the exit status of what trained.
ENDED = "ended"
TRIES = 5


def train(mount: Path, seconds: float, processes: int) -> int:
    """Train in a copy of MOUNT/run and keep MOUNT/run up to date; returns the exit status of what trained."""
    given, files = RunFiles(mount / "run"), RunFiles(Path("run").absolute())
    shutil.copytree(given.directory, files.directory)
    shutil.copytree(mount / "models", "models")
    _localise(files)
    mirror = Mirror(files.directory, given.directory)
    launch = Launch("accelerate" if processes > 1 else "python", processes)
    with files.log.open("ab") as log:
        process = subprocess.Popen(launch.command(files.directory), env=launch.environment(), stdout=log, stderr=log)
        while process.poll() is None:
            with suppress(OSError):  # the mount does not answer just now
                if given.stop.exists():
                    files.stop.touch()
            mirror.copy()
            time.sleep(seconds)
    if process.returncode < 0:
        _say_killed(files, process.returncode)
    for _ in range(TRIES):
        if mirror.copy():
            break
        time.sleep(seconds)
    with suppress(OSError):  # whoever follows the job does not wait for it for ever
        (given.directory / ENDED).write_text(str(process.returncode))
    # For the page that the job has on the Hub.
    print(files.log.read_text(errors="replace"))
    return abs(process.returncode)


def _localise(files: RunFiles) -> None:
    """Let the configuration say where the models are here."""
    config = read_json(files.config)
    for name in MODELS:
        config[f"{name}_path"] = str(Path(config[f"{name}_path"]).absolute())
    write_json(files.config, config)


def _say_killed(files: RunFiles, status: int) -> None:
    why = "most likely because the memory ran out. Try a smaller batch size or a larger TRAIN_FLAVOR"
    if status != -signal.SIGKILL:
        why = f"by a signal ({signal.Signals(-status).name})"
    files.mend_events()
    files.add_event("error", message=f"The training process of the job was killed, {why}.")


class Mirror:
    """Brings what has changed in one directory to another, file by file.

    Not the folds, which are larger than all else: only this job needs them.
    """

    def __init__(self, source: Path, target: Path) -> None:
        """What lies in `source` now came from `target`, so it is not brought there."""
        self.source = source
        self.target = target
        self._copied = self._files()

    def copy(self) -> bool:
        """Bring over what has changed since the last time; False where something could not be written or removed."""
        seen = self._files()
        went_well = True
        for name in sorted(seen, key=_rank):
            if self._copied.get(name) == seen[name]:
                continue
            try:
                (self.target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.source / name, self.target / name)
                self._copied[name] = seen[name]
            except OSError as error:
                if (self.source / name).exists():
                    print(f"{name} could not be brought to the bucket: {error}", flush=True)
                    went_well = False
                    # What comes after it may vouch for it.
                    break
        if went_well:
            for name in self._copied.keys() - seen.keys():
                try:
                    (self.target / name).unlink(missing_ok=True)
                    del self._copied[name]
                except OSError as error:
                    print(f"{name} could not be removed from the bucket: {error}", flush=True)
                    went_well = False
        return went_well

    def _files(self) -> dict[str, tuple[int, int]]:
        """The whole files in the source, each with its size and the time of its last change in nanoseconds."""
        found = {}
        whole = {path.parent.name for path in self.source.glob(f"checkpoints/*/{MARK}")}
        for path in files_in(self.source):
            parts = path.relative_to(self.source).parts
            torn = parts[0] == "checkpoints" and len(parts) > 1 and parts[1] not in whole
            if torn or parts[0] == "folds" or any(part.endswith(".part") for part in parts):
                continue
            with suppress(FileNotFoundError):  # removed meanwhile
                stat = path.stat()
                found["/".join(parts)] = (stat.st_size, stat.st_mtime_ns)
        return found


def _rank(name: str) -> tuple[int, str]:
    """Where a file comes in the order of copying."""
    if name in ("events.jsonl", "log.txt"):
        return 0, name
    if name == "manifest.json":
        return 4, name
    if name.endswith(f"/{MARK}"):
        return 3, name
    return 2 if "/" not in name and name.endswith(".json") else 1, name


if __name__ == "__main__":
    sys.exit(train(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
