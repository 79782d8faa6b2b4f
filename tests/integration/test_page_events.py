"""The page's events, sent as anybody can send them: without what they need, and with something else in its place."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

import gradio as gr
import gradio.routes
import pytest
from fastapi import Request
from gradio.state_holder import SessionState

from page.events import Page
from page.page import build_page
from reranker.ranking_view import PageRankings
from reranker.rerank_tab import NO_OTHER
from services import Services
from tests.conftest import make_settings
from tests.serving import eventually

# In the place of each input, and as what is pressed.
ODD = [None, "\ud800", 10**30, {"path": "/etc/passwd"}]
PRESSES = [
    {"ranking": "x", "index": 99, "label": 1}, {"run": "x", "index": -1, "label": 0}, {"version": "v99"},
    {"query": "x", "passage": "x", "label": 7}, {"act": "page", "page": 10**30},
    *({"act": act} for act in ("page", "edit", "keep", "label", "delete", "delete-all", "restore")),
]  # fmt: skip
# What Python says.
RAW = re.compile("NoneType|object|attribute|positional|KeyError|Original error|unpack|codec|instance of")


def takes_a_press(fn: Any) -> bool:
    """Whether something that a script of the page says comes with this event."""
    hints = get_type_hints(fn.fn) if inspect.isroutine(fn.fn) else {}
    return any(inspect.isclass(hint) and issubclass(hint, gr.EventData) for hint in hints.values())


class App:
    """A page, and what sends it events as its own script does, as somebody on this machine."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.page = build_page(services)
        # One loop for all: to start one, with its threads, takes longer than an event.
        self.loop = asyncio.Runner()

    def send(  # noqa: ANN201
        self,
        fn: Any,
        data: list[Any],
        pressed: Any = None,
        account: str | None = None,
        host: str = "127.0.0.1",
        state: SessionState | None = None,
    ):
        """The answers to an event, or the notice that the page shows in place of one."""
        session = {}
        if account:
            profile = {"name": account, "preferred_username": account, "profile": "", "picture": ""}
            session = {"oauth_info": {"userinfo": profile, "expires_at": time.time() + 60}}
        scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "session": session,
                 "headers": [(b"host", b"127.0.0.1:7860")], "client": (host, 1)}  # fmt: skip
        return self.loop.run(self._send(fn, data, gr.Request(Request(scope)), gr.EventData(None, pressed), state))

    async def _send(
        self, fn: Any, data: list[Any], request: gr.Request, pressed: gr.EventData, state: SessionState | None
    ) -> Any:
        answers: list[Any] = []
        iterator = None
        try:
            while not answers or iterator is not None:
                answer = await self.page.process_api(
                    fn, list(data), state, request=request, event_data=pressed, iterator=iterator
                )
                answers.append(answer["data"])
                iterator = answer["iterator"]
        except gr.Error as error:
            return error
        return answers

    def handler(self, name: str) -> Any:
        """The event whose handler has this name."""
        return next(fn for fn in self.page.fns.values() if getattr(fn.fn, "__qualname__", "").endswith(name))

    def refused(self, name: str, data: list[Any], pressed: Any = None, **who: Any) -> str:
        """What is said to a press that the handler of this name does not take."""
        refusal = self.send(self.handler(name), data, pressed, **who)
        assert isinstance(refusal, gr.Error), refusal
        return refusal.message


@contextmanager
def running(directory: Path, model_dir: Path, **environment: str) -> Iterator[App]:
    services = Services.build(make_settings(directory, model_dir, **environment))
    services.start()
    eventually(lambda: not services.registry.status().loading, "the model is loaded")
    yield App(services)
    services.stop()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[App]:
    with running(tmp_path_factory.mktemp("events"), model_dir) as app:
        yield app


