"""The bodies of the HTTP interface. What the schema promises is what is checked, no more and no less."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from texts import MAX_CHARACTERS, MAX_NAME_CHARACTERS, MAX_PASSAGES

# These say in the schema what `texts.py` checks, whose messages are better than those of a pattern.
_TEXT_SCHEMA = {"minLength": 1, "maxLength": MAX_CHARACTERS, "pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$"}
_CONTROL = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
NAME_SCHEMA = {
    "minLength": 1,
    "maxLength": MAX_NAME_CHARACTERS,
    "pattern": rf"^[^{_CONTROL}]*[^\s{_CONTROL}][^{_CONTROL}]*$",
}
_NOTE_SCHEMA = {"maxLength": MAX_CHARACTERS, "pattern": r"^[^\u0000]*$"}
_LIST_SCHEMA = {"minItems": 1, "maxItems": MAX_PASSAGES}
# A version is named after a model or a directory; no name of either is longer.
_MAX_VERSION_CHARACTERS = 300
# What the Hub takes as the name of an owner or a repository: no two signs in a row, none at an end.
_REPO_PART = r"[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*"
RepoId = Annotated[str, Field(min_length=3, max_length=96, pattern=rf"^{_REPO_PART}/{_REPO_PART}$")]
# The tags by which pydantic tells the members of a union apart begin with this; error_answers.describe() skips them.
TAG = "#"


def utf8(text: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("half of a surrogate pair is not text")
    return text


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 3.0 is the integer 3, and its schema says so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
Text = Annotated[str, AfterValidator(utf8), Field(json_schema_extra=_TEXT_SCHEMA)]
Name = Annotated[str, AfterValidator(utf8), Field(json_schema_extra=NAME_SCHEMA)]
Note = Annotated[str, AfterValidator(utf8), Field(json_schema_extra=_NOTE_SCHEMA)]
VersionName = Annotated[str, AfterValidator(utf8), Field(max_length=_MAX_VERSION_CHARACTERS)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Body(BaseModel):
    """A request body: values have to be of the type that the schema says; fields it does not name are ignored."""

    model_config = ConfigDict(strict=True)


class StrictBody(Body):
    """A request body whose fields all have to be known, so that nothing that was meant is dropped in silence."""

    model_config = ConfigDict(strict=True, extra="forbid")


class ErrorDetail(BaseModel):
    code: str
    message: str


class ErrorBody(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorDetail


class DocumentObject(Body):
    text: Text


def _text_or_object(value: Any) -> str:
    return "#object" if isinstance(value, dict | DocumentObject) else "#text"


DocumentItem = Annotated[
    Annotated[Text, Tag("#text")] | Annotated[DocumentObject, Tag("#object")], Discriminator(_text_or_object)
]


class RerankRequest(Body):
    """Cohere's and Jina's request. `model` is a model version; the active one answers where it is missing or "active",
    which is for clients that have to name one."""

    query: Text
    documents: Annotated[list[DocumentItem], Field(json_schema_extra=_LIST_SCHEMA)]
    top_n: Annotated[int, Field(ge=1), WHOLE] | None = None
    model: VersionName | None = None
    return_documents: bool | None = None


class Document(BaseModel):
    text: str


class RerankResult(BaseModel):
    index: int
    relevance_score: Probability
    document: Document | None = None


class RerankUsage(BaseModel):
    """The tokens of all pairs, as Jina counts."""

    total_tokens: int


class BilledUnits(BaseModel):
    """One for each hundred documents, as Cohere counts; nothing is billed."""

    search_units: int


class RerankMeta(BaseModel):
    billed_units: BilledUnits


class RerankResponse(BaseModel):
    id: str
    model: str
    results: list[RerankResult]
    usage: RerankUsage
    meta: RerankMeta


class TeiRerankRequest(Body):
    """The request of Text Embeddings Inference. With `truncate` false, a text that is too long is an error."""

    query: Text
    texts: Annotated[list[Text], Field(json_schema_extra=_LIST_SCHEMA)]
    raw_scores: bool | None = None
    return_text: bool | None = None
    truncate: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_of_tei(cls, value: Any) -> Any:
        # Some servers take both shapes at this path, and their clients are pointed here.
        if isinstance(value, dict) and "documents" in value and "texts" not in value:
            raise ValueError("This call takes `texts`. Send `documents` to /v1/rerank")
        return value


class TeiRank(BaseModel):
    index: int
    score: float
    text: str | None = None


class TeiLabels(BaseModel):
    """A model with one output has one label."""

    id2label: dict[str, str] = {"0": "LABEL_0"}
    label2id: dict[str, int] = {"LABEL_0": 0}


class TeiModelType(BaseModel):
    """What kind of model answers is told by the name of the one field."""

    reranker: TeiLabels = TeiLabels()


class TeiInfo(BaseModel):
    """`max_input_length` is how many tokens of a pair the model reads; what is longer is cut unless `truncate` is
    false."""

    model_id: str
    model_type: TeiModelType = TeiModelType()
    max_input_length: int
    max_client_batch_size: int = MAX_PASSAGES
    auto_truncate: bool = True


class CandidateBody(StrictBody):
    query: Text
    passage: Text
    source: Name | None = None


class CandidatesRequest(StrictBody):
    pairs: Annotated[list[CandidateBody], Field(json_schema_extra=_LIST_SCHEMA)]


class CandidatesResponse(BaseModel):
    queries: int
    passages: int
    candidates: int
    duplicates: int


class TaskResponse(BaseModel):
    query_id: str
    query: str
    passage_id: str
    passage: str


class TaskRequest(Body):
    annotator: Name | None = None
    strategy: str | None = None


class LabelBody(StrictBody):
    query: Text
    passage: Text
    label: Annotated[int, Field(ge=0, le=1, description="1 relevant, 0 not"), WHOLE]
    annotator: Name | None = None
    note: Note | None = None


class LabelsBody(StrictBody):
    labels: Annotated[list[LabelBody], Field(json_schema_extra=_LIST_SCHEMA)]


def _one_or_many(value: Any) -> str:
    many = "labels" in value if isinstance(value, dict) else isinstance(value, LabelsBody)
    return "#many" if many else "#one"


LabelsRequest = Annotated[
    Annotated[LabelBody, Tag("#one")] | Annotated[LabelsBody, Tag("#many")], Discriminator(_one_or_many)
]


class LabelsResponse(BaseModel):
    saved: int
    changed: int


class KappaBody(BaseModel):
    annotators: tuple[str, str]
    pairs: int
    kappa: float | None


class AgreementResponse(BaseModel):
    annotators: int
    pairs: int
    krippendorff_alpha: float | None
    cohen_kappa: list[KappaBody]


class VoteBody(BaseModel):
    annotator: str
    label: int
    note: str | None
    updated_at: str


class DisputeBody(BaseModel):
    query_id: str
    query: str
    passage_id: str
    passage: str
    votes: list[VoteBody]


class DisputesResponse(BaseModel):
    """`total` counts all disputes, of which the oldest are listed."""

    total: int
    disputes: list[DisputeBody]


class GuidelinesResponse(BaseModel):
    """The text is Markdown, and empty where nothing is written."""

    text: str
    written_by: str | None = None
    created_at: str | None = None


class VersionResponse(BaseModel):
    version: str
    name: str
    active: bool
    base: str | None
    created_at: str
    labels: int
    metrics: dict[str, float]


class ComparedVersion(BaseModel):
    """The figures of one version, and their 95 % confidence intervals."""

    version: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]


class DifferenceBody(BaseModel):
    """How the second version's nDCG@10 differs from the first one's: on average, with the ends of a 90 % interval, the
    two-sided p-value of a paired randomisation test, and on how many queries."""

    gain: float
    low: float | None
    high: float | None
    p_value: float | None
    queries: int
    better: int
    equal: int
    worse: int


class ComparedQuery(BaseModel):
    """A query with the nDCG@10 of the first version and that of the second."""

    query: str
    before: float
    after: float
    verdict: Literal["better", "equal", "worse"]


class ComparisonResponse(BaseModel):
    """Two versions on the queries that are held out now; those that differ most first."""

    versions: tuple[ComparedVersion, ComparedVersion]
    difference: DifferenceBody
    queries: list[ComparedQuery]


class AddRequest(StrictBody):
    """A cross-encoder on the Hub, as owner/name."""

    name: RepoId


class PushRequest(StrictBody):
    """Where to on the Hub: owner/name. It is made as a private repository where it is missing."""

    repo: RepoId


class PushResponse(BaseModel):
    version: str
    repo: str
    url: str


class HealthModel(BaseModel):
    version: str | None
    name: str | None
    source: str | None


class HealthEngine(BaseModel):
    """How the model's pairs are scored, and in a few sentences why that way."""

    backend: str
    precision: str
    reason: str


class HealthResponse(BaseModel):
    """`status` is "loading" until a model answers; from then on there is an `engine`."""

    status: Literal["ok", "loading"]
    model: HealthModel
    engine: HealthEngine | None = None
