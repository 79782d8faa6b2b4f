"""Ranking: what is remembered, what is scored once, and what happens when it is given up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from errors import UnusableModel
from reranker.model import PairScores, Reranker
from reranker.scoring_queue import Cancelled

TEXTS = ["a bridge", "the rain", "a bridge", "music in the garden " * 60, "stone"]


@pytest.fixture
def reranker(model_dir: Path) -> Reranker:
    return Reranker(model_dir, engine="torch")


def count_scored(reranker: Reranker, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs each turn scores, from now on."""
    counts: list[int] = []
    score = reranker.loaded.engine.score

    def counted(pairs) -> np.ndarray:  # noqa: ANN001
        counts.append(len(pairs))
        return score(pairs)

    monkeypatch.setattr(reranker.loaded.engine, "score", counted)
    return counts


def test_the_best_comes_first_and_equal_scores_keep_their_order(reranker: Reranker) -> None:
    ranked = reranker.rank("river", TEXTS)
    assert [passage.rank for passage in ranked] == list(range(5))
    assert [passage.score for passage in ranked] == sorted((passage.score for passage in ranked), reverse=True)
    assert {passage.index: passage.text for passage in ranked} == dict(enumerate(TEXTS))
    twins = [passage for passage in ranked if passage.text == "a bridge"]
    assert twins[0].score == twins[1].score and [twin.index for twin in twins] == [0, 2]


def test_how_much_is_read_is_told(reranker: Reranker) -> None:
    long = next(passage for passage in reranker.rank("river", TEXTS) if passage.index == 3)
    assert long.truncated and long.tokens > reranker.max_tokens
    assert 0 < long.read_characters < len(long.text)


def test_equal_pairs_are_scored_once(reranker: Reranker, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = count_scored(reranker, monkeypatch)
    reranker.rank("river", TEXTS)
    assert sum(counts) == 4


def test_what_was_scored_is_remembered(reranker: Reranker, monkeypatch: pytest.MonkeyPatch) -> None:
    before = reranker.rank("river", TEXTS)
    counts = count_scored(reranker, monkeypatch)
    assert reranker.rank("river", TEXTS) == before
    assert counts == []
    reranker.rank("river", [*TEXTS, "something new"])
    reranker.rank("another query", TEXTS[:1])
    assert counts == [1, 1]


def test_a_query_and_a_passage_are_not_mistaken_for_others_of_the_same_letters(reranker: Reranker) -> None:
    scores = reranker.scores([("old stone", "bridge"), ("old", "stonebridge"), ("old ", "stonebridge")])
    assert scores[0] != scores[1]
    again = reranker.scores([("old", "stonebridge")])
    assert again == [scores[1]]


def test_progress_is_told_up_to_the_end(reranker: Reranker) -> None:
    seen: list[tuple[int, int]] = []
    reranker.rank("river", TEXTS, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_nothing_is_ranked_in_no_time(reranker: Reranker) -> None:
    assert reranker.rank("river", []) == []


def test_what_was_scored_before_a_cancel_is_remembered(reranker: Reranker, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"passage {number} " + "about bridges and rivers " * 20 for number in range(400)]
    scores = PairScores(reranker, [("river", text) for text in texts])
    while not scores.done:
        scores.wait(0.01)
    scores.cancel()
    with pytest.raises(Cancelled):
        scores.result()
    counts = count_scored(reranker, monkeypatch)
    assert len(reranker.rank("river", texts)) == 400
    assert 0 < sum(counts) < 400


def test_what_on_progress_raises_ends_the_scoring(reranker: Reranker) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reranker.rank("river", [f"passage {number} " * 40 for number in range(500)], stop)
    assert reranker.rank("river", TEXTS)[0].rank == 0


def test_a_ranking_knows_whether_all_its_scores_were_remembered(model_dir: Path) -> None:
    reranker = Reranker(model_dir, engine="torch-float32")
    first = reranker.start("river", TEXTS)
    first.ranked()
    assert not first.remembered
    assert reranker.start("river", TEXTS).remembered
    assert not reranker.start("river", [*TEXTS, "a ferry"]).remembered


def test_what_another_engine_scored_is_not_ranked_beside_what_this_one_scores(model_dir: Path) -> None:
    reranker = Reranker(model_dir, engine="torch-float32")
    begun = PairScores(reranker, [("river", "a bridge")])
    reranker.scores([("river", text) for text in TEXTS])
    reranker._prepare(model_dir, "torch-float32", None)
    begun.finish()
    keys = PairScores(reranker, [("river", text) for text in [*TEXTS, "a bridge"]]).keys
    assert reranker.known(keys)[1] == {}
    reranker.scores([("river", text) for text in TEXTS])
    assert len(reranker.known(keys)[1]) == len(set(TEXTS))


def test_a_score_that_is_not_a_number_is_an_error(reranker: Reranker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reranker.loaded.engine, "score", lambda pairs: np.full(len(pairs), np.nan, np.float32))
    with pytest.raises(UnusableModel, match="not a number"):
        reranker.rank("river", TEXTS)
    # And it is not remembered.
    assert reranker.known(PairScores(reranker, [("river", text) for text in TEXTS]).keys)[1] == {}
