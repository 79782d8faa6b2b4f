"""What is stored, on the Data tab: found by words, filter and source, with the history of each pair; labelled,
corrected, deleted one by one or all that is found, and put back."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args

import gradio as gr
from pydantic import Field

from errors import InvalidInput
from page.events import QUIET, Press, Text
from page.render import counted, render, script
from page.rights import annotator_of, check_may_change, name_of, why_hidden
from services import Services
from storage.browse_store import Filter, FoundCounts, Search, Sort
from storage.records import Judgment, Task
from texts import check_text

SHOWN = 25
MOST_PAGES = 1_000_000_000
# Of a passage that was labelled, as much is read aloud.
HEARD_CHARACTERS = 80
# In the list of filters; what it shows is not pairs, but the steps in which some were deleted.
DELETED = "deleted"
Shown = Filter | Literal["deleted"]
ANYWHERE = "anywhere"
SECONDS_BETWEEN_NEWS = 1.0
# Candidates whose words are indexed while somebody waits for a search, at most.
INDEXED_BEFORE_A_SEARCH = 20_000

BROWSE_JS = script("browse.js")
KEEP_JS = "(...chosen) => { workbench.keep('search', ...chosen); }"
AS_KEPT_JS = "(...shown) => workbench.fields('search', 4, [0, 1, 2, 3, 4], ...shown)"


Act = Literal[
    "page", "history", "edit", "keep", "again", "label", "delete", "ask", "keep-all", "delete-all", "restore"
]


class StorePress(Press):
    """A press of a button that says what it does; of a row, with its pair and what is typed in its boxes."""

    act: Act
    query: Text | None = None
    passage: Text | None = None
    label: Literal["0", "1"] | None = None
    page: Annotated[int, Field(ge=0, le=MOST_PAGES)] | None = None
    step: Text | None = None
    query_text: Text | None = None
    passage_text: Text | None = None


@dataclass(frozen=True)
class View:
    """What is on the screen: words, filter, source, order and page; the pair that is open, and whether for its history
    or to be corrected; what is about to be deleted, if it is; what was deleted last, what was done, and which pair was
    corrected by that; what is only read aloud, since who looks at the list sees it there; or that this person may not
    see it."""

    words: str = ""
    filter: str = "all"
    source: str = ANYWHERE
    sort: Sort = "newest first"
    page: int = 0
    open_pair: tuple[str, str] | None = None
    open_for: Literal["history", "edit"] = "history"
    asked: FoundCounts | None = None
    undo: dict[str, Any] | None = None
    done: str = ""
    saved: tuple[str, str] | None = None
    heard: str = ""
    is_refused: bool = False

    @property
    def search(self) -> Search:
        """What is looked for among the pairs."""
        of_pairs: Filter = "all" if self.filter == DELETED else self.filter  # type: ignore[assignment]
        return Search(self.words, of_pairs, None if self.source == ANYWHERE else self.source)

    def turned_to(self, page: int) -> View:
        """Another page, on which nothing is open."""
        return replace(self, page=max(page, 0), open_pair=None, asked=None, done="")

    def within(self, rows: int) -> View:
        """On the last page that has some of so many rows, where this one has none."""
        return replace(self, page=min(self.page, max(rows - 1, 0) // SHOWN))

    def toggled(self, pair: tuple[str, str], open_for: Literal["history", "edit"]) -> View:
        """With that pair open, or closed where it was."""
        is_open = (self.open_pair, self.open_for) == (pair, open_for)
        return replace(self, open_pair=None if is_open else pair, open_for=open_for, asked=None, done="")


def build_browser(services: Services, annotator: gr.Textbox, token: gr.Textbox) -> tuple[Callable, Callable]:
    """Build the view of what is stored. Returns a function that makes an event read it anew, and one that makes another
    one, the page's `load`, bring back what was searched for before."""
    store = services.browse_store
    gr.Markdown("## Stored pairs")
    with gr.Row():
        hint = "Words of the query or the passage, then Enter"
        words = gr.Textbox(label="Search", placeholder=hint, elem_id="search", scale=3)
        filter = gr.Dropdown([*get_args(Filter), DELETED], value="all", label="Show", elem_id="filter", min_width=140)
        source = gr.Dropdown([ANYWHERE], value=ANYWHERE, label="From", elem_id="source", min_width=140)
        sort = gr.Dropdown(list(get_args(Sort)), value="newest first", label="Order", elem_id="sort", min_width=140)
    state = gr.State(View())
    shown = gr.HTML(elem_id="latest-labels", js_on_load=BROWSE_JS)

    def show(view: View) -> tuple[View, str]:
        if view.filter == DELETED:
            view = view.within(store.count_deletions())
            steps = store.deletions(view.page * SHOWN, SHOWN + 1)
            return view, render("deleted.html", steps=steps[:SHOWN], more=len(steps) > SHOWN, view=view)
        waiting = 0
        if view.words.strip():
            done = 0
            while done < INDEXED_BEFORE_A_SEARCH and (step := store.index_more()):
                done += step
            waiting = store.not_indexed()
        if waiting:
            # What is found is a part of what there is: nobody is asked whether to delete all of it.
            view = replace(view, asked=None)
        found = store.count(view.search)
        view = view.within(found.pairs)
        pairs = store.find(view.search, view.page * SHOWN, SHOWN + 1, view.sort)
        if waiting:
            store.index_the_rest()
        is_edited = view.open_pair is not None and view.open_for == "edit"
        html = render(
            "browse.html",
            pairs=pairs[:SHOWN],
            more=len(pairs) > SHOWN,
            found=found,
            view=view,
            words=view.words,
            filtered=not view.search.is_for_everything,
            waiting=waiting,
            history=store.history(*view.open_pair) if view.open_pair and not is_edited else [],
            counts=store.count_pairs(*view.open_pair) if view.open_pair and is_edited else (0, 0),
        )
        return view, html

    def read(
        words: str, filter: Shown, source: str, sort: Sort, token: str, request: gr.Request,
        profile: gr.OAuthProfile | None,
    ) -> tuple[View, str, Any]:  # fmt: skip
        if hidden := why_hidden(services, "Labels are not shown to everyone", token, request, profile):
            return View(is_refused=True), hidden, gr.skip()
        sources = store.sources()
        source = source if source in sources else ANYWHERE
        choices = gr.update(choices=[ANYWHERE, *sources], value=source)
        return *show(View(words, filter, source, sort)), choices

    def search(
        view: View,
        words: str,
        filter: Shown,
        source: str,
        sort: Sort,
        token: str,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
    ) -> tuple[View, str, Any]:
        # To press Edit is to leave the box: what is asked for is on the page already, and with it what is being typed.
        if view == replace(view, words=words, filter=filter, source=source, sort=sort, is_refused=False):
            return gr.skip(), gr.skip(), gr.skip()
        return read(words, filter, source, sort, token, request, profile)

    def act(
        view: View,
        annotator: str,
        token: str,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
        event: StorePress,
    ) -> Iterator[tuple[View, str]]:
        check_may_change(services, token, request, profile)
        if event.act == "label":
            who = annotator_of(services, annotator, token, request, profile)
        else:
            who = name_of(annotator, profile, "admin")
        view = replace(view, saved=None, heard="")
        if event.act == "delete-all":
            yield from map(show, delete_all(view, who))
        elif event.act == "restore":
            yield from map(show, restore(view, event.step or ""))
        else:
            yield show(acted(view, who, event))

    def acted(view: View, who: str, event: StorePress) -> View:
        """The view after what is done at once."""
        pair = (event.query or "", event.passage or "")
        if event.act == "page":
            return view.turned_to(event.page or 0)
        if event.act in ("history", "edit"):
            return view.toggled(pair, event.act)
        if event.act == "ask":
            return replace(view, asked=store.count(view.search), open_pair=None, done="")
        if event.act == "keep-all":
            return replace(view, asked=None)
        task = services.labeling.task(*pair, who)
        if event.act in ("keep", "again"):
            done = correct(task, event.query_text or "", event.passage_text or "", who, keep_labels=event.act == "keep")
            return replace(view, open_pair=None, done=done, saved=pair)
        if event.act == "delete":
            undo = {"step": store.delete(*pair, who), "pairs": 1, "passage": task.passage}
            return replace(view, undo=undo, open_pair=None, asked=None, done="")
        if event.label is None:
            raise InvalidInput("Say whether the passage is relevant.")
        services.labeling.judge([Judgment(task.query, task.passage, int(event.label), who)])
        said = "relevant" if event.label == "1" else "not relevant"
        return replace(view, done="", heard=f"Stored as {said}: {task.passage[:HEARD_CHARACTERS]}")

    def delete_all(view: View, who: str) -> Iterator[View]:
        """Delete what was found when it was asked; the views while that goes on, and after it."""
        asked = view.asked
        if asked is None:
            raise InvalidInput("Say first what is to be deleted.")
        view = replace(view.turned_to(0), undo=None)
        shown_at = time.monotonic()
        for step, pairs in store.delete_found(view.search, asked.last_id, who):
            view = replace(view, undo={"step": step, "pairs": pairs, "passage": None})
            if time.monotonic() - shown_at > SECONDS_BETWEEN_NEWS:
                yield replace(view, done=f"{pairs:,} of {asked.pairs:,} are deleted; it goes on.")
                shown_at = time.monotonic()
        yield view

    def restore(view: View, step: str) -> Iterator[View]:
        """Put back what was deleted in that step; the views while that goes on, and after it."""
        view = replace(view, undo=None, asked=None)
        shown_at = time.monotonic()
        pairs = 0
        for pairs in store.restore(step):
            if time.monotonic() - shown_at > SECONDS_BETWEEN_NEWS:
                yield replace(view, done=f"{pairs:,} are back; it goes on.")
                shown_at = time.monotonic()
        yield replace(view, done="It is back." if pairs == 1 else f"{counted(pairs, 'pair')} are back.")

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
        kept = "what was said of them stays" if keep_labels else "they wait to be judged again"
        return f"Corrected in {counted(max(counts), 'pair')}; {kept}."

    form = [words, filter, source, sort]
    inputs = [*form, token]
    outputs = [state, shown, source]
    # Whoever presses Enter asks for what is there now, also with the words of before.
    words.submit(read, inputs, outputs, trigger_mode="always_last", **QUIET)
    # Leaving the box and choosing a filter are two events at once, of which the later one counts.
    asked = [words.blur, filter.input, source.input, sort.input]
    gr.on(asked, search, [state, *inputs], outputs, trigger_mode="always_last", **QUIET)
    gr.on([words.input, *asked], None, form, None, js=KEEP_JS, trigger_mode="multiple", **QUIET)
    shown.act(act, [state, annotator, token], [state, shown], trigger_mode="multiple", concurrency_limit=1, **QUIET)

    def connect(opened: Callable) -> None:
        # A source that was chosen before is in no list yet.
        opened(read, inputs, outputs, js=AS_KEPT_JS, preprocess=False, **QUIET)

    def bring_back(loaded: Callable) -> None:
        back = loaded(None, None, form, js="() => workbench.kept('search', 4)", **QUIET)
        back.then(None, None, None, js="() => workbench.isBack('search')", **QUIET)

    return connect, bring_back


def _lines(text: str) -> list[str]:
    return re.split("\r\n|\r|\n", text)
