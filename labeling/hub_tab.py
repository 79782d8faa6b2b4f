"""The part of the Data tab that brings a dataset of the Hub in: looked up, fetched as far as asked, then checked and
imported like a file."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from labeling.hub_import import DEFAULT_ROWS, MAX_ROWS, check_id, fetch, look_up
from page.downloads import remove
from page.rights import check_may_change
from services import Services
from texts import counted

ASKING = "Asking the Hub …"
NOT_A_FILE_NAME = re.compile(r"[^\w.-]+")


def build_hub_form(services: Services, token: gr.Textbox, file: gr.File) -> None:
    """Build the form; what it fetches becomes the value of `file`."""
    with gr.Accordion("Or a dataset on the Hub", open=False, elem_id="hub"):
        with gr.Row():
            name = gr.Textbox(label="Dataset", placeholder="owner/name", scale=3, min_width=180, elem_id="hub-name")
            ask = gr.Button("Look up", size="sm", scale=1, min_width=100, elem_id="hub-ask")
        with gr.Column(visible=False) as choices:
            with gr.Row():
                subset = gr.Dropdown(label="Subset", min_width=120, elem_id="hub-subset")
                split = gr.Dropdown(label="Split", min_width=120, elem_id="hub-split")
                limit = gr.Number(
                    DEFAULT_ROWS, label="Maximum rows", precision=0, minimum=1, maximum=MAX_ROWS, min_width=120,
                    elem_id="hub-rows",
                )  # fmt: skip
            with gr.Row():
                get = gr.Button("Fetch and check", variant="primary", size="sm", elem_id="hub-fetch")
                stop = gr.Button("Stop", variant="stop", size="sm", visible=False, elem_id="hub-stop")
        status = gr.Markdown(elem_id="hub-status")
    # The subset whose splits are offered.
    shown_subset = gr.State(None)
    fetched = gr.State(None)

    def show_choices(
        typed: str, subset: str | None, token: str, request: gr.Request, profile: gr.OAuthProfile | None
    ) -> Iterator[tuple]:
        check_may_change(services, token, request, profile)
        yield *(gr.skip(),) * len(looked_up[:-1]), ASKING
        found = look_up(typed, subset or None)
        yield (
            gr.update(value=check_id(typed)),
            gr.update(visible=True),
            gr.update(choices=found.subsets, value=found.subset),
            gr.update(choices=found.splits, value=found.splits[0] if found.splits else None),
            found.subset,
            "",
        )

    def show_splits(
        typed: str, subset: str | None, shown: str | None, token: str, request: gr.Request,
        profile: gr.OAuthProfile | None,
    ) -> Iterator[tuple]:  # fmt: skip
        # A drop-down that is left says that something was chosen, too.
        if subset == shown:
            yield (gr.skip(),) * len(looked_up)
        else:
            yield from show_choices(typed, subset, token, request, profile)

    def run_fetch(
        typed: str, subset: str, split: str, limit: float | None, token: str, request: gr.Request,
        profile: gr.OAuthProfile | None,
    ) -> Iterator[tuple]:  # fmt: skip
        check_may_change(services, token, request, profile)
        directory = Path(tempfile.mkdtemp())
        path = directory / NOT_A_FILE_NAME.sub("-", f"{check_id(typed)} {subset} {split}.jsonl")
        is_done = False
        try:
            going = fetch(typed, subset, split, int(limit or 0), path)
            while True:
                try:
                    rows = next(going)
                except StopIteration as end:
                    is_all = end.value
                    break
                said = f"{counted(rows, 'row')} so far." if rows else ASKING
                yield said, gr.update(visible=True), None
            is_done = True
            more = "" if is_all else " There are more: raise the number to take them, too."
            said = f"{counted(rows, 'row')} fetched and checked below.{more}"
            yield said, gr.update(visible=False), path
        finally:
            if not is_done:
                shutil.rmtree(directory, ignore_errors=True)

    def say_nothing() -> tuple:
        return "", gr.update(visible=False)

    private: dict[str, Any] = {"api_visibility": "private"}
    looked_up = [name, choices, subset, split, shown_subset, status]
    asked: dict[str, Any] = {"inputs": [name, gr.State(None), token], "outputs": looked_up}
    lookings = [
        gr.on([ask.click, name.submit], show_choices, **asked, show_progress="hidden", **private),
        subset.input(
            show_splits, [name, subset, shown_subset, token], looked_up,
            trigger_mode="always_last", show_progress="hidden", **private,
        ),
    ]  # fmt: skip
    for looking in lookings:
        looking.failure(lambda: "", None, status, show_progress="hidden", **private)
    fetching = get.click(
        run_fetch, [name, subset, split, limit, token], [status, stop, fetched], show_progress="hidden",
        concurrency_limit=2, **private,
    )  # fmt: skip
    fetching.failure(say_nothing, None, [status, stop], show_progress="hidden", **private)
    # Not by the event that fetches: what it has said last, it says once more when it ends, and the file would be
    # checked twice.
    given = fetching.success(lambda path: path and str(path), fetched, file, show_progress="hidden", **private)
    # The page has a copy of its own by then.
    given.success(lambda path: path and remove(path.parent), fetched, None, show_progress="hidden", **private)
    stop.click(say_nothing, None, [status, stop], cancels=[fetching], show_progress="hidden", **private)
