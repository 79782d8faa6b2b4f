"""Real servers for tests: the HTTP interface, or all of the app, in a thread of this process, or `python app.py`."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn
from fastapi import FastAPI

from app import SERVING, build_app
from server.api import build_api
from services import Services
from settings import Settings

ROOT = Path(__file__).parents[1]
# How long a test waits for what takes a second or two when the machine has nothing else to do. What runs in a child of
# lower priority gets next to nothing of a slow machine as long as the other tests compute.
PATIENCE = 600
ENDED = ("succeeded", "failed", "cancelled")

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
    """What `look` returns as soon as that is truthy. Fails naming `what` when it never is."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if seen := look():
            return seen
        time.sleep(0.05)
    raise AssertionError(f"Waited {patience} seconds in vain: {what}.")


def assert_error(response: httpx.Response, status: int, code: str) -> str:
    """Check that an answer is this error in the one shape that errors have, and return its message."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body == {"error": {"code": code, "message": body["error"]["message"]}}
    assert isinstance(body["error"]["message"], str) and body["error"]["message"].strip()
    return body["error"]["message"]


def loaded_version(client: httpx.Client) -> str:
    """The version of the active model, once it is loaded: a server answers before."""
    eventually(lambda: client.get("/health").json()["status"] == "ok", "the model is loaded")
    return client.get("/health").json()["model"]["version"]


def ended(client: httpx.Client, run_id: str, patience: float = PATIENCE) -> dict[str, Any]:
    """A training run once it has ended."""

    def look() -> dict[str, Any] | None:
        run = client.get(f"/v1/training-runs/{run_id}").raise_for_status().json()
        return run if run["status"] in ENDED else None

    return eventually(look, f"training run {run_id} has ended", patience)


def label(client: httpx.Client, *triples: tuple[str, str, int], annotator: str = "anna") -> None:
    """Store these (query, passage, label) judgments."""
    labels = [{"query": q, "passage": p, "label": value, "annotator": annotator} for q, p, value in triples]
    client.post("/v1/labels", json={"labels": labels}).raise_for_status()


@contextmanager
def serving(services: Services, **client_options: Any) -> Iterator[httpx.Client]:
    """The HTTP interface over a real socket on the loopback interface, started and stopped as app.py does it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        services.start()
        yield
        services.stop()

    with _served(build_api(services, lifespan=lifespan), **client_options) as client:
        yield client


@contextmanager
def _served(app: FastAPI, **client_options: Any) -> Iterator[httpx.Client]:
    """A client of this application, which a thread of this process serves on a free port."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, **SERVING))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        eventually(lambda: server.started or not thread.is_alive(), "the server listens")
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, **client_options) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


@dataclass
class App:
    """A running app, page and all."""

    client: httpx.Client
    data_dir: Path


@contextmanager
def app_in_thread(data_dir: Path, model_dir: Path, **environment: str) -> Iterator[App]:
    """What app.py builds, served by a thread of this process, from when its model answers until the end of the block.

    Nothing is imported for it, its runs are trained by forks (forked.py), and torch scores, so nothing is converted.
    """
    known = {"HOST": "127.0.0.1", "DATA_DIR": str(data_dir), "RERANKER_MODEL": str(model_dir)}
    known |= {"ENGINE": "torch-float32"}
    with _served(build_app(Settings.from_env(known | environment))) as client:
        eventually(lambda: _answers(client), "the app answers")
        yield App(client, data_dir)


@dataclass
class AppProcess(App):
    """A running `python app.py`."""

    process: subprocess.Popen

    @property
    def log(self) -> Path:
        return self.data_dir / "app.log"

    def kill(self) -> None:
        """End it as a power cut would: without a chance to tidy up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def app_in_process(data_dir: Path, model_dir: Path, **environment: str) -> Iterator[AppProcess]:
    """`python app.py` on a free port and this DATA_DIR, from when its model answers until the end of the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    _share_conversions(data_dir)
    settings = {
        "HOST": "127.0.0.1", "PORT": str(port), "DATA_DIR": str(data_dir), "RERANKER_MODEL": str(model_dir),
        "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False", **environment,
    }  # fmt: skip
    ours = ("ENGINE", "API_TOKEN", "ADMIN_USERS", "LABELING", "SPACE_ID", "BACKUP_REPO")
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    with (data_dir / "app.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=inherited | settings, stdout=output, stderr=output
        )
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE)
    app = AppProcess(client, data_dir, process)
    try:
        eventually(lambda: process.poll() is not None or _answers(client), "the app answers")
        assert process.poll() is None, f"The app ended by itself:\n{app.log.read_text()[-5000:]}"
        yield app
    finally:
        client.close()
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@cache
def _shared_conversions() -> Path:
    """Where all apps of this test process keep converted models, so that each is converted once."""
    directory = Path(tempfile.mkdtemp(prefix="engines-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def _share_conversions(data_dir: Path) -> None:
    """Make this DATA_DIR, and have an app keep its converted models where the others do."""
    data_dir.mkdir(parents=True, exist_ok=True)
    if not (data_dir / "engines").exists():
        (data_dir / "engines").symlink_to(_shared_conversions())


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").json()["status"] == "ok"
    except httpx.TransportError:
        return False
