"""A cross-encoder that ranks passages for a query.

Scores are raw logits, as CrossEncoder.predict gives them with the identity activation; the probability is their
sigmoid. A pair that was scored before is not scored again, and of equal pairs in a request only one is: so the same
text always has the same score, whatever else is ranked with it.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from cachetools import LRUCache

from errors import InvalidInput, UnusableModel
from reranker.conversions import LoadedModel
from reranker.convert import convert_apart
from reranker.engine import Plan
from reranker.loading import AUTO, load_at_once, load_model, may_convert
from reranker.scoring_queue import ScoringQueue

log = logging.getLogger(__name__)

# Pairs whose scores are remembered: about 30 MB.
CACHED_PAIRS = 100_000
SECONDS_BETWEEN_LOOKS = 0.1
# Whoever waits for the first ranking is answered first.
SECONDS_BEFORE_PREPARING = 3.0
SECONDS_TO_PREPARE = 20

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class RankedPassage:
    """One passage in its place.

    `rank` is its place in the ranking and `index` its place in the input (from 0 and 0). `tokens` counts the tokens of
    the whole pair, special tokens included; `read_characters` is how many characters of the passage the model read,
    which is all of them unless the pair is longer than the model's window.
    """

    rank: int
    index: int
    text: str
    score: float
    probability: float
    tokens: int
    read_characters: int

    @property
    def truncated(self) -> bool:
        return self.read_characters < len(self.text)


@dataclass(frozen=True)
class PairScore:
    """The logit of a pair, and how much of it the model read (see RankedPassage)."""

    score: float
    tokens: int
    read_characters: int


class Reranker:
    """A loaded cross-encoder with one output."""

    def __init__(
        self,
        path: Path,
        queue: ScoringQueue | None = None,
        engine: str = AUTO,
        conversions: Path | None = None,
        at_once: bool = False,
        checked: Plan | None = None,
    ) -> None:
        """Load the cross-encoder in the directory `path`: safetensors only, no code of its own is run.

        `queue` is where its pairs wait to be scored, one of its own where none is given; for `engine`, `conversions`
        and `checked` see `load_model`. With `at_once` it scores as soon as it can, and faster from when the best
        engine is ready, which is prepared in the background. Raises UnusableModel with the reason where the model
        cannot be used.
        """
        self._closing = threading.Event()
        self._preparing = threading.Timer(SECONDS_BEFORE_PREPARING, self._prepare, (path, engine, conversions))
        self._preparing.name, self._preparing.daemon = "prepare-engine", True
        if at_once:
            self.loaded, is_best = load_at_once(path, engine, conversions)
            if not is_best:
                self._preparing.start()
        else:
            self.loaded = load_model(path, engine, conversions, checked)
        self.max_tokens = self.loaded.tokenizer.max_tokens
        self._queue = queue or ScoringQueue()
        self._known: LRUCache[bytes, PairScore] = LRUCache(CACHED_PAIRS)
        self._knowing = threading.Lock()

    def _prepare(self, path: Path, engine: str, conversions: Path | None) -> None:
        """Put the best engine in place of the first one; requests under way finish on that."""
        try:
            if conversions and may_convert(engine):
                convert_apart(path, engine, conversions, self._closing)
            if not self._closing.is_set():
                best = load_model(path, engine, conversions)
                # What the first one gave differs by its rounding, and is not ranked beside what this one gives.
                with self._knowing:
                    self.loaded = best
                    self._known.clear()
        except Exception as error:
            log.exception("No faster engine could be prepared")
            self.loaded = replace(self.loaded, reason=f"No faster engine could be prepared: {error}")

    def give_up_preparing(self) -> None:
        """Prepare no faster engine any more. It can still score."""
        self._closing.set()
        self._preparing.cancel()

    def close(self) -> None:
        """Prepare nothing any more, and wait for what is prepared in this process: that cannot be broken off."""
        self.give_up_preparing()
        if self._preparing.is_alive():
            self._preparing.join(SECONDS_TO_PREPARE)

    def rank(self, query: str, passages: Sequence[str], on_progress: OnProgress | None = None) -> list[RankedPassage]:
        """Rank `passages` for `query`, best first; equal scores keep the order of the input.

        `on_progress(done, total)` is called as pairs are scored; what it raises ends the scoring.
        """
        return self.start(query, passages).ranked(on_progress)

    def start(self, query: str, passages: Sequence[str]) -> Ranking:
        """Begin to rank `passages` for `query`, and return at once."""
        return Ranking(self, query, passages)

    def scores(self, pairs: Sequence[tuple[str, str]], on_progress: OnProgress | None = None) -> list[float]:
        """The logit of each (query, passage) pair, in the order given; `on_progress` as for `rank`."""
        return [pair.score for pair in PairScores(self, pairs).finish(on_progress)]

    def smoke_test(self) -> None:
        """Score two pairs of different length. Raises UnusableModel when the model cannot."""
        self.scores([("what is a reranker", "It orders passages by relevance."), ("a", "b " * 600)])

    def known(self, keys: Sequence[bytes]) -> tuple[LoadedModel, dict[bytes, PairScore]]:
        """What scores now, and what is remembered of these pairs that it has scored."""
        with self._knowing:
            return self.loaded, {key: known for key in keys if (known := self._known.get(key)) is not None}

    def remember(self, loaded: LoadedModel, scores: dict[bytes, PairScore]) -> None:
        """Remember the scores of pairs, and forget those that nobody has asked for longest.

        `loaded` is what gave them; where another scores by now, they are not remembered.
        """
        with self._knowing:
            if loaded is self.loaded:
                self._known.update(scores)


class PairScores:
    """The scores of some pairs, as they are worked out."""

    def __init__(self, reranker: Reranker, pairs: Sequence[tuple[str, str]]) -> None:
        """Look up what is known already, and put the rest in line."""
        self.reranker = reranker
        self.keys = [_key(*pair) for pair in pairs]
        self.total = len(pairs)
        self._loaded, self._scores = reranker.known(self.keys)
        missing = {key: pair for key, pair in zip(self.keys, pairs, strict=True) if key not in self._scores}
        self._missing = list(missing)
        encoded = self._loaded.tokenizer.encode(list(missing.values()))
        self._job = reranker._queue.submit(self._loaded.engine, encoded)

    @property
    def done(self) -> int:
        """How many of the pairs have a score by now; of equal ones, which are scored once, only one counts before."""
        left = len(self._missing) - self._job.done
        return self.total - left if left else self.total

    @property
    def remembered(self) -> bool:
        """Whether all scores were known before."""
        return not self._missing

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until all is scored, or that long; returns whether there is nothing left to wait for."""
        return self._job.wait(seconds)

    def when_ended(self, call: Callable[[], object]) -> None:
        """Have `call` called, in whichever thread, once there is nothing left to wait for."""
        self._job.when_ended(call)

    def cancel(self) -> None:
        """Give up what is not scored yet."""
        self._job.cancel()

    def result(self) -> list[PairScore]:
        """The scores in the order of the pairs; waits for them.

        Raises Cancelled, or UnusableModel where the model gives what is not a number.
        """
        try:
            scores = self._job.result()
        finally:
            # Also of what was given up: who asks again goes on from there.
            self._take(self._job.scored.nonzero()[0].tolist())
        if not np.isfinite(scores).all():
            raise UnusableModel("The model gave a score that is not a number: its weights are damaged.")
        return [self._scores[key] for key in self.keys]

    def _take(self, places: Sequence[int]) -> None:
        """Take over the scores of these places of the job, and have them remembered."""
        new = {}
        for place in places:
            pair, score = self._job.pairs[place], float(self._job.scores[place])
            if math.isfinite(score):
                new[self._missing[place]] = PairScore(score, pair.tokens, pair.read_characters)
        self._scores.update(new)
        self.reranker.remember(self._loaded, new)

    def finish(self, on_progress: OnProgress | None = None) -> list[PairScore]:
        """`result`, telling `on_progress` how far it has come meanwhile; what that raises cancels the scoring."""
        try:
            while on_progress and not self.wait(SECONDS_BETWEEN_LOOKS):
                on_progress(self.done, self.total)
            scores = self.result()
            if on_progress:
                on_progress(self.total, self.total)
            return scores
        except BaseException:
            self.cancel()
            raise


