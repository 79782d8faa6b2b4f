"""How a plot is taken out of sight."""

from __future__ import annotations

from typing import Literal

# Gradio goes on measuring a plot that was taken away or emptied, and errors in the browser come of it. One that is
# hidden stays where it is, with what it showed before. A page begins without any: what draws them is large, and is
# loaded with the first.
HIDDEN: Literal["hidden"] = "hidden"
