"""Lists of pairs that are judged where they are: all candidates of one query, and what somebody judged before.

The page (page/judge_list.js) shows at once what was pressed and tells the server behind it, through the functions of
`ListActions`; each answers with the state of the rows that it changed, or with an error to be shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from errors import InvalidInput, WorkbenchError
from labeling.agreement import agreement_by_annotator
from labeling.pace import anchoring, pace
from page.render import render
from services import Services
from storage.records import Judged, Judgment, Task

LIST_JS = (Path(__file__).parents[1] / "page" / "judge_list.js").read_text(encoding="utf-8")
# null says that nobody sees the list just now: what it shows then stays, since a later event may have shown it anew.
ON_SCREEN_JS = """(annotator, strategy) =>
  [document.getElementById('query-view')?.offsetParent ? annotator : null, strategy]"""
LATEST = 100
# The figures are those of so many judgments, the latest ones.
EVENTS = 2_000
LABELS = {"relevant": 1, "not-relevant": 0}
SKIPS = {"cannot-tell": "cannot_tell", "later": "later"}


@dataclass(frozen=True)
class Row:
    """A pair in a list; the event that judged it where it is one of those judged before."""

    task: Task
    event_id: int | None = None
    created_at: str | None = None


class ListActions:
    """What the page may ask of the server about a list; each function takes and returns plain JSON."""

    def __init__(self, services: Services) -> None:
        self.labeling = services.labeling
        self.registry = services.registry
        self.functions = [_answers(function) for function in (self.judge, self.flag, self.rest, self.undo, self.open)]

    def judge(self, data: dict[str, Any]) -> dict[str, Any]:
        """Store what `data["state"]` says of the pair `data["key"]`."""
        annotator, task = self._pair(data)
        state = data.get("state")
        seconds = data.get("seconds")
        if state in LABELS:
            self.labeling.judge(
                [
                    Judgment(
                        task.query,
                        task.passage,
                        LABELS[state],
                        annotator,
                        note=str(data.get("note") or "").strip() or None,
                        seconds=float(seconds) if seconds is not None else None,
                        model_version=self._version(),
                        score_visible=False,
                        source=task.source,
                    )
                ]
            )
        elif state in SKIPS:
            self.labeling.skip(task, annotator, SKIPS[state], seconds)  # type: ignore[arg-type]
        else:
            raise InvalidInput("Say relevant, not relevant, can't tell or later.")
        return self._answer(annotator, [self.labeling.task(*task.key, annotator)])

    def flag(self, data: dict[str, Any]) -> dict[str, Any]:
        """Flag the pair `data["key"]`, or take the flag away."""
        annotator, task = self._pair(data)
        self.labeling.toggle_flag(task, annotator)
        return self._answer(annotator, [self.labeling.task(*task.key, annotator)])

    def rest(self, data: dict[str, Any]) -> dict[str, Any]:
        """Label all pairs of `data["keys"]` as not relevant, in one step."""
        annotator = _annotator(data)
        tasks = [self.labeling.task(*key, annotator) for key in data.get("keys", [])]
        self.labeling.rest_is_not_relevant(tasks, annotator, self._version())
        return self._answer(annotator, [self.labeling.task(*task.key, annotator) for task in tasks])

    def undo(self, data: dict[str, Any]) -> dict[str, Any]:
        """Take back the last step, or the one with the event id `data["event"]`."""
        annotator = _annotator(data)
        return self._answer(annotator, self.labeling.undo(annotator, data.get("event")))

    def open(self, data: dict[str, Any]) -> dict[str, Any]:
        """The next query, or the one with the id `data["query"]`, as HTML; `data["shown"]` are the pairs shown now."""
        annotator, strategy = _annotator(data), data.get("strategy")
        if data.get("query"):
            tasks = self.labeling.query_tasks(data["query"], annotator, strategy)
        else:
            shown = [self.labeling.find_task(*key, annotator) for key in data.get("shown", [])]
            tasks = self.labeling.next_query(annotator, strategy, [task for task in shown if task])
        return {**self._answer(annotator, []), "html": query_html(tasks, annotator)}

    def _pair(self, data: dict[str, Any]) -> tuple[str, Task]:
        annotator = _annotator(data)
        return annotator, self.labeling.task(*data.get("key", ("", "")), annotator)

    def _version(self) -> str | None:
        version = self.registry.status().version
        return version.version if version else None

    def _answer(self, annotator: str, tasks: Sequence[Task]) -> dict[str, Any]:
        events = {judged.task.key: judged.event_id for judged in self.labeling.judged_by(annotator, LATEST)}
        progress = render("progress.html", progress=self.labeling.progress(annotator))
        return {"rows": [_state(task, events.get(task.key)) for task in tasks], "progress": progress}


def build_query_tab(services: Services, annotator: gr.Textbox, strategy: gr.Dropdown) -> Callable:
    """Build the way to judge query by query. Returns a function that makes an event show where the annotator is."""
    actions = ListActions(services)
    view = gr.HTML(query_html([], ""), js_on_load=LIST_JS, server_functions=actions.functions, elem_id="query-view")
    gr.HTML(render("keys.html", kind="query"))

    def show(annotator: str | None, strategy: str) -> Any:
        if annotator is None:
            return gr.skip()
        annotator = annotator.strip()
        tasks = services.labeling.next_query(annotator, strategy) if annotator else []
        return query_html(tasks, annotator)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

    def connect(opened: Callable, only_on_screen: bool = False) -> None:
        # A query that nobody sees is not to be held for anybody.
        js = ON_SCREEN_JS if only_on_screen else None
        opened(show, [annotator, strategy], view, js=js, **quiet)

    connect(strategy.input, only_on_screen=True)
    return connect


def build_mine_tab(services: Services, annotator: gr.Textbox) -> Callable:
    """Build the list of what somebody judged last. Returns a function that makes an event read it anew."""
    actions = ListActions(services)
    figures = gr.HTML(elem_id="mine-figures")
    view = gr.HTML(mine_html([], ""), js_on_load=LIST_JS, server_functions=actions.functions, elem_id="mine-view")

    def show(annotator: str) -> tuple[str, str]:
        return figures_html(services, annotator.strip()), mine_html(
            services.labeling.judged_by(annotator, LATEST), annotator
        )

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    return lambda opened: opened(show, annotator, [figures, view], **quiet)


def figures_html(services: Services, annotator: str) -> str:
    """How fast this annotator judges, how far with the others, and how far after the model."""
    events = services.review_store.judging_events(annotator, EVENTS) if annotator else []
    if not events:
        return ""
    others = {item.annotator: item for item in agreement_by_annotator(services.review_store.shared_votes())}
    return render(
        "figures.html", pace=pace(events), anchoring=anchoring(events), agreement=others.get(annotator), most=EVENTS
    )


def query_html(tasks: Sequence[Task], annotator: str) -> str:
    """All candidates of a query, to be judged."""
    if tasks:
        title = "Passages of one query to judge"
        return render("judge_list.html", kind="query", title=title, rows=[Row(task) for task in tasks])
    if not annotator:
        title, what_to_do = "Who is judging?", "Type your name into the box at the top of the page."
    else:
        title, what_to_do = "No query is left for you", "Bring in more pairs on the Data tab, or rerank something."
    return render("empty.html", title=title, what_to_do=what_to_do)


def mine_html(judged: Sequence[Judged], annotator: str) -> str:
    """What somebody judged last, to be looked at and corrected."""
    if judged:
        rows = [Row(item.task, item.event_id, item.created_at) for item in judged]
        return render("judge_list.html", kind="mine", title="What you judged last, the latest first", rows=rows)
    if not annotator.strip():
        title, what_to_do = "Whose judgments?", "Type your name into the box at the top of the page."
    else:
        title, what_to_do = "You have judged nothing yet", "What you judge is listed here, to be looked at and changed."
    return render("empty.html", title=title, what_to_do=what_to_do)


def _answers(function: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The function for the page: what a person can do something about is told, everything else is an error."""

    def answer(data: dict[str, Any]) -> dict[str, Any]:
        try:
            return function(data)
        except WorkbenchError as error:
            return {"error": str(error)}

    answer.__name__ = function.__name__
    return answer


def _annotator(data: dict[str, Any]) -> str:
    name = str(data.get("annotator") or "").strip()
    if not name:
        raise InvalidInput("Who is judging? Type your name at the top of the page first, then press again.")
    return name


def _state(task: Task, event_id: int | None) -> dict[str, Any]:
    label = {1: "relevant", 0: "not-relevant"}.get(task.label) if task.label is not None else None  # type: ignore[arg-type]
    skip = {"cannot_tell": "cannot-tell", "later": "later"}.get(task.skip or "")
    return {
        "query": task.query_id, "passage": task.passage_id, "state": label or skip or "open",
        "note": task.note, "flagged": task.flagged, "event": event_id,
    }  # fmt: skip
