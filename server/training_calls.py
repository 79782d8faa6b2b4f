"""The calls about training runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import Body, FastAPI

from errors import NotFound
from reranker.follow import curves_of
from reranker.jobs import TrainingJobs
from reranker.recipe import TrainingConfig
from reranker.results import read_results
from server import training_schemas as schemas
from server.error_answers import responses
from server.guard import Guard
from services import Services
from storage.records import TrainingRun


def add_training_calls(app: FastAPI, services: Services, guarded: Guard) -> None:
    """Add what starts, follows, cancels and resumes training runs; `guarded` marks what changes something."""

    @app.post("/v1/training-runs", tags=["train"], status_code=202, **guarded(404, 409, 413, 422, 503))
    def start_run(body: Annotated[schemas.TrainingRequest | None, Body()] = None) -> schemas.AcceptedRun:
        """Start a training run."""
        run = start(services, body or schemas.TrainingRequest())
        return schemas.AcceptedRun(id=run.id, status=run.status)

    @app.get("/v1/training-runs", tags=["train"])
    def list_runs() -> list[schemas.RunResponse]:
        """The latest training runs, newest first."""
        return [run_body(services.jobs, run) for run in services.model_store.runs()]

    @app.get("/v1/training-runs/{run_id}", tags=["train"], responses=responses(404, 422))
    def read_run(run_id: str) -> schemas.RunResponse:
        """How a training run is doing, or how it ended."""
        return run_body(services.jobs, services.model_store.run(run_id))

    @app.get("/v1/training-runs/{run_id}/curves", tags=["train"], responses=responses(404, 422))
    def read_curves(run_id: str) -> schemas.CurvesResponse:
        """The loss of each step, and the nDCG@10 on the held-out queries at the steps where it was measured."""
        run = services.model_store.run(run_id)
        curves = curves_of(services.model_store.events(run.id))
        loss, dev = (
            [schemas.StepBody(step=step, value=value) for step, value in curve] for curve in (curves.loss, curves.dev)
        )
        return schemas.CurvesResponse(loss=loss, dev=dev)

    @app.get("/v1/training-runs/{run_id}/learning-curve", tags=["train"], responses=responses(404, 422))
    def read_learning_curve(run_id: str) -> schemas.LearningCurveResponse:
        """How good the model was with a part of the labels, and what more of them would likely bring: of a run that
        was started with `learning_curve`, once it has finished."""
        run = services.model_store.run(run_id)
        results = read_results(services.jobs.files(run.id))
        if results is None or results.learning_curve is None:
            raise NotFound(f"This run has drawn no learning curve. {_why_no_curve(run)}")
        return schemas.LearningCurveResponse(**asdict(results.learning_curve))

    @app.get("/v1/training-runs/{run_id}/suspects", tags=["train"], **guarded(404, 422))
    def read_suspects(run_id: str) -> list[schemas.SuspectBody]:
        """The labels that the others contradict most, the most doubtful one first: of a run that has finished."""
        results = read_results(services.jobs.files(services.model_store.run(run_id).id))
        if results is None:
            raise NotFound(
                "This run has not finished, or ended without results, so nothing is said of the labels it learned from."
            )
        return [schemas.SuspectBody(**asdict(suspect)) for suspect in results.suspects]

    @app.get("/v1/training-runs/{run_id}/log", tags=["train"], **guarded(404, 422))
    def read_log(run_id: str) -> schemas.LogResponse:
        """The end of a training run's log."""
        run = services.model_store.run(run_id)
        return schemas.LogResponse(log=services.jobs.files(run.id).log_tail())

    @app.post("/v1/training-runs/{run_id}/resume", tags=["train"], status_code=202, **guarded(404, 409, 422, 503))
    def resume_run(run_id: str) -> schemas.AcceptedRun:
        """Let a training run that was broken off go on from where it was."""
        run = services.jobs.resume(run_id)
        return schemas.AcceptedRun(id=run.id, status=run.status)

    @app.delete("/v1/training-runs/{run_id}", tags=["train"], status_code=202, **guarded(404, 409, 422))
    def cancel_run(run_id: str) -> schemas.AcceptedRun:
        """Ask a training run to stop; it says `cancelled` once it has, with the version that it had come to.

        Asked again meanwhile, it stops at once and keeps nothing.
        """
        run = services.jobs.cancel(run_id)
        return schemas.AcceptedRun(id=run.id, status=run.status)


def start(services: Services, body: schemas.TrainingRequest) -> TrainingRun:
    """Start the training run that is asked for. Raises InvalidInput, Conflict, NotFound for an unknown base."""
    if body.base is not None:
        services.model_store.version(body.base)  # one that there is not is not found, as everywhere here
    return services.jobs.start(TrainingConfig.of(**body.model_dump()))


def _why_no_curve(run: TrainingRun) -> str:
    if not run.config.get("learning_curve"):
        return "Start one with `learning_curve` set to true."
    if run.under_way:
        return "It is drawn at the end, and the run is under way."
    return "It was asked for one, but did not come to it, or there were too few queries; its `note` says more."


def run_body(jobs: TrainingJobs, run: TrainingRun) -> schemas.RunResponse:
    """What is said of a training run, with whether it can go on."""
    known = {name: getattr(run, name) for name in schemas.RunResponse.model_fields if name != "resumable"}
    return schemas.RunResponse(**known, resumable=jobs.can_resume(run))
