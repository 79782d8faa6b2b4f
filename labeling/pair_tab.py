"""Judging pair by pair: one is shown, judged with a key or a button, and the next one is there at once.

All of it happens in the page (page/pairs.js), which has the next pairs before they are needed and tells the server
behind each press (page/judging_calls.py). None of it waits for gradio's events, which are answered in any order.
"""

from __future__ import annotations

import gradio as gr
from markupsafe import Markup

from page.render import render, script
from page.rights import nobody_judges
from services import Services

PAIRS_JS = script("pairs.js")
# The id of each button, its kind, its text and the key that stands for it (page/keys.js).
JUDGE = (
    ("relevant", "yes", "✓ Relevant", "1"),
    ("not-relevant", "no", "✗ Not relevant", "0"),
    ("cannot-tell", "", "? Can't tell", "space"),
    ("later", "", "↷ Later", "l"),
)
MOVE = (
    ("back", "", "Back", "←"),
    ("forward", "", "Forward", "→"),
    ("undo", "", "↶ Undo", "u"),
    ("flag", "", "⚑ Flag", "f"),
)

# What programs that read the screen aloud call a key.
KEY_NAMES = {"space": "Space", "←": "ArrowLeft", "→": "ArrowRight"}


def build_pair_tab(services: Services) -> None:
    """Build the way to judge pair by pair."""
    nobody = nobody_judges(services.settings)
    renew = services.labeling.renew_seconds
    frame = render("pair.html", judge=JUDGE, move=MOVE, names=KEY_NAMES, renew=renew, nobody=Markup(nobody))
    gr.HTML(frame, js_on_load=PAIRS_JS, elem_id="pair-view")
    gr.HTML(render("keys.html", kind="pair"))
