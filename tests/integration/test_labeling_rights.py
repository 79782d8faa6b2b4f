"""Who may label on the page: anyone, only those who are signed in, or only those who may train (LABELING)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from page import judging_calls
from page.judging_calls import add_judging_calls
from server.api import build_api
from services import Services
from storage.records import Candidate
from tests.conftest import make_settings
from tests.serving import assert_error

TOKEN = "a-secret-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ON_SPACE = {"SPACE_ID": "acme/workbench", "OAUTH_CLIENT_ID": "id"}
CALLS = ("pairs", "judge", "flag", "rest", "undo", "next_query", "give_back", "mine")
# Where a visitor of a Space comes from.
ELSEWHERE = ("203.0.113.5", 1234)

Ask = Callable[..., httpx.Response]


class SignIn:
    """Stands in for gradio's sign-in, which needs libraries that only a Space has: the session of whoever `X-Account`
    names."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        if name := headers.get(b"x-account", b"").decode():
            expires_at = time.time() + float(headers.get(b"x-expires-in", b"3600"))
            scope["session"] = {"oauth_info": {"userinfo": {"preferred_username": name}, "expires_at": expires_at}}
        await self.app(scope, receive, send)


@pytest.fixture
def ask(tmp_path: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ask]:
    """Makes an app with these settings and one pair to judge, and returns what asks it as somebody elsewhere."""
    monkeypatch.setattr(judging_calls, "attach_oauth", lambda app: app.add_middleware(SignIn))

    def build(**environment: str) -> Ask:
        services = Services.build(make_settings(tmp_path / "data", model_dir, **environment))
        services.label_store.add_candidates([Candidate("q", "p")])
        app: FastAPI = build_api(services)
        add_judging_calls(app, services)

        def send(path: str, body: Any = None, **headers: str) -> httpx.Response:
            async def sending() -> httpx.Response:
                transport = httpx.ASGITransport(app, client=ELSEWHERE)
                async with httpx.AsyncClient(transport=transport, base_url="https://acme.example") as session:
                    return await session.request("GET" if body is None else "POST", path, json=body, headers=headers)

            return asyncio.run(sending())

        return send

    return build


def press(ask: Ask, annotator: str, **headers: str) -> httpx.Response:
    """Judge the pair as this annotator."""
    key = ["q", "p"]
    got = ask("/judging/pairs", {"annotator": annotator, "want": 1}, **headers)
    if got.is_success:
        [task] = got.json()["tasks"]
        key = task["key"]
    return ask("/judging/judge", {"annotator": annotator, "key": key, "state": "relevant", "press": "1"}, **headers)


def annotators(ask: Ask) -> list[str]:
    rows = ask("/v1/labels?format=csv", **BEARER).raise_for_status().text.splitlines()
    column = rows[0].split(",").index("annotator") if rows else 0
    return [row.split(",")[column] for row in rows[1:]]


def test_by_default_anybody_labels_under_any_name(ask: Callable[..., Ask]) -> None:
    sent = ask(API_TOKEN=TOKEN)
    press(sent, "anna").raise_for_status()
    assert annotators(sent) == ["anna"]


def test_closed_it_is_for_those_who_may_train(ask: Callable[..., Ask]) -> None:
    sent = ask(LABELING="closed", API_TOKEN=TOKEN)
    for call in CALLS:
        message = assert_error(sent(f"/judging/{call}", {"annotator": "anna"}), 401, "token_required")
        assert "only for those who may train" in message and "put it into the box" in message
    assert "progress" in sent("/judging/team", {}).raise_for_status().json()
    assert_error(press(sent, "anna", Authorization="Bearer wrong"), 401, "token_required")
    press(sent, "anna", **BEARER).raise_for_status()
    sent("/v1/labels", {"query": "q", "passage": "p", "label": 0, "annotator": "bo"}, **BEARER).raise_for_status()
    assert sorted(annotators(sent)) == ["anna", "bo"]


def test_closed_without_a_token_it_is_for_the_machine_itself_and_for_admins(ask: Callable[..., Ask]) -> None:
    sent = ask(LABELING="closed", ADMIN_USERS="anna", **ON_SPACE)
    assert "sign in with the button" in assert_error(press(sent, "bo"), 403, "not_allowed")
    assert "You are signed in as bo" in assert_error(press(sent, "bo", **{"X-Account": "bo"}), 403, "not_allowed")
    # Whoever may train may label under any name, as with the token.
    press(sent, "a team", **{"X-Account": "anna"}).raise_for_status()


def test_signed_in_it_is_for_each_account_under_its_own_name(ask: Callable[..., Ask]) -> None:
    sent = ask(LABELING="signed-in", API_TOKEN=TOKEN, **ON_SPACE)
    for call in CALLS:
        message = assert_error(sent(f"/judging/{call}", {"annotator": "anna"}), 403, "not_allowed")
        assert "Sign in with the button at the top" in message
    anna = {"X-Account": "anna"}
    assert "cannot label as bo" in assert_error(press(sent, "bo", **anna), 403, "not_allowed")
    assert_error(press(sent, "anna", **anna, **{"X-Expires-In": "-1"}), 403, "not_allowed")
    # A page of another site, which a browser sends the cookie along for.
    assert_error(press(sent, "anna", **anna, **{"Sec-Fetch-Site": "cross-site"}), 403, "not_allowed")
    # The token is for programs: it signs nobody in.
    assert_error(press(sent, "anna", **BEARER), 403, "not_allowed")
    press(sent, "", **anna, **{"Sec-Fetch-Site": "same-origin"}).raise_for_status()
    sent("/v1/labels", {"query": "q", "passage": "p", "label": 0, "annotator": "bo"}, **BEARER).raise_for_status()
    assert sorted(annotators(sent)) == ["anna", "bo"]
