"""Which candidate an annotator gets next: the strategies by name.

Each is a small function that puts the candidates of a sample into an order, the best first. The sample is a few hundred
of those that wait, drawn at random or, for `oldest` and `top`, the first of them; so a strategy takes the same time
however long the queue is. A candidate that was handed out stays with its annotator until it is judged or put aside, or
until its lease runs out, and whoever asks again gets it again. Only where no other is left, and no quota says how many
are to judge it, is it handed to others as well.

`gain` stays with a query until a few of its passages are judged, from the top of its ranking down. A queue has more
queries than it will ever have labels, and each label of another query would teach, too; but nobody could say what: only
of a query with relevant and other passages can it be measured how well a model ranks it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from errors import InvalidInput
from storage.queue_store import Order, QueueStore
from storage.records import Task, Waiting
from texts import words

DEFAULT_STRATEGY = "gain"
SAMPLE = 128
# Of the pairs that `gain` hands out, this share is drawn at random, whatever the model thinks of them: only what was
# not chosen by the model says how good the model is.
RANDOM_SHARE = 0.2
# `gain` compares its first candidates with the pairs that the annotator had last.
COMPARED = 24
REMEMBERED = 12
# How much of a candidate's worth is lost when it repeats one of those word for word.
LOSS_BY_REPEATING = 0.9
# Others may take the candidates that were chosen, one after the other.
ATTEMPTS = 4


@dataclass(frozen=True)
class Situation:
    """What a strategy may know beside the sample: chance, what is learned yet, and the last passages of the annotator.

    `texts` gives the passages of candidates by their id.
    """

    rng: random.Random
    anything_learned: bool
    last_passages: Callable[[], list[str]]
    texts: Callable[[Sequence[Waiting]], dict[str, str]]


Choose = Callable[[list[Waiting], Situation], tuple[list[Waiting], str]]


@dataclass(frozen=True)
class Strategy:
    """A way to choose: what it is good for, and its steps.

    Of the steps, the first counts in whose order of the store there is something. Its function puts the sample in
    order, best first, and says under which name the choice is remembered.
    """

    meaning: str
    steps: tuple[tuple[Order, Choose], ...]


def as_drawn(sample: list[Waiting], situation: Situation) -> list[Waiting]:
    """As the store gave them."""
    return sample


def by_uncertainty(sample: list[Waiting], situation: Situation) -> list[Waiting]:
    """Those first whose probability is nearest to one half; those without a score last."""
    return sorted(sample, key=lambda waiting: -uncertainty(waiting))


def by_disagreement(sample: list[Waiting], situation: Situation) -> list[Waiting]:
    """Those first on which annotators differ; then those on which the active model and the former one do most."""
    return sorted(sample, key=lambda waiting: (not waiting.disputed, -difference(waiting)))


def by_gain(sample: list[Waiting], situation: Situation) -> list[Waiting]:
    """Those first that are uncertain and unlike what the annotator had last."""
    return unlike_the_last(by_uncertainty(sample, situation)[:COMPARED], uncertainty, situation)


def by_rank(sample: list[Waiting], situation: Situation) -> list[Waiting]:
    """Those first that the model ranks high and that are unlike what the annotator had last."""
    best = sorted(sample, key=relevance, reverse=True)[:COMPARED]
    return unlike_the_last(best, relevance, situation)


def unlike_the_last(best: list[Waiting], value: Callable[[Waiting], float], situation: Situation) -> list[Waiting]:
    """Sorted by their value, less what they share with the passages that the annotator had last: maximal marginal
    relevance (Carbonell and Goldstein, 1998)."""
    texts = situation.texts(best)
    before = [frozenset(words(text)) for text in situation.last_passages()]

    def worth(waiting: Waiting) -> float:
        ours = frozenset(words(texts.get(waiting.passage_id, "")))
        likeness = max((similarity(ours, theirs) for theirs in before), default=0.0)
        return value(waiting) * (1 - LOSS_BY_REPEATING * likeness)

    return sorted(best, key=worth, reverse=True)


def opening(sample: list[Waiting], situation: Situation) -> tuple[list[Waiting], str]:
    """The first pair of another query: `by_gain`, of a query of which nothing is judged yet, if there is one."""
    return _or_random(by_gain, [waiting for waiting in sample if not waiting.is_begun] or sample, situation)


def going_on(sample: list[Waiting], situation: Situation) -> tuple[list[Waiting], str]:
    """The next pair of a query: `by_rank`, since there are both what is relevant and what is taken for it."""
    return _or_random(by_rank, sample, situation)


def _or_random(
    choose: Callable[[list[Waiting], Situation], list[Waiting]], sample: list[Waiting], situation: Situation
) -> tuple[list[Waiting], str]:
    """A fixed share is random; all of it is while nothing is learned yet."""
    scored = any(waiting.score is not None for waiting in sample)
    if not (situation.anything_learned and scored) or situation.rng.random() < RANDOM_SHARE:
        return sample, "random"
    return choose(sample, situation), "gain"


def uncertainty(waiting: Waiting) -> float:
    """4 p (1 - p) for the champion's probability p: 1 in the middle, 0 at both ends, and 0 without a score."""
    if waiting.score is None:
        return 0.0
    p = probability(waiting.score)
    return 4 * p * (1 - p)


def relevance(waiting: Waiting) -> float:
    """The active model's probability; 0 without a score."""
    return 0.0 if waiting.score is None else probability(waiting.score)


