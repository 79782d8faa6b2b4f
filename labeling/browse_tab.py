"""What is stored, on the Data tab: the latest labels."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from errors import WorkbenchError
from page.notices import check_may_change
from page.render import render
from services import Services

LATEST = 100


def build_browser(services: Services, annotator: gr.Textbox, token: gr.Textbox) -> Callable:
    """Build the view of what is stored. Returns a function that makes an event read it anew."""
    gr.Markdown("### Latest labels")
    latest = gr.HTML(elem_id="latest-labels")

    def read_latest(token: str, request: gr.Request, profile: gr.OAuthProfile | None) -> str:
        try:
            check_may_change(services, token, request, profile)
        except WorkbenchError as error:
            return render("empty.html", title="Labels are not shown to everyone", what_to_do=str(error))
        return render("labels.html", labels=services.label_store.latest_labels(LATEST))

    return lambda opened: opened(read_latest, token, latest, show_progress="hidden", api_visibility="private")
