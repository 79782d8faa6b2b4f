"""The calls about model versions."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse

from reranker.comparison import compare_versions, queries_to_compare
from reranker.publish import push_to_hub, zip_directory
from reranker.registry import ModelRegistry
from server import schemas
from server.guard import Guard
from server.training_schemas import AcceptedRun
from services import Services
from storage.records import ModelVersion


def add_model_calls(app: FastAPI, services: Services, guarded: Guard) -> None:
    """Add what lists, promotes, compares, makes again, deletes and hands out model versions."""
    registry, store = services.registry, services.model_store

    @app.get("/v1/models", tags=["models"])
    def list_models() -> list[schemas.VersionResponse]:
        """Every model version, newest first."""
        return [version_body(registry, version) for version in store.versions()]

    @app.post("/v1/models", tags=["models"], status_code=201, **guarded(409, 413, 422))
    def add_model(body: schemas.AddRequest) -> schemas.VersionResponse:
        """Make a cross-encoder of the Hub a version. Answered when it was downloaded and tried out, which may take
        minutes; it goes on if the client gives up."""
        return version_body(registry, registry.add(body.name))

    @app.post("/v1/models/rollback", tags=["models"], **guarded(404, 409, 503))
    def roll_back() -> schemas.VersionResponse:
        """Make the version before the active one active again."""
        return version_body(registry, registry.roll_back("asked for by HTTP"))

    @app.post("/v1/models/{version}/promote", tags=["models"], **guarded(404, 409, 422, 503))
    def promote(version: str) -> schemas.VersionResponse:
        """Make a version the active one. It is loaded and tried out first; no request fails meanwhile."""
        return version_body(registry, registry.promote(version, "asked for by HTTP"))

    @app.delete("/v1/models/{version}", tags=["models"], **guarded(404, 409, 422))
    def delete(version: str) -> schemas.VersionResponse:
        """Delete a version: not the active one, nor the one that rolling back returns to."""
        if version == "rollback":  # the path of another call
            raise HTTPException(405, "/v1/models/rollback takes POST, not DELETE.", {"Allow": "POST"})
        return version_body(registry, registry.delete(version))

    @app.post("/v1/models/{version}/make-again", tags=["models"], status_code=202, **guarded(404, 409, 422, 503))
    def make_again(version: str) -> AcceptedRun:
        """Start a training run with the labels and the configuration that a version was made with."""
        run = services.jobs.make_again(version)
        return AcceptedRun(id=run.id, status=run.status)

    @app.get("/v1/models/{version}/compare/{other}", tags=["models"], **guarded(404, 422, 503))
    def compare(version: str, other: str) -> schemas.ComparisonResponse:
        """Two versions side by side on the queries that are held out now, without those that one of them has learned
        from in other words. Answered when both have ranked them."""
        names = (version, other)
        found = compare_versions(registry, queries_to_compare(services.jobs, *names), *names)
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

    @app.post("/v1/models/{version}/push", tags=["models"], **guarded(404, 409, 413, 422))
    def push(version: str, body: schemas.PushRequest) -> schemas.PushResponse:
        """Upload a version to a model repository on the Hub, with the token HF_TOKEN. Answered when it is there."""
        found = store.version(version)
        url = push_to_hub(registry.directory(found), found.version, body.repo)
        return schemas.PushResponse(version=found.version, repo=body.repo, url=url)

    @app.get(
        "/v1/models/{version}/download",
        tags=["models"],
        response_class=StreamingResponse,
        **guarded(404, 422, also={200: {"content": {"application/zip": {}}}}),
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
