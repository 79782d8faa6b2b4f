"""What goes before the calls that change something or read labels: whether their client may."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from server.error_answers import responses
from services import Services


class Guard:
    """Marks a call as guarded: `@app.post(path, **guarded(404, 409))`."""

    def __init__(self, services: Services) -> None:
        # With an API token it is described in openapi.json.
        self.dependencies = [Depends(HTTPBearer(auto_error=False) if services.settings.api_token else _nothing)]

    def __call__(self, *statuses: int, also: dict[int | str, dict] | None = None) -> dict[str, Any]:
        """What a call needs to be guarded; `statuses` are its own errors, `also` its other answers."""
        return {"dependencies": self.dependencies, "responses": {**(also or {}), **responses(401, 403, *statuses)}}


async def _nothing() -> None:
    """Marks a call as guarded where no token has to be described."""


def guarded_route(services: Services) -> type[APIRoute]:
    """Routes that ask a guarded call's client for its right before they read the body."""

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            answer = super().get_route_handler()
            if not self.dependencies:
                return answer

            async def checked(request: Request) -> Response:
                services.access.check_header(request.client.host if request.client else None, request.headers)
                return await answer(request)

            return checked

    return GuardedRoute
