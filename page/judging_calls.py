"""What the Label tab asks of the server: POST /judging/<call>, JSON in and out.

The page keeps one conversation with it (page/conversation.js): one call at a time, in the order in which things were
pressed, each sent again until it is answered. A call that changes something carries the name of its press, and a press
that is stored already is only answered again. So nothing that was pressed is lost, stored twice, or overtaken.

The server remembers nothing of the page between two calls but who holds which pair, so the conversation goes on after a
restart. These calls are the page's own, and open to whoever may label on it; those for programs are in server/api.py. A
page of another site cannot send them: a browser asks before it sends JSON elsewhere, and is not given leave.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request
from gradio.oauth import attach_oauth
from pydantic import AfterValidator, BaseModel, Field

from errors import InvalidInput, NotFound
from labeling.list_tab import LATEST, figures_html, mine_html, query_html
from page.render import render
from page.rights import labels_as
from server.access import bearer_token
from server.schemas import utf8
from services import Services
from storage.records import Judgment, SkipReason, Task

PATH = "/judging/"
MOST_SECONDS = 24 * 3600.0
LABELS = {"relevant": 1, "not-relevant": 0}
SKIPS: dict[str, SkipReason] = {"cannot-tell": "cannot_tell", "later": "later"}

Id = Annotated[str, AfterValidator(utf8)]
Key = tuple[Id, Id]
State = Literal["relevant", "not-relevant", "cannot-tell", "later"]


class Said(BaseModel):
    """What the page says in a call; each call reads what it needs of it.

    `key` and `keys` are the (query id, passage id) of the pairs it is about, `notes` the notes on the latter; `shown`
    are those of all pairs that the page has and that are not judged yet, `left` those that it gives back, `passed` the
    ids of the queries that were left unfinished, and `want` is how many more it would like to have.
    """

    annotator: str = ""
    strategy: str | None = None
    press: str | None = Field(None, max_length=100)
    key: Key | None = None
    keys: list[Key] = Field([], max_length=1_000)
    notes: list[str] = Field([], max_length=1_000)
    shown: list[Key] = Field([], max_length=1_000)
    left: list[Key] = Field([], max_length=1_000)
    passed: list[Id] = Field([], max_length=10_000)
    want: int = Field(0, ge=0, le=10)
    state: State | None = None
    note: str | None = None
    seconds: float | None = Field(None, ge=0)
    event: int | None = Field(None, ge=0, lt=2**63)
    query: Id | None = None


class JudgingCalls:
    """The calls, by name; each takes what was said and returns plain JSON."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.labeling = services.labeling
        self.registry = services.registry

    def pairs(self, said: Said) -> dict[str, Any]:
        """How the pairs `keys` are now, each held for longer, and the next ones. What is missing is to be judged here
        no longer."""
        found = [task for key in said.keys if (task := self.labeling.find_task(*key, said.annotator))]
        held = {task.key for task in self.labeling.hold_on(_open(found), said.annotator, said.strategy)}
        return self._answer(said, [task for task in found if task.key in held or not _open([task])])

    def judge(self, said: Said) -> dict[str, Any]:
        """Store what `state` says of the pair `key`."""
        task = self._task(said)
        note = said.note and said.note.strip()
        seconds = None if said.seconds is None else min(said.seconds, MOST_SECONDS)
        if said.state is None:
            raise InvalidInput("Say relevant, not relevant, can't tell or later.")
        if said.state in SKIPS:
            self.labeling.skip(task, said.annotator, SKIPS[said.state], seconds, note, said.press)
        else:
            judgment = Judgment(
                task.query,
                task.passage,
                LABELS[said.state],
                said.annotator,
                note=note,
                seconds=seconds,
                model_version=self._version(),
                score_visible=False,
                source=task.source,
            )
            self.labeling.answer(judgment, said.press)
        return self._answer(said, [self.labeling.task(*task.key, said.annotator)])

    def flag(self, said: Said) -> dict[str, Any]:
        """Flag the pair `key`, or take the flag away."""
        task = self._task(said)
        self.labeling.toggle_flag(task, said.annotator, said.press)
        return self._answer(said, [self.labeling.task(*task.key, said.annotator)])

    def rest(self, said: Said) -> dict[str, Any]:
        """Label all pairs of `keys` as not relevant, in one step; each with its note, if those came along."""
        # One that was deleted meanwhile, or judged on another of this annotator's pages, is left as it is.
        found = [task for key in said.keys if (task := self.labeling.find_task(*key, said.annotator))]
        left_out = self.labeling.rest_is_not_relevant(
            [task for task in found if task.label is None and task.skip is None],
            said.annotator,
            self._version(),
            said.press,
            dict(zip(said.keys, said.notes, strict=False)),
        )
        answer = self._answer(said, [self.labeling.task(*task.key, said.annotator) for task in found])
        if left_out:
            answer["message"] = f"{left_out} of them were left out: others have judged them meanwhile."
        return answer

    def undo(self, said: Said) -> dict[str, Any]:
        """Take back the last step, or the one with the id `event`."""
        undone = self.labeling.undo(said.annotator, said.event, said.press)
        answer = self._answer(said, undone)
        for row, task in zip(answer["rows"], undone, strict=True):
            row["html"] = render("task.html", task=task)
        return answer

    def next_query(self, said: Said) -> dict[str, Any]:
        """The next query, or the one with the id `query`, as HTML; what of `left` is not judged goes back."""
        if said.query:
            tasks = self.labeling.query_tasks(said.query, said.annotator, said.strategy)
        else:
            tasks = self.labeling.next_query(said.annotator, said.strategy, said.shown, said.left, said.passed)
        return {**self._answer(said, []), "html": query_html(tasks)}

    def give_back(self, said: Said) -> dict[str, Any]:
        """Others may have the pairs `keys`: the page does not show them."""
        self.labeling.give_back(said.annotator, said.keys)
        return self._answer(said, [])

    def mine(self, said: Said) -> dict[str, Any]:
        """What this annotator judged last, and how fast and how well, as HTML."""
        judged = self.labeling.judged_by(said.annotator, LATEST)
        return {**self._answer(said, []), "html": figures_html(self.services, said.annotator) + mine_html(judged)}

    def team(self, said: Said) -> dict[str, Any]:
        """How far everyone has come, for somebody who has not said who they are."""
        return self._answer(Said(), [])

    def _task(self, said: Said) -> Task:
        return self.labeling.task(*(said.key or ("", "")), said.annotator)

    def _version(self) -> str | None:
        version = self.registry.status().version
        return version.version if version else None

    def _answer(self, said: Said, tasks: Sequence[Task]) -> dict[str, Any]:
        """The state of these pairs, how far everyone has come, and as many next pairs as are wanted."""
        following = self.labeling.next_tasks(said.annotator, said.strategy, said.shown, said.want)
        progress = self.labeling.progress(said.annotator)
        answer = {
            "rows": [self._row(task, said.annotator) for task in tasks],
            "tasks": [
                {**self._row(task, said.annotator), "html": render("task.html", task=task)} for task in following
            ],
            "progress": render("progress.html", progress=progress, name=said.annotator),
        }
        if len(following) < said.want:
            title, what_to_do = _why_empty(progress.candidates)
            answer["empty"] = render("empty.html", title=title, what_to_do=what_to_do)
        return answer

    def _row(self, task: Task, annotator: str) -> dict[str, Any]:
        label = {1: "relevant", 0: "not-relevant", None: None}[task.label]
        skip = {"cannot_tell": "cannot-tell", "later": "later"}.get(task.skip or "")
        event = self.services.label_store.event_of(*task.key, annotator) if label or skip else None
        return {
            "key": task.key, "state": label or skip or "open", "note": task.note, "flagged": task.flagged,
            "event": event,
        }  # fmt: skip


