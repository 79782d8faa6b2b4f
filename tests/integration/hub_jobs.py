"""The Hub's buckets and jobs, for the stand-in: buckets are directories here, and jobs are processes on this machine.

It speaks what `create_bucket`, `batch_bucket_files`, `list_bucket_tree`, `download_bucket_files`, `run_job`,
`list_jobs`, `inspect_job`, `cancel_job` and `fetch_job_logs` of huggingface_hub 2.4 speak. Files come and go as on the
Hub, by the protocol of Xet, which the client's own library speaks: here with a store in a local directory, a fresh one
for each token, since only one process at a time may have one open. A job's command really runs, in a directory of its
own, with the paths in it where its volumes would be mounted replaced by those of the buckets.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

NO_HASH = "0" * 64
OWNER = "acme"


@dataclass
class Job:
    """A job, its process once it has one, and how it ended where the process does not tell."""

    id: str
    spec: dict[str, Any]
    log: Path
    process: subprocess.Popen | None = None
    ended: tuple[str, str | None] | None = None
    timer: threading.Timer | None = None

    @property
    def status(self) -> dict[str, Any]:
        stage, message = self.ended or ("SCHEDULING" if self.process is None else "RUNNING", None)
        if not self.ended and self.process and self.process.poll() is not None:
            code = self.process.returncode
            stage, message = ("ERROR", f"Job failed with exit code: {code}") if code else ("COMPLETED", None)
        return {"stage": stage, "message": message}

    def end(self, stage: str, message: str | None = None) -> None:
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.ended = self.ended or (stage, message)


@dataclass
class HubJobs:
    """Buckets and jobs, and how they misbehave.

    `refusals` holds the status and the words with which a call is refused, by the start of its method and path;
    `is_down` refuses all of them with 503. With `is_full`, jobs wait for a machine. `deaf` jobs are not told to stop.
    `loses_answers` starts a job and does not say so.
    """

    root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="hub-")))
    jobs: dict[str, Job] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    is_down: bool = False
    is_full: bool = False
    deaf: bool = False
    loses_answers: bool = False
    _stores: list[Path] = field(default_factory=list)
    _listed: dict[str, bytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def directory(self, bucket: str) -> Path:
        return self.root / "buckets" / bucket

    def files(self, bucket: str) -> list[str]:
        """The names of the files in a bucket."""
        directory = self.directory(bucket)
        return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())

    def close(self) -> None:
        for job in self.jobs.values():
            if job.timer:
                job.timer.cancel()
            job.end("CANCELED")
        shutil.rmtree(self.root, ignore_errors=True)

    def answer(self, handler: Any, path: str, body: bytes) -> None:
        """Answer a request to what `is_for_jobs` is true of through the stand-in's `handler`."""
        call = f"{handler.command} {path}"
        refused = next((why for start, why in self.refusals.items() if call.startswith(start)), None)
        if self.is_down:
            refused = (503, "Service unavailable")
        elif not handler._has_token() and not path.startswith("/xet/"):
            refused = (401, "Invalid username or password.")
        if refused:
            return handler._refuse(refused[0], "", refused[1])
        _, first, *parts = path.split("/")
        if first == "xet":
            return self._send_token(handler, self.root / "xet" / parts[0])
        if first == "buckets":
            return self._file(handler, "/".join(parts[:2]), "/".join(parts[3:]))
        kind, *parts = parts
        if kind == "whoami-v2":
            return handler._send_json({"name": OWNER, "type": "user", "orgs": []})
        with self._lock:
            if kind == "buckets":
                return self._bucket(handler, "/".join(parts[:2]), parts[2:], body)
            return self._jobs(handler, parts, body)

    # Buckets

    def _bucket(self, handler: Any, bucket: str, what: list[str], body: bytes) -> None:
        url = f"{handler.server.endpoint}/buckets/{bucket}"
        if not what and handler.command == "POST":
            if bucket in self.private:
                return handler._refuse(409, "", "You already created this bucket", {"url": url})
            self.private[bucket] = json.loads(body).get("visibility") == "private"
            self.directory(bucket).mkdir(parents=True)
            return handler._send_json({"url": url})
        if bucket not in self.private:
            return handler._refuse(404, "RepoNotFound", "Bucket not found")
        if not what:
            shown = {"id": bucket, "private": self.private[bucket], "createdAt": _now(), "size": 0, "totalFiles": 0}
            return handler._send_json(shown)
        if what[0] == "xet-write-token":
            self._stores.append(Path(tempfile.mkdtemp(dir=self._xet())))
            return self._send_token(handler, self._stores[-1])
        if what[0] == "xet-read-token":
            return self._send_token(handler, self._filled_store(handler.server.endpoint))
        if what[0] == "batch":
            self._change(handler, bucket, [json.loads(line) for line in body.splitlines()])
            return handler._send_json({"failed": []})
        if what[0] == "paths-info":
            found = self._entries(bucket, json.loads(body)["paths"])
            return handler._send_json([entry for entry, _ in found])
        prefix = "/".join(what[1:])
        names = [name for name in self.files(bucket) if name.startswith(f"{prefix}/" if prefix else "")]
        listed = list(self._entries(bucket, names))
        self._listed = {entry["xetHash"]: content for entry, content in listed}
        handler._send_json([entry for entry, _ in listed])

    def _entries(self, bucket: str, names: list[str]) -> list[tuple[dict[str, Any], bytes]]:
        """What the Hub says of these files, as far as they are there, and what they hold at this moment."""
        from hf_xet import hash_files

        contents = {}
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                contents[name] = (self.directory(bucket) / name).read_bytes()
        found = []
        with tempfile.TemporaryDirectory() as copies:
            paths = {name: Path(copies) / str(number) for number, name in enumerate(contents) if contents[name]}
            for name, path in paths.items():
                path.write_bytes(contents[name])
            hashed = hash_files([str(path) for path in paths.values()]) if paths else []
            digests = {name: info.hash for name, info in zip(paths, hashed, strict=True)}
        for name, content in contents.items():
            digest = digests.get(name, NO_HASH)
            found.append(({"type": "file", "path": name, "size": len(content), "xetHash": digest}, content))
        return found

    def _change(self, handler: Any, bucket: str, lines: list[dict[str, str]]) -> None:
        added = {line["path"]: line["xetHash"] for line in lines if line["type"] == "addFile"}
        contents = self._fetch(handler.server.endpoint, {digest for digest in added.values() if digest != NO_HASH})
        for name, digest in added.items():
            if self.deaf and name.endswith("/stop"):
                continue
            path = self.directory(bucket) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents.get(digest, b""))
        for line in lines:
            if line["type"] == "deleteFile":
                (self.directory(bucket) / line["path"]).unlink()

    def _file(self, handler: Any, bucket: str, name: str) -> None:
        path = self.directory(bucket) / name
        found = self._entries(bucket, [name]) if path.is_file() else []
        if not found:
            return handler._refuse(404, "EntryNotFound", "Entry not found")
        entry, content = found[0]
        start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if start >= len(content) and start:
            return handler._refuse(416, "", "Range not satisfiable")
        route = f"{handler.server.endpoint}/api/buckets/{bucket}/xet-read-token"
        handler._send_range(content, {"X-Xet-Hash": entry["xetHash"], "X-Xet-Refresh-Route": route}, large=False)

    # The files' contents

    def _xet(self) -> Path:
        directory = self.root / "xet"
        directory.mkdir(exist_ok=True)
        return directory

    def _send_token(self, handler: Any, store: Path) -> None:
        place = {"casUrl": f"local://{store}", "exp": int(time.time()) + 3600, "accessToken": "token"}
        handler._send_json(place)

    def _fetch(self, endpoint: str, digests: set[str]) -> dict[str, bytes]:
        """The contents with these hashes, from what clients have sent, the latest first."""
        from hf_xet import XetFileInfo, XetSession

        for store in reversed(self._stores if digests else []):
            copy = self._xet() / f"{store.name}-{time.monotonic_ns()}"
            shutil.copytree(store, copy)
            try:
                with XetSession().new_file_download_group(token_refresh_url=f"{endpoint}/xet/{copy.name}") as group:
                    for digest in digests:
                        group.start_download_file(XetFileInfo(digest), str(copy / digest))
            except RuntimeError:  # it was sent before that
                continue
            return {digest: (copy / digest).read_bytes() for digest in digests}
        return {}

    def _filled_store(self, endpoint: str) -> Path:
        """A store with what was listed last."""
        from hf_xet import SKIP_SHA256, XetSession

        store = Path(tempfile.mkdtemp(dir=self._xet()))
        with XetSession().new_upload_commit(token_refresh_url=f"{endpoint}/xet/{store.name}") as commit:
            for content in self._listed.values():
                commit.start_upload_bytes(content, sha256=SKIP_SHA256)
        copy = store.with_name(f"{store.name}-filled")
        shutil.copytree(store, copy)
        return copy

    # Jobs

    def _jobs(self, handler: Any, parts: list[str], body: bytes) -> None:
        owner, job_id, what = (*parts, None, None)[:3]
        if job_id is None and handler.command == "GET":
            labels = parse_qs(urlsplit(handler.path).query).get("label", [])
            jobs = [job for job in self.jobs.values() if all(_has(job, label) for label in labels)]
            return handler._send_json([self._shown(job) for job in jobs])
        if job_id is None:
            job = self._start(json.loads(body))
            if self.loses_answers:
                self.loses_answers = False
                handler.close_connection = True
                return None
            return handler._send_json(self._shown(job))
        job = self.jobs.get(job_id)
        if job is None:
            return handler._refuse(404, "", "Job not found")
        if what == "cancel":
            job.end("CANCELED")
        if what == "logs":
            lines = job.log.read_text().splitlines() if job.log.is_file() else []
            events = (json.dumps({"data": line, "timestamp": "2026-01-01T00:00:00.000Z"}) for line in lines)
            stream = "".join(f"data: {event}\n\n" for event in events)
            return handler._send(200, stream.encode(), {"Content-Type": "text/event-stream"})
        handler._send_json(self._shown(job))

    def _start(self, spec: dict[str, Any]) -> Job:
        number = f"{len(self.jobs):024x}"
        job = Job(number, spec, self.root / f"job-{number}.log")
        self.jobs[number] = job
        if not self.is_full:
            self.run(job)
        return job

    def run(self, job: Job) -> None:
        """Give a job its machine."""
        command = job.spec["command"]
        for volume in job.spec.get("volumes", []):
            mounted = str(self.directory(volume["source"]) / volume.get("path", ""))
            command = [part.replace(volume["mountPath"], mounted) for part in command]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        # What the job installs is installed here: were it not, nothing may be changed for a test.
        environment = {"PATH": path, "PIP_NO_INDEX": "1", "TMPDIR": str(self._scratch()), "OMP_NUM_THREADS": "1"}
        with job.log.open("wb") as log:
            job.process = subprocess.Popen(
                command,
                cwd=self._scratch(),
                env=environment | job.spec["environment"],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if seconds := job.spec.get("timeoutSeconds"):
            job.timer = threading.Timer(seconds, job.end, ("ERROR", "Job timeout"))
            job.timer.daemon = True
            job.timer.start()

    def _scratch(self) -> Path:
        directory = self.root / "scratch"
        directory.mkdir(exist_ok=True)
        return directory

    def _shown(self, job: Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "createdAt": _now(),
            "dockerImage": job.spec["dockerImage"],
            "command": job.spec["command"],
            "flavor": job.spec["flavor"],
            "labels": job.spec.get("labels"),
            "owner": {"id": OWNER, "name": OWNER, "type": "user"},
            "status": job.status,
        }


def is_for_jobs(path: str) -> bool:
    """Whether a request asks for a bucket, a job or the account."""
    return path.startswith(("/api/buckets/", "/buckets/", "/api/jobs/", "/api/whoami-v2", "/xet/"))


def _has(job: Job, label: str) -> bool:
    name, _, value = label.partition("=")
    return job.spec.get("labels", {}).get(name) == value


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
