"""/openapi.json is true: schemathesis makes requests from it, good ones and bad ones, and checks every answer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from services import Services
from tests.conftest import make_settings
from tests.serving import eventually, label, serving

TOKEN = "a-secret-token"
# Where a proxy may serve what is at / here.
BEHIND_A_PROXY = "https://example.com/tools/workbench/"
CALLS = {
    "GET /health",
    "GET /info",
    "POST /v1/rerank",
    "POST /v2/rerank",
    "POST /rerank",
    "POST /v1/candidates",
    "GET /v1/tasks/next",
    "POST /v1/labels",
    "GET /v1/labels",
    "GET /v1/agreement",
    "GET /v1/disputes",
    "GET /v1/guidelines",
    "POST /v1/training-runs",
    "GET /v1/training-runs/{run_id}",
    "DELETE /v1/training-runs/{run_id}",
    "GET /v1/training-runs",
    "GET /v1/training-runs/{run_id}/curves",
    "GET /v1/training-runs/{run_id}/learning-curve",
    "GET /v1/training-runs/{run_id}/suspects",
    "GET /v1/training-runs/{run_id}/log",
    "POST /v1/training-runs/{run_id}/resume",
    "GET /v1/models/{version}/compare/{other}",
    "GET /v1/models",
    "POST /v1/models",
    "POST /v1/models/{version}/promote",
    "POST /v1/models/rollback",
    "GET /v1/models/{version}/download",
    "POST /v1/models/{version}/make-again",
    "POST /v1/models/{version}/push",
    "DELETE /v1/models/{version}",
}

# Bounded, and the same requests each time. All of schemathesis' own checks are on but one: DELETE cancels a training
# run, which does not make it go away. What is too much is refused with 413, which counts as a refusal only when told.
# A busy machine takes longer to start a training process than the ten seconds that are usual.
CONFIG = """
seed = 1
request-timeout = 90
[generation]
max-examples = {examples}
deterministic = true
database = "none"
[checks.use_after_free]
enabled = false
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "409", "413", "415", "422"]
"""


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is made up here is asked of the real Hub, or pushed to it."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def fuzz(client: httpx.Client, directory: Path, examples: int, *options: str) -> None:
    """Let schemathesis loose on every call that the server of `client` describes."""
    eventually(lambda: client.get("/health").json()["status"] == "ok", "the model is loaded")
    # With these a training run may start, whatever its loss, so that its call has something to accept.
    for place in ("bridge", "river", "harbour", "station", "castle"):
        label(client, (f"old {place}", f"a {place} of stone", 1), (f"old {place}", f"rain on the {place}", 0))
    label(client, ("query", "passage", 1), ("query", "another", 0))
    config = directory / "schemathesis.toml"
    config.write_text(CONFIG.format(examples=examples))
    command = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert command, "schemathesis is not installed"
    outcome = subprocess.run(
        [command, "--config-file", str(config), "run", f"{client.base_url}/openapi.json", "--no-color", *options],
        cwd=directory, env={**os.environ, "NO_PROXY": "127.0.0.1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout[-20_000:] + outcome.stderr[-5_000:]
    assert re.search(rf"Tested: +{len(CALLS)}\n", outcome.stdout), outcome.stdout


def test_every_call_is_described(shared_client: httpx.Client) -> None:
    paths = shared_client.get("/openapi.json").json()["paths"]
    assert {f"{method.upper()} {path}" for path, calls in paths.items() for method in calls} == CALLS


def test_every_answer_is_as_described(client: httpx.Client, tmp_path: Path) -> None:
    fuzz(client, tmp_path, 3)


def test_every_answer_is_as_described_with_a_token(tmp_path: Path, model_dir: Path) -> None:
    settings = make_settings(tmp_path / "data", model_dir, API_TOKEN=TOKEN)
    with serving(Services.build(settings), headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        fuzz(client, tmp_path, 2, "--phases", "fuzzing", "--header", f"Authorization: Bearer {TOKEN}")


def test_the_docs_find_the_calls_behind_a_path_prefix(shared_client: httpx.Client) -> None:
    docs = shared_client.get("/docs").raise_for_status().text
    described_at = urljoin(f"{BEHIND_A_PROXY}docs", re.search(r"url: '([^']*)'", docs)[1])  # type: ignore[index]
    assert described_at == f"{BEHIND_A_PROXY}openapi.json"
    # A server's address is relative to that of the description.
    [server] = shared_client.get("/openapi.json").json()["servers"]
    assert urljoin(described_at, server["url"]) == BEHIND_A_PROXY
