"""Who may press which button of the page, and what those are told who may not."""

from __future__ import annotations

import gradio as gr
from fastapi import Request

from errors import InvalidInput, NotAllowed, TokenRequired, WorkbenchError
from page.render import render
from services import Services
from settings import Settings

# Where nobody has said yet who judges: a title, and what to do.
NOBODY = {
    "open": (
        "Who is judging?",
        "Type your name into the box at the top of the page. It is asked once and remembered.",
    ),
    "signed-in": (
        "Sign in to label",
        "Use the button at the top of the page. Your labels are stored under the name of your account.",
    ),
    "closed": (
        "Labelling is closed to visitors",
        "It is for those who may train here. Are you one of them? Then type your name at the top of the page.",
    ),
}


def user_of(profile: gr.OAuthProfile | None) -> str | None:
    """The name of the account that is signed in; None without one."""
    return profile.username if profile else None


def name_of(typed: str, profile: gr.OAuthProfile | None, otherwise: str = "") -> str:
    """Under which name something is noted down that only those do who may change things."""
    return typed.strip() or user_of(profile) or otherwise


def check_may_change(
    services: Services, token: str | None, request: gr.Request, profile: gr.OAuthProfile | None
) -> None:
    """Return if whoever sent this event may train, promote, import and export. Raises TokenRequired or NotAllowed."""
    user = user_of(profile)
    try:
        services.access.check(_host(request), request.headers, token or None, user)
    except (TokenRequired, NotAllowed) as error:
        raise type(error)(_what_to_do(services.settings, user, error)) from error


def check_caller_may_change(services: Services, token: str | None, request: gr.Request) -> None:
    """`check_may_change` for a call of gradio's own client, which sees no page."""
    try:
        services.access.check(_host(request), request.headers, token or None)
    except TokenRequired as error:
        raise TokenRequired("This needs the API token: give it to the call as `token`.") from error


def labels_as(
    services: Services, typed: str, token: str | None, request: gr.Request | Request, user: str | None
) -> str:
    """The name under which whoever sent this labels; "" where it is still to be typed.

    `user` is the name of the account that is signed in. Raises TokenRequired or NotAllowed where labelling is not for
    them.
    """
    try:
        return services.access.labels_as(typed.strip(), _host(request), request.headers, token or None, user)
    except (TokenRequired, NotAllowed) as error:
        if services.settings.labeling != "closed":
            raise
        what_to_do = _what_to_do(services.settings, user, error)
        raise type(error)(f"Labelling here is only for those who may train. {what_to_do}") from error


def annotator_of(
    services: Services, typed: str, token: str | None, request: gr.Request, profile: gr.OAuthProfile | None
) -> str:
    """`labels_as` for a press that labels something. Raises InvalidInput without a name."""
    name = labels_as(services, typed, token, request, user_of(profile))
    if not name:
        raise InvalidInput("Who is judging? Type your name at the top of the page first, then press again.")
    return name


def nobody_judges(settings: Settings) -> str:
    """What is shown in place of pairs, as HTML, where nobody has said who judges."""
    title, what_to_do = NOBODY[settings.labeling]
    return render("empty.html", title=title, what_to_do=what_to_do)


def why_hidden(
    services: Services, title: str, token: str | None, request: gr.Request, profile: gr.OAuthProfile | None
) -> str:
    """What is shown under this title (HTML) in place of what is only for those who may change something; "" to them."""
    try:
        check_may_change(services, token, request, profile)
    except WorkbenchError as error:
        return render("empty.html", title=title, what_to_do=str(error))
    return ""


def _what_to_do(settings: Settings, user: str | None, error: WorkbenchError) -> str:
    """What somebody does who was refused with this error, and what is on the page for it."""
    if not (settings.sign_in and settings.admin_users):
        by_token = "This needs the API token: put it into the box at the top of the page."
        return by_token if settings.api_token else str(error)
    or_token = " Or put the API token into the box there." if settings.api_token else ""
    if user is None:
        return f"To do this, sign in with the button at the top of the page.{or_token}"
    may = ", ".join(settings.admin_users)
    return f"You are signed in as {user}, who may not do this here. Those who may: {may}.{or_token}"


def _host(request: gr.Request | Request) -> str | None:
    return request.client.host if request.client else None
