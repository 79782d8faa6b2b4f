"""Files that are made when somebody asks for them; the browser then takes them by itself."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gradio as gr

from page.events import QUIET

TAKE_IT = """(file) => {
  const link = document.createElement('a');
  link.href = file.url;
  link.download = file.orig_name;
  link.click();
}"""


class Download:
    """A box for a file, there once it is made: to take it again, or where the browser asks before it takes one."""

    def __init__(self, label: str, elem_id: str) -> None:
        self.box = gr.File(label=label, interactive=False, visible=False, elem_id=elem_id)
        self._written = gr.State(None)

    def connect(self, event: Callable, make: Callable, inputs: list | gr.components.Component, **options: Any) -> None:
        """Have this event make the file. `make` gets the inputs, and returns what `written` does."""
        made = event(make, inputs, [self.box, self._written], api_visibility="private", **options)
        # The page keeps a copy of its own to download, so that what was written for it can go.
        made.success(remove, self._written, None, **QUIET)
        made.success(None, self.box, None, js=TAKE_IT, **QUIET)


def remove(directory: Path | None) -> None:
    """Delete a directory of a file that the page has a copy of, where there is one."""
    if directory is not None:
        shutil.rmtree(directory, ignore_errors=True)


def written(name: str, pieces: Iterable[bytes]) -> tuple:
    """A file of this name in a directory of its own, as new values for a `Download`."""
    path = Path(tempfile.mkdtemp()) / name
    with path.open("wb") as file:
        file.writelines(pieces)
    return gr.update(value=str(path), visible=True), path.parent
