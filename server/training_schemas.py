"""The bodies of the calls about training runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from reranker.losses import LOSSES
from reranker.recipe import LIMITS, RECIPES
from server.schemas import WHOLE, Probability, StrictBody, VersionName, utf8
from storage.records import RunStatus

Loss = Annotated[str, AfterValidator(utf8), Field(min_length=1, json_schema_extra={"enum": [*LOSSES]})]
Recipe = Annotated[str, AfterValidator(utf8), Field(min_length=1, json_schema_extra={"enum": [*RECIPES]})]


def _within(name: str) -> Any:
    """The limits of a value that may be changed, as the schema says them."""
    low, high = LIMITS[name]
    return Field(ge=low, le=high)


class TrainingRequest(StrictBody):
    """A training run: a recipe, and the values that are to differ from it. `base` is the version to start from.

    `loss` is the name of a loss of sentence-transformers; the recipe has its own. With `assume_not_relevant`, passages
    that nobody judged count as not relevant for the queries of which only relevant ones are known.
    """

    recipe: Recipe | None = None
    base: VersionName | None = None
    epochs: Annotated[int, _within("epochs"), WHOLE] | None = None
    learning_rate: Annotated[float, _within("learning_rate")] | None = None
    batch_size: Annotated[int, _within("batch_size"), WHOLE] | None = None
    seed: Annotated[int, _within("seed"), WHOLE] | None = None
    patience: Annotated[int, _within("patience"), WHOLE] | None = None
    learning_curve: bool | None = None
    assume_not_relevant: bool | None = None
    promote: Literal["auto", "always", "never"] | None = None
    loss: Loss | None = None


class RunMetrics(BaseModel):
    """The figures of both models by name, those of other sets than dev with `cross_`, `test_` or `general_` before it.

    Names that end in `_low` and `_high` are the ends of a figure's 95 % confidence interval.
    """

    champion: dict[str, float]
    challenger: dict[str, float]


class AcceptedRun(BaseModel):
    """A training run that was started, or asked to stop: GET it to follow it."""

    id: str
    status: RunStatus


class RunResponse(AcceptedRun):
    """A training run. With `resumable` it was broken off and can go on (POST .../resume). `memory` is the most that it
    has used, in bytes; `config` what was asked for, and the version that it starts from and is measured against."""

    created_at: str
    config: dict[str, Any]
    progress: Probability
    step: int
    total_steps: int
    loss: float | None
    metrics: RunMetrics
    model_version: str | None
    promoted: bool
    error: str | None
    phase: str
    seconds_left: float | None
    memory: int | None
    outcome: str | None
    note: str | None
    resumable: bool


class StepBody(BaseModel):
    """What was seen at one step of a training."""

    step: int
    value: float | None


class CurvesResponse(BaseModel):
    """The loss at the steps of a training, and the nDCG@10 on the held-out queries at those where it was measured."""

    loss: list[StepBody]
    dev: list[StepBody]


class CurvePoint(BaseModel):
    """The held-out queries' nDCG@10, with its 95 % confidence interval, after training on so many labels."""

    labels: int
    queries: int
    ndcg: float
    low: float
    high: float


class OutlookBody(BaseModel):
    """What so many more labels would bring in nDCG@10, with the ends of a 90 % interval; null where it cannot be told.
    `words` says it in a sentence."""

    more: int
    gain: float | None
    low: float | None
    high: float | None
    words: str


class LearningCurveResponse(BaseModel):
    """What a model had learned from so many labels, fewest first, and what more of them would bring."""

    points: list[CurvePoint]
    outlook: OutlookBody


class SuspectBody(BaseModel):
    """A label to look at again, and the probability that the passage is relevant, going by the other labels. Where it
    is `assumed`, nobody gave it: the run took what nobody had judged as not relevant."""

    query: str
    passage: str
    label: Literal[0, 1]
    probability: Probability
    assumed: bool


class LogResponse(BaseModel):
    """The last lines of what the training process wrote to its log."""

    log: str
