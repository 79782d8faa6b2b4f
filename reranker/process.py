"""The child process of a training run, as the parent sees it: also one that an earlier parent started."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil

from errors import InvalidInput
from reranker.launch import HUB_JOB, JOB_EVENT, Launch
from reranker.run_files import RunFiles, read_json, write_json
from storage.records import TrainingRun

PROJECT_DIR = Path(__file__).parent.parent


def check(launch: Launch, batch_size: int, learning_curve: bool) -> None:
    """Raise InvalidInput for what several processes cannot do together, or a job on the Hub without a token."""
    if launch.job:
        from reranker.hub_job import why_no_token

        if problem := why_no_token():
            raise InvalidInput(problem)
    processes = launch.processes
    if batch_size % processes:
        raise InvalidInput(
            f"The batch size is {batch_size}. {processes} processes share each batch (TRAIN_PROCESSES), so it has to "
            f"be a multiple of {processes}."
        )
    if learning_curve and processes > 1:
        raise InvalidInput(f"A learning curve is drawn by one process only, and TRAIN_PROCESSES is {processes}.")


def start(files: RunFiles, launch: Launch) -> psutil.Popen:
    """Start the child of a run. What it says is added to what one before it has said.

    Of one that trains as a Hugging Face Job, the child here is what follows the job.
    """
    launch = _with_job(files, launch)
    files.events.touch()
    with files.log.open("ab") as log:
        return psutil.Popen(
            launch.command(files.directory),
            cwd=PROJECT_DIR,
            env=launch.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _with_job(files: RunFiles, launch: Launch) -> Launch:
    """Note down which job is asked for, where one is; a run that has one goes on with it, whatever is asked for now."""
    known = read_json(files.job) if files.job.is_file() else {}
    if launch.job:
        write_json(files.job, {**known, "job": asdict(launch.job), "processes": launch.processes})
    elif "folder" in known:
        return replace(launch, launcher=HUB_JOB)
    else:
        files.job.unlink(missing_ok=True)
    return launch


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


def end(process: psutil.Process, files: RunFiles) -> None:
    """End a process at once; one that follows a job on the Hub is asked to, so that it can cancel the job."""
    if not files.job.is_file():
        return kill(process)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()


def kill(process: psutil.Process) -> None:
    """End a process, which may have ended, and those that it has started: at once, without asking."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()


def what_now(files: RunFiles) -> str:
    """What to tell a person to do about a run that ended without a result."""
    if files.job.is_file():
        return "Resume the run to follow it again."
    if not files.can_go_on():
        return "Start it again."
    step = files.saved_step()
    return f"It can be resumed{f' from step {step}' if step else ', from its beginning'}."


def how_it_ended(process: psutil.Process | None, files: RunFiles) -> str:
    """What to tell a person about a training process that ended without a result; None for one that was not found."""
    if files.job.is_file():
        return "What followed this run's job on the Hub has ended; the job may go on."
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


def lost_job(run_id: str, events: list[dict[str, Any]]) -> str | None:
    """What to tell a person about a run whose files here are gone, if a job on the Hub was to train it; else None.

    `events` are what the store has of it.
    """
    said = [event for event in events if event["event"] == JOB_EVENT]
    if not said:
        return None
    # The note that has the job's address ends with it.
    noted = next((event["note"].split()[-1] for event in reversed(said) if "id" in event), None)
    return (
        f"This run's job on the Hub may still run, or have ended: {noted or 'the list of your jobs there'} shows it. "
        f"Its files are in the bucket for jobs (TRAIN_BUCKET), in a folder whose name begins with {run_id}. What the "
        "app needs to follow the job was lost with the disk here."
    )
