"""The most used calls, for gradio's own client: named endpoints, `Client(url).predict(..., api_name="/rerank")`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import gradio as gr
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from errors import InvalidInput
from labeling.agreement import agreement
from page.rights import check_caller_may_change
from reranker.publish import push_to_hub
from server import error_answers, schemas
from server.label_calls import named
from server.model_calls import version_body
from server.training_calls import run_body, start
from server.training_schemas import TrainingRequest
from services import Services
from storage.records import Judgment, ModelVersion, TrainingRun
from texts import check_passages, check_text


def add_client_api(services: Services) -> None:
    """Add the named endpoints to the Blocks that is being built."""

    def run_as_json(run: TrainingRun) -> dict[str, Any]:
        return run_body(services.jobs, run).model_dump()

    def version_as_json(version: ModelVersion) -> dict[str, Any]:
        return version_body(services.registry, version).model_dump()

    def rerank(query: str, documents: list[str | dict[str, str]], model: str | None = None) -> list[dict[str, Any]]:
        """Rank documents for a query, best first."""
        body = _checked(schemas.RerankRequest, query=query, documents=documents, model=model)
        texts = [item if isinstance(item, str) else item.text for item in body.documents]
        reranker = services.registry.get(model).reranker
        ranked = reranker.rank(check_text(query, "The query"), check_passages(texts))
        return [
            {"index": passage.index, "relevance_score": passage.probability, "score": passage.score}
            for passage in ranked
        ]

    def label(
        query: str, passage: str, label: int, request: gr.Request, annotator: str | None = None, token: str = ""
    ) -> dict[str, int]:
        """Say of a pair whether it is relevant (1) or not (0)."""
        check_caller_may_change(services, token, request)
        body = _checked(schemas.LabelBody, query=query, passage=passage, label=label, annotator=annotator)
        judgment = Judgment(query, passage, body.label, named(annotator))
        saved, changed = services.labeling.judge([judgment])
        return {"saved": saved, "changed": changed}

    def next_task(
        request: gr.Request, annotator: str | None = None, strategy: str | None = None, token: str = ""
    ) -> dict[str, Any] | None:
        """The next pair for this annotator, or null when nothing is left."""
        check_caller_may_change(services, token, request)
        _checked(schemas.TaskRequest, annotator=annotator, strategy=strategy)
        task = services.labeling.next_task(named(annotator), strategy)
        return None if task is None else asdict(task)

    def agreement_of_annotators(request: gr.Request, token: str = "") -> dict[str, Any]:
        """How far the annotators agree."""
        check_caller_may_change(services, token, request)
        return asdict(agreement(services.review_store.vote_counts()))

    def train(
        request: gr.Request,
        recipe: str | None = None,
        base: str | None = None,
        epochs: int | None = None,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        seed: int | None = None,
        promote: str | None = None,
        token: str = "",
        patience: int | None = None,
        loss: str | None = None,
        learning_curve: bool | None = None,
        assume_not_relevant: bool | None = None,
    ) -> dict[str, Any]:
        """Start a training run."""
        check_caller_may_change(services, token, request)
        body = _checked(
            TrainingRequest,
            recipe=recipe,
            base=base,
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            seed=seed,
            promote=promote,
            patience=patience,
            loss=loss,
            learning_curve=learning_curve,
            assume_not_relevant=assume_not_relevant,
        )
        return run_as_json(start(services, body))

    def training_run(run_id: str) -> dict[str, Any]:
        """How a training run is doing."""
        return run_as_json(services.model_store.run(run_id))

    def cancel_training(run_id: str, request: gr.Request, token: str = "") -> dict[str, Any]:
        """Ask a training run to stop and to keep the best it has; asked again, it stops at once."""
        check_caller_may_change(services, token, request)
        return run_as_json(services.jobs.cancel(run_id))

    def resume_training(run_id: str, request: gr.Request, token: str = "") -> dict[str, Any]:
        """Let a training run that was broken off go on from where it was."""
        check_caller_may_change(services, token, request)
        return run_as_json(services.jobs.resume(run_id))

    def models() -> list[dict[str, Any]]:
        """Every model version, newest first."""
        return [version_as_json(version) for version in services.model_store.versions()]

    def add_model(name: str, request: gr.Request, token: str = "") -> dict[str, Any]:
        """Make a cross-encoder of the Hub (owner/name) a version."""
        check_caller_may_change(services, token, request)
        return version_as_json(services.registry.add(name))

    def promote(version: str, request: gr.Request, token: str = "") -> dict[str, Any]:
        """Make a version the active one."""
        check_caller_may_change(services, token, request)
        promoted = services.registry.promote(version, "asked for by gradio's client")
        return version_as_json(promoted)

    def rollback(request: gr.Request, token: str = "") -> dict[str, Any]:
        """Make the version before the active one active again."""
        check_caller_may_change(services, token, request)
        active = services.registry.roll_back("asked for by gradio's client")
        return version_as_json(active)

    def delete_model(version: str, request: gr.Request, token: str = "") -> dict[str, Any]:
        """Delete a version."""
        check_caller_may_change(services, token, request)
        return version_as_json(services.registry.delete(version))

    def make_again(version: str, request: gr.Request, token: str = "") -> dict[str, Any]:
        """Start a run with the labels and the configuration that a version was made with."""
        check_caller_may_change(services, token, request)
        return run_as_json(services.jobs.make_again(version))

    def push(version: str, repo: str, request: gr.Request, token: str = "") -> str:
        """Upload a version to a model repository on the Hub; returns its address."""
        check_caller_may_change(services, token, request)
        found = services.model_store.version(version)
        return push_to_hub(services.registry.directory(found), found.version, repo)

    for name, function in (
        ("rerank", rerank),
        ("label", label),
        ("next_task", next_task),
        ("agreement", agreement_of_annotators),
        ("train", train),
        ("training_run", training_run),
        ("cancel_training", cancel_training),
        ("resume_training", resume_training),
        ("models", models),
        ("add_model", add_model),
        ("promote", promote),
        ("rollback", rollback),
        ("delete_model", delete_model),
        ("make_again", make_again),
        ("push", push),
    ):
        gr.api(function, api_name=name)


def _checked(schema: type[schemas.Body], **values: Any) -> Any:
    """The values as the HTTP interface would read them. Raises InvalidInput."""
    try:
        return schema(**values)
    except ValidationError as error:
        problems = [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]
        raise InvalidInput(error_answers.describe(RequestValidationError(problems))) from error
