"""What a run did to each query."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from reranker.dataset import JudgedQuery, LabelledPair, Suspect, write_pairs
from reranker.evaluation import evaluate
from reranker.recipe import TrainingConfig
from reranker.results import changes_of, how_made, models_in_mean, read_results
from reranker.run_files import RunFiles
from storage.records import TrainingRun

QUERIES = [
    JudgedQuery("a", "same order", ["x", "y"], [1, 0]),
    JudgedQuery("b", "gets better", ["x", "y", "z"], [0, 0, 1]),
    JudgedQuery("c", "gets worse", ["x", "y"], [1, 0]),
    JudgedQuery("d", "other order, same figure", ["x", "y", "z"], [1, 0, 0]),
]
BEFORE = [[2.0, 1.0], [3.0, 2.0, 1.0], [2.0, 1.0], [3.0, 2.0, 1.0]]
AFTER = [[1.0, 0.5], [1.0, 2.0, 3.0], [1.0, 2.0], [3.0, 1.0, 2.0]]


def test_the_queries_that_changed_most_come_first() -> None:
    champion, challenger = asdict(evaluate(QUERIES, BEFORE)), asdict(evaluate(QUERIES, AFTER))
    changes = changes_of(QUERIES, champion, challenger)
    assert [(change.query, change.verdict) for change in changes] == [
        ("gets better", "better"),
        ("gets worse", "worse"),
        ("other order, same figure", "equal"),
        ("same order", "equal"),
    ]
    best = changes[0]
    assert (best.before, best.after) == (0.5, 1.0)
    assert [(passage.place, passage.passage, passage.label) for passage in best.ranking_before] == [
        (1, "x", 0), (2, "y", 0), (3, "z", 1),
    ]  # fmt: skip
    assert [(passage.place, passage.before, passage.passage) for passage in best.ranking_after] == [
        (1, 3, "z"), (2, 2, "y"), (3, 1, "x"),
    ]  # fmt: skip
    assert best.ranking_after[0].score == 3.0


def test_results_are_read_from_the_directory_of_a_run(tmp_path: Path) -> None:
    pairs = [
        LabelledPair(judged.query_id, judged.query, passage, label)
        for judged in QUERIES
        for passage, label in zip(judged.passages, judged.labels, strict=True)
    ]
    write_pairs(tmp_path / "dev.jsonl", [*pairs, LabelledPair("e", "only one label", "x", 1)])
    assert read_results(RunFiles(tmp_path)) is None
    suspect = {"query": "q", "passage": "p", "label": 1, "probability": 0.1}
    manifest = {
        "champion": {"dev": asdict(evaluate(QUERIES, BEFORE))},
        "challenger": {"dev": asdict(evaluate(QUERIES, AFTER))},
        "suspects": [suspect],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    results = read_results(RunFiles(tmp_path))
    assert results is not None
    assert [change.query for change in results.changes["dev"]][:2] == ["gets better", "gets worse"]
    assert results.suspects == [Suspect(**suspect)]
    assert results.models == 1


def test_a_run_says_of_how_many_models_the_mean_is_what_it_kept(tmp_path: Path) -> None:
    assert models_in_mean(RunFiles(tmp_path)) == 1
    for training, models in (({"folds": 3}, 4), ({}, 1)):
        (tmp_path / "manifest.json").write_text(json.dumps({"training": training}))
        assert models_in_mean(RunFiles(tmp_path)) == models


def test_how_a_version_was_made_is_said_in_words_and_without_what_is_off(tmp_path: Path) -> None:
    asked = TrainingConfig.of("classic", base="v3", epochs=1, seed=7)
    run = TrainingRun("1", "succeeded", asdict(asked), "2026-01-01")
    assert how_made(run, RunFiles(tmp_path))["Configuration"] == (
        "from v3, classic recipe, 1 epoch, learning rate 5e-05, batches of 16, seed 7, loss BinaryCrossEntropyLoss"
    )
    asked = TrainingConfig.of(base="v3", patience=2, learning_curve=True, assume_not_relevant=True, loss="LambdaLoss")
    run = TrainingRun("1", "succeeded", asdict(asked), "2026-01-01")
    assert how_made(run, RunFiles(tmp_path))["Configuration"].endswith(
        "loss LambdaLoss, patience of 2 measurements, the learning rate rises during the first 10 % of the steps, held "
        "to what the model knew with weight 0.1, cross-checked with up to 3 folds, with a learning curve, passages "
        "that nobody judged taken as not relevant"
    )


def test_a_run_from_before_scores_were_kept_has_no_results(tmp_path: Path) -> None:
    write_pairs(tmp_path / "dev.jsonl", [LabelledPair("a", "q", "x", 1), LabelledPair("a", "q", "y", 0)])
    figures = {"metrics": {"ndcg@10": 1.0}, "per_query": {"a": {"ndcg@10": 1.0}}}
    (tmp_path / "manifest.json").write_text(json.dumps({"champion": {"dev": figures}, "challenger": {"dev": figures}}))
    assert read_results(RunFiles(tmp_path)) is None
