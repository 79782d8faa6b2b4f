"""Who may do what: with an API token and without one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from server.api import build_api
from services import Services
from tests.conftest import make_settings
from tests.serving import assert_error, serving

LOOPBACK, ELSEWHERE = "127.0.0.1", "203.0.113.5"
TOKEN = "a-secret-token"
RERANK = {"query": "bridge", "documents": ["the bridge", "rain"], "texts": ["the bridge", "rain"]}

# Each call that changes something or reads labels, a body for it, and what it answers on an empty store.
GUARDED: list[tuple[str, str, Any, int]] = [
    ("POST", "/v1/candidates", {"pairs": [{"query": "q", "passage": "p"}]}, 200),
    ("GET", "/v1/tasks/next", None, 200),
    ("POST", "/v1/labels", {"query": "q", "passage": "p", "label": 1}, 200),
    ("GET", "/v1/labels", None, 200),
    ("GET", "/v1/labels?format=parquet", None, 200),
    ("GET", "/v1/agreement", None, 200),
    ("GET", "/v1/disputes", None, 200),
    ("POST", "/v1/training-runs", {}, 422),
    ("DELETE", "/v1/training-runs/nothing", None, 404),
    ("POST", "/v1/training-runs/nothing/resume", None, 404),
    ("GET", "/v1/training-runs/nothing/log", None, 404),
    ("GET", "/v1/training-runs/nothing/suspects", None, 404),
    ("POST", "/v1/models/nothing/promote", None, 404),
    ("POST", "/v1/models/rollback", None, 409),
    ("GET", "/v1/models/nothing/download", None, 404),
    ("POST", "/v1/models/nothing/make-again", None, 404),
    ("GET", "/v1/models/nothing/compare/nobody", None, 404),
    ("POST", "/v1/models/nothing/push", {"repo": "owner/name"}, 404),
    ("DELETE", "/v1/models/nothing", None, 404),
]
OPEN: list[tuple[str, str, Any, int]] = [
    ("GET", "/health", None, 200),
    ("GET", "/info", None, 200),
    ("POST", "/v1/rerank", RERANK, 200),
    ("POST", "/v2/rerank", RERANK, 200),
    ("POST", "/rerank", RERANK, 200),
    ("GET", "/v1/models", None, 200),
    ("GET", "/v1/training-runs", None, 200),
    ("GET", "/v1/training-runs/nothing", None, 404),
    ("GET", "/v1/training-runs/nothing/curves", None, 404),
    ("GET", "/v1/training-runs/nothing/learning-curve", None, 404),
    ("GET", "/openapi.json", None, 200),
]

guarded = pytest.mark.parametrize(("method", "path", "body", "status"), GUARDED, ids=lambda value: str(value)[:32])
open_to_all = pytest.mark.parametrize(("method", "path", "body", "status"), OPEN, ids=lambda value: str(value)[:32])

Ask = Callable[..., httpx.Response]


def asker(app: FastAPI) -> Ask:
    """Sends a request to `app` as if it came from some address."""

    def ask(method: str, path: str, body: Any = None, client: str = LOOPBACK, **headers: str) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(client, 1234))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7860") as session:
                named = {name.replace("_", "-"): value.encode() for name, value in headers.items()}
                return await session.request(method, path, json=body, headers=named)

        return asyncio.run(send())

    return ask


@pytest.fixture(scope="module")
def services_without_token(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[Services]:
    services = Services.build(make_settings(tmp_path_factory.mktemp("open"), model_dir))
    services.start()
    yield services
    services.stop()


@pytest.fixture(scope="module")
def ask(services_without_token: Services) -> Ask:
    """Asks a server that has no token."""
    return asker(build_api(services_without_token))


@pytest.fixture
def ask_with_token(tmp_path: Path, model_dir: Path) -> Iterator[Ask]:
    """Asks a server that has a token, and an empty store with one candidate in it."""
    services = Services.build(make_settings(tmp_path / "data", model_dir, API_TOKEN=TOKEN))
    services.start()
    ask = asker(build_api(services))
    ask("POST", "/v1/candidates", {"pairs": [{"query": "q", "passage": "p"}]}, authorization=f"Bearer {TOKEN}")
    yield ask
    services.stop()


# With a token


@guarded
def test_the_token_is_asked_for(ask_with_token: Ask, method: str, path: str, body: Any, status: int) -> None:
    wrong = ["", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer é"]
    for client in (LOOPBACK, ELSEWHERE):
        response = ask_with_token(method, path, body, client)
        assert "Bearer" in assert_error(response, 401, "token_required")
        assert response.headers["www-authenticate"] == "Bearer"
        for authorization in wrong:
            response = ask_with_token(method, path, body, client, authorization=authorization)
            assert_error(response, 401, "token_required")
        for scheme in ("Bearer", "bearer"):
            response = ask_with_token(method, path, body, client, authorization=f"{scheme} {TOKEN}")
            assert response.status_code == status, response.text


@open_to_all
def test_the_rest_needs_no_token(ask_with_token: Ask, method: str, path: str, body: Any, status: int) -> None:
    assert ask_with_token(method, path, body, ELSEWHERE).status_code == status


def test_a_page_of_another_site_may_with_the_token(ask_with_token: Ask) -> None:
    headers = {"origin": "https://app.example", "host": "workbench.example", "authorization": f"Bearer {TOKEN}"}
    assert ask_with_token("GET", "/v1/labels", None, ELSEWHERE, **headers).status_code == 200


def test_who_may_not_learns_nothing_about_the_body(ask_with_token: Ask) -> None:
    for body in ([], {"labels": "no list"}, "text"):
        assert_error(ask_with_token("POST", "/v1/labels", body, ELSEWHERE), 401, "token_required")


def test_a_refused_label_is_not_stored(ask_with_token: Ask) -> None:
    body = {"query": "q", "passage": "p", "label": 1}
    assert_error(ask_with_token("POST", "/v1/labels", body, authorization="Bearer wrong"), 401, "token_required")
    assert ask_with_token("GET", "/v1/labels", authorization=f"Bearer {TOKEN}").content == b""


def test_the_token_is_described(ask_with_token: Ask, ask: Ask) -> None:
    paths = ask_with_token("GET", "/openapi.json").json()["paths"]
    for method, path, *_ in GUARDED:
        name = path.partition("?")[0].replace("/nobody", "/{other}")
        name = name.replace("/nothing", "/{run_id}" if "runs" in path else "/{version}")
        assert paths[name][method.lower()]["security"] == [{"HTTPBearer": []}]
    for path, method in (("/health", "get"), ("/v1/rerank", "post"), ("/rerank", "post"), ("/v1/models", "get")):
        assert "security" not in paths[path][method]
    assert "security" not in ask("GET", "/openapi.json").text


# Without a token


@pytest.mark.parametrize("client", [LOOPBACK, "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_this_machine_may(ask: Ask, client: str) -> None:
    for host in ("127.0.0.1:7860", "localhost:7860", "LOCALHOST", "[::1]:7860"):
        assert ask("GET", "/v1/labels", None, client, host=host).status_code == 200


@guarded
def test_other_machines_may_not(ask: Ask, method: str, path: str, body: Any, status: int) -> None:
    others = [ELSEWHERE, "192.168.1.20", "10.0.0.1", "2001:db8::1", "::ffff:203.0.113.5", "0.0.0.0", "a name", ""]
    for client in others:
        assert "API_TOKEN" in assert_error(ask(method, path, body, client), 403, "not_allowed")
    # A token that nobody set opens nothing.
    assert_error(ask(method, path, body, ELSEWHERE, authorization="Bearer "), 403, "not_allowed")


@open_to_all
def test_the_rest_is_open_to_all(ask: Ask, method: str, path: str, body: Any, status: int) -> None:
    for headers in ({}, {"origin": "https://evil.example"}, {"host": "evil.example"}):
        assert ask(method, path, body, ELSEWHERE, **headers).status_code == status


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example", "null", "file://", "http://127.0.0.1.evil.example", "http://localhost:3000",
        "http://127.0.0.1:3000", "http://evil.example:7860", "http://127.0.0.1:7860@evil.example", "", "http://[",
        "http://127.0.0.1:port",
    ],
)  # fmt: skip
@guarded
def test_a_page_of_another_site_may_not(ask: Ask, method: str, path: str, body: Any, status: int, origin: str) -> None:
    assert_error(ask(method, path, body, origin=origin), 403, "not_allowed")


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860"])
def test_the_own_page_may(ask: Ask, host: str) -> None:
    assert ask("GET", "/v1/labels", host=host, origin=f"http://{host}").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "", "["])
@guarded
def test_a_name_pointed_at_this_machine_may_not(
    ask: Ask, method: str, path: str, body: Any, status: int, host: str
) -> None:
    assert_error(ask(method, path, body, host=host), 403, "not_allowed")
    assert_error(ask(method, path, body, host=host, origin=f"http://{host}"), 403, "not_allowed")


def test_a_proxy_on_this_machine_does_not_lend_its_address(services_without_token: Services, ask: Ask) -> None:
    for forwarded in (ELSEWHERE, f"127.0.0.1, {ELSEWHERE}", f"{ELSEWHERE}, 127.0.0.1", "unknown"):
        assert_error(ask("GET", "/v1/labels", x_forwarded_for=forwarded), 403, "not_allowed")
    assert ask("GET", "/v1/labels", x_forwarded_for="127.0.0.1").status_code == 200


def test_over_a_real_socket(client: httpx.Client) -> None:
    assert client.get("/v1/labels").status_code == 200
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"X-Forwarded-For": ELSEWHERE}):
        assert_error(client.get("/v1/labels", headers=headers), 403, "not_allowed")


def test_over_a_real_socket_with_a_token(tmp_path: Path, model_dir: Path) -> None:
    services = Services.build(make_settings(tmp_path / "data", model_dir, API_TOKEN=TOKEN))
    with serving(services) as client:
        assert_error(client.get("/v1/labels"), 401, "token_required")
        assert client.get("/v1/labels", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
