"""The calls about pairs, labels and those who judge."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import FastAPI, Query, Response
from fastapi.responses import StreamingResponse

from errors import InvalidInput
from labeling.agreement import agreement
from labeling.exchange import EXPORTS, Exportable, ExportFormat, gathered
from labeling.queue import DEFAULT_STRATEGY, STRATEGIES
from server import schemas
from server.error_answers import check_count
from server.guard import Guard
from services import Services
from storage.records import Candidate, Judgment

# The annotator and the source of what names none.
API = "api"
# Disputes that are listed at once.
DISPUTES = 100


def add_label_calls(app: FastAPI, services: Services, guarded: Guard) -> None:
    """Add what brings pairs and labels in and out, hands pairs out and says how far annotators agree."""

    @app.post("/v1/candidates", tags=["label"], **guarded(413, 422))
    def add_candidates(body: schemas.CandidatesRequest) -> schemas.CandidatesResponse:
        """Put pairs into the queue of pairs to be judged: all of them or none."""
        check_count(body.pairs, "pairs")
        candidates = [Candidate(pair.query, pair.passage, named(pair.source)) for pair in body.pairs]
        return schemas.CandidatesResponse(**asdict(services.labeling.add_candidates(candidates)))

    @app.get(
        "/v1/tasks/next",
        tags=["label"],
        **guarded(413, 422, also={204: {"description": "Nothing is left to be judged"}}),
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

    @app.post("/v1/labels", tags=["label"], **guarded(413, 422))
    def add_labels(body: schemas.LabelsRequest) -> schemas.LabelsResponse:
        """Store labels: all of them or none. Answered when they are on the disk."""
        labels = body.labels if isinstance(body, schemas.LabelsBody) else [body]
        check_count(labels, "labels")
        saved, changed = services.labeling.judge(
            Judgment(item.query, item.passage, item.label, named(item.annotator), _note(item.note)) for item in labels
        )
        return schemas.LabelsResponse(saved=saved, changed=changed)

    @app.get(
        "/v1/labels",
        tags=["label"],
        response_class=StreamingResponse,
        **guarded(422, also={200: {"content": {file.media_type.split(";")[0]: {} for file in EXPORTS.values()}}}),
    )
    def read_labels(format: ExportFormat = "jsonl") -> StreamingResponse:
        """Every label of every annotator, as jsonl, csv or parquet. The other formats know no annotators and hold what
        each pair counts as: qrels; trec, a zip of topics, collection, qrels and the model's run; pairs, a Parquet file
        of query, passage and label for sentence-transformers; quepid, a CSV of query, docid and rating; cohere, JSON
        lines of relevant passages and hard negatives."""
        store = services.label_store
        file, judged = EXPORTS[format], Exportable(store.labels, store.consensus, services.labeling.scored_pairs)
        headers = {"Content-Disposition": f'attachment; filename="{file.name}"'}
        return StreamingResponse(gathered(file.pieces(judged)), media_type=file.media_type, headers=headers)

    @app.get("/v1/agreement", tags=["label"], **guarded())
    def read_agreement() -> schemas.AgreementResponse:
        """How far the annotators agree on the pairs that several of them judged."""
        return schemas.AgreementResponse(**asdict(agreement(services.review_store.vote_counts())))

    @app.get("/v1/disputes", tags=["label"], **guarded())
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
                    votes=[schemas.VoteBody(**asdict(vote)) for vote in dispute.votes],
                )
                for dispute in review.disputes(DISPUTES)
            ],
        )

    @app.get("/v1/guidelines", tags=["label"])
    def read_guidelines() -> schemas.GuidelinesResponse:
        """What annotators are asked to go by."""
        guidelines = services.label_store.guidelines()
        return schemas.GuidelinesResponse(**asdict(guidelines)) if guidelines else schemas.GuidelinesResponse(text="")


def named(name: str | None) -> str:
    """The name of an annotator or a source that may have been left out."""
    return API if name is None else name


def _note(note: str | None) -> str | None:
    return note if note is None or note.strip() else ""
