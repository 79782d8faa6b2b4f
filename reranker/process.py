"""The child process of a training run, as the parent sees it: also one that an earlier parent started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from reranker.run_files import RunFiles
from storage.records import TrainingRun

PROJECT_DIR = Path(__file__).parent.parent


@dataclass(frozen=True)
class Launch:
    """How the child is started: by itself, or as `processes` that accelerate starts and that train together."""

    launcher: str = "python"
    processes: int = 1

    def command(self, directory: Path) -> list[str]:
        """The command line that trains in this directory."""
        module = ["-m", "reranker.train", str(directory.absolute())]
        if self.launcher == "python":
            return [sys.executable, *module]
        # On processors, too, several processes are what accelerate calls multi_gpu.
        several = ["--multi_gpu"] if self.processes > 1 else []
        options = ["--num_processes", str(self.processes), "--num_machines", "1", "--main_process_port", "0"]
        precision = ["--mixed_precision", "no", "--dynamo_backend", "no"]
        return [sys.executable, "-m", "accelerate.commands.launch", *several, *options, *precision, *module]


def start(files: RunFiles, launch: Launch) -> psutil.Popen:
    """Start the child of a run. What it says is added to what one before it has said."""
    # Everything the child needs is on this disk; it must not look for it elsewhere.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if launch.processes > 1:
        # They share the processors, or they would stand in each other's way.
        environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // launch.processes))
    files.events.touch()
    with files.log.open("ab") as log:
        return psutil.Popen(
            launch.command(files.directory),
            cwd=PROJECT_DIR,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def find(run: TrainingRun) -> psutil.Process | None:
    """The child of a run that an earlier app started, if it still lives. A reused process id is told by its age."""
    try:
        process = psutil.Process(run.pid) if run.pid else None
        same = process is not None and abs(process.create_time() - (run.pid_started or 0)) < 1
        return process if same and process is not None and is_alive(process) else None
    except psutil.NoSuchProcess:
        return None


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs; one that has ended and only waits to be asked how does not."""
    if isinstance(process, psutil.Popen):
        return process.poll() is None
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def memory(process: psutil.Process) -> int:
    """The bytes of memory that a process and those that it has started use now; 0 for one that will not say."""
    try:
        return sum(_memory(member) for member in [process, *process.children(recursive=True)])
    except psutil.Error:
        return 0


def _memory(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def kill(process: psutil.Process) -> None:
    """End a process, which may have ended, and those that it has started: at once, without asking."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()


def how_it_ended(process: psutil.Process | None) -> str:
    """What to tell a person about a training process that ended without a result; None for one that was not found."""
    if process is None:
        return "The app was stopped while this run was under way, and the run ended with it."
    code = process.returncode if isinstance(process, psutil.Popen) else None
    if code is None:
        return "The training process ended without a result. Its log says more."
    if code == -signal.SIGKILL:
        return "The training process was killed: by somebody, or because the memory ran out."
    if code < 0:
        return f"The training process was stopped by a signal ({signal.Signals(-code).name})."
    return f"The training process ended with status {code}. Its log says more."
