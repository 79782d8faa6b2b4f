"""The guidelines: what annotators go by, at hand while they judge, and written by whoever may change things."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gradio as gr

from errors import Conflict
from page.events import QUIET
from page.render import plain_markdown
from page.rights import check_may_change, name_of
from services import Services
from storage.records import Guidelines

NONE_YET = (
    "_Nothing is written yet. Say here when a passage counts as relevant, with an example of each kind, so that "
    "everyone judges alike._"
)
# The box is gone, and the button that opened it is back, once gradio has drawn them.
BACK_TO_EDIT = "() => { setTimeout(() => document.querySelector('#guidelines-edit')?.focus()); }"


def build_guidelines(services: Services, annotator: gr.Textbox, token: gr.Textbox) -> Callable:
    """Build the guidelines. Returns a function that makes an event read them anew."""
    with gr.Accordion("Guidelines", open=False, elem_id="guidelines"):
        shown = gr.Markdown(NONE_YET, elem_id="guidelines-text")
        edit = gr.Button("Edit", size="sm", elem_id="guidelines-edit")
        with gr.Column(visible=False) as editor:
            box = gr.Textbox(label="Guidelines, in Markdown", lines=8, max_lines=24, elem_id="guidelines-box")
            # When the guidelines were written that the text in the box began as. Like that, it outlives a reload.
            begun_from = gr.Textbox(visible=False)
            with gr.Row():
                save = gr.Button("Save", variant="primary", size="sm", elem_id="guidelines-save")
                cancel = gr.Button("Cancel", size="sm")

    def read() -> str:
        return as_markdown(services.label_store.guidelines())

    def as_markdown(guidelines: Guidelines | None) -> str:
        if guidelines is None or not guidelines.text.strip():
            return NONE_YET
        who = plain_markdown(guidelines.written_by)
        return f"{guidelines.text}\n\n<small><bdi>{who}</bdi>, {guidelines.created_at[:10]}</small>"

    def open_editor(token: str, request: gr.Request, profile: gr.OAuthProfile | None) -> tuple:
        check_may_change(services, token, request, profile)
        guidelines = services.label_store.guidelines()
        text, moment = (guidelines.text, guidelines.created_at) if guidelines else ("", "")
        return gr.update(visible=True), text, moment, gr.update(visible=False)

    def keep(
        text: str, begun_from: str, annotator: str, token: str, request: gr.Request, profile: gr.OAuthProfile | None
    ) -> Iterator[tuple]:
        check_may_change(services, token, request, profile)
        who = name_of(annotator, profile, "admin")
        try:
            services.labeling.write_guidelines(text, who, begun_from or None)
        except Conflict:
            # What others wrote is seen from now on, and may be replaced by whoever has seen it.
            if others := services.label_store.guidelines():
                yield gr.skip(), as_markdown(others), others.created_at, gr.skip()
            raise
        yield gr.update(visible=False), read(), gr.skip(), gr.update(visible=True)

    opened = edit.click(open_editor, token, [editor, box, begun_from, edit], **QUIET)
    typed = [box, begun_from]
    opened.success(None, typed, typed, js="(...saved) => workbench.guidelines(...saved)", **QUIET)
    saved = save.click(keep, [*typed, annotator, token], [editor, shown, begun_from, edit], **QUIET)
    saved.success(None, None, None, js=BACK_TO_EDIT, **QUIET)
    given_up = cancel.click(lambda: (gr.update(visible=False), gr.update(visible=True)), None, [editor, edit], **QUIET)
    given_up.success(None, None, None, js=BACK_TO_EDIT, **QUIET)
    return lambda opened: opened(read, None, shown, **QUIET)
