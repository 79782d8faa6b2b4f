"""python -m reranker.hub_job RUN_DIR: the child of a run that trains as a Hugging Face Job.

To the parent it is the child: it writes what happens to `events.jsonl`, heeds `stop`, and leaves `model` and the
manifest. The training is done by the job, by the same command as anywhere (`in_job.py`); this process sends the job
what it needs, tells the parent what the job says, and brings back what came out of it (`hub_bucket.py`).

`job.json` says what is asked for and, as soon as that is known, which job it is. So this process may be killed at any
moment, with the app or without: started again, it follows the same job. SIGTERM asks it to cancel the job.

It never gives up on a job because the Hub does not answer for a while: the job goes on meanwhile.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shlex
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

import httpx2
from huggingface_hub import HfApi, JobInfo, Volume, get_token, set_client_factory
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import disable_progress_bars

from errors import HubRefused, WorkbenchError, first_line
from reranker.hub_bucket import SECONDS_TO_ANSWER, RunBucket
from reranker.in_job import ENDED
from reranker.launch import JOB_EVENT, HubJob
from reranker.run_files import RunFiles, read_json, write_json

BUCKET = "rerank-workbench-runs"
LABEL = "rerank-workbench"
MOUNT = "/workbench"
LOG_LINES = 200
TRIES_TO_CANCEL = 3
ENDINGS = {
    "COMPLETED": "The job on the Hub ended without a result.",
    "ERROR": "The job on the Hub failed.",
    "CANCELED": "The job was cancelled on the Hub.",
    "DELETED": "The job was deleted on the Hub.",
}


class Abandoned(BaseException):
    """Somebody wants the run to end at once."""


class HubRun:
    """A run that a job on the Hub trains: sent, started, followed to its end."""

    def __init__(self, files: RunFiles) -> None:
        self.files = files
        self.api = HfApi()
        state = read_json(files.job)
        self.job = HubJob(**state["job"])
        self.processes: int = state["processes"]
        # What was settled by a process before this one: the account, the folder, whether it was sent, the job.
        self.state: dict[str, Any] = state
        self.failed = False
        self._phase: str | None = None
        self._asked_at: float | None = None
        self._ended_at: float | None = None

    @property
    def owner(self) -> str | None:
        """The account that the job and the bucket belong to, once it is known."""
        bucket = self.state.get("bucket") or self.job.bucket
        return bucket.partition("/")[0] if bucket else None

    @property
    def bucket(self) -> RunBucket:
        return RunBucket(self.api, self.state["bucket"], self.state["folder"], self.files)

    def run(self) -> None:
        """Do what is left to do. Raises WorkbenchError with a message for a person."""
        self.files.mend_events()
        try:
            if not self.state.get("id"):
                self._begin()
            self._follow()
        except Abandoned:
            self._cancel()
            raise

    # Starting

    def _begin(self) -> None:
        """Send the run and start its job; or find the job, where a process before this one could not note it down."""
        try:
            if "folder" not in self.state:
                bucket = self.job.bucket or f"{self.api.whoami()['name']}/{BUCKET}"
                self._note(bucket=bucket, folder=f"{self.files.directory.name}-{secrets.token_hex(3)}")
            job = self._find()
            if job is None:
                self._say("Sending the run to the Hub")
                self.bucket.send()
                job = self._start()
        except Exception as error:
            traceback.print_exc()
            if not _may_pass(error):
                self._forget()
            if isinstance(error, WorkbenchError):
                raise
            raise HubRefused(explain(error, self.owner, "What the job needs could not be made ready here")) from error
        self._note(id=job.id)
        self.files.job_log.unlink(missing_ok=True)
        self._event(id=job.id, note=f"Hugging Face Job on {self.job.flavor}: {job.url}")

    def _find(self) -> JobInfo | None:
        """The job of this run, where there is one on the Hub."""
        labels = {LABEL: self.state["folder"]}
        return next(iter(self.api.list_jobs(labels=labels, namespace=self.owner)), None)

    def _start(self) -> JobInfo:
        folder = self.state["folder"]
        volume = Volume(type="bucket", source=self.state["bucket"], mount_path=MOUNT, path=folder, read_only=False)
        return self.api.run_job(
            image=self.job.image,
            command=["bash", "-ec", self.script()],
            flavor=self.job.flavor,
            timeout=self.job.timeout,
            labels={LABEL: folder},
            volumes=[volume],
            namespace=self.owner,
        )

    def script(self) -> str:
        """What the job does: install what the child needs, and train."""
        train = ["python", "-m", "reranker.in_job", MOUNT, str(self.job.seconds_between_looks), str(self.processes)]
        return (
            f'cd "$(mktemp -d)" && cp -r {MOUNT}/code/. . '
            "&& python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore "
            "-r requirements.txt "
            f"&& exec {shlex.join(train)}"
        )

    # Following

    def _follow(self) -> None:
        """Take in what the job says until it has ended, then what it has made."""
        self._taken = self._bytes_taken()
        unreachable = False
        while True:
            try:
                if self._look():
                    return
                if unreachable:
                    self._say(self._phase or "Training", again=True)
                unreachable = False
            except Exception as error:
                if not _may_pass(error):
                    if isinstance(error, WorkbenchError):
                        raise
                    here = "What the job has made could not be stored here"
                    raise HubRefused(explain(error, self.owner, here)) from error
                if not unreachable:
                    traceback.print_exc()
                    self._event(phase="Waiting for the Hub, which does not answer; the job goes on meanwhile")
                unreachable = True
            time.sleep(self.job.seconds_between_looks)

    def _look(self) -> bool:
        """See how far the job is, and do what that calls for; returns whether all is done."""
        stage, message = self._stage()
        has_ended = stage in ENDINGS
        is_settled = has_ended and self._is_settled()
        self._take_events()
        self._take_log()
        if is_settled:
            self._finish(stage, message)
            return True
        if not self._taken and not has_ended:
            waiting = stage == "SCHEDULING"
            self._say(f"Waiting for a machine ({self.job.flavor})" if waiting else "Installing what the training needs")
        if self.files.stop.exists() and not has_ended:
            self._stop(stage)
        return False

    def _stage(self) -> tuple[str, str | None]:
        try:
            status = self.api.inspect_job(job_id=self.state["id"], namespace=self.owner).status
        except HfHubHTTPError as error:
            if error.response.status_code == 404:
                return "DELETED", None
            raise
        return str(getattr(status.stage, "value", status.stage)), status.message

    def _is_settled(self) -> bool:
        """Whether all that an ended job has written can be seen: its last file, or enough time has passed."""
        self._ended_at = self._ended_at or time.monotonic()
        return self.bucket.has(ENDED) or time.monotonic() - self._ended_at > self.job.seconds_to_settle

    def _stop(self, stage: str) -> None:
        """Ask the run in the job to stop; the job itself where it has nothing yet, or does not react."""
        if self._asked_at is None:
            if stage == "SCHEDULING":
                self.api.cancel_job(job_id=self.state["id"], namespace=self.owner)
            else:
                self.bucket.ask_to_stop()
            self._asked_at = time.monotonic()
        elif time.monotonic() - self._asked_at > self.job.seconds_to_stop:
            self.api.cancel_job(job_id=self.state["id"], namespace=self.owner)
            self._asked_at = time.monotonic()

    def _take_events(self) -> None:
        """Add what the job has said since to what is said here; a line that is not whole yet stays for later."""
        new = self.bucket.read(self.files.events.name, self._taken)
        new = new[: new.rfind(b"\n") + 1]
        if not new:
            return
        with self.files.events.open("ab") as events:
            events.write(new)
        self._taken += len(new)
        for event in map(json.loads, new.splitlines()):
            self.failed |= event["event"] == "error"
            self._phase = event.get("phase") or self._phase

    def _take_log(self) -> None:
        path = self.files.job_log
        if new := self.bucket.read(self.files.log.name, path.stat().st_size if path.is_file() else 0):
            with path.open("ab") as log:
                log.write(new)

    def _bytes_taken(self) -> int:
        """How much of what the job says is here already: all since it was started that this process did not say."""
        taken = 0
        for line in self.files.events.read_bytes().splitlines(keepends=True):
            event = json.loads(line)
            if event["event"] == JOB_EVENT:
                if "id" in event:
                    taken, self.failed = 0, False
            elif "here" not in event:
                taken += len(line)
                self.failed |= event["event"] == "error"
        return taken

    # The end

    def _finish(self, stage: str, message: str | None) -> None:
        if not self.files.manifest.is_file():  # else a process before this one was here already
            self._say("Fetching what the job has made")
            self.bucket.bring_back()
        if not self.files.manifest.is_file() and not self.files.job_log.is_file():
            self._add_hub_log()
        self._forget()
        if not self.files.manifest.is_file() and not self.failed and not self.files.stop.exists():
            reason = f" The Hub says: {message}" if message else ""
            raise HubRefused(ENDINGS[stage] + (reason if not reason or reason.endswith(".") else f"{reason}."))

    def _add_hub_log(self) -> None:
        """Where the job ended before the training began, what the Hub has of its output."""
        try:
            lines = self.api.fetch_job_logs(job_id=self.state["id"], namespace=self.owner, tail=LOG_LINES)
            with self.files.job_log.open("a", encoding="utf-8") as log:
                log.writelines(f"{line}\n" for line in lines)
        except Exception:
            traceback.print_exc()

    def _forget(self) -> None:
        """Remove what is on the Hub of a job that has ended, as far as that can be done now."""
        try:
            if "folder" in self.state:
                self.bucket.clear()
        except Exception:
            traceback.print_exc()
            print(f"Left in the bucket {self.state['bucket']}: the folder {self.state['folder']}.", flush=True)
        self.files.job.unlink()

    def _cancel(self) -> None:
        """Cancel the job, if there is one, as well as that can be done now."""
        for _ in range(TRIES_TO_CANCEL):
            try:
                if not self.state.get("id") and "folder" in self.state and (job := self._find()):
                    self._note(id=job.id)
                if self.state.get("id") and self._stage()[0] not in ENDINGS:
                    self.api.cancel_job(job_id=self.state["id"], namespace=self.owner)
                break
            except Exception:
                traceback.print_exc()
                time.sleep(self.job.seconds_between_looks)
        else:
            place = f"{self.api.endpoint}/settings/jobs"
            self._event(note=f"The Hub did not answer, so the job may still run. Look there and cancel it: {place}")
        self._forget()

    # Saying and noting

    def _say(self, phase: str, again: bool = False) -> None:
        if phase != self._phase or again:
            self._event(phase=phase)
        self._phase = phase

    def _event(self, **values: Any) -> None:
        self.files.add_event(JOB_EVENT, **values)

    def _note(self, **values: Any) -> None:
        self.state |= values
        write_json(self.files.job, self.state)


def _may_pass(error: Exception) -> bool:
    """Whether the same may go well a little later."""
    if isinstance(error, OfflineModeIsEnabled) or _is_of_this_machine(error):
        return False
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code in (408, 429)
    # What moves the files says nothing more of its errors than that.
    return isinstance(error, httpx2.TransportError | RuntimeError | ConnectionError)


def _is_of_this_machine(error: Exception) -> bool:
    """Whether it is the disk here that refuses something, and not the Hub or the network."""
    if isinstance(error, RuntimeError):
        return os.strerror(errno.ENOSPC) in str(error)
    return isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError | HfHubHTTPError)


def explain(error: Exception, owner: str | None, here: str) -> str:
    """What to tell a person about an error of the Hub's client, or of this machine, for which `here` says what failed.

    `owner` is the account that was asked for.
    """
    account = f"the account {owner}" if owner else "the account of HF_TOKEN"
    if isinstance(error, LocalTokenNotFoundError):
        return NO_TOKEN
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids asking the Hub for a job."
    if not isinstance(error, HfHubHTTPError):
        if _is_of_this_machine(error):
            return f"{here}: {first_line(error).rstrip('.')}."
        return f"The Hub cannot be reached to train there: {first_line(error).rstrip('.')}."
    status, said = error.response.status_code, (error.server_message or "").strip().rstrip(".")
    says = f" The Hub says: {said}." if said else ""
    if status == 401:
        return f"The Hub does not know the token in HF_TOKEN. Make another one there.{says}"
    if status == 402:
        return (
            f"Hugging Face Jobs have to be paid for, and {account} has no credit left. Add some there, under "
            f"Billing.{says}"
        )
    if status == 403:
        return (
            f"The token in HF_TOKEN may not start jobs or keep a bucket for {account}. Give it the permissions to do "
            f"both, or name a bucket of another account in TRAIN_BUCKET.{says}"
        )
    return f"The Hub refused the job (status {status}).{says}"


def why_no_token() -> str | None:
    """Why no job can be asked for, where the Hub's client has no token; None where it has one."""
    return None if get_token() else NO_TOKEN


NO_TOKEN = "Training as a Hugging Face Job takes a token: set HF_TOKEN to one of yours that may start jobs."


def _client() -> httpx2.Client:
    """The Hub's own client, but one that does not wait for ever."""
    from huggingface_hub.utils._http import default_client_factory

    client = default_client_factory()
    client.timeout = SECONDS_TO_ANSWER
    return client


def _abandon(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Abandoned


def main(directory: Path) -> int:
    """Follow the run in this directory to its end; returns the exit status."""
    files = RunFiles(directory)
    signal.signal(signal.SIGTERM, _abandon)
    disable_progress_bars()
    set_client_factory(_client)
    try:
        HubRun(files).run()
    except Abandoned:
        return 1
    except Exception as error:
        message = str(error) if isinstance(error, WorkbenchError) else f"{type(error).__name__}: {error}"[:500]
        traceback.print_exc()
        # The job has not said it, and whoever goes on with this has to know that.
        files.add_event("error", message=message, here=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
