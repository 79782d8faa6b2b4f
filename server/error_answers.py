"""Errors of the HTTP interface: all in one shape, {"error": {"code", "message"}}."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import errors
from labeling.reading import MAX_IMPORT_BYTES
from server.schemas import TAG, ErrorBody
from texts import MAX_PASSAGES

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 10_000_000
# What the page sends at once: the passages of a file of 10 MB are more bytes as JSON.
MAX_EVENT_BYTES = 25_000_000
# A file to import, and what is said around it.
MAX_UPLOAD_BYTES = MAX_IMPORT_BYTES + 1_000_000
# No upload takes the last room on the disk: labels have to be stored, too.
KEPT_FREE_BYTES = 500_000_000
PAGE, UPLOADS = "/gradio_api/", ("/gradio_api/upload", "/gradio_api/process_recording")
# So much of a body that is too large is read and dropped, so that its sender comes to read the answer.
MAX_DROPPED_BYTES = 100_000_000

STATUS: dict[type[errors.WorkbenchError], int] = {
    errors.TooLarge: 413,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.NotAllowed: 403,
    errors.TokenRequired: 401,
    errors.ModelNotReady: 503,
    errors.InvalidInput: 422,
    errors.UnusableModel: 409,
    errors.HubRefused: 409,
}
CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


def responses(*statuses: int) -> dict[int | str, dict]:
    """The error answers of a call, for its OpenAPI description."""
    return {status: {"model": ErrorBody} for status in statuses}


def error_response(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error answer in the one shape that all have."""
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


def install(app: FastAPI) -> None:
    """Make every error of `app` answer in the one shape."""

    # These are coroutines so that an error is answered also while every thread is at work.

    @app.exception_handler(errors.WorkbenchError)
    async def workbench_error(request: Request, error: errors.WorkbenchError) -> JSONResponse:
        status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 400)
        headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "5"}}.get(status)
        return error_response(status, error.code, str(error), headers)

    @app.exception_handler(RequestValidationError)
    async def invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(422, "invalid_input", describe(error))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400:  # FastAPI's answer to a body that Python's JSON reader gives up on
            message = "The body cannot be read: it is not UTF-8, is nested too deeply, or holds too long a number."
            if "content-encoding" in request.headers:
                message = "The body is compressed, which is not read here. Send it as it is."
            return error_response(422, "invalid_input", message)
        return error_response(
            error.status_code, CODES.get(error.status_code, "error"), str(error.detail), dict(error.headers or {})
        )

    @app.exception_handler(Exception)
    async def unexpected_error(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        message = "Something went wrong here, not in your request. The log says what."
        # uvicorn closes the connection after such an answer; said beforehand, the client does not use it again.
        return error_response(500, "internal_error", message, {"Connection": "close"})


def describe(error: RequestValidationError) -> str:
    """What is wrong with a request, field by field, in one line."""
    if isinstance(error.body, bytes):
        return "The body was not read as JSON. Send it with the header `Content-Type: application/json`."
    problems = []
    for problem in error.errors()[:5]:
        if problem["type"] == "json_invalid":
            return f"The body is not JSON: {problem['ctx']['error']} at character {problem['loc'][-1] + 1}."
        # The first part says whether it is the body or the query; tags stand for the members of a union.
        parts = [_shown(part) for part in problem["loc"][1:] if not str(part).startswith(TAG)]
        if not parts and problem["type"] == "missing":
            return "The body is empty. Send a JSON object."
        said = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "model_attributes_type":
            said = f"{'This' if parts else 'The body'} has to be a JSON object"
        problems.append(f"{'.'.join(parts)}: {said}" if parts else said)
    return "; ".join(dict.fromkeys(problems)) + "."


def _shown(part: int | str) -> str:
    """A part of a field's place. The names of unknown fields come from outside and may be anything."""
    return str(part)[:100].encode(errors="backslashreplace").decode()


class LimitBody:
    """ASGI middleware that answers 413 to a body that is larger than its path may have: MAX_BODY_BYTES on the paths of
    the HTTP interface, more on those of the page, on which anybody can send something, too; and 507 to an upload for
    which `folder`, where the labels are, has no room.

    What the client still sends is read first: were the connection closed meanwhile, as some clients ask for, it would
    never read the answer.
    """

    def __init__(self, app: ASGIApp, prefixes: tuple[str, ...], folder: Path) -> None:
        self.app = app
        self.prefixes = prefixes
        self.folder = folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        most = self._most(scope["path"]) if scope["type"] == "http" else None
        if most is None:
            await self.app(scope, receive, send)
            return
        message = f"The body is larger than {most:,} bytes. Send it in parts."
        named = dict(scope["headers"]).get(b"content-length", b"")
        declared = int(named) if named.isdigit() else None
        if declared is not None and declared > most:
            await _drop(receive)
            await _refusal(scope, 413, "too_large", message)(scope, receive, send)
            return
        if _is_upload(scope) and self._free() < KEPT_FREE_BYTES + (most if declared is None else declared):
            await _drop(receive)
            message = "There is no room for this file on the disk of the app. Its owner has to make some."
            await _refusal(scope, 507, "no_room", message)(scope, receive, send)
            return
        received = 0

        async def limited() -> Message:
            nonlocal received
            part = await receive()
            received += len(part.get("body", b""))
            if received > most:
                raise HTTPException(413, message)
            return part

        await self.app(scope, limited, send)

    def _most(self, path: str) -> int | None:
        if path.startswith(UPLOADS):
            return MAX_UPLOAD_BYTES
        if path.startswith(PAGE):
            return MAX_EVENT_BYTES
        return MAX_BODY_BYTES if path.startswith(self.prefixes) else None

    def _free(self) -> int:
        return shutil.disk_usage(self.folder).free


def _is_upload(scope: Scope) -> bool:
    return scope["method"] == "POST" and scope["path"].startswith(UPLOADS)


def _refusal(scope: Scope, status: int, code: str, message: str) -> JSONResponse:
    if not scope["path"].startswith(PAGE):
        return error_response(status, code, message)
    # The page shows what is under this name.
    return JSONResponse({"detail": message}, status)


async def _drop(receive: Receive) -> None:
    """Read what a client sends and keep nothing of it, up to MAX_DROPPED_BYTES."""
    dropped, more = 0, True
    while more and dropped < MAX_DROPPED_BYTES:
        part = await receive()
        dropped += len(part.get("body", b""))
        more = part.get("more_body", False)


def check_count(items: Sequence[object], what: str) -> None:
    """Raise TooLarge or InvalidInput unless there are between 1 and MAX_PASSAGES `items`, called `what`."""
    if not items:
        raise errors.InvalidInput(f"There are no {what} in the body. Send at least one.")
    if len(items) > MAX_PASSAGES:
        raise errors.TooLarge(f"These are {len(items):,} {what}; at most {MAX_PASSAGES:,} can be sent at once.")
