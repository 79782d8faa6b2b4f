"""How the page tells people what went wrong, and who may press which button."""

from __future__ import annotations

import functools
import html
import inspect
from collections.abc import Callable
from typing import Any

import gradio as gr

from errors import TokenRequired, WorkbenchError
from page.render import render
from services import Services

SECONDS_TO_READ = 15


def shown_to_people(handler: Callable) -> Callable:
    """Wrap an event handler: a WorkbenchError becomes a notice with its message, and what was typed stays as it is."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            try:
                yield from handler(*args, **kwargs)
            except WorkbenchError as error:
                raise _notice(error) from error
    else:

        @functools.wraps(handler)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            try:
                return handler(*args, **kwargs)
            except WorkbenchError as error:
                raise _notice(error) from error

    return wrapped


def as_text(error: WorkbenchError) -> str:
    """What an error says, for a notice, which shows HTML: the error may quote a file that somebody else wrote."""
    return html.escape(str(error), quote=False)


def _notice(error: WorkbenchError) -> gr.Error:
    return gr.Error(as_text(error), title="That did not work", duration=SECONDS_TO_READ, print_exception=False)


def check_may_change(
    services: Services, token: str | None, request: gr.Request, profile: gr.OAuthProfile | None
) -> None:
    """Return if whoever sent this event may train, promote, import and export. Raises TokenRequired or NotAllowed."""
    client = request.client.host if request.client else None
    try:
        services.access.check(client, request.headers, token or None, profile.username if profile else None)
    except TokenRequired as error:
        raise TokenRequired("This needs the API token: put it into the box at the top of the page.") from error


def why_hidden(
    services: Services, title: str, token: str | None, request: gr.Request, profile: gr.OAuthProfile | None
) -> str:
    """What is shown under this title (HTML) in place of what is only for those who may change something; "" to them."""
    try:
        check_may_change(services, token, request, profile)
    except WorkbenchError as error:
        return render("empty.html", title=title, what_to_do=str(error))
    return ""
