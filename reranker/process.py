"""The child process of a training run, as the parent sees it: also one that an earlier parent started."""

from __future__ import annotations

import contextlib
import signal

import psutil

from storage.records import TrainingRun


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
    """The bytes of memory that a process has in use now; 0 for one that has ended or will not say."""
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def send(process: psutil.Process, number: int) -> None:
    """Send a signal to a process that may have ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def how_it_ended(process: psutil.Process | None) -> str:
    """What to tell a person about a training process that ended without a result; None for one that was not found."""
    if process is None:
        return "The app was stopped while this run was under way, and the run ended with it. Start it again."
    code = process.returncode if isinstance(process, psutil.Popen) else None
    if code is None:
        return "The training process ended without a result. Its log says more."
    if code == -signal.SIGKILL:
        return "The training process was killed, most likely because the memory ran out. Try a smaller batch size."
    if code < 0:
        return f"The training process was stopped by a signal ({signal.Signals(-code).name})."
    return f"The training process ended with status {code}. Its log says more."
