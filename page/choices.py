"""What can be chosen in a list that is filled anew while the page is open."""

from __future__ import annotations

from typing import Any

import gradio as gr


def offer(choices: list[str], chosen: str | None, instead: str | None = None) -> dict[str, Any]:
    """An update of a list: what was chosen stays so while there is one like it, or else `instead` is.

    Gradio keeps a choice that is gone, shows nothing in its place, and refuses it in words of its own later. Have the
    event take `chosen` with `preprocess=False`, or it is refused already there.
    """
    return gr.update(choices=choices) if chosen in choices else gr.update(choices=choices, value=instead)
