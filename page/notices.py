"""How the page tells people what went wrong."""

from __future__ import annotations

import html

import gradio as gr

from errors import WorkbenchError

SECONDS_TO_READ = 15
REFUSED = "That did not work"


def as_text(error: WorkbenchError) -> str:
    """What an error says, for a notice, which shows HTML: the error may quote a file that somebody else wrote."""
    return html.escape(str(error), quote=False)


def notice(error: WorkbenchError) -> gr.Error:
    """An error as the page shows it."""
    return gr.Error(as_text(error), title=REFUSED, duration=SECONDS_TO_READ, print_exception=False)
