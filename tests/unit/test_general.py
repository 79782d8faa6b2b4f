"""The general set is what it is meant to be."""

from __future__ import annotations

from pathlib import Path

from reranker.evaluation import evaluate
from reranker.general import general_queries
from reranker.model import Reranker
from reranker.near import clusters
from reranker.sources import STARTER_DIR


def test_every_query_has_one_or_two_relevant_passages_among_several() -> None:
    queries = general_queries()
    assert len(queries) >= 20
    assert len({judged.query_id for judged in queries}) == len(queries)
    for judged in queries:
        assert judged.tells_models_apart
        assert 1 <= sum(judged.labels) <= 2
        assert judged.labels.count(0) >= 5
        assert len(judged.passages) == len(judged.labels)


def test_no_passage_is_there_twice() -> None:
    passages = [passage for judged in general_queries() for passage in judged.passages]
    assert len(set(clusters(passages).values())) == len(passages)


def test_a_model_that_knows_something_does_well_and_can_still_do_better(tmp_path: Path, model_dir: Path) -> None:
    queries = general_queries()
    pairs = [(judged.query, passage) for judged in queries for passage in judged.passages]

    def ndcg(path: Path) -> float:
        scores = iter(Reranker(path).scores(pairs))
        return evaluate(queries, [[next(scores) for _ in judged.passages] for judged in queries]).metrics["ndcg@10"]

    knowing, random = ndcg(STARTER_DIR), ndcg(model_dir)
    assert random + 0.15 < knowing < 0.97
