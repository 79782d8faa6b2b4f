"""What is stored, on the Data tab: found by words and a filter, with the history of each pair; labelled, corrected,
deleted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import gradio as gr

from errors import InvalidInput, WorkbenchError
from page.notices import check_may_change, shown_to_people
from page.render import render
from services import Services
from storage.browse_store import BrowseStore, Filter, Sort
from storage.records import Judgment, Task
from texts import check_text

SHOWN = 25
# Candidates whose words are indexed while somebody waits for a search, at most.
INDEXED_BEFORE_A_SEARCH = 20_000

# A button says what it does; of a row that is being corrected, what is typed in its boxes goes along.
ACT_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (!button) return;
  const row = button.closest('tr');
  const { query = null, passage = null } = row?.dataset ?? {};
  const { act, label = null, page = null, number = null } = button.dataset;
  const typed = (name) => row?.querySelector(`textarea[name=${name}]`)?.value ?? null;
  const texts = { query_text: typed('query'), passage_text: typed('passage') };
  trigger('act', { act, query, passage, label, page, number, ...texts });
});
"""


@dataclass(frozen=True)
class View:
    """What is on the screen: words, filter, order and page; the pair that is open, and whether for its history or to be
    corrected; what was deleted last, and what was corrected; or that this person may not see it."""

    words: str = ""
    kept: Filter = "all"
    sort: Sort = "newest first"
    page: int = 0
    open_pair: tuple[str, str] | None = None
    open_for: Literal["history", "edit"] = "history"
    undo: dict[str, Any] | None = None
    done: str = ""
    is_refused: bool = False

    def turned_to(self, page: int) -> View:
        """Another page, on which nothing is open."""
        return replace(self, page=max(page, 0), open_pair=None, done="")

    def toggled(self, pair: tuple[str, str], open_for: Literal["history", "edit"]) -> View:
        """With that pair open, or closed where it was."""
        is_open = (self.open_pair, self.open_for) == (pair, open_for)
        return replace(self, open_pair=None if is_open else pair, open_for=open_for, done="")


def build_browser(services: Services, annotator: gr.Textbox, token: gr.Textbox) -> Callable:
    """Build the view of what is stored. Returns a function that makes an event read it anew."""
    store = BrowseStore(services.settings.database_path)
    gr.Markdown("### What is stored")
    with gr.Row():
        words = gr.Textbox(label="Search", placeholder="Words of the query or the passage", elem_id="search", scale=3)
        kept = gr.Dropdown(list(get_args(Filter)), value="all", label="Show", elem_id="filter", min_width=140)
        sort = gr.Dropdown(list(get_args(Sort)), value="newest first", label="Order", elem_id="sort", min_width=140)
    state = gr.State(View())
    shown = gr.HTML(elem_id="latest-labels", js_on_load=ACT_JS)

    def show(view: View) -> tuple[View, str]:
        waiting = 0
        if view.words.strip():
            done = 0
            while done < INDEXED_BEFORE_A_SEARCH and (step := store.index_more()):
                done += step
            waiting = store.not_indexed()
        pairs = store.find(view.words, view.kept, view.page * SHOWN, SHOWN + 1, view.sort)
        is_edited = view.open_pair is not None and view.open_for == "edit"
        html = render(
            "browse.html",
            pairs=pairs[:SHOWN],
            more=len(pairs) > SHOWN,
            view=view,
            words=view.words,
            filtered=bool(view.words.strip()) or view.kept != "all",
            waiting=waiting,
            history=store.history(*view.open_pair) if view.open_pair and not is_edited else [],
            counts=store.count_pairs(*view.open_pair) if view.open_pair and is_edited else (0, 0),
        )
        return view, html

    def read(
        words: str, kept: Filter, sort: Sort, token: str, request: gr.Request, profile: gr.OAuthProfile | None
    ) -> tuple[View, str]:
        try:
            check_may_change(services, token, request, profile)
        except WorkbenchError as error:
            html = render("empty.html", title="Labels are not shown to everyone", what_to_do=str(error))
            return View(is_refused=True), html
        return show(View(words, kept, sort))

    def search(
        view: View,
        words: str,
        kept: Filter,
        sort: Sort,
        token: str,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
    ) -> tuple[View, str]:
        # To press Edit is to leave the box: what is asked for is on the page already, and with it what is being typed.
        if view == replace(view, words=words, kept=kept, sort=sort, is_refused=False):
            return gr.skip(), gr.skip()
        return read(words, kept, sort, token, request, profile)

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
        if event.act == "page":
            return show(view.turned_to(int(event.page)))
        if event.act in ("history", "edit"):
            return show(view.toggled(pair, event.act))
        if event.act == "restore":
            store.restore(int(event.number))
            return show(replace(view, undo=None, done="It is back."))
        who = annotator.strip() or "admin"
        task = services.labeling.task(*pair, who)
        if event.act in ("keep", "again"):
            done = correct(task, event.query_text, event.passage_text, who, keep_labels=event.act == "keep")
            return show(replace(view, open_pair=None, done=done))
        if event.act == "delete":
            number = store.delete(*pair, who)
            return show(replace(view, undo={"number": number, "passage": task.passage}, open_pair=None, done=""))
        if not annotator.strip():
            raise InvalidInput("Who is judging? Type your name at the top of the page first, then press again.")
        label = int(event.label)
        services.labeling.judge([Judgment(task.query, task.passage, label, annotator, note=task.note)])
        return show(replace(view, done=""))

    def correct(task: Task, query: str, passage: str, who: str, keep_labels: bool) -> str:
        """Put what was typed in the place of the texts; returns what was done, for a person."""
        check_text(query, "The query")
        check_text(passage, "The passage")
        # A text area has line feeds only.
        typed = {"query": (task.query_id, task.query, query), "passage": (task.passage_id, task.passage, passage)}
        changed = {kind: (old_id, new) for kind, (old_id, old, new) in typed.items() if _lines(old) != _lines(new)}
        if not changed:
            raise InvalidInput("Both texts are the same as before. Change one, or press Cancel.")
        counts = [
            store.edit(kind, old_id, new, who, keep_labels)  # type: ignore[arg-type]
            for kind, (old_id, new) in changed.items()
        ]
        pairs = "1 pair" if max(counts) == 1 else f"{max(counts):,} pairs"
        kept = "what was said of them stays" if keep_labels else "they wait to be judged again"
        return f"Corrected in {pairs}; {kept}."

    private: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    inputs, outputs = [words, kept, sort, token], [state, shown]
    # Leaving the box and choosing a filter are two events at once, of which the later one counts.
    asked = [words.submit, words.blur, kept.input, sort.input]
    gr.on(asked, search, [state, *inputs], outputs, trigger_mode="always_last", **private)
    shown.act(act, [state, annotator, token], outputs, trigger_mode="multiple", concurrency_limit=1, **private)
    return lambda opened: opened(read, inputs, outputs, **private)


def _lines(text: str) -> list[str]:
    return re.split("\r\n|\r|\n", text)
