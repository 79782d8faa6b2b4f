"""How the page tells people what went wrong."""

from __future__ import annotations

import functools
import html
import inspect
from collections.abc import Callable
from typing import Any

import gradio as gr

from errors import WorkbenchError

SECONDS_TO_READ = 15


def shown_to_people(handler: Callable) -> Callable:
    """Wrap an event handler: a WorkbenchError becomes a notice with its message, and what was typed stays as it is."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            try:
                yield from handler(*args, **kwargs)
            except WorkbenchError as error:
                raise notice(error) from error
    else:

        @functools.wraps(handler)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            try:
                return handler(*args, **kwargs)
            except WorkbenchError as error:
                raise notice(error) from error

    return wrapped


def as_text(error: WorkbenchError) -> str:
    """What an error says, for a notice, which shows HTML: the error may quote a file that somebody else wrote."""
    return html.escape(str(error), quote=False)


def notice(error: WorkbenchError) -> gr.Error:
    """An error as the page shows it."""
    return gr.Error(as_text(error), title="That did not work", duration=SECONDS_TO_READ, print_exception=False)
