"""The HTTP interface: what the page can do, for programs. Served on the same port; described at /openapi.json."""

from __future__ import annotations

import asyncio
import math
import uuid

from anyio import CancelScope, CapacityLimiter, to_thread
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.routing import Match, Route

from errors import InvalidInput, NotFound
from reranker.model import RankedPassage, Ranking
from reranker.registry import ACTIVE
from server import error_answers, schemas
from server.guard import Guard, guarded_route
from server.label_calls import add_label_calls
from server.model_calls import add_model_calls
from server.training_calls import add_training_calls
from services import Services
from storage.records import ModelVersion
from texts import check_passages, check_text

VERSION = "0.1.0"
PATHS = ("/v1/", "/v2/", "/rerank", "/health", "/judging/")
# Texts are tokenized in threads of their own: while many are, a label is stored all the same. Nobody waits in a thread
# for scores: those who wait for many would take them from those who want few.
RERANK_THREADS = 16
# A request with more characters than this waits for one of a few threads: its texts are tokenized for seconds, and all
# others would be waiting for that.
LARGE_CHARACTERS, LARGE_AT_ONCE = 100_000, 2
# Cohere counts a query with up to so many documents as one search. Nothing is billed here; some clients read it.
DOCUMENTS_A_SEARCH = 100
CLIENT_LEFT = 499
# The calls whose paths have no version.
OUTSIDE = ("/rerank", "/health", "/info")


def build_api(services: Services, **options: object) -> FastAPI:
    """The FastAPI application with every call of the HTTP interface; `options` go to FastAPI."""
    app = FastAPI(
        title="Rerank Workbench",
        version=VERSION,
        description="Rerank, label, fine-tune, evaluate, promote. Errors have one shape: error.code and error.message.",
        # Relative to where /openapi.json is: a proxy may serve all of this under a path of its own.
        servers=[{"url": "."}],
        root_path_in_servers=False,
        docs_url=None,
        redoc_url=None,
        **options,  # type: ignore[arg-type]
    )
    app.router.route_class = guarded_route(services)
    error_answers.install(app)
    app.add_middleware(error_answers.LimitBody, prefixes=PATHS, folder=services.settings.data_dir)
    guarded = Guard(services)
    _add_rerank_calls(app, services)
    add_label_calls(app, services, guarded)
    add_training_calls(app, services, guarded)
    add_model_calls(app, services, guarded)
    _add_docs(app)
    _add_unknown_calls(app)
    return app


