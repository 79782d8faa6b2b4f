"""What annotators do: judge, skip, flag, undo. Checks what they sent, then leaves it to the store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from errors import Conflict, InvalidInput, NotFound, TooLarge
from labeling.queue import Queue, strategy_named
from storage.label_store import LabelStore
from storage.records import AddedCandidates, Candidate, Judged, Judgment, Progress, ScoredPair, SkipReason, Task
from storage.review_store import ReviewStore
from storage.score_store import ScoreStore
from texts import check_name, check_note, check_text

# Pairs of one query that are shown at once.
MAX_AT_ONCE = 100


class LabelingService:
    """The judging half of the workbench, for the page and the HTTP interface alike."""

    def __init__(self, store: LabelStore, queue: Queue, review: ReviewStore, scores: ScoreStore) -> None:
        self.store = store
        self.queue = queue
        self.waiting = queue.store
        self.review = review
        self.scores = scores

    @property
    def renew_seconds(self) -> float:
        """How long a page keeps pairs before it asks whether it still may."""
        return self.waiting.renew_seconds

    def add_candidates(self, candidates: Iterable[Candidate]) -> AddedCandidates:
        """Put pairs into the queue: all of them, or none when one is unusable (InvalidInput, TooLarge)."""
        return self.store.add_candidates(_checked_candidates(candidates))

    def judge(self, judgments: Iterable[Judgment]) -> tuple[int, int]:
        """Store these judgments durably: all, or none when one is unusable.

        Returns (how many were stored, how many replaced a different label of the same annotator).
        """
        return self.store.save(_checked_judgments(judgments))

    def scored_pairs(self) -> Iterator[ScoredPair]:
        """Every pair that the champion has scored, query by query, the best first."""
        for version in self.queue.versions()[:1]:
            yield from self.scores.scored_pairs(version)

    def labels_of(self, query: str, annotator: str) -> dict[str, int]:
        """What this annotator has said of a query so far, by the passage's text. Nothing where the name is no name."""
        try:
            return self.store.labels_of(query, check_name(annotator))
        except (InvalidInput, TooLarge):
            return {}

    def next_task(
        self, annotator: str, strategy: str | None = None, beside: Iterable[tuple[str, str]] = ()
    ) -> Task | None:
        """The next pair for this annotator, held until it is judged or put aside; None when nothing is left.

        `beside` are the (query id, passage id) of pairs that are on the annotator's screen already.
        """
        return self.queue.next_task(check_name(annotator), strategy, beside)

    def next_tasks(
        self, annotator: str, strategy: str | None, beside: Iterable[tuple[str, str]], count: int
    ) -> list[Task]:
        """Up to `count` pairs that come next, all of them held for this annotator."""
        found: list[Task] = []
        beside = set(beside)
        while len(found) < count and (task := self.next_task(annotator, strategy, beside)):
            found.append(task)
            beside.add(task.key)
        return found

    def hold_on(self, tasks: Iterable[Task], annotator: str, strategy: str | None = None) -> list[Task]:
        """Hold pairs that are on the annotator's screen for longer, as they are now; those that may no longer be judged
        there, since others have judged them or hold them by now, are left out."""
        annotator, (name, _) = check_name(annotator), strategy_named(strategy)
        return [
            held
            for task in tasks
            if (held := self.waiting.hold(*task.key, annotator, name, name, beside_others=True))
        ]

    def task(self, query_id: str, passage_id: str, annotator: str) -> Task:
        """One pair as this annotator sees it. Raises NotFound."""
        task = self.find_task(query_id, passage_id, annotator)
        if task is None:
            raise NotFound("This pair is no longer in the queue. Go on with the next one.")
        return task

    def find_task(self, query_id: str, passage_id: str, annotator: str) -> Task | None:
        """One pair as this annotator sees it; None where it is gone."""
        return self.waiting.task(query_id, passage_id, check_name(annotator))

    # What is pressed on the page. A `press` names the key or button: one that is stored already is not stored again.

    def answer(self, judgment: Judgment, press: str | None = None) -> None:
        """Store what an annotator says of a pair that was handed out.

        Raises Conflict where others have judged it meanwhile, as often as is wanted.
        """
        [judgment] = _checked_judgments([judgment])
        if self.store.save_press([judgment], press, self.waiting.quota):
            raise Conflict(
                "Others have judged this pair while it lay here, as often as is wanted, so yours is not stored. "
                "Go on with the next one."
            )

    def rest_is_not_relevant(
        self,
        tasks: Sequence[Task],
        annotator: str,
        model_version: str | None = None,
        press: str | None = None,
        notes: Mapping[tuple[str, str], str] = MappingProxyType({}),
    ) -> int:
        """Label these pairs 0, in one step that is undone at once; returns how many of them were left out, since others
        have judged them meanwhile as often as is wanted. `notes` are what is noted on some, by their key."""
        judgments = [
            Judgment(task.query, task.passage, 0, annotator, model_version=model_version, score_visible=False,
                     source=task.source, note=notes.get(task.key) or None)
            for task in tasks
        ]  # fmt: skip
        return len(self.store.save_press(_checked_judgments(judgments), press, self.waiting.quota))

    def skip(
        self,
        task: Task,
        annotator: str,
        reason: SkipReason,
        seconds: float | None = None,
        note: str | None = None,
        press: str | None = None,
    ) -> None:
        """Put a pair aside: for good ("cannot_tell") or to the end of the queue ("later")."""
        if note:
            check_note(note)
        self.store.skip(*task.key, check_name(annotator), reason, seconds, note, press)

    def toggle_flag(self, task: Task, annotator: str, press: str | None = None) -> bool:
        """Flag a pair for someone to look at, or take the flag away. Returns whether it is flagged now."""
        return self.store.toggle_flag(*task.key, check_name(annotator), press)

    def undo(self, annotator: str, event_id: int | None = None, press: str | None = None) -> list[Task]:
        """Take back this annotator's last label or skip, with all of its step, or the one with that event id.

        Returns the pairs that it was about; none when there is nothing to undo. Raises Conflict.
        """
        annotator = check_name(annotator)
        undone = self.store.undo(annotator, event_id, self.waiting.lease_seconds, press)
        tasks = [self.waiting.task(*key, annotator) for key in undone]
        return [task for task in tasks if task is not None]

    # Query by query

    def query_tasks(
        self, query_id: str, annotator: str, strategy: str | None = None, beside: Iterable[tuple[str, str]] = ()
    ) -> list[Task]:
        """The candidates of a query but for those in `beside`, in an order that is shuffled, and always the same for
        this annotator.

        At most MAX_AT_ONCE come; those that are left come when the query is asked for again.
        """
        annotator = check_name(annotator)

        def place(passage_id: str) -> bytes:
            return hashlib.sha256(f"{annotator} {passage_id}".encode()).digest()

        name, _ = strategy_named(strategy)
        return self.waiting.hold_query(query_id, annotator, name, place, MAX_AT_ONCE, set(beside))

    def next_query(
        self,
        annotator: str,
        strategy: str | None = None,
        shown: Iterable[tuple[str, str]] = (),
        left: Iterable[tuple[str, str]] = (),
        passed: Iterable[str] = (),
    ) -> list[Task]:
        """The candidates of the query that this annotator is to judge next, held; none when nothing is left.

        `shown` are pairs on the screen, which stay there; what of `left` is not judged goes back to the queue. The
        queries with the ids in `passed` come only where no other is left.
        """
        annotator = check_name(annotator)
        unfinished = [key for key in left if (task := self.find_task(*key, annotator)) and task.is_open]
        away_from = {*passed, *(query_id for query_id, _ in unfinished)}
        task = self.queue.next_task(annotator, strategy, [*shown, *unfinished], stays=False, away_from=away_from)
        self.give_back(annotator, unfinished)
        if task:
            # Of a query with more passages than come at once, those come first that were not on the screen.
            return self.query_tasks(task.query_id, annotator, strategy, [*shown, *unfinished])
        return self.query_tasks(unfinished[0][0], annotator, strategy, shown) if unfinished else []

    def give_back(self, annotator: str, keys: Iterable[tuple[str, str]]) -> None:
        """Let others have pairs that were handed to this annotator."""
        self.waiting.let_go(check_name(annotator), keys)

    def judged_by(self, annotator: str, limit: int) -> list[Judged]:
        """The pairs that this annotator judged last, the latest first; none where nobody is named. Raises TooLarge."""
        return self.store.judged_by(check_name(annotator), limit) if annotator.strip() else []

    def decide(self, query_id: str, passage_id: str, label: int, decided_by: str, note: str | None = None) -> None:
        """Say what a pair counts as where annotators differ. Raises NotFound, InvalidInput, TooLarge; Conflict where
        somebody has decided it already."""
        if label not in (0, 1):
            raise InvalidInput(f"The decision is {label!r}; it has to be 1 (relevant) or 0 (not relevant).")
        decided_by = check_name(decided_by, "Your name")
        if note:
            check_note(note)
        self.task(query_id, passage_id, decided_by)
        self.review.decide(query_id, passage_id, label, decided_by, note or None)

    def write_guidelines(self, text: str, written_by: str, instead_of: str | None) -> None:
        """Put another text, in Markdown, in the place of the guidelines that were written at the moment `instead_of`,
        None where nothing was. Raises InvalidInput, TooLarge; Conflict where others were written meanwhile."""
        if text.strip():
            check_note(text, "The guidelines")
        self.store.write_guidelines(text, check_name(written_by, "Your name"), instead_of)

    def progress(self, annotator: str) -> Progress:
        """How far the team has come, and this annotator (whose name may be empty)."""
        progress = self.store.progress(annotator)
        return replace(progress, mine_left=None) if self.waiting.quota else progress


def _checked_candidates(candidates: Iterable[Candidate]) -> list[Candidate]:
    return [_check_candidate(candidate, place) for place, candidate in enumerate(candidates, start=1)]


def _checked_judgments(judgments: Iterable[Judgment]) -> list[Judgment]:
    return [_check_judgment(judgment, place) for place, judgment in enumerate(judgments, start=1)]


def _check_candidate(candidate: Candidate, place: int) -> Candidate:
    check_text(candidate.query, f"The query of pair {place}")
    check_text(candidate.passage, f"The passage of pair {place}")
    return replace(candidate, source=check_name(candidate.source, f"The source of pair {place}"))


def _check_judgment(judgment: Judgment, place: int) -> Judgment:
    check_text(judgment.query, f"The query of label {place}")
    check_text(judgment.passage, f"The passage of label {place}")
    if judgment.note:
        check_note(judgment.note, f"The note of label {place}")
    if judgment.label not in (0, 1):
        raise InvalidInput(f"Label {place} is {judgment.label!r}; it has to be 1 (relevant) or 0 (not relevant).")
    return replace(judgment, annotator=check_name(judgment.annotator, f"The annotator of label {place}"))
