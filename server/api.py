"""The HTTP interface: what the page can do, for programs. Served on the same port; described at /openapi.json."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.routing import Match

from errors import InvalidInput, NotFound
from labeling.agreement import agreement
from labeling.exchange import EXPORTS, ExportFormat, Judged
from labeling.queue import DEFAULT_STRATEGY, STRATEGIES
from reranker.comparison import compare_versions
from reranker.dataset import queries_that_tell
from reranker.model import RankedPassage
from reranker.registry import ModelRegistry
from server import errors, schemas
from server.archive import push_to_hub, zip_directory
from server.training_calls import add_training_calls
from server.training_schemas import AcceptedRun
from services import Services
from storage.records import Candidate, Judgment, ModelVersion
from texts import check_passages, check_text

VERSION = "0.1.0"
PATHS = ("/v1/", "/rerank", "/health", "/judging/")
# The annotator and the source of what names none.
API = "api"
# Reranking has threads of its own: while many rank, and wait for each other, a label is stored all the same.
RERANK_THREADS = 16
# Disputes that are listed at once.
DISPUTES = 100
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


def build_api(services: Services, **options: object) -> FastAPI:
    """The FastAPI application with every call of the HTTP interface; `options` go to FastAPI."""
    app = FastAPI(
        title="Rerank Workbench",
        version=VERSION,
        description="Rerank, label, fine-tune, evaluate, promote. Errors have one shape: error.code and error.message.",
        **options,  # type: ignore[arg-type]
    )
    app.router.route_class = _route_class(services)
    errors.install(app)
    app.add_middleware(errors.LimitBody, prefixes=PATHS)
    guard = _guard(services)
    _add_rerank_calls(app, services)
    _add_label_calls(app, services, guard)
    add_training_calls(app, services, guard)
    _add_model_calls(app, services, guard)
    _add_unknown_calls(app)
    return app


async def _guarded() -> None:
    """Marks a call that changes something or reads labels, where no token has to be described."""


def _guard(services: Services) -> list:
    """The dependencies that mark a call as guarded; with an API token they describe it in openapi.json."""
    return [Depends(HTTPBearer(auto_error=False) if services.settings.api_token else _guarded)]


def _route_class(services: Services) -> type[APIRoute]:
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


def _add_rerank_calls(app: FastAPI, services: Services) -> None:
    threads = CapacityLimiter(RERANK_THREADS)

    async def ranked_by(query: str, passages: list[str], model: str | None) -> tuple[ModelVersion, list[RankedPassage]]:
        return await to_thread.run_sync(_rank, services, query, passages, model, limiter=threads)

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

    answers = errors.responses(404, 409, 413, 422, 503)

    @app.post("/v1/rerank", tags=["rerank"], response_model_exclude_none=True, responses=answers)
    async def rerank(body: schemas.RerankRequest) -> schemas.RerankResponse:
        """Rank documents for a query, best first. The relevance score is the probability."""
        documents = [item if isinstance(item, str) else item.text for item in body.documents]
        version, ranked = await ranked_by(body.query, documents, body.model)
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
        )

    @app.post("/rerank", tags=["rerank"], response_model_exclude_none=True, responses=answers)
    async def rerank_as_tei(body: schemas.TeiRerankRequest) -> list[schemas.TeiRank]:
        """Rank texts for a query, as Text Embeddings Inference does."""
        _, ranked = await ranked_by(body.query, body.texts, None)
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


def _rank(
    services: Services, query: str, passages: list[str], model: str | None
) -> tuple[ModelVersion, list[RankedPassage]]:
    check_text(query, "The query")
    if not passages:
        raise InvalidInput("There are no passages to rank. Send at least one.")
    check_passages(passages)
    active = services.registry.get(model)
    return active.version, active.reranker.rank(query, passages)


def _add_label_calls(app: FastAPI, services: Services, guard: list) -> None:
    @app.post("/v1/candidates", tags=["label"], dependencies=guard, responses=errors.responses(401, 403, 413, 422))
    def add_candidates(body: schemas.CandidatesRequest) -> schemas.CandidatesResponse:
        """Put pairs into the queue of pairs to be judged: all of them or none."""
        errors.check_count(body.pairs, "pairs")
        candidates = [Candidate(pair.query, pair.passage, _named(pair.source)) for pair in body.pairs]
        return schemas.CandidatesResponse(**asdict(services.labeling.add_candidates(candidates)))

    @app.get(
        "/v1/tasks/next",
        tags=["label"],
        dependencies=guard,
        responses={204: {"description": "Nothing is left to be judged"}, **errors.responses(401, 403, 413, 422)},
    )
    def next_task(
        annotator: Annotated[str, Query(json_schema_extra=schemas.NAME_SCHEMA)] = API,
        strategy: Annotated[str, Query(json_schema_extra={"enum": [*STRATEGIES]})] = DEFAULT_STRATEGY,
    ) -> schemas.TaskResponse:
        """The next pair for this annotator."""
        if not strategy:
            raise InvalidInput(f"`strategy` is empty. Leave it out, or choose one of: {', '.join(STRATEGIES)}.")
        task = services.labeling.next_task(annotator, strategy)
        if task is None:
            return Response(status_code=204)  # type: ignore[return-value]
        return schemas.TaskResponse(
            query_id=task.query_id, query=task.query, passage_id=task.passage_id, passage=task.passage
        )

    @app.post("/v1/labels", tags=["label"], dependencies=guard, responses=errors.responses(401, 403, 413, 422))
    def add_labels(body: schemas.LabelsRequest) -> schemas.LabelsResponse:
        """Store labels: all of them or none. Answered when they are on the disk."""
        labels = body.labels if isinstance(body, schemas.LabelsBody) else [body]
        errors.check_count(labels, "labels")
        saved, changed = services.labeling.judge(
            Judgment(item.query, item.passage, item.label, _named(item.annotator), _note(item.note)) for item in labels
        )
        return schemas.LabelsResponse(saved=saved, changed=changed)

    @app.get(
        "/v1/labels",
        tags=["label"],
        dependencies=guard,
        response_class=StreamingResponse,
        responses={
            200: {"content": {file.media_type.split(";")[0]: {} for file in EXPORTS.values()}},
            **errors.responses(401, 403, 422),
        },
    )
    def read_labels(format: ExportFormat = "jsonl") -> StreamingResponse:
        """Every label of every annotator, as jsonl, csv or parquet. The other formats know no annotators and hold what
        each pair counts as: qrels; trec, a zip of topics, collection, qrels and the model's run; pairs, a Parquet file
        of query, passage and label for sentence-transformers; quepid, a CSV of query, docid and rating; cohere, JSON
        lines of relevant passages and hard negatives."""
        store = services.label_store
        file, judged = EXPORTS[format], Judged(store.labels, store.consensus, services.labeling.scored_pairs)
        headers = {"Content-Disposition": f'attachment; filename="{file.name}"'}
        return StreamingResponse(file.pieces(judged), media_type=file.media_type, headers=headers)

    @app.get("/v1/agreement", tags=["label"], dependencies=guard, responses=errors.responses(401, 403))
    def read_agreement() -> schemas.AgreementResponse:
        """How far the annotators agree on the pairs that several of them judged."""
        return schemas.AgreementResponse(**asdict(agreement(services.review_store.vote_counts())))

    @app.get("/v1/disputes", tags=["label"], dependencies=guard, responses=errors.responses(401, 403))
    def read_disputes() -> schemas.DisputesResponse:
        """The pairs that annotators judged differently and that nobody has decided yet, with their votes: the oldest
        hundred of them."""
        review = services.review_store
        return schemas.DisputesResponse(
            total=review.count_disputes(),
            disputes=[
                schemas.DisputeBody(
                    query_id=dispute.task.query_id,
                    query=dispute.task.query,
                    passage_id=dispute.task.passage_id,
                    passage=dispute.task.passage,
                    votes=[schemas.VoteBody(**{name: asdict(vote)[name] for name in schemas.VoteBody.model_fields})
                           for vote in dispute.votes],
                )
                for dispute in review.disputes(DISPUTES)
            ],
        )  # fmt: skip

    @app.get("/v1/guidelines", tags=["label"])
    def read_guidelines() -> schemas.GuidelinesResponse:
        """What annotators are asked to go by."""
        guidelines = services.label_store.guidelines()
        return schemas.GuidelinesResponse(**asdict(guidelines)) if guidelines else schemas.GuidelinesResponse(text="")


def _named(name: str | None) -> str:
    return API if name is None else name


def _note(note: str | None) -> str | None:
    return note if note is None or note.strip() else ""


def _add_model_calls(app: FastAPI, services: Services, guard: list) -> None:
    registry, store = services.registry, services.model_store

    @app.get("/v1/models", tags=["models"])
    def list_models() -> list[schemas.VersionResponse]:
        """Every model version, newest first."""
        return [version_body(registry, version) for version in store.versions()]

    @app.post(
        "/v1/models/rollback", tags=["models"], dependencies=guard, responses=errors.responses(401, 403, 404, 409, 503)
    )
    def roll_back() -> schemas.VersionResponse:
        """Make the version before the active one active again."""
        return version_body(registry, registry.roll_back("asked for by HTTP"))

    @app.post(
        "/v1/models/{version}/promote",
        tags=["models"],
        dependencies=guard,
        responses=errors.responses(401, 403, 404, 409, 422, 503),
    )
    def promote(version: str) -> schemas.VersionResponse:
        """Make a version the active one. It is loaded and tried out first; no request fails meanwhile."""
        return version_body(registry, registry.promote(version, "asked for by HTTP"))

    @app.delete(
        "/v1/models/{version}",
        tags=["models"],
        dependencies=guard,
        responses=errors.responses(401, 403, 404, 409, 422),
    )
    def delete(version: str) -> schemas.VersionResponse:
        """Delete a version: not the active one, nor the one that rolling back returns to."""
        if version == "rollback":  # the path of another call
            raise HTTPException(405, "/v1/models/rollback takes POST, not DELETE.", {"Allow": "POST"})
        return version_body(registry, registry.delete(version))

    @app.post(
        "/v1/models/{version}/make-again",
        tags=["models"],
        status_code=202,
        dependencies=guard,
        responses=errors.responses(401, 403, 404, 409, 422, 503),
    )
    def make_again(version: str) -> AcceptedRun:
        """Start a training run with the labels and the configuration that a version was made with."""
        run = services.jobs.make_again(version)
        return AcceptedRun(id=run.id, status=run.status)

    @app.get(
        "/v1/models/{version}/compare/{other}",
        tags=["models"],
        dependencies=guard,
        responses=errors.responses(401, 403, 404, 422, 503),
    )
    def compare(version: str, other: str) -> schemas.ComparisonResponse:
        """Two versions side by side on the queries that are held back now. Answered when both have ranked them."""
        names = [store.version(name).version for name in (version, other)]
        found = compare_versions(registry, queries_that_tell(services.label_sets.sets().dev), *names)
        sides = [
            schemas.ComparedVersion(version=name, metrics=metrics, intervals=intervals)
            for name, metrics, intervals in zip(names, found.metrics, found.intervals, strict=True)
        ]
        return schemas.ComparisonResponse(
            versions=(sides[0], sides[1]),
            difference=schemas.DifferenceBody(**found.difference),
            queries=[
                schemas.ComparedQuery(
                    query=change.query, before=change.before, after=change.after, verdict=change.verdict
                )
                for change in found.changes
            ],
        )

    @app.post(
        "/v1/models/{version}/push",
        tags=["models"],
        dependencies=guard,
        responses=errors.responses(401, 403, 404, 409, 413, 422),
    )
    def push(version: str, body: schemas.PushRequest) -> schemas.PushResponse:
        """Upload a version to a model repository on the Hub, with the token HF_TOKEN. Answered when it is there."""
        found = store.version(version)
        url = push_to_hub(registry.directory(found), found.version, body.repo)
        return schemas.PushResponse(version=found.version, repo=body.repo, url=url)

    @app.get(
        "/v1/models/{version}/download",
        tags=["models"],
        dependencies=guard,
        response_class=StreamingResponse,
        responses={200: {"content": {"application/zip": {}}}, **errors.responses(401, 403, 404, 422)},
    )
    def download(version: str) -> StreamingResponse:
        """The version as a zip, for `CrossEncoder(...)` to load once it is unpacked.

        Its model card quotes labels, so it is for those who may read them.
        """
        found = store.version(version)
        pieces = zip_directory(registry.directory(found))
        headers = {"Content-Disposition": f'attachment; filename="{found.version}.zip"'}
        return StreamingResponse(pieces, media_type="application/zip", headers=headers)


def version_body(registry: ModelRegistry, version: ModelVersion) -> schemas.VersionResponse:
    """What is said of a version, with whether it is the active one."""
    active = registry.status().version
    is_active = active is not None and active.version == version.version
    return schemas.VersionResponse(**(asdict(version) | {"active": is_active}))


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
            return errors.error_response(405, "method_not_allowed", message, {"Allow": ", ".join(sorted(allowed))})
        raise NotFound(f"There is no call {request.url.path}. /openapi.json lists those there are.")

    for path in ("/v1", "/v1/{path:path}", "/rerank", "/rerank/", "/health", "/health/"):
        app.add_api_route(path, unknown, methods=METHODS, include_in_schema=False)
