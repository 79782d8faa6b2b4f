"""The queue that all requests share: what is scored together, in what order, and what happens when it goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from reranker.engine import Plan
from reranker.scoring_queue import Cancelled, ScoringJob, ScoringQueue
from reranker.tokens import EncodedPair


def pairs_of(name: str, count: int, tokens: int = 8) -> list[EncodedPair]:
    """`count` pairs of so many tokens each; the passage is the pair's number, which is also its score."""
    return [EncodedPair(name, str(number), [1] * tokens, [0] * tokens, tokens, 1) for number in range(count)]


class SlowEngine:
    """Scores a pair as the number in its passage. Each turn waits until the test lets it go on, and is written down."""

    plan = Plan("torch", "float32")
    turn_tokens = 64

    def __init__(self) -> None:
        self.turns: list[list[EncodedPair]] = []
        self.entered = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.error: Exception | None = None

    def score(self, pairs: Sequence[EncodedPair]) -> np.ndarray:
        self.turns.append(list(pairs))
        self.entered.release()
        assert self.go_on.acquire(timeout=30)
        if self.error:
            raise self.error
        return np.array([float(pair.passage) for pair in pairs], np.float32)

    def queries(self, turn: int) -> list[str]:
        return [pair.query for pair in self.turns[turn]]


@pytest.fixture
def engine() -> SlowEngine:
    return SlowEngine()


def wait_for_turn(engine: SlowEngine) -> None:
    assert engine.entered.acquire(timeout=30)


def let_all_go_on(engine: SlowEngine) -> None:
    engine.go_on.release(1000)


def test_scores_come_back_in_the_order_of_the_pairs(engine: SlowEngine) -> None:
    let_all_go_on(engine)
    job = ScoringQueue().submit(engine, pairs_of("a", 30))
    assert job.result().tolist() == list(range(30))
    assert (job.done, job.wait(0)) == (30, True)


def test_no_pairs_are_done_at_once(engine: SlowEngine) -> None:
    assert ScoringQueue().submit(engine, []).result().tolist() == []
    assert engine.turns == []


def test_requests_that_wait_at_the_same_time_are_scored_together(engine: SlowEngine) -> None:
    queue = ScoringQueue()
    first = queue.submit(engine, pairs_of("first", 1))
    wait_for_turn(engine)
    others = [queue.submit(engine, pairs_of(name, 2)) for name in ("b", "c", "d")]
    let_all_go_on(engine)
    for job in [first, *others]:
        job.result()
    assert engine.queries(1) == ["b", "b", "c", "c", "d", "d"]
    assert len(engine.turns) == 2


def test_a_huge_request_does_not_hold_up_a_small_one(engine: SlowEngine) -> None:
    queue = ScoringQueue()
    huge = queue.submit(engine, pairs_of("huge", 400))
    wait_for_turn(engine)
    small = queue.submit(engine, pairs_of("small", 2))
    engine.go_on.release(2)
    assert small.result().tolist() == [0, 1]
    # It had its share in the turn after the one that was under way, beside the huge one.
    assert engine.queries(1).count("small") == 2 and "huge" in engine.queries(1)
    assert huge.done < 400 and not huge.wait(0)
    let_all_go_on(engine)
    assert huge.result().tolist() == list(range(400))


def test_two_huge_requests_share_each_turn(engine: SlowEngine) -> None:
    queue = ScoringQueue()
    first = queue.submit(engine, pairs_of("first", 40))
    wait_for_turn(engine)
    second = queue.submit(engine, pairs_of("second", 40))
    let_all_go_on(engine)
    first.result(), second.result()
    assert engine.queries(1).count("first") == engine.queries(1).count("second") == 4


def test_a_turn_holds_no_more_tokens_than_the_engine_wants(engine: SlowEngine) -> None:
    let_all_go_on(engine)
    mixed = [pair for tokens in (3, 8, 30, 64) for pair in pairs_of("mixed", 7, tokens)]
    ScoringQueue().submit(engine, mixed).result()
    for turn in engine.turns:
        assert len(turn) == 1 or sum(-(-len(pair.ids) // 8) * 8 for pair in turn) <= engine.turn_tokens


def test_a_cancelled_request_is_not_scored_any_further(engine: SlowEngine) -> None:
    queue = ScoringQueue()
    job = queue.submit(engine, pairs_of("gone", 400))
    wait_for_turn(engine)
    job.cancel()
    assert job.wait(0)
    with pytest.raises(Cancelled):
        job.result()
    after = queue.submit(engine, pairs_of("after", 1))
    let_all_go_on(engine)
    assert after.result().tolist() == [0]
    assert len(engine.turns) == 2
    assert job.done == len(engine.turns[0])


def test_cancelling_what_has_ended_changes_nothing(engine: SlowEngine) -> None:
    let_all_go_on(engine)
    job = ScoringQueue().submit(engine, pairs_of("a", 3))
    job.result()
    job.cancel()
    assert job.result().tolist() == [0, 1, 2]


def test_an_error_reaches_whoever_waits_and_nobody_else(engine: SlowEngine) -> None:
    queue = ScoringQueue()
    engine.error = MemoryError("too much")
    failed = queue.submit(engine, pairs_of("failed", 400))
    wait_for_turn(engine)
    engine.go_on.release()
    with pytest.raises(MemoryError, match="too much"):
        failed.result()
    engine.error = None
    let_all_go_on(engine)
    assert queue.submit(engine, pairs_of("after", 2)).result().tolist() == [0, 1]
    assert len(engine.turns) == 2


def test_engines_do_not_mix_in_a_turn(engine: SlowEngine) -> None:
    other, queue = SlowEngine(), ScoringQueue()
    let_all_go_on(other)
    first = queue.submit(engine, pairs_of("first", 1))
    wait_for_turn(engine)
    jobs: list[ScoringJob] = []
    for number in range(4):
        jobs.append(queue.submit(engine, pairs_of(f"ours {number}", 1)))
        jobs.append(queue.submit(other, pairs_of(f"other {number}", 1)))
    let_all_go_on(engine)
    for job in [first, *jobs]:
        assert job.result().tolist() == [0]
    assert [len(engine.turns), len(other.turns)] == [2, 1]


def test_many_requests_from_many_threads_all_get_their_own_scores(engine: SlowEngine) -> None:
    let_all_go_on(engine)
    queue, wrong = ScoringQueue(), []

    def ask(count: int) -> None:
        if queue.submit(engine, pairs_of(str(count), count)).result().tolist() != list(range(count)):
            wrong.append(count)

    threads = [threading.Thread(target=ask, args=(count,)) for count in range(1, 60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
