"""Which candidate an annotator gets next: the strategies by name.

Each is a small function that puts the candidates of a sample into an order, the best first. The sample is a few hundred
of those that wait, drawn at random or, for `oldest` and `top`, the first of them; so a strategy takes the same time
however long the queue is. A candidate that was handed out stays with its annotator until it is judged or put aside, or
until its lease runs out, and whoever asks again gets it again.

`gain` stays with a query until a few of its passages are judged. Pairs of as many queries as there are labels would
teach, too, but nobody could say what: only of a query with relevant and other passages can it be measured how well a
model ranks it.
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
# `gain` compares its most uncertain candidates with the pairs that the annotator had last.
MOST_UNCERTAIN = 24
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


@dataclass(frozen=True)
class Strategy:
    """A way to choose: the order in which the sample is drawn, what it is good for, and how the sample is put in order.

    Of several orders, the first counts in which there is something. `choose` returns the candidates, best first, and
    the name under which the choice is remembered.
    """

    orders: tuple[Order, ...]
    meaning: str
    choose: Callable[[list[Waiting], Situation], tuple[list[Waiting], str]]


def as_drawn(sample: list[Waiting], situation: Situation) -> list[Waiting]:
    """As the store gave them."""
    return sample


def by_uncertainty(sample: list[Waiting], situation: Situation) -> list[Waiting]:
    """Those first whose probability is nearest to one half; those without a score last."""
    return sorted(sample, key=lambda waiting: -uncertainty(waiting))


def by_disagreement(sample: list[Waiting], situation: Situation) -> list[Waiting]:
    """Those first on which annotators differ; then those on which champion and challenger do, the most first."""
    return sorted(sample, key=lambda waiting: (not waiting.disputed, -difference(waiting)))


def by_gain(sample: list[Waiting], situation: Situation) -> list[Waiting]:
    """Those first that are uncertain and unlike what the annotator had last.

    The worth of a candidate is its uncertainty, less what it shares with the passages before it: maximal marginal
    relevance (Carbonell and Goldstein, 1998), with uncertainty for relevance.
    """
    best = by_uncertainty(sample, situation)[:MOST_UNCERTAIN]
    texts = situation.texts(best)
    before = [frozenset(words(text)) for text in situation.last_passages()]

    def worth(waiting: Waiting) -> float:
        ours = frozenset(words(texts.get(waiting.passage_id, "")))
        likeness = max((similarity(ours, theirs) for theirs in before), default=0.0)
        return uncertainty(waiting) * (1 - LOSS_BY_REPEATING * likeness)

    return sorted(best, key=worth, reverse=True)


def gain(sample: list[Waiting], situation: Situation) -> tuple[list[Waiting], str]:
    """`by_gain`, with a fixed share of random pairs; random while nothing is learned yet. Queries of which nothing is
    judged yet come first: what several queries say is worth more than the same of one."""
    sample = [waiting for waiting in sample if not waiting.is_begun] or sample
    scored = any(waiting.score is not None for waiting in sample)
    if not (situation.anything_learned and scored) or situation.rng.random() < RANDOM_SHARE:
        return sample, "random"
    return by_gain(sample, situation), "gain"


def uncertainty(waiting: Waiting) -> float:
    """4 p (1 - p) for the champion's probability p: 1 in the middle, 0 at both ends, and 0 without a score."""
    if waiting.score is None:
        return 0.0
    p = probability(waiting.score)
    return 4 * p * (1 - p)


def difference(waiting: Waiting) -> float:
    """How far the probabilities of champion and challenger lie apart; 0 unless both have scored the pair."""
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


def _named(name: str, choose: Callable[[list[Waiting], Situation], list[Waiting]]) -> Callable:
    return lambda sample, situation: (choose(sample, situation), name)


STRATEGIES: dict[str, Strategy] = {
    "gain": Strategy(("begun", "random"), "unsure and unlike the last, a few of each query, some at random", gain),
    "uncertain": Strategy(("random",), "where the model is least sure", _named("uncertain", by_uncertainty)),
    "disagreement": Strategy(
        ("disputed", "random"), "where annotators or models differ", _named("disagreement", by_disagreement)
    ),
    "top": Strategy(("top",), "the top of the ranking", _named("top", as_drawn)),
    "random": Strategy(("random",), "at random", _named("random", as_drawn)),
    "oldest": Strategy(("oldest",), "as they came in", _named("oldest", as_drawn)),
}


def strategy_named(name: str | None) -> tuple[str, Strategy]:
    """The strategy of that name, the default for None or "". Raises InvalidInput for an unknown one."""
    name = name or DEFAULT_STRATEGY
    if name not in STRATEGIES:
        raise InvalidInput(f"There is no strategy {name!r}. Choose one of: {', '.join(STRATEGIES)}.")
    return name, STRATEGIES[name]


class Queue:
    """Hands out candidates."""

    def __init__(
        self,
        store: QueueStore,
        versions: Callable[[], Sequence[str]] = tuple,
        anything_learned: Callable[[], bool] = lambda: True,
        rng: random.Random | None = None,
    ) -> None:
        """`versions` names the champion and the model that it is compared with, as far as there are any."""
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
    ) -> Task | None:
        """The pair that this annotator is to judge next, held for the annotator; None when nothing is left.

        `beside` are the pairs that the annotator has on the screen already, and does not want again. With `stays` off
        the annotator is done with the query, although there may be more to say of it.
        """
        name, chosen = strategy_named(strategy)
        if not stays:
            chosen = replace(chosen, orders=tuple(order for order in chosen.orders if order != "begun"))
        beside = set(beside)
        held = self.store.held(annotator, name, beside)
        if held is not None:
            return held
        left = self.store.left(annotator)
        if left is None or left > 0:
            # A bounded look finds something nearly always; only at the very end all has to be looked at.
            for everything, held_too in ((False, False), (True, False), (True, True)):
                task = self._draw(annotator, name, chosen, beside, everything, held_too)
                if task is not None:
                    return task
        return self._put_off(annotator, name, beside)

    def _draw(
        self,
        annotator: str,
        name: str,
        strategy: Strategy,
        beside: set[tuple[str, str]],
        everything: bool,
        held_too: bool,
    ) -> Task | None:
        for _ in range(ATTEMPTS):
            options = {"everything": everything, "held_too": held_too, "versions": self.versions()}
            samples = (
                [
                    waiting
                    for waiting in self.store.waiting(annotator, order, SAMPLE, self.rng, **options)
                    if (waiting.query_id, waiting.passage_id) not in beside
                ]
                for order in strategy.orders
            )
            sample = next(filter(None, samples), [])
            if not sample:
                return None
            order, drawn = strategy.choose(sample, self._situation(annotator))
            keys = [(waiting.query_id, waiting.passage_id) for waiting in order[:MOST_UNCERTAIN]]
            task = self.store.hold_first(keys, annotator, name, drawn, beside_others=held_too)
            if task is not None:
                return task
        return None

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
