"""What anybody may send to the page: not so much that the memory or the disk is full of it."""

from __future__ import annotations

import httpx
import pytest

from server import error_answers
from tests.serving import App

EVENT, UPLOAD = "/gradio_api/queue/join", "/gradio_api/upload"
JSON = {"Content-Type": "application/json"}


def test_an_event_that_is_too_large_is_refused_before_it_is_read_as_json(client: httpx.Client) -> None:
    refused = client.post(EVENT, content=b"x" * (error_answers.MAX_EVENT_BYTES + 1), headers=JSON)
    assert refused.status_code == 413
    # The page shows what is under this name.
    assert "25,000,000 bytes" in refused.json()["detail"]
    assert client.post(EVENT, content=b"x" * error_answers.MAX_BODY_BYTES, headers=JSON).status_code != 413


@pytest.mark.parametrize("path", error_answers.UPLOADS)
def test_an_upload_that_is_too_large_is_refused(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(error_answers, "MAX_UPLOAD_BYTES", 1_000)
    assert client.post(path, files={"files": b"x" * 2_000}).status_code == 413
    assert client.post(path, files={"files": b"x" * 100}).status_code != 413


def test_an_upload_does_not_take_the_last_room(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_answers, "KEPT_FREE_BYTES", 10**18)
    refused = client.post(UPLOAD, files={"files": b"x"})
    assert refused.status_code == 507
    assert "no room" in refused.json()["detail"]
    assert client.post("/v1/rerank", json={"query": "q", "documents": []}).status_code == 422
    assert client.get(UPLOAD).status_code != 507


def test_the_page_knows_how_large_a_file_may_be(app: App) -> None:
    assert app.client.get("/config").json()["max_file_size"] == 2_000_000_000
    uploaded = app.client.post(UPLOAD, files={"files": ("a.txt", b"x" * 1_000)})
    assert len(uploaded.raise_for_status().json()) == 1
    large = b'{"data": ["' + b"x" * error_answers.MAX_EVENT_BYTES + b'"], "fn_index": 1, "session_hash": "a"}'
    assert app.client.post(EVENT, content=large, headers=JSON).status_code == 413
