"""What goes into the store and comes out of it: frozen dataclasses, one for each kind of row."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

SkipReason = Literal["cannot_tell", "later"]
RunStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ModelSource = Literal["hub", "directory", "starter", "trained"]

UNFINISHED: tuple[RunStatus, ...] = ("queued", "running")


def text_id(text: str) -> str:
    """The id under which a text is stored: the first 80 bits of its SHA-256, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def now() -> str:
    """The present moment in UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat()


@dataclass(frozen=True)
class Candidate:
    """A (query, passage) pair that waits to be judged; `rank` is its place in the list that it came from, from 1."""

    query: str
    passage: str
    source: str = "api"
    rank: int | None = None


@dataclass(frozen=True)
class Task:
    """A candidate as an annotator gets it, with what this annotator said of it so far."""

    query_id: str
    query: str
    passage_id: str
    passage: str
    source: str
    label: int | None = None
    skip: SkipReason | None = None
    flagged: bool = False
    note: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """The (query id, passage id) of the pair."""
        return self.query_id, self.passage_id

    @property
    def is_open(self) -> bool:
        """Whether this annotator has neither labelled the pair nor put it aside for good."""
        return self.label is None and self.skip != "cannot_tell"


@dataclass(frozen=True)
class Judged:
    """A pair as its annotator judged it last, or put it aside: the event that did so, and when that was (UTC)."""

    event_id: int
    task: Task
    created_at: str


@dataclass(frozen=True)
class Guidelines:
    """What annotators are asked to go by, in Markdown."""

    text: str
    written_by: str
    created_at: str


@dataclass(frozen=True)
class Waiting:
    """A candidate that an annotator may be given next, as the strategies weigh it.

    `score` is the logit that the champion gave it and `other_score` that of the model before or after it, each None
    while it is not scored. `disputed` says that the annotators who judged it so far differ, `is_begun` that somebody
    has judged passages of its query.
    """

    id: int
    query_id: str
    passage_id: str
    rank: int | None
    score: float | None
    other_score: float | None
    disputed: bool = False
    is_begun: bool = False


@dataclass(frozen=True)
class Quota:
    """How many annotators judge a pair: `share` of all pairs are judged by `overlap` of them, the others by one."""

    overlap: int
    share: float = 1.0

    @property
    def shared_below(self) -> int:
        """Pairs whose place in the shuffled order is below this are judged by several."""
        return round(self.share * 2**32)


@dataclass(frozen=True)
class Judgment:
    """One annotator's label (1 relevant, 0 not) of one pair, and the circumstances in which it was given.

    Where it is the label that the annotator gave before, a `note` of None leaves the note of then; "" takes it away.
    """

    query: str
    passage: str
    label: int
    annotator: str
    note: str | None = None
    seconds: float | None = None
    model_version: str | None = None
    score_visible: bool | None = None
    source: str = "api"
    rank: int | None = None


@dataclass(frozen=True)
class StoredLabel:
    """The current label of one annotator for one pair, with its texts."""

    query_id: str
    query: str
    passage_id: str
    passage: str
    label: int
    annotator: str
    note: str | None
    updated_at: str


@dataclass(frozen=True)
class Vote:
    """What one annotator says of one pair."""

    annotator: str
    label: int
    note: str | None
    updated_at: str


@dataclass(frozen=True)
class PairVotes:
    """What annotators say of one pair, the oldest vote first, and whether somebody has decided it."""

    votes: list[Vote]
    decided: bool

    @property
    def disputed(self) -> bool:
        """Whether it waits for a decision."""
        return not self.decided and len({vote.label for vote in self.votes}) > 1

    @property
    def majority(self) -> int | None:
        """What it counts as until then; None where as many say the one as the other, and it is not learned from."""
        relevant = 2 * sum(vote.label for vote in self.votes)
        return None if relevant == len(self.votes) else int(relevant > len(self.votes))


@dataclass(frozen=True)
class VoteCounts:
    """What agreement is computed from, counted, so that it takes no more room with a million labels.

    Of the pairs that several annotators judged: `by_week` counts those with so many voices, of which so many say
    relevant, as (Monday of the week of the last label, voices, relevant, pairs); `by_two` those that two annotators
    judged, the first of them so and the second so, as (annotator, annotator, label, label, pairs), names in order;
    `shared` those of each annotator. `annotators` lists all who have labelled anything, by name.
    """

    annotators: list[str]
    shared: dict[str, int]
    by_week: list[tuple[str, int, int, int]]
    by_two: list[tuple[str, str, int, int, int]]


@dataclass(frozen=True)
class Dispute:
    """A pair that annotators judged differently, with their votes."""

    task: Task
    votes: list[Vote]


@dataclass(frozen=True)
class Decision:
    """What somebody decided a pair counts as, where annotators differed."""

    query_id: str
    query: str
    passage_id: str
    passage: str
    label: int
    decided_by: str
    note: str | None
    created_at: str


@dataclass(frozen=True)
class FoundPair:
    """A candidate as it is found on the Data tab, with its votes, and what was decided of it."""

    id: int
    query_id: str
    query: str
    passage_id: str
    passage: str
    source: str
    rank: int | None
    votes: list[Vote]
    decision: Decision | None


@dataclass(frozen=True)
class PairEvent:
    """One thing that somebody did with a pair. A decision has the action "decide". Of a correction, `action` says
    whether of the query or the passage, `note` is the former text, and `skip` is "again" where the pair was to be
    judged anew."""

    annotator: str
    action: str
    label: int | None
    skip: str | None
    previous_label: int | None
    note: str | None
    created_at: str


@dataclass(frozen=True)
class JudgingEvent:
    """One label as it was given: how many seconds it took, whether the model's score was on the screen, and that score
    (the logit of the version that answered then), None where it is not stored."""

    label: int
    seconds: float | None
    score_visible: bool | None
    score: float | None
    created_at: str


@dataclass(frozen=True)
class ConsensusLabel:
    """What a pair counts as: the adjudication where there is one, else the majority of the annotators."""

    query_id: str
    query: str
    passage_id: str
    passage: str
    label: int


@dataclass(frozen=True)
class ScoredPair:
    """A candidate with the logit that a model version gave it."""

    query_id: str
    query: str
    passage_id: str
    passage: str
    model_version: str
    score: float


@dataclass(frozen=True)
class AddedCandidates:
    """How many queries, passages and candidates were new, and how many candidates were there already."""

    queries: int = 0
    passages: int = 0
    candidates: int = 0
    duplicates: int = 0


@dataclass(frozen=True)
class StagedCounts:
    """What a file holds: rows that are pairs to be judged and rows that are labels; and of these, each counted once,
    the pairs and the labels that are new to the store, the labels that change an earlier one, and those that contradict
    another one in the file."""

    pairs: int = 0
    labels: int = 0
    new_pairs: int = 0
    new_labels: int = 0
    changed_labels: int = 0
    contradicted: int = 0


@dataclass(frozen=True)
class Progress:
    """How far the judging has come. A pair is judged when at least one annotator has labelled it, and counts as
    `relevant` here when at least one has said so; what it counts as elsewhere is another question (ProgressStore).

    `mine_left` is None with a quota, where it depends on the others.
    """

    candidates: int
    judged: int
    relevant: int
    mine: int
    mine_left: int | None
    annotators: int


@dataclass(frozen=True)
class TrainingRun:
    """One training run: its configuration and how far it has come.

    `progress` runs from 0 to 1; `memory` is the most that its process has used, in bytes; `note` what it has to say
    beside its outcome.
    """

    id: str
    status: RunStatus
    config: dict[str, Any]
    created_at: str
    phase: str = "waiting to start"
    progress: float = 0.0
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    seconds_left: float | None = None
    metrics: dict[str, Any] = field(default_factory=lambda: {"champion": {}, "challenger": {}})
    outcome: str | None = None
    model_version: str | None = None
    promoted: bool = False
    error: str | None = None
    pid: int | None = None
    pid_started: float | None = None
    finished_at: str | None = None
    memory: int | None = None
    note: str | None = None

    @property
    def under_way(self) -> bool:
        return self.status in UNFINISHED


@dataclass(frozen=True)
class ModelVersion:
    """A model that can be made the active one.

    `location` is the Hub id or the directory of a model that was not trained here; `base` the version that a trained
    one started from; `labels` how many labels it was trained on. Of a deleted one (`deleted_at`) only this is left.
    """

    version: str
    name: str
    source: ModelSource
    location: str | None
    base: str | None
    run_id: str | None
    labels: int
    metrics: dict[str, Any]
    created_at: str
    deleted_at: str | None = None


@dataclass(frozen=True)
class ModelEvent:
    """A change of the active model."""

    version: str
    previous_version: str | None
    action: Literal["promote", "rollback"]
    reason: str
    created_at: str
