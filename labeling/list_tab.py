"""Lists of pairs that are judged where they are: all candidates of one query, and what somebody judged before.

The page (page/judge_list.js) fetches them, shows at once what was pressed, and tells the server behind it
(page/judging_calls.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr
from markupsafe import Markup

from labeling.agreement import agreement_by_annotator
from labeling.pace import anchoring, pace
from page.render import render, script
from page.rights import nobody_judges
from services import Services
from storage.records import Judged, Task

LIST_JS = script("judge_list.js")
# How many of one's judgments are listed.
LATEST = 100
# The figures are those of so many judgments, the latest ones.
EVENTS = 2_000


@dataclass(frozen=True)
class Row:
    """A pair in a list; the event that judged it where it is one of those judged before."""

    task: Task
    event_id: int | None = None
    created_at: str | None = None


def build_query_tab(services: Services) -> None:
    """Build the way to judge query by query."""
    _build(services, "query")
    gr.HTML(render("keys.html", kind="query"))


def build_mine_tab(services: Services) -> None:
    """Build the list of what somebody judged last."""
    _build(services, "mine")


def _build(services: Services, kind: str) -> None:
    nobody = nobody_judges(services.settings)
    renew = services.labeling.renew_seconds
    frame = render("list.html", kind=kind, renew=renew, nobody=Markup(nobody))
    gr.HTML(frame, js_on_load=LIST_JS, elem_id=f"{kind}-view")


def figures_html(services: Services, annotator: str) -> str:
    """How fast this annotator judges, how far with the others, and how far after the model."""
    events = services.review_store.judging_events(annotator, EVENTS)
    if not events:
        return ""
    others = {item.annotator: item for item in agreement_by_annotator(services.review_store.vote_counts())}
    return render(
        "figures.html", pace=pace(events), anchoring=anchoring(events), agreement=others.get(annotator), most=EVENTS
    )


def query_html(tasks: Sequence[Task]) -> str:
    """All candidates of a query, to be judged."""
    if tasks:
        title = "Passages of one query to judge"
        return render("judge_list.html", kind="query", title=title, rows=[Row(task) for task in tasks])
    what_to_do = "Bring in more pairs on the Data tab, or rerank something."
    return render("empty.html", title="No query is left for you", what_to_do=what_to_do)


def mine_html(judged: Sequence[Judged]) -> str:
    """What somebody judged last, to be looked at and corrected."""
    if judged:
        rows = [Row(item.task, item.event_id, item.created_at) for item in judged]
        return render("judge_list.html", kind="mine", title="What you judged last, the latest first", rows=rows)
    what_to_do = "What you judge is listed here, to be looked at and changed."
    return render("empty.html", title="You have judged nothing yet", what_to_do=what_to_do)
