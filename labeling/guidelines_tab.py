"""The guidelines: what annotators go by, at hand while they judge, and written by whoever may change things."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from page.events import QUIET
from page.render import plain_markdown
from page.rights import check_may_change
from services import Services

NONE_YET = (
    "_Nothing is written yet. Say here when a passage counts as relevant, with an example of each kind, so that "
    "everyone judges alike._"
)


def build_guidelines(services: Services, annotator: gr.Textbox, token: gr.Textbox) -> Callable:
    """Build the guidelines. Returns a function that makes an event read them anew."""
    with gr.Accordion("Guidelines", open=False, elem_id="guidelines"):
        shown = gr.Markdown(NONE_YET, elem_id="guidelines-text")
        edit = gr.Button("Edit", size="sm", elem_id="guidelines-edit")
        with gr.Column(visible=False) as editor:
            box = gr.Textbox(label="Guidelines, in Markdown", lines=8, max_lines=24, elem_id="guidelines-box")
            with gr.Row():
                save = gr.Button("Save", variant="primary", size="sm", elem_id="guidelines-save")
                cancel = gr.Button("Cancel", size="sm")

    def read() -> str:
        guidelines = services.label_store.guidelines()
        if guidelines is None or not guidelines.text.strip():
            return NONE_YET
        who = plain_markdown(guidelines.written_by)
        return f"{guidelines.text}\n\n<small><bdi>{who}</bdi>, {guidelines.created_at[:10]}</small>"

    def open_editor(token: str, request: gr.Request, profile: gr.OAuthProfile | None) -> tuple:
        check_may_change(services, token, request, profile)
        guidelines = services.label_store.guidelines()
        return gr.update(visible=True), guidelines.text if guidelines else "", gr.update(visible=False)

    def keep(text: str, annotator: str, token: str, request: gr.Request, profile: gr.OAuthProfile | None) -> tuple:
        check_may_change(services, token, request, profile)
        services.labeling.write_guidelines(text, annotator.strip() or (profile.username if profile else "admin"))
        return gr.update(visible=False), read(), gr.update(visible=True)

    opened = edit.click(open_editor, token, [editor, box, edit], **QUIET)
    opened.success(None, box, box, js="(saved) => workbench.guidelines(saved)", **QUIET)
    save.click(keep, [box, annotator, token], [editor, shown, edit], **QUIET)
    cancel.click(lambda: (gr.update(visible=False), gr.update(visible=True)), None, [editor, edit], **QUIET)
    return lambda opened: opened(read, None, shown, **QUIET)
