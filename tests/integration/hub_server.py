"""A stand-in for the Hub on this machine: serves directories as models, keeps datasets, and misbehaves on demand.

It speaks what `snapshot_download` of huggingface_hub 2.4 speaks: GET /api/models/{id}/revision/{rev} for the commit,
GET /api/models/{id}/tree/{commit} for the files, HEAD and GET /{id}/resolve/{commit}/{file}. As on the Hub, small files
come straight from there, and the weights through a redirect to another address, where ranges can be asked for.

And what `create_repo`, `dataset_info`, `model_info` and `create_commit` speak: POST /api/repos/create, GET
/api/datasets/{id}, POST /api/datasets/{id}/preupload/{rev} and .../commit/{rev}, where a parent commit that is not the
latest gets 412. Small files come within the commit, large ones (`large_datasets`) over the batch interface of git LFS
before it. The same for models that were pushed, with `models` in place of `datasets`. Datasets are read as `datasets`
streams them: folder by folder from .../tree/{commit}/{folder}, and files in ranges.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import yaml

from tests.integration.hub_files import LARGE, Dataset, blob_id, content_id, file_names, sibling, tree_entry
from tests.integration.hub_jobs import HubJobs, is_for_jobs

Behaviour = Literal[
    "found", "not_found", "gated", "cut_off", "silent", "trickling", "trickling_weights", "broken",
    "refuses_commits", "read_only", "loses_answers",
]  # fmt: skip
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIECE = 16_384
# The one file of a gated model that everyone may read.
OPEN_FILES = ("README.md",)


class HubServer(ThreadingHTTPServer):
    """Serves `models` (Hub id -> directory) on an ephemeral port. `behaviour` may be changed while it runs.

    `cut_after` is how many bytes of the weights the behaviour "cut_off" lets through; `bytes_per_second` is the speed
    at which the weights are sent, None for as fast as they go. `requests` keeps a line for each request. `datasets` are
    those that were created, `pushed` the models that were; `before_commit` is called when a commit to one has come and
    is not looked at yet. `jobs` are its buckets and jobs.
    """

    daemon_threads = True

    def __init__(self, models: dict[str, Path], behaviour: Behaviour = "found") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models = models
        self.behaviour: Behaviour = behaviour
        self.cut_after = 1_000_000
        self.bytes_per_second: int | None = None
        self.requests: list[str] = []
        self.datasets: dict[str, Dataset] = {}
        self.pushed: dict[str, Dataset] = {}
        self.large_datasets = False
        self.large_files: dict[str, bytes] = {}
        self.before_commit: Callable[[], None] = lambda: None
        self.jobs = HubJobs()
        self.stopping = threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serve(models: dict[str, Path], behaviour: Behaviour = "found") -> Iterator[HubServer]:
    """A running HubServer; gone at the end of the block, with every connection that is still held."""
    server = HubServer(models, behaviour)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.jobs.close()
        server.shutdown()
        server.server_close()
        thread.join()


def unused_endpoint() -> str:
    """An address on this machine at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        body = self._body()
        behaviour = self.server.behaviour
        if behaviour == "silent":
            self.server.stopping.wait(60)
            self.close_connection = True
            return
        if behaviour == "broken":
            return self._refuse(500, "InternalError", "Internal error")
        path = unquote(urlsplit(self.path).path)
        if is_for_jobs(path):
            return self.server.jobs.answer(self, path, body)
        if path == "/api/validate-yaml":
            return self._validate_card(json.loads(body)["content"])
        if re.match(r"/(api/)?(datasets|repos|lfs)/", path) or self._is_pushed(path):
            self._answer_dataset(path, body)
        elif match := re.fullmatch(r"/api/models/(.+?)/revision/([^/]+)", path):
            self._commit(match[1])
        elif match := re.fullmatch(r"/api/models/(.+?)/tree/([^/]+)", path):
            self._tree(match[1])
        elif match := re.fullmatch(r"/(cdn/)?(.+?)/resolve/([^/]+)/(.+)", path):
            self._file(match[2], match[4], behind_redirect=bool(match[1]))
        else:
            self._refuse(404, "EntryNotFound", "No such page")

    def _model(self, model_id: str) -> Path | None:
        """The model's directory, if it may be seen. Whoever shows no token gets 401, as on the Hub."""
        directory = self.server.models.get(model_id)
        if directory is None or self.server.behaviour == "not_found":
            if self._has_token():
                self._refuse(404, "RepoNotFound", "Repository not found")
            else:
                self._refuse(401, "RepoNotFound", "Invalid username or password.")
            return None
        return directory

    def _has_token(self) -> bool:
        return "Authorization" in self.headers

    def _commit(self, model_id: str) -> None:
        if directory := self._model(model_id):
            siblings = [{"rfilename": name} for name in file_names(directory)]
            gated = "manual" if self.server.behaviour == "gated" else False
            self._send_json({"id": model_id, "sha": COMMIT, "private": False, "gated": gated, "siblings": siblings})

    def _tree(self, model_id: str) -> None:
        if directory := self._model(model_id):
            self._send_json([tree_entry(directory, name) for name in file_names(directory)])

    def _file(self, model_id: str, name: str, behind_redirect: bool) -> None:
        directory = self._model(model_id)
        if directory is None:
            return
        if self.server.behaviour == "gated" and name not in OPEN_FILES:
            status = 403 if self._has_token() else 401
            return self._refuse(status, "GatedRepo", f"Access to model {model_id} is restricted.")
        if name not in file_names(directory):
            return self._refuse(404, "EntryNotFound", "Entry not found")
        content = (directory / name).read_bytes()
        if name.endswith(LARGE) and not behind_redirect:
            digest = hashlib.sha256(content).hexdigest()
            return self._send(
                302,
                b"Found",
                {
                    "Location": f"{self.server.endpoint}/cdn/{model_id}/resolve/{COMMIT}/{name}",
                    "X-Repo-Commit": COMMIT,
                    "X-Linked-Etag": f'"{digest}"',
                    "X-Linked-Size": str(len(content)),
                },
            )
        self._send_range(content, {"ETag": f'"{blob_id(content)}"', "X-Repo-Commit": COMMIT}, name.endswith(LARGE))

    # Datasets

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _validate_card(self, card: str) -> None:
        """What the Hub is asked before a README.md is committed."""
        errors = []
        try:
            front = yaml.safe_load(card.split("---\n")[1]) if card.startswith("---\n") else {}
            base = front.get("base_model", "owner/name")
            if not re.fullmatch(r"([\w-][\w.-]*/)?[\w-][\w.-]*", base):
                errors.append({"message": f'"base_model" with value "{base}" is not valid.'})
        except (yaml.YAMLError, IndexError) as error:
            errors.append({"message": str(error)})
        body = json.dumps({"errors": errors, "warnings": []}).encode()
        self._send(400 if errors else 200, body, {"Content-Type": "application/json"})

    def _is_pushed(self, path: str) -> bool:
        """Whether this asks for a model that is not one of `models`, which are only read."""
        match = re.match(r"/(?:api/models/)?([\w.-]+/[\w.-]+?)(?=$|/|\.git/)", path)
        return match is not None and match[1] not in self.server.models and match[1] in self.server.pushed

    def _answer_dataset(self, path: str, body: bytes) -> None:
        server = self.server
        if match := re.fullmatch(r"/lfs/(\w+)", path):
            server.large_files[match[1]] = body
            return self._send(200, b"", {})
        if not self._has_token() and not self._is_public(path):
            return self._refuse(401, "RepoNotFound", "Invalid username or password.")
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        kind = "datasets" if path.startswith(("/api/datasets/", "/datasets/")) else "models"
        rest = re.sub(r"^(/api)?/(datasets|models)/|^/", "", path)
        match = re.fullmatch(r"([\w-]+/[\w-]+)(?:\.git/info)?/?(\w*)/?([^/]*)/?(.*)", rest)
        repos = server.datasets if kind == "datasets" else server.pushed
        dataset = repos.get(match[1]) if match else None
        if match is None or dataset is None or server.behaviour == "not_found":
            return self._refuse(404, "RepoNotFound", "Repository not found")
        repo, what, revision, name = match.groups()
        if what == "preupload":
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if server.large_datasets or file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": self._known_id(dataset, file["path"]),
                }
                for file in json.loads(body)["files"]
            ]
            self._send_json({"files": files})
        elif what == "lfs":
            objects = [
                {**wanted, "actions": {"upload": {"href": f"{server.endpoint}/lfs/{wanted['oid']}"}}}
                for wanted in json.loads(body)["objects"]
            ]
            self._send_json({"transfer": "basic", "objects": objects})
        elif what == "commit":
            self._commit_dataset(repo, dataset, [json.loads(line) for line in body.splitlines()])
        elif what == "resolve":
            self._dataset_file(dataset, repo, revision, name)
        elif what == "tree":
            self._dataset_tree(dataset, name)
        else:
            siblings = [sibling(name, content, server.large_datasets) for name, content in dataset.files.items()]
            self._send_json({"id": repo, "sha": dataset.head, "private": True, "siblings": siblings})

    def _known_id(self, dataset: Dataset, name: str) -> str | None:
        return content_id(dataset.files[name], self.server.large_datasets) if name in dataset.files else None

    def _is_public(self, path: str) -> bool:
        """Whether this only reads a dataset that everyone may see."""
        match = re.match(r"(?:/api)?/datasets/([\w-]+/[\w-]+)", path)
        dataset = self.server.datasets.get(match[1]) if match else None
        return dataset is not None and dataset.visibility == "public" and self.command in ("GET", "HEAD")

    def _dataset_tree(self, dataset: Dataset, folder: str) -> None:
        """What lies in a folder, or under it where the request says `recursive=true`."""
        inside = f"{folder}/" if folder else ""
        is_deep = "recursive=true" in self.path.lower()
        entries: dict[str, dict[str, Any]] = {}
        for name, content in dataset.files.items():
            parts = name.removeprefix(inside).split("/")
            if name.startswith(inside):
                for depth in range(1, len(parts)) if is_deep else range(1, min(len(parts), 2)):
                    path = inside + "/".join(parts[:depth])
                    entries[path] = {"type": "directory", "path": path, "size": 0, "oid": blob_id(path.encode())}
                if is_deep or len(parts) == 1:
                    entries[name] = {"type": "file", "path": name, "size": len(content), "oid": blob_id(content)}
        if not entries:
            return self._refuse(404, "EntryNotFound", f"{folder} does not exist")
        self._send_json(list(entries.values()))

    def _create(self, wanted: dict[str, Any]) -> None:
        repo = f"{wanted['organization']}/{wanted['name']}"
        kind = wanted.get("type", "model")
        repos = self.server.datasets if kind == "dataset" else self.server.pushed
        place = f"{self.server.endpoint}/datasets/{repo}" if kind == "dataset" else f"{self.server.endpoint}/{repo}"
        if self.server.behaviour == "read_only":
            return self._refuse(403, "", f"You don't have the rights to create a {kind} under this namespace")
        if repo in repos:
            return self._refuse(409, "", f"You already created this {kind} repo", {"url": place})
        repos[repo] = Dataset(wanted["visibility"])
        self._send_json({"url": place})

    def _commit_dataset(self, repo: str, dataset: Dataset, lines: list[dict[str, Any]]) -> None:
        self.server.before_commit()
        if self.server.behaviour == "refuses_commits":
            return self._refuse(500, "InternalError", "Internal error")
        if self.server.behaviour == "read_only":
            return self._refuse(403, "", "You don't have the rights to write to this dataset")
        header, *files = lines
        if header["value"].get("parentCommit", dataset.head) != dataset.head:
            return self._refuse(412, "", "A commit has happened since. Please refresh and try again.")
        changed = dict(dataset.files)
        for line in files:
            value = line["value"]
            if line["key"] == "deletedFile":
                del changed[value["path"]]
            elif line["key"] == "lfsFile":
                changed[value["path"]] = self.server.large_files[value["oid"]]
            else:
                changed[value["path"]] = base64.b64decode(value["content"])
        dataset.add(changed)
        if self.server.behaviour == "loses_answers":
            self.close_connection = True
            return
        url = f"{self.server.endpoint}/datasets/{repo}/commit/{dataset.head}"
        self._send_json({"commitOid": dataset.head, "commitUrl": url})

    def _dataset_file(self, dataset: Dataset, repo: str, revision: str, name: str) -> None:
        commit = dataset.head if revision == "main" else revision
        if name not in dataset.commits.get(commit, {}):
            return self._refuse(404, "EntryNotFound", "Entry not found")
        content = dataset.commits[commit][name]
        etag = {"ETag": f'"{content_id(content, self.server.large_datasets)}"', "X-Repo-Commit": commit}
        self._send_range(content, etag, large=self.server.large_datasets)

    # Sending

    def _send_range(self, content: bytes, headers: dict[str, str], large: bool) -> None:
        start, whole = 0, content
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start = int(match[1])
            content = content[: int(match[2]) + 1] if match[2] else content
        end = min(len(content), max(self.server.cut_after, start)) if self._cuts(large) else len(content)
        is_part = start > 0 or len(content) < len(whole)
        status = 206 if is_part else 200
        if is_part:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(whole)}"
        self._send(status, content[start:end], headers, length=len(content) - start, large=large)
        if end < len(content):
            self.close_connection = True

    def _cuts(self, large: bool) -> bool:
        return large and self.server.behaviour == "cut_off"

    def _send_json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, message: str, more: dict[str, str] | None = None) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "application/json"}
        self._send(status, json.dumps({"error": message, **(more or {})}).encode(), headers)

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], length: int | None = None, large: bool = False
    ) -> None:
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            if self.command != "HEAD":
                self._send_body(body, large)
        except OSError:  # the client has gone
            self.close_connection = True

    def _send_body(self, body: bytes, large: bool) -> None:
        behaviour = self.server.behaviour
        trickles = behaviour == "trickling" or (behaviour == "trickling_weights" and large)
        piece, pause = (1, 0.2) if trickles else (PIECE, 0.0)
        if large and not trickles and self.server.bytes_per_second:
            pause = PIECE / self.server.bytes_per_second
        for start in range(0, len(body), piece):
            self.wfile.write(body[start : start + piece])
            if pause and self.server.stopping.wait(pause):
                self.close_connection = True
                return