class Ranking(PairScores):
    """A ranking of passages that is being worked out."""

    def __init__(self, reranker: Reranker, query: str, passages: Sequence[str]) -> None:
        super().__init__(reranker, [(query, passage) for passage in passages])
        self.passages = passages

    def ranked(self, on_progress: OnProgress | None = None) -> list[RankedPassage]:
        """The passages, best first; see `Reranker.rank`. Raises Cancelled."""
        scores = self.finish(on_progress)
        order = sorted(range(len(scores)), key=lambda index: -scores[index].score)
        return [
            RankedPassage(
                rank,
                index,
                self.passages[index],
                scores[index].score,
                sigmoid(scores[index].score),
                scores[index].tokens,
                scores[index].read_characters,
            )
            for rank, index in enumerate(order)
        ]


def _key(query: str, passage: str) -> bytes:
    """A short name for a pair. The query's length tells ("ab", "c") from ("a", "bc")."""
    return hashlib.blake2b(f"{len(query)} {query}{passage}".encode(), digest_size=16).digest()


def sigmoid(logit: float) -> float:
    """1 / (1 + exp(-logit)), without overflow."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))


def check_model_directory(path: Path) -> None:
    """Raise InvalidInput unless `path` is a directory with a configuration and safetensors weights."""
    if not path.is_dir():
        raise InvalidInput(f"{str(path)!r} is not a directory.")
    if not (path / "config.json").is_file():
        raise InvalidInput(f"{str(path)!r} has no config.json, so it holds no model.")
    if not any(path.glob("*.safetensors")):
        raise InvalidInput(f"{str(path)!r} has no .safetensors file. Weights in another format are not loaded.")