def add_judging_calls(app: FastAPI, services: Services) -> None:
    """Add the calls to the application; they answer errors as those of the HTTP interface do."""
    calls = JudgingCalls(services)
    if services.settings.sign_in and services.settings.labeling != "open":
        _read_sessions(app)
    asked = (calls.pairs, calls.next_query, calls.give_back, calls.mine)
    for call in (calls.judge, calls.flag, calls.rest, calls.undo, *asked):
        app.add_api_route(PATH + call.__name__, _by_name(services, call), methods=["POST"], include_in_schema=False)
    app.add_api_route(PATH + calls.team.__name__, calls.team, methods=["POST"], include_in_schema=False)
    app.add_api_route(PATH + "{path:path}", _unknown, methods=["GET", "POST"], include_in_schema=False)


def _unknown(path: str) -> None:
    raise NotFound("There is no such call. Load the page anew: it may be older than the app.")


def _by_name(services: Services, call: Callable[[Said], dict[str, Any]]) -> Callable:
    def answer(said: Said, request: Request) -> dict[str, Any]:
        token = bearer_token(request.headers)
        said.annotator = labels_as(services, said.annotator, token, request, _signed_in(request))
        if not said.annotator:
            raise InvalidInput("Who is judging? Type your name at the top of the page first.")
        return call(said)

    return answer


def _read_sessions(app: FastAPI) -> None:
    """Have these calls see who has signed in. Gradio keeps its sessions to itself, so here is what keeps them again."""
    before = len(app.routes)
    attach_oauth(app)
    for route in app.routes[before:]:
        route.include_in_schema = False  # type: ignore[attr-defined]


def _signed_in(request: Request) -> str | None:
    """The name of the account that is signed in, from gradio's session."""
    account = request.scope.get("session", {}).get("oauth_info")
    if account is None or account.get("expires_at", math.inf) < time.time():
        return None
    return account["userinfo"]["preferred_username"]


def _open(tasks: Sequence[Task]) -> list[Task]:
    return [task for task in tasks if task.is_open]


def _why_empty(candidates: int) -> tuple[str, str]:
    """A title and what to do, where no pair is shown."""
    if candidates:
        return (
            "Nothing is left for you to judge",
            "Thank you. Go back with ← to look at a pair again, or bring in more on the Data tab.",
        )
    return (
        "There is nothing to judge yet",
        "Import a file of pairs or the sample on the Data tab, or rerank something and add it to the queue.",
    )
