"""What a reranking request waits for: the model, and the scores of its own passages, not those of others."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from reranker.engine import Engine
from reranker.tokens import EncodedPair
from server import api
from server.api import RERANK_THREADS
from services import Services
from tests.conftest import make_settings
from tests.serving import PATIENCE, assert_error, eventually, loaded_version, serving

MANY = [f"stone {number}" for number in range(1_000)]


class HeldEngine:
    """Scores as another does, but one pair in a turn, and each waits until the test lets it go on."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.plan, self.turn_tokens = engine, engine.plan, 1
        self.turns: list[set[str]] = []
        self.entered = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)

    def score(self, pairs: Sequence[EncodedPair]) -> np.ndarray:
        self.turns.append({pair.query for pair in pairs})
        self.entered.release()
        assert self.go_on.acquire(timeout=PATIENCE)
        return self.engine.score(pairs)


@pytest.fixture
def engine(services: Services, client: httpx.Client) -> Iterator[HeldEngine]:
    """What scores for `client`."""
    loaded_version(client)
    reranker = services.registry.active().reranker
    held = HeldEngine(reranker.loaded.engine)
    reranker.loaded = replace(reranker.loaded, engine=held)
    yield held
    held.go_on.release(1_000_000)


def rank(client: httpx.Client, query: str, documents: list[str]) -> int:
    return client.post("/v1/rerank", json={"query": query, "documents": documents}).status_code


def turn(engine: HeldEngine) -> bool:
    """Let one turn go on, if one waits: none does where all are answered."""
    if engine.entered.acquire(timeout=0.1):
        engine.go_on.release()
    return True


def test_who_wants_few_does_not_wait_for_however_many_who_want_a_thousand(
    client: httpx.Client, engine: HeldEngine
) -> None:
    with ThreadPoolExecutor(RERANK_THREADS + 1) as threads:
        many = [threads.submit(rank, client, f"many {number}", MANY) for number in range(RERANK_THREADS)]
        # All of them are in line once they had a turn.
        eventually(lambda: turn(engine) and len(set().union(*engine.turns)) == RERANK_THREADS, "all are in line")
        few = threads.submit(rank, client, "few", MANY[:2])
        eventually(lambda: turn(engine) and few.done(), "the one that is small is answered")
        assert few.result() == 200
        assert not any(request.done() for request in many)
        engine.turn_tokens = engine.engine.turn_tokens
        engine.go_on.release(1_000_000)
        assert {request.result() for request in many} == {200}


def ask(client: httpx.Client, documents: list[str]) -> http.client.HTTPConnection:
    """Ask for a ranking on a connection of its own, and do not wait for it."""
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port)
    body = json.dumps({"query": "left", "documents": documents})
    connection.request("POST", "/v1/rerank", body, {"Content-Type": "application/json"})
    return connection


def test_who_sends_little_does_not_wait_until_long_texts_are_tokenized(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded_version(client)
    start, begun, go_on = api._start, threading.Semaphore(0), threading.Event()

    def held(services: Services, query: str, *rest: Any) -> Any:
        if query == "left":
            begun.release()
            assert go_on.wait(PATIENCE)
        return start(services, query, *rest)

    monkeypatch.setattr(api, "_start", held)
    long = ["stone " * 100] * 500
    connections = [ask(client, long) for _ in range(api.LARGE_AT_ONCE + 20)]
    for _ in range(api.LARGE_AT_ONCE):
        assert begun.acquire(timeout=PATIENCE)
    assert rank(client, "few", MANY[:2]) == 200
    for connection in connections:
        connection.close()
    # By the time that somebody else is answered, it is known that these have left.
    assert rank(client, "few", MANY[:2]) == 200
    go_on.set()
    assert rank(client, "long", long) == 200
    assert not begun.acquire(blocking=False)


def test_what_a_client_wanted_that_has_left_is_not_scored(client: httpx.Client, engine: HeldEngine) -> None:
    leaves = ask(client, MANY)
    assert engine.entered.acquire(timeout=PATIENCE)
    leaves.close()
    with ThreadPoolExecutor() as threads:
        stays = threads.submit(rank, client, "stays", MANY[:40])
        engine.go_on.release(1_000_000)
        assert stays.result() == 200
    assert engine.turns[0] == {"left"}
    assert set().union(*engine.turns[1:]) == {"stays"}


def test_health_says_loading_before_the_model_is_there(services: Services) -> None:
    from fastapi.testclient import TestClient

    from server.api import build_api

    health = TestClient(build_api(services)).get("/health")
    assert health.status_code == 200
    assert health.json() == {"status": "loading", "model": {"version": None, "name": None, "source": None}}


def test_without_any_model_the_answer_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reranker.sources.STARTER_DIR", tmp_path / "no starter")
    with serving(Services.build(make_settings(tmp_path / "data", tmp_path / "no model"))) as client:
        response = client.post("/v1/rerank", json={"query": "a", "documents": ["b"]})
        assert "no starter" in assert_error(response, 503, "model_not_ready")
        assert response.headers["retry-after"].isdigit()
        assert client.get("/health").json()["status"] == "loading"


def test_a_connection_that_rested_is_used_again(client: httpx.Client) -> None:
    """Many clients keep one for five seconds or more, and do not ask again where it was closed as they did."""
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port or 0, timeout=PATIENCE)
    connection.auto_open = 0
    connection.connect()
    for seconds in (0, 7):
        time.sleep(seconds)
        connection.request("GET", "/health")
        response = connection.getresponse()
        assert response.status == 200 and response.read()
    connection.close()
