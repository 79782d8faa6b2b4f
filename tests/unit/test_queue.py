"""Who gets which pair: the strategies, leases and quotas, on a real store."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from errors import InvalidInput
from labeling import queue as queue_module
from labeling.queue import (
    RANDOM_SHARE,
    STRATEGIES,
    Choose,
    Queue,
    Situation,
    by_disagreement,
    by_gain,
    by_rank,
    by_uncertainty,
    going_on,
    opening,
    similarity,
    uncertainty,
)
from reranker.dataset import LabelledPair, by_query, queries_that_tell
from storage import database
from storage.label_store import LabelStore
from storage.migrations import shuffle_of
from storage.queue_store import BOUND, ENOUGH_OF_A_QUERY, QueueStore
from storage.records import Candidate, Judgment, Quota, Task, Waiting, text_id
from storage.review_store import ReviewStore
from storage.score_store import ScoreStore
from texts import words

QUERY = "the query"
PEOPLE = [f"annotator {number}" for number in range(5)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "workbench.db"
    database.create(path)
    return path


@pytest.fixture
def labels(path: Path) -> LabelStore:
    return LabelStore(path)


def fill(labels: LabelStore, count: int) -> None:
    labels.add_candidates(Candidate(QUERY, f"passage {number}", rank=number) for number in range(count))


def make_queue(path: Path, quota: Quota | None = None, seconds: float = 900, versions: tuple[str, ...] = ()) -> Queue:
    return Queue(QueueStore(path, quota, seconds), lambda: versions, LabelStore(path).anything_judged, random.Random(7))


def judge(labels: LabelStore, task: Task, annotator: str, label: int = 1) -> None:
    labels.save([Judgment(task.query, task.passage, label, annotator)])


def voices(path: Path) -> dict[str, list[str]]:
    """Who judged each passage."""
    found = defaultdict(list)
    for label in LabelStore(path).labels():
        found[label.passage].append(label.annotator)
    return found


def work_through(queue: Queue, labels: LabelStore, people: list[str], strategy: str) -> None:
    """Let these people judge, in turns, until nothing is left for any of them."""
    working = list(people)
    while working:
        for person in list(working):
            task = queue.next_task(person, strategy)
            if task is None:
                working.remove(person)
            else:
                judge(labels, task, person)


# Leases


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_whoever_asks_again_gets_the_same_pair(path: Path, labels: LabelStore, strategy: str) -> None:
    fill(labels, 50)
    queue = make_queue(path)
    first = queue.next_task("anna", strategy)
    assert first is not None
    assert {queue.next_task("anna", strategy) for _ in range(10)} == {first}


def test_another_pair_can_be_had_beside_the_one_on_the_screen(path: Path, labels: LabelStore) -> None:
    fill(labels, 2)
    queue = make_queue(path)
    shown = queue.next_task("anna", "oldest")
    assert shown is not None
    ahead = queue.next_task("anna", "oldest", [shown.key])
    assert ahead is not None and ahead.key != shown.key
    assert queue.next_task("anna", "oldest", [shown.key]) == ahead
    assert queue.next_task("anna", "oldest", [shown.key, ahead.key]) is None
    judge(labels, shown, "anna")
    assert queue.next_task("anna", "oldest") == ahead


def test_another_strategy_gives_another_pair_and_the_first_one_back(path: Path, labels: LabelStore) -> None:
    fill(labels, 3)
    labels.add_candidates([Candidate(QUERY, "the best", rank=-1)])
    queue = make_queue(path)
    assert queue.next_task("anna", "oldest").passage == "passage 0"  # type: ignore[union-attr]
    assert queue.next_task("anna", "top").passage == "the best"  # type: ignore[union-attr]
    assert queue.next_task("bo", "oldest").passage == "passage 0"  # type: ignore[union-attr]


def test_people_who_judge_at_once_get_different_pairs_while_there_are_enough(path: Path, labels: LabelStore) -> None:
    fill(labels, len(PEOPLE))
    queue = make_queue(path)
    tasks = [queue.next_task(person, "oldest") for person in PEOPLE]
    assert len({task.key for task in tasks if task}) == len(PEOPLE)
    # Without a quota nobody is left without work because others hold all of it.
    assert queue.next_task("one more", "oldest") is not None


def test_a_lease_runs_out(path: Path, labels: LabelStore) -> None:
    fill(labels, 1)
    queue = make_queue(path, Quota(1))
    first = queue.next_task("anna")
    assert first is not None
    assert queue.next_task("bo") is None
    with database.write(path) as db:
        db.conn.execute("UPDATE leases SET expires_at = 1")
    assert queue.next_task("bo") == first
    assert queue.next_task("anna") is None


@pytest.mark.parametrize("reason", ["cannot_tell", "later"])
def test_what_is_put_aside_goes_to_the_others(path: Path, labels: LabelStore, reason: str) -> None:
    fill(labels, 1)
    queue = make_queue(path, Quota(1))
    task = queue.next_task("anna")
    assert task is not None
    assert queue.next_task("bo") is None
    labels.skip(*task.key, "anna", reason, None)  # type: ignore[arg-type]
    assert queue.next_task("bo").key == task.key  # type: ignore[union-attr]
    assert queue.next_task("anna") is None


def test_an_undone_pair_is_held_for_whoever_undid_it(path: Path, labels: LabelStore) -> None:
    fill(labels, 1)
    queue = make_queue(path, Quota(1))
    task = queue.next_task("anna")
    assert task is not None
    judge(labels, task, "anna")
    assert labels.undo("anna", hold_seconds=60) == [task.key]
    assert queue.next_task("bo") is None
    assert queue.next_task("anna", "top").key == task.key  # type: ignore[union-attr]


# Quotas


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("overlap", "share"), [(1, 1.0), (2, 1.0), (2, 0.3), (3, 0.5), (2, 0.0)])
def test_every_pair_gets_its_number_of_voices(
    path: Path, labels: LabelStore, strategy: str, overlap: int, share: float
) -> None:
    fill(labels, 40)
    quota = Quota(overlap, share)
    work_through(make_queue(path, quota), labels, PEOPLE, strategy)
    shared = {
        f"passage {number}": shuffle_of(text_id(QUERY), text_id(f"passage {number}")) < quota.shared_below
        for number in range(40)
    }
    assert {passage: len(set(who)) for passage, who in voices(path).items()} == {
        passage: overlap if is_shared else 1 for passage, is_shared in shared.items()
    }
    assert sum(len(who) for who in voices(path).values()) == sum(map(len, map(set, voices(path).values())))


def test_the_share_of_shared_pairs_is_about_what_was_asked_for() -> None:
    places = [shuffle_of(text_id(QUERY), text_id(f"passage {number}")) for number in range(5_000)]
    assert sum(place < Quota(2, 0.2).shared_below for place in places) / 5_000 == pytest.approx(0.2, abs=0.02)


def test_quotas_hold_when_many_ask_at_once(path: Path, labels: LabelStore) -> None:
    fill(labels, 30)
    queue = make_queue(path, Quota(2, 0.5))
    errors: list[BaseException] = []

    def work(person: str) -> None:
        try:
            while task := queue.next_task(person, "oldest"):
                judge(labels, task, person)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"person {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    # Somebody may have given up while others held the last pairs; one more pass leaves none.
    work_through(queue, labels, [f"person {number}" for number in range(8)], "oldest")
    below = Quota(2, 0.5).shared_below
    for passage, who in voices(path).items():
        assert len(who) == (2 if shuffle_of(text_id(QUERY), text_id(passage)) < below else 1)
    assert len(voices(path)) == 30


def test_imported_labels_count_towards_the_quota_and_may_pass_it(path: Path, labels: LabelStore) -> None:
    fill(labels, 4)
    queue = make_queue(path, Quota(1))
    held = queue.next_task("anna", "oldest")
    assert held is not None
    labels.save([Judgment(QUERY, "passage 0", 1, who) for who in ("import", "another import")])
    assert queue.next_task("anna", "oldest").passage == "passage 1"  # type: ignore[union-attr]
    # What somebody has judged is never thrown away, although the pair was full by then.
    judge(labels, held, "anna")
    assert len(voices(path)["passage 0"]) == 3


def test_nothing_is_left_for_one_who_gave_all_first_voices(path: Path, labels: LabelStore) -> None:
    fill(labels, 20)
    queue = make_queue(path, Quota(2))
    work_through(queue, labels, ["anna"], "random")
    assert len(voices(path)) == 20
    assert queue.next_task("bo", "random") is not None


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_a_quota_everyone_is_given_everything(path: Path, labels: LabelStore, strategy: str) -> None:
    fill(labels, 12)
    work_through(make_queue(path), labels, PEOPLE[:3], strategy)
    assert all(sorted(who) == PEOPLE[:3] for who in voices(path).values())
    assert len(voices(path)) == 12


def test_a_bounded_look_that_finds_nothing_is_not_the_last_word(
    path: Path, labels: LabelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.queue_store.BOUND", 5)
    monkeypatch.setattr(queue_module, "SAMPLE", 3)
    fill(labels, 40)
    queue = make_queue(path)
    for number in range(39):
        labels.skip(text_id(QUERY), text_id(f"passage {number}"), "anna", "cannot_tell", None)
    for strategy in STRATEGIES:
        assert queue.next_task("anna", strategy).passage == "passage 39"  # type: ignore[union-attr]


# Strategies


def waiting(number: int, score: float | None = None, other: float | None = None, disputed: bool = False) -> Waiting:
    return Waiting(number, "q", str(number), None, score, other, disputed)


def situation(last: list[str] = [], texts: dict[str, str] | None = None, learned: bool = True) -> Situation:  # noqa: B006
    return Situation(random.Random(3), learned, lambda: last, lambda sample: texts or {})


def test_uncertainty_is_greatest_in_the_middle() -> None:
    assert uncertainty(waiting(1, 0.0)) == 1.0
    assert uncertainty(waiting(1, 2.0)) == pytest.approx(uncertainty(waiting(1, -2.0)))
    assert uncertainty(waiting(1, 1.0)) > uncertainty(waiting(1, 3.0)) > uncertainty(waiting(1, 800.0)) == 0.0
    sample = [waiting(1, 5.0), waiting(2, None), waiting(3, -0.1), waiting(4, 1.0)]
    assert [item.id for item in by_uncertainty(sample, situation())] == [3, 4, 1, 2]


def test_disagreement_of_annotators_comes_before_that_of_models() -> None:
    sample = [waiting(1, 0.0, 0.1), waiting(2, 3.0, -3.0), waiting(3, 1.0), waiting(4, disputed=True)]
    assert [item.id for item in by_disagreement(sample, situation())] == [4, 2, 1, 3]


def test_gain_keeps_near_duplicates_apart() -> None:
    texts = {"1": "the red bridge over the river", "2": "The red bridge over the river!", "3": "rain in the south"}
    sample = [waiting(1, 0.0), waiting(2, 0.1), waiting(3, 1.0)]
    assert [item.id for item in by_gain(sample, situation([], texts))][:1] == [1]
    after_the_bridge = by_gain(sample, situation([texts["1"]], texts))
    assert [item.id for item in after_the_bridge][0] == 3


def test_a_query_is_gone_through_from_its_top_down_but_for_near_duplicates() -> None:
    texts = {"1": "the red bridge over the river", "2": "The red bridge over the river!", "3": "rain in the south"}
    sample = [waiting(3, 0.5), waiting(1, 2.0), waiting(4), waiting(2, 1.9)]
    assert [item.id for item in by_rank(sample, situation([], texts))] == [1, 2, 3, 4]
    assert [item.id for item in by_rank(sample, situation([texts["1"]], texts))][0] == 3


def test_similarity_of_texts() -> None:
    def alike(one: str, other: str) -> float:
        return similarity(frozenset(words(one)), frozenset(words(other)))

    assert alike("A red Bridge", "a red bridge!") == 1.0
    assert alike("a b", "b c") == pytest.approx(1 / 3)
    assert alike("", "") == 0.0


def test_gain_is_random_while_nothing_is_learned() -> None:
    sample = [waiting(1, 5.0), waiting(2, 0.0)]
    unscored = [waiting(1), waiting(2)]
    for choose in (opening, going_on):
        assert choose(sample, situation(learned=False)) == (sample, "random")
        assert choose(unscored, situation()) == (unscored, "random")


@pytest.mark.parametrize("choose", [opening, going_on])
def test_a_fixed_share_of_gain_is_random(choose: Choose) -> None:
    same = situation()
    drawn = Counter(choose([waiting(1, 5.0), waiting(2, 0.0)], same)[1] for _ in range(2_000))
    assert drawn["random"] / 2_000 == pytest.approx(RANDOM_SHARE, abs=0.03)
    assert drawn["gain"] == 2_000 - drawn["random"]


def test_gain_opens_a_query_that_nobody_has_judged_first() -> None:
    sample = [replace(waiting(1, 0.0), is_begun=True), waiting(2, 5.0), waiting(3, 4.0)]
    for _ in range(20):
        assert {item.id for item in opening(sample, situation())[0]} == {2, 3}
    assert opening(sample[:1], situation())[0] == sample[:1]


# Staying with a query


def fill_queries(labels: LabelStore, queries: int, passages: int) -> None:
    labels.add_candidates(
        Candidate(f"query {query}", f"passage {passage} of {query}")
        for query in range(queries)
        for passage in range(passages)
    )


def judged_by_gain(queue: Queue, labels: LabelStore, annotator: str, count: int) -> list[Task]:
    """So many pairs as `gain` hands them out, the first passages of each query judged relevant."""
    given = []
    for _ in range(count):
        task = queue.next_task(annotator, "gain")
        assert task is not None
        judge(labels, task, annotator, int(int(task.passage.split()[1]) < 3))
        given.append(task)
    return given


def test_labels_from_a_long_queue_tell_models_apart(path: Path, labels: LabelStore) -> None:
    fill_queries(labels, 300, 8)
    judged_by_gain(make_queue(path), labels, "anna", 50)
    pairs = [LabelledPair(label.query_id, label.query, label.passage, label.label) for label in labels.labels()]
    assert len(by_query(pairs)) == 50 / ENOUGH_OF_A_QUERY
    assert len(queries_that_tell(pairs)) >= 8


def test_everyone_stays_with_a_query_of_their_own(path: Path, labels: LabelStore) -> None:
    fill_queries(labels, 100, 8)
    queue = make_queue(path)
    given: dict[str, list[Task]] = defaultdict(list)
    for _ in range(2 * ENOUGH_OF_A_QUERY):
        for person in PEOPLE:
            given[person] += judged_by_gain(queue, labels, person, 1)
    queries = {person: [task.query for task in tasks] for person, tasks in given.items()}
    assert len({query for of_one in queries.values() for query in of_one}) == 2 * len(PEOPLE)
    assert all(len(set(of_one[:ENOUGH_OF_A_QUERY])) == 1 for of_one in queries.values())


def test_what_is_kept_ready_counts_as_judged(path: Path, labels: LabelStore) -> None:
    fill_queries(labels, 100, 8)
    queue = make_queue(path)
    ready: list[Task] = []
    for _ in range(ENOUGH_OF_A_QUERY + 1):
        task = queue.next_task("anna", "gain", [task.key for task in ready])
        assert task is not None
        ready.append(task)
    assert len({task.query for task in ready[:-1]}) == 1 and ready[-1].query != ready[0].query


@pytest.mark.parametrize("reason", ["cannot_tell", "later"])
def test_whoever_can_say_nothing_of_a_query_is_not_kept_there(path: Path, labels: LabelStore, reason: str) -> None:
    fill_queries(labels, 100, 50)
    queue = make_queue(path)
    queries = []
    for _ in range(2 * ENOUGH_OF_A_QUERY):
        task = queue.next_task("anna", "gain")
        assert task is not None
        queries.append(task.query)
        labels.skip(*task.key, "anna", reason, None)  # type: ignore[arg-type]
    assert len(set(queries)) == 2


def test_whoever_is_done_with_a_query_gets_another(path: Path, labels: LabelStore) -> None:
    fill_queries(labels, 100, 8)
    queue = make_queue(path)
    [first] = judged_by_gain(queue, labels, "anna", 1)
    other = queue.next_task("anna", "gain", stays=False)
    assert other is not None and other.query != first.query


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_on_the_screen_hides_nothing_that_others_have_judged(
    path: Path, labels: LabelStore, strategy: str
) -> None:
    fill(labels, 12)
    # One pair has no voice yet, the others have one.
    labels.save([Judgment(QUERY, f"passage {number}", number % 2, "anna") for number in range(1, 12)])
    queue = make_queue(path)
    beside: set[tuple[str, str]] = set()
    while task := queue.next_task("bo", strategy, beside):
        beside.add(task.key)
    assert len(beside) == 12


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_query_that_was_left_comes_only_where_no_other_is_left(
    path: Path, labels: LabelStore, strategy: str
) -> None:
    fill_queries(labels, 3, 8)
    pairs = [(query, passage) for query in range(3) for passage in range(8)]
    judged = [Judgment(f"query {query}", f"passage {passage} of {query}", 1, "anna") for query, passage in pairs[1:]]
    # Only in the first query there is a pair that nobody has judged.
    labels.save(judged)
    queue, left = make_queue(path), text_id("query 0")
    for _ in range(5):
        task = queue.next_task("bo", strategy, stays=False, away_from=[left])
        assert task is not None and task.query_id != left
        queue.store.let_go("bo", [task.key])
    elsewhere = [judgment for judgment in judged if judgment.query != "query 0"]
    beside = {(text_id(judgment.query), text_id(judgment.passage)) for judgment in elsewhere}
    task = queue.next_task("bo", strategy, beside, stays=False, away_from=[left])
    assert task is not None and task.query_id == left


def test_second_voices_come_while_queries_are_begun(path: Path, labels: LabelStore) -> None:
    fill_queries(labels, 200, 8)
    queue = make_queue(path, Quota(2, 0.5))
    for _ in range(50):
        for person in ("anna", "bo"):
            judged_by_gain(queue, labels, person, 1)
    twice = sum(len(who) == 2 for who in voices(path).values())
    # A third of all voices will be second ones.
    assert 100 * 0.2 < twice < 100 * 0.45


def test_an_unknown_strategy_is_refused(path: Path) -> None:
    with pytest.raises(InvalidInput, match="Choose one of: gain"):
        make_queue(path).next_task("anna", "best")


def test_stored_scores_reach_the_strategies(path: Path, labels: LabelStore) -> None:
    fill(labels, 60)
    store = ScoreStore(path)
    scores = {number: (number - 42) / 2 for number in range(60)}
    rows = [(text_id(QUERY), text_id(f"passage {number}"), score) for number, score in scores.items()]
    store.save_scores("v1", rows)
    store.save_scores("v2", [(query, passage, -score) for query, passage, score in rows])
    assert store.scored_versions() == ["v1", "v2"]
    queue = make_queue(path, versions=("v1", "v2"))
    assert queue.next_task("anna", "uncertain").passage == "passage 42"  # type: ignore[union-attr]
    # s and -s differ most where the model is surest.
    assert queue.next_task("bo", "disagreement").passage == "passage 0"  # type: ignore[union-attr]


def test_what_annotators_differ_on_comes_before_what_nobody_has_judged(path: Path, labels: LabelStore) -> None:
    fill(labels, 6)
    for passage in ("passage 2", "passage 4"):
        labels.save([Judgment(QUERY, passage, 1, "anna"), Judgment(QUERY, passage, 0, "bo")])
    queue = make_queue(path)
    given: list[Task] = []
    for _ in range(4):
        task = queue.next_task("cleo", "disagreement", [task.key for task in given])
        assert task is not None
        given.append(task)
    passages = [task.passage for task in given]
    assert sorted(passages[:2]) == ["passage 2", "passage 4"] and len(set(passages)) == 4


def test_disputes_are_found_behind_many_that_are_nothing_for_the_annotator(path: Path, labels: LabelStore) -> None:
    many = BOUND + 20
    fill(labels, many + 1)
    labels.save(
        Judgment(QUERY, f"passage {number}", label, annotator)
        for number in range(many)
        for annotator, label in (("anna", 1), ("bo", 0))
    )
    labels.save([Judgment(QUERY, f"passage {number}", 1, "cleo") for number in range(many - 10)])
    review = ReviewStore(path)
    for number in range(many - 10, many - 5):
        review.decide(text_id(QUERY), text_id(f"passage {number}"), 1, "boss", None)
    queue = make_queue(path)
    given: list[Task] = []
    while (task := queue.next_task("cleo", "disagreement", [task.key for task in given])) and len(given) < 6:
        given.append(task)
    # Five are neither hers nor decided, and then comes what nobody has judged.
    assert sorted(task.passage for task in given[:5]) == [f"passage {number}" for number in range(many - 5, many)]
    assert given[5].passage == f"passage {many}"


def test_who_asks_again_keeps_the_pair_for_as_long_anew(
    path: Path, labels: LabelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(labels, 1)
    queue = make_queue(path, Quota(overlap=1), seconds=900)
    start = time.time()
    assert queue.next_task("anna")
    monkeypatch.setattr(time, "time", lambda: start + 800)
    assert queue.next_task("anna")
    monkeypatch.setattr(time, "time", lambda: start + 1_000)
    assert queue.next_task("bo") is None
    assert queue.next_task("anna")


def test_how_a_pair_was_drawn_is_kept_with_the_judgment(path: Path, labels: LabelStore) -> None:
    fill(labels, 3)
    task = make_queue(path).next_task("anna")
    assert task is not None
    judge(labels, task, "anna")
    labels.save([Judgment(QUERY, "not from the queue", 1, "anna")])
    with database.read(path) as db:
        assert db.conn.execute("SELECT strategy FROM label_events ORDER BY id").fetchall() == [("random",), (None,)]


def test_random_is_spread_over_the_whole_queue(path: Path, labels: LabelStore) -> None:
    fill(labels, 200)
    queue = make_queue(path)
    drawn = [queue.next_task(f"person {number}", "random") for number in range(60)]
    numbers = [int(task.passage.split()[1]) for task in drawn if task]
    assert min(numbers) < 50 and max(numbers) >= 150