def test_events_answer_in_words_whatever_is_sent(
    app: App, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    raw = []
    for fn in [fn for fn in app.page.fns.values() if fn.fn]:
        sent = [([odd] * len(fn.inputs), odd) for odd in ODD]
        sent += [([None] * len(fn.inputs), press) for press in PRESSES if takes_a_press(fn)]
        sent += [([], None)]
        for data, press in sent:
            answer = app.send(fn, data, press)
            if isinstance(answer, gr.Error) and ("The log says" in answer.message or RAW.search(answer.message)):
                raw.append(f"{fn.fn}({data!r:.60}, {press!r:.60}): {answer.message}")
    assert raw == []
    assert caplog.records == []
    assert "Traceback" not in "".join(capfd.readouterr())


def test_what_is_chosen_while_an_answer_is_awaited_is_answered_too(app: App) -> None:
    dropped = [
        f"{app.page.blocks[target].elem_id}: {fn.name}"
        for fn in app.page.fns.values()
        for target, event in fn.targets
        # What runs in the browser alone is answered at once.
        if event in ("input", "change") and fn.fn and fn.trigger_mode == "once"
    ]
    assert dropped == []


def test_after_a_fault_the_ranking_before_can_still_be_judged(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("a fault")

    state = SessionState(app.page)
    asked = ["river", "A bridge.\nA cow.", NO_OTHER, "ada", "", None]
    rank = app.handler("build_rerank_tab.<locals>.rank")
    app.send(rank, asked, state=state)
    [rankings] = [value for value in state.state_data.values() if isinstance(value, PageRankings)]
    with monkeypatch.context() as broken:
        broken.setattr(app.services.registry, "active", fail)
        assert isinstance(app.send(rank, asked, state=state), gr.Error)
    press = {"ranking": rankings.view.id, "index": 0, "label": 1}
    [[html]] = app.send(app.handler("build_rerank_tab.<locals>.judge"), [None, "ada", ""], press, state=state)
    assert 'aria-pressed="true"' in html


def test_what_is_shown_and_the_state_come_of_the_same_event(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = itertools.count(1)
    with Page() as page:
        state, html, button = gr.State(0), gr.HTML(), gr.Button()
        button.click(lambda: (number := next(numbers), f"number {number}"), None, [state, html])
    (count,) = page.fns.values()
    session = SessionState(page)
    shown = []

    def slow_at_first(self: gr.HTML, value: str) -> str:
        time.sleep(0.5 if value == "number 1" else 0)
        return value

    async def press() -> None:
        shown.append((await page.process_api(count, [], session))["data"][1])

    async def press_twice() -> None:
        await asyncio.gather(press(), press())

    monkeypatch.setattr(gr.HTML, "postprocess", slow_at_first)
    asyncio.run(press_twice())
    assert shown[-1] == f"number {session[state._id]}"


TRAINING = ["default", "the active model", "auto", 1, "1e-5", 8, 1, "the recipe's own", 0, False, False, ""]
VISITOR = {"host": "203.0.113.5"}
ON_SPACE = {"SPACE_ID": "acme/workbench", "OAUTH_CLIENT_ID": "id"}
# Each press that labels something, or puts something in the way of those who do.
LABELLING = [
    ("build_rerank_tab.<locals>.judge", [None, "bo", ""], {"ranking": "x", "index": 0, "label": 1}),
    (".add_to_queue", [None, "bo", ""], None),
    (".act", [None, "bo", ""], {"act": "label", "query": "x", "passage": "x", "label": "1"}),
    ("build_results.<locals>.judge", ["bo", ""], {"run": "x", "index": 0, "label": 1}),
    (".decide", ["bo", ""], {"query": "x", "passage": "x", "label": 1}),
    ("add_client_api.<locals>.label", ["q", "p", 1, "bo", ""], None),
    (".next_task", ["bo", "oldest", ""], None),
]


@pytest.fixture
def without_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signing in itself needs libraries that only a Space has; whoever is signed in is in the session all the same."""
    monkeypatch.setattr(gradio.routes, "attach_oauth", lambda app: None)


@pytest.mark.usefixtures("without_libraries")
def test_whoever_may_not_is_told_to_sign_in_or_who_may(tmp_path: Path, model_dir: Path) -> None:
    settings = {**ON_SPACE, "ADMIN_USERS": "anna,carl"}
    with running(tmp_path / "signing-in", model_dir, **settings) as app:
        told = app.refused(".start_run", TRAINING, **VISITOR)
        assert told == "To do this, sign in with the button at the top of the page."
        told = app.refused(".start_run", TRAINING, **VISITOR, account="bo")
        assert told == "You are signed in as bo, who may not do this here. Those who may: anna, carl."
        assert "no labels to learn from" in app.refused(".start_run", TRAINING, **VISITOR, account="anna")
    with running(tmp_path / "both", model_dir, **settings, API_TOKEN="secret") as app:
        assert "Or put the API token into the box" in app.refused(".start_run", TRAINING, **VISITOR)
    with running(tmp_path / "token", model_dir, API_TOKEN="secret") as app:
        assert app.refused(".start_run", TRAINING, **VISITOR).startswith("This needs the API token: put it into")
        # A program sees no page to put it into.
        told = "This needs the API token: give it to the call as `token`."
        assert app.refused("add_client_api.<locals>.label", ["q", "p", 1, "bo", ""], **VISITOR) == told
        assert app.refused("add_client_api.<locals>.rollback", ["wrong"], **VISITOR) == told


@pytest.mark.usefixtures("without_libraries")
def test_labelling_for_the_signed_in_is_under_their_own_name(tmp_path: Path, model_dir: Path) -> None:
    with running(tmp_path, model_dir, **ON_SPACE, LABELING="signed-in") as app:
        for name, data, pressed in LABELLING:
            told = app.refused(name, data, pressed, **VISITOR)
            assert "Sign in with the button" in told or "only from the machine" in told
        rank = next(fn for fn in app.page.fns.values() if getattr(fn.fn, "__qualname__", "").endswith(".rank"))
        typed = ["q", "one\ntwo", NO_OTHER, "", "", None]
        ranked = [str(app.send(rank, typed, **VISITOR, account=who)) for who in (None, "bo")]
        assert "Sign in with the button" in ranked[0] and "✓ Relevant" not in ranked[0]
        assert "Sign in with the button" not in ranked[1] and "✓ Relevant" in ranked[1]
        name, data, pressed = LABELLING[0]
        assert "cannot label as bo" in app.refused(name, data, pressed, **VISITOR, account="anna")
        assert "not the present one" in app.refused(name, data, pressed, **VISITOR, account="bo")
        assert not app.services.label_store.anything_judged()


def test_labelling_that_is_closed_is_for_those_who_may_train(tmp_path: Path, model_dir: Path) -> None:
    with running(tmp_path, model_dir, LABELING="closed", API_TOKEN="secret") as app:
        for name, data, pressed in LABELLING:
            assert "the API token" in app.refused(name, data, pressed, **VISITOR)
        name, [view, who, _], pressed = LABELLING[0]
        assert "only for those who may train" in app.refused(name, [view, who, "wrong"], pressed, **VISITOR)
        assert "not the present one" in app.refused(name, [view, who, "secret"], pressed, **VISITOR)