def difference(waiting: Waiting) -> float:
    """How far the probabilities of the active model and of the one before it lie apart; 0 unless both have a score."""
    if waiting.score is None or waiting.other_score is None:
        return 0.0
    return abs(probability(waiting.score) - probability(waiting.other_score))


def probability(score: float) -> float:
    """The sigmoid of a logit."""
    return 0.5 * (1 + math.tanh(score / 2))


def similarity(one: frozenset[str], other: frozenset[str]) -> float:
    """What two sets of words share, of all that they hold (Jaccard, 1901)."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared) if one or other else 0.0


def _named(name: str, choose: Callable[[list[Waiting], Situation], list[Waiting]]) -> Choose:
    return lambda sample, situation: (choose(sample, situation), name)


_disagreement = _named("disagreement", by_disagreement)
STRATEGIES: dict[str, Strategy] = {
    "gain": Strategy(
        "a few of each query, where the model is unsure or wrong, some at random",
        (("begun", going_on), ("random", opening)),
    ),
    "uncertain": Strategy("where the model is least sure", (("random", _named("uncertain", by_uncertainty)),)),
    "disagreement": Strategy(
        "where annotators or models differ", (("disputed", _disagreement), ("random", _disagreement))
    ),
    "top": Strategy("the top of the ranking", (("top", _named("top", as_drawn)),)),
    "random": Strategy("at random", (("random", _named("random", as_drawn)),)),
    "oldest": Strategy("as they came in", (("oldest", _named("oldest", as_drawn)),)),
}


def strategy_named(name: str | None) -> tuple[str, Strategy]:
    """The strategy of that name, the default for None or "". Raises InvalidInput for an unknown one."""
    name = name or DEFAULT_STRATEGY
    if name not in STRATEGIES:
        raise InvalidInput(f"There is no strategy {name!r}. Choose one of: {', '.join(STRATEGIES)}.")
    return name, STRATEGIES[name]


@dataclass(frozen=True)
class Look:
    """Where a pair is looked for: neither in `beside`, by (query id, passage id), nor among the queries of `away_from`;
    `everything` and `held_too` are those of QueueStore.waiting."""

    beside: set[tuple[str, str]]
    away_from: set[str]
    everything: bool
    held_too: bool


class Queue:
    """Hands out candidates."""

    def __init__(
        self,
        store: QueueStore,
        versions: Callable[[], Sequence[str]] = tuple,
        anything_learned: Callable[[], bool] = lambda: True,
        rng: random.Random | None = None,
    ) -> None:
        """`versions` names the active model and the one before it, as far as there are any."""
        self.store = store
        self.versions = versions
        self.anything_learned = anything_learned
        self.rng = rng or random.Random()

    def next_task(
        self,
        annotator: str,
        strategy: str | None = None,
        beside: Iterable[tuple[str, str]] = (),
        stays: bool = True,
        away_from: Iterable[str] = (),
    ) -> Task | None:
        """The pair that this annotator is to judge next, held for the annotator; None when nothing is left.

        `beside` are the pairs that the annotator has on the screen already, and does not want again. With `stays` off
        the annotator is done with the query, although there may be more to say of it. The queries in `away_from` come
        only where nothing else is left.
        """
        name, chosen = strategy_named(strategy)
        if not stays:
            chosen = replace(chosen, steps=tuple(step for step in chosen.steps if step[0] != "begun"))
        beside, away_from = set(beside), set(away_from)
        held = self.store.held(annotator, name, beside)
        if held is not None:
            return held
        left = self.store.left(annotator)
        if left is None or left > 0:
            # A bounded look finds something nearly always; only at the very end all has to be looked at.
            looks = [Look(beside, away_from, *where) for where in ((False, False), (True, False), (True, True))]
            if away_from:
                looks.append(Look(beside, set(), everything=True, held_too=True))
            for look in looks:
                task = self._draw(annotator, name, chosen, look)
                if task is not None:
                    return task
        return self._put_off(annotator, name, beside)

    def _draw(self, annotator: str, name: str, strategy: Strategy, look: Look) -> Task | None:
        for _ in range(ATTEMPTS):
            for order, choose in strategy.steps:
                if sample := self._sample(annotator, order, look):
                    best, drawn = choose(sample, self._situation(annotator))
                    break
            else:
                return None
            keys = [(waiting.query_id, waiting.passage_id) for waiting in best[:COMPARED]]
            task = self.store.hold_first(keys, annotator, name, drawn, beside_others=look.held_too)
            if task is not None:
                return task
        return None

    def _sample(self, annotator: str, order: Order, look: Look) -> list[Waiting]:
        return self.store.waiting(
            annotator,
            order,
            SAMPLE,
            self.rng,
            versions=self.versions(),
            everything=look.everything,
            held_too=look.held_too,
            beside=look.beside,
            away_from=look.away_from,
        )

    def _put_off(self, annotator: str, name: str, beside: set[tuple[str, str]]) -> Task | None:
        task = self.store.later(annotator, beside)
        if task is None:
            return None
        return self.store.hold(*task.key, annotator, name, "later", beside_others=True)

    def _situation(self, annotator: str) -> Situation:
        return Situation(
            rng=self.rng,
            anything_learned=self.anything_learned(),
            last_passages=lambda: self.store.last_passages(annotator, REMEMBERED),
            texts=lambda sample: self.store.passages([waiting.passage_id for waiting in sample]),
        )
