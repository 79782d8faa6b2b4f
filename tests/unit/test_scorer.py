"""The scorer in the background, on a real store and with the small real model."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlite_utils import Database

from labeling import scorer as scorer_module
from labeling.scorer import Scorer
from reranker.model import Reranker
from storage import database, score_store
from storage.browse_store import BrowseStore
from storage.label_store import LabelStore
from storage.queue_store import QueueStore
from storage.records import Candidate, text_id
from storage.score_store import ScoreStore
from tests.serving import eventually

QUERY = "the query"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScoreStore:
    monkeypatch.setattr(scorer_module, "REST", 0.0)
    database.create(tmp_path / "workbench.db")
    return ScoreStore(tmp_path / "workbench.db")


def add(store: ScoreStore, *passages: str) -> None:
    LabelStore(store.path).add_candidates(Candidate(QUERY, passage) for passage in passages)


def scores(store: ScoreStore, version: str) -> dict[str, float | None]:
    """The score of each passage that waits."""
    queue = QueueStore(store.path)
    found = queue.waiting("anna", "oldest", 1_000, random.Random(1), [version])
    texts = queue.passages([waiting.passage_id for waiting in found])
    return {texts[waiting.passage_id]: waiting.score for waiting in found}


def finish(scorer: Scorer) -> None:
    while scorer.step():
        pass


def test_every_candidate_gets_the_logit_of_the_champion(store: ScoreStore, model_dir: Path) -> None:
    passages = [f"passage {number} " + "river " * number for number in range(40)]
    add(store, *passages)
    reranker = Reranker(model_dir)
    scorer = Scorer(store, lambda: ("tiny", reranker.scores))
    finish(scorer)
    expected = dict(zip(passages, reranker.scores([(QUERY, passage) for passage in passages]), strict=True))
    assert scores(store, "tiny") == {passage: pytest.approx(score, abs=1e-4) for passage, score in expected.items()}
    assert scorer.versions() == ("tiny",)


def test_candidates_that_come_later_are_scored_and_no_pair_twice(store: ScoreStore) -> None:
    asked: list[str] = []

    def score(pairs):  # noqa: ANN001, ANN202
        asked.extend(passage for _, passage in pairs)
        return [0.5] * len(pairs)

    add(store, "a", "b")
    finish(Scorer(store, lambda: ("v1", score)))
    scorer = Scorer(store, lambda: ("v1", score))  # as after a restart
    finish(scorer)
    add(store, "c")
    finish(scorer)
    assert asked == ["a", "b", "c"]


def test_what_takes_the_numbers_of_deleted_candidates_is_scored(store: ScoreStore) -> None:
    browse = BrowseStore(store.path)
    scorer = Scorer(store, lambda: ("v1", lambda pairs: [0.5] * len(pairs)))
    add(store, "a", "wrong", "file")
    finish(scorer)
    for passage in ("wrong", "file"):
        browse.delete(text_id(QUERY), text_id(passage), "boss")
    add(store, "right", "typo")
    finish(scorer)
    assert scores(store, "v1") == {"a": 0.5, "right": 0.5, "typo": 0.5}
    browse.edit("passage", text_id("typo"), "no typo", "boss", keep_labels=True)
    finish(scorer)
    assert scores(store, "v1") == {"a": 0.5, "right": 0.5, "no typo": 0.5}


def test_another_version_begins_anew_and_the_one_before_is_kept(store: ScoreStore) -> None:
    add(store, *(f"passage {number}" for number in range(50)))
    champion = "v1"
    scorer = Scorer(store, lambda: (champion, lambda pairs: [float(champion[1])] * len(pairs)))
    for champion in ("v1", "v2", "v3"):  # noqa: B007 - the scorer looks at it
        finish(scorer)
    assert scorer.versions() == ("v3", "v2")
    assert store.scored_versions() == ["v2", "v3"]
    assert set(scores(store, "v3").values()) == {3.0}


def test_a_promotion_in_the_middle_is_noticed_at_the_next_batch(
    store: ScoreStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorer_module, "BATCH", 2)
    add(store, *"abcdefgh")
    champion = "v1"

    def score(pairs):  # noqa: ANN001, ANN202
        nonlocal champion
        champion = "v2"
        return [1.0] * len(pairs)

    scorer = Scorer(store, lambda: (champion, score))
    scorer.step()
    assert sum(value is not None for value in scores(store, "v1").values()) == 2
    finish(scorer)
    assert set(scores(store, "v2").values()) == {1.0}


def test_it_runs_behind_everything_until_it_is_stopped(store: ScoreStore) -> None:
    add(store, "a")
    loaded: list[tuple] = []
    scorer = Scorer(store, lambda: loaded[0] if loaded else None, idle_seconds=0.02)
    scorer.start()
    loaded.append(("v1", lambda pairs: [2.0] * len(pairs)))
    eventually(lambda: scores(store, "v1") == {"a": 2.0}, "the candidate is scored")
    add(store, "b")
    eventually(lambda: scores(store, "v1").get("b") == 2.0, "the next one is scored too")
    scorer.stop()


def test_candidates_that_are_added_while_it_looks_are_scored(
    store: ScoreStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    added: list[str] = []

    def add_one(sql: str) -> None:
        if "FROM candidates" in sql and len(added) < 2:
            added.append(f"passage {len(added)}")
            add(store, added[-1])

    @contextmanager
    def watched(path: Path) -> Iterator[Database]:
        with database.read(path) as db:
            db.conn.set_trace_callback(add_one)  # before each question
            yield db
            db.conn.set_trace_callback(None)

    monkeypatch.setattr(score_store, "database", SimpleNamespace(read=watched, write=database.write))
    scorer = Scorer(store, lambda: ("v1", lambda pairs: [2.0] * len(pairs)))
    scorer.step()
    assert len(added) == 2
    finish(scorer)
    assert scores(store, "v1") == dict.fromkeys(added, 2.0)


def test_an_error_does_not_end_it(store: ScoreStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer_module, "SECONDS_AFTER_AN_ERROR", 0.02)
    add(store, "a")
    calls: list[int] = []

    def score(pairs):  # noqa: ANN001, ANN202
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("out of memory")
        return [1.0] * len(pairs)

    scorer = Scorer(store, lambda: ("v1", score), idle_seconds=0.02)
    scorer.start()
    eventually(lambda: scores(store, "v1") == {"a": 1.0}, "it tries again")
    scorer.stop()