def _add_rerank_calls(app: FastAPI, services: Services) -> None:
    small, large = CapacityLimiter(RERANK_THREADS), CapacityLimiter(LARGE_AT_ONCE)

    async def ranked_by(
        request: Request, query: str, passages: list[str], model: str | None
    ) -> tuple[ModelVersion, list[RankedPassage]]:
        with CancelScope() as scope:
            watching = asyncio.create_task(_cancel_without_client(scope, request))
            turns = large if len(query) + sum(map(len, passages)) > LARGE_CHARACTERS else small
            try:
                version, ranking = await to_thread.run_sync(_start, services, query, passages, model, limiter=turns)
                await _end_of(ranking)
                return version, ranking.ranked()
            finally:
                watching.cancel()
        raise HTTPException(CLIENT_LEFT, "The client left before all was scored.")

    @app.get("/health", tags=["rerank"], response_model_exclude_unset=True)
    async def health() -> schemas.HealthResponse:
        """Whether a model answers yet, and which."""
        status = services.registry.status()
        version = status.version
        health = schemas.HealthResponse(
            status="loading" if version is None else "ok",
            model=schemas.HealthModel(
                version=version and version.version, name=version and version.name, source=version and version.source
            ),
        )
        if status.engine is not None:
            health.engine = schemas.HealthEngine(
                backend=status.engine.backend, precision=status.engine.precision, reason=status.engine_reason
            )
        return health

    # Monitors and load balancers ask so.
    app.add_api_route("/health", health, methods=["HEAD"], include_in_schema=False)

    answers = error_answers.responses(404, 409, 413, 422, 503)

    # Cohere's clients ask at /v1 or at /v2, whichever of its two interfaces they were made for.
    @app.post("/v1/rerank", tags=["rerank"], response_model_exclude_none=True, responses=answers)
    @app.post("/v2/rerank", tags=["rerank"], response_model_exclude_none=True, responses=answers)
    async def rerank(body: schemas.RerankRequest, request: Request) -> schemas.RerankResponse:
        """Rank documents for a query, best first. The relevance score is the probability."""
        documents = [item if isinstance(item, str) else item.text for item in body.documents]
        version, ranked = await ranked_by(request, body.query, documents, body.model)
        return schemas.RerankResponse(
            id=str(uuid.uuid4()),
            model=version.version,
            results=[
                schemas.RerankResult(
                    index=passage.index,
                    relevance_score=passage.probability,
                    document=schemas.Document(text=passage.text) if body.return_documents else None,
                )
                for passage in ranked[: body.top_n]
            ],
            usage=schemas.RerankUsage(total_tokens=sum(passage.tokens for passage in ranked)),
            meta=schemas.RerankMeta(
                billed_units=schemas.BilledUnits(search_units=math.ceil(len(ranked) / DOCUMENTS_A_SEARCH))
            ),
        )

    @app.get("/info", tags=["rerank"], responses=error_answers.responses(503))
    async def info() -> schemas.TeiInfo:
        """What the active model is and takes, as Text Embeddings Inference says it: some of its clients ask first."""
        active = await to_thread.run_sync(services.registry.active, limiter=small)
        return schemas.TeiInfo(model_id=active.version.version, max_input_length=active.reranker.max_tokens)

    @app.post("/rerank", tags=["rerank"], response_model_exclude_none=True, responses=answers)
    async def rerank_as_tei(body: schemas.TeiRerankRequest, request: Request) -> list[schemas.TeiRank]:
        """Rank texts for a query, as Text Embeddings Inference does."""
        _, ranked = await ranked_by(request, body.query, body.texts, None)
        if body.truncate is False:
            for passage in ranked:
                if passage.truncated:
                    raise InvalidInput(
                        f"Text {passage.index + 1} and the query have {passage.tokens} tokens, more than the model "
                        "reads. Shorten it, or send truncate: true."
                    )
        return [
            schemas.TeiRank(
                index=passage.index,
                score=passage.score if body.raw_scores else passage.probability,
                text=passage.text if body.return_text else None,
            )
            for passage in ranked
        ]


def _start(services: Services, query: str, passages: list[str], model: str | None) -> tuple[ModelVersion, Ranking]:
    check_text(query, "The query")
    if not passages:
        raise InvalidInput("There are no passages to rank. Send at least one.")
    check_passages(passages)
    try:
        active = services.registry.get(model)
    except NotFound as error:
        raise NotFound(f"{error} For the one that is active, send `{ACTIVE}` or leave `model` out.") from error
    return active.version, active.reranker.start(query, passages)


async def _cancel_without_client(scope: CancelScope, request: Request) -> None:
    """Give up what a client wanted that leaves: one that asks again each time it has waited too long would else have
    all of that scored, and nobody would be answered."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _end_of(ranking: Ranking) -> None:
    """Wait until a ranking has its scores; it is given up where nobody waits any more."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    ranking.when_ended(lambda: loop.call_soon_threadsafe(ended.set))
    try:
        await ended.wait()
    finally:
        ranking.cancel()  # of one that has ended, nothing


def _add_docs(app: FastAPI) -> None:
    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        # FastAPI's own page looks for the description at the root, where behind a path prefix it is not.
        return get_swagger_ui_html(openapi_url="openapi.json", title=app.title)


def _add_unknown_calls(app: FastAPI) -> None:
    """Answer in the one error shape where the page, mounted behind these calls, would answer in another."""
    calls = list(app.routes)

    def unknown(request: Request) -> Response:
        matching = [route for route in calls if route.matches(request.scope)[0] is Match.PARTIAL]
        # A path that is a call's own is not another's with a parameter.
        own = [route for route in matching if getattr(route, "path", None) == request.url.path]
        allowed: set[str] = set().union(*(getattr(route, "methods", set()) for route in own or matching))
        if allowed:
            message = f"{request.url.path} takes {' or '.join(sorted(allowed))}, not {request.method}."
            allow = {"Allow": ", ".join(sorted(allowed))}
            return error_answers.error_response(405, "method_not_allowed", message, allow)
        raise NotFound(f"There is no call {request.url.path}. /openapi.json lists those there are.")

    for path in ("/v1", "/v1/{path:path}", "/v2", "/v2/{path:path}", *OUTSIDE, *(f"{path}/" for path in OUTSIDE)):
        route = Route(path, unknown, include_in_schema=False)
        route.methods = None  # every method, also one that nobody has heard of
        app.router.routes.append(route)
