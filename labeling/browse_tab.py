"""What is stored, on the Data tab: found by words and a filter, with the history of each pair, labelled, deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

import gradio as gr

from errors import InvalidInput, WorkbenchError
from page.notices import check_may_change, shown_to_people
from page.render import render
from services import Services
from storage.browse_store import BrowseStore, Filter
from storage.records import Judgment

SHOWN = 25
# Candidates whose words are indexed while somebody waits for a search, at most.
INDEXED_BEFORE_A_SEARCH = 20_000

ACT_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (!button) return;
  const { query = null, passage = null } = button.closest('tr')?.dataset ?? {};
  const { act, label = null, before = null, number = null } = button.dataset;
  trigger('act', { act, query, passage, label, before, number });
});
"""


@dataclass(frozen=True)
class View:
    """What is on the screen: words and filter, where it begins, whose history is open, what was deleted last."""

    words: str = ""
    kept: Filter = "all"
    before: int | None = None
    history_of: tuple[str, str] | None = None
    undo: dict[str, Any] | None = None


def build_browser(services: Services, annotator: gr.Textbox, token: gr.Textbox) -> Callable:
    """Build the view of what is stored. Returns a function that makes an event read it anew."""
    store = BrowseStore(services.settings.database_path)
    gr.Markdown("### What is stored")
    with gr.Row():
        words = gr.Textbox(label="Search", placeholder="Words of the query or the passage", elem_id="search", scale=3)
        kept = gr.Dropdown(list(get_args(Filter)), value="all", label="Show", elem_id="filter", min_width=160)
    state = gr.State(View())
    shown = gr.HTML(elem_id="latest-labels", js_on_load=ACT_JS)

    def show(view: View) -> tuple[View, str]:
        waiting = 0
        if view.words.strip():
            done = 0
            while done < INDEXED_BEFORE_A_SEARCH and (step := store.index_more()):
                done += step
            waiting = store.not_indexed()
        pairs = store.find(view.words, view.kept, view.before, SHOWN + 1)
        html = render(
            "browse.html",
            pairs=pairs[:SHOWN],
            more=len(pairs) > SHOWN,
            is_first=view.before is None,
            words=view.words,
            filtered=bool(view.words.strip()) or view.kept != "all",
            waiting=waiting,
            history_of=view.history_of,
            history=store.history(*view.history_of) if view.history_of else [],
            undo=view.undo,
        )
        return view, html

    def read(
        words: str, kept: Filter, token: str, request: gr.Request, profile: gr.OAuthProfile | None
    ) -> tuple[View, str]:
        try:
            check_may_change(services, token, request, profile)
        except WorkbenchError as error:
            return View(), render("empty.html", title="Labels are not shown to everyone", what_to_do=str(error))
        return show(View(words, kept))

    @shown_to_people
    def act(
        view: View,
        annotator: str,
        token: str,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
        event: gr.EventData,
    ) -> tuple[View, str]:
        check_may_change(services, token, request, profile)
        pair = (event.query, event.passage)
        if event.act == "more":
            return show(replace(view, before=int(event.before), history_of=None))
        if event.act == "first":
            return show(replace(view, before=None, history_of=None))
        if event.act == "history":
            return show(replace(view, history_of=None if view.history_of == pair else pair))
        if event.act == "restore":
            store.restore(int(event.number))
            return show(replace(view, undo=None))
        task = services.labeling.task(*pair, annotator.strip() or "admin")
        if event.act == "delete":
            number = store.delete(*pair, annotator.strip() or "admin")
            return show(replace(view, undo={"number": number, "passage": task.passage}))
        if not annotator.strip():
            raise InvalidInput("Who is judging? Type your name at the top of the page first, then press again.")
        label = int(event.label)
        services.labeling.judge([Judgment(task.query, task.passage, label, annotator, note=task.note)])
        return show(view)

    private: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    inputs, outputs = [words, kept, token], [state, shown]
    # Leaving the box and choosing a filter are two events at once, of which the later one counts.
    gr.on([words.submit, words.blur, kept.input], read, inputs, outputs, trigger_mode="always_last", **private)
    shown.act(act, [state, annotator, token], outputs, trigger_mode="multiple", concurrency_limit=1, **private)
    return lambda opened: opened(read, inputs, outputs, **private)
