"""Losses by name: each trains on the labels in its own shape, or says what they lack."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers.cross_encoder import losses as theirs

from errors import InvalidInput
from reranker.dataset import LabelledPair
from reranker.losses import FOR_CLASSES, LISTS, LOSSES, TRIPLETS, examples, make_loss, why_not
from reranker.recipe import TrainingConfig
from reranker.reporter import Reporter
from reranker.run_files import RunFiles
from reranker.training import train

PAIRS = [
    LabelledPair(f"q{query}", f"query {query} river", f"bridge {number} and rain {query}", int(number < 1 + query % 2))
    for query in range(4)
    for number in range(2 + query)
]


def test_every_loss_of_sentence_transformers_is_offered_but_the_one_for_classes() -> None:
    known = {name for name in theirs.__all__ if name.endswith("Loss")}
    assert known == {*LOSSES, FOR_CLASSES}


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_trains_by_its_name_and_the_card_names_it(loss: str, model_dir: Path, tmp_path: Path) -> None:
    config = {"recipe": "default", "base_path": str(model_dir), "base_name": "tiny", "base_on_hub": False}
    config |= {"batch_size": 2, "epochs": 2, "learning_rate": 1e-3, "seed": 42, "loss": loss}
    stream = io.StringIO()
    train(config, PAIRS, RunFiles(tmp_path), Reporter(stream, 1))
    reported = [json.loads(line) for line in stream.getvalue().splitlines()]
    steps = [event["loss"] for event in reported if "loss" in event]
    assert len(steps) >= 4
    assert all(torch.isfinite(torch.tensor(step)) for step in steps)
    assert loss in (tmp_path / "model" / "README.md").read_text()


def test_lists_are_whole_queries_that_have_both_labels() -> None:
    alone = LabelledPair("one", "a query with one label only", "rain", 0)
    for loss in LISTS:
        rows = list(examples(loss, [*PAIRS, alone]))
        assert [len(row["passages"]) for row in rows] == [2, 3, 4, 5]
        assert all(0 < sum(row["labels"]) < len(row["labels"]) for row in rows)


@pytest.mark.parametrize("loss", LISTS)
def test_the_order_in_which_passages_are_stored_says_nothing(loss: str, loaded_model: Any) -> None:
    function, query = make_loss(loss, loaded_model.eval()), "who built the bridge"
    passages, labels = ["the old bridge", "rain and sun"], [1.0, 0.0]
    found = [
        function([[query], [passages[::step]]], [torch.tensor(labels[::step])]).item() for step in (1, -1)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_triplets_are_each_relevant_passage_with_each_other() -> None:
    labels = {(pair.query, pair.passage): pair.label for pair in PAIRS}
    for loss in TRIPLETS:
        rows = list(examples(loss, PAIRS))
        assert len(rows) == 1 * 1 + 2 * 1 + 1 * 3 + 2 * 3
        for row in rows:
            assert labels[row["query"], row["relevant"]] == 1
            assert labels[row["query"], row["not_relevant"]] == 0
        assert ("label" in rows[0]) == (loss == "MarginMSELoss")


@pytest.mark.parametrize("loss", [*LISTS, *TRIPLETS])
def test_a_loss_that_compares_says_that_no_query_has_both_labels(loss: str) -> None:
    one_each = [LabelledPair(f"q{number}", f"query {number}", "rain", number % 2) for number in range(6)]
    with pytest.raises(InvalidInput, match="no query to train on has both relevant and not relevant"):
        examples(loss, one_each)
    assert why_not("BinaryCrossEntropyLoss", one_each) is None


def test_a_loss_for_classes_says_what_the_model_lacks() -> None:
    with pytest.raises(InvalidInput, match="one output for each class"):
        TrainingConfig.of(loss="CrossEntropyLoss")


def test_an_unknown_loss_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="no loss 'HingeLoss'.*LambdaLoss") as caught:
        TrainingConfig.of(loss="HingeLoss")
    assert " CrossEntropyLoss" not in str(caught.value)
    assert TrainingConfig.of("classic", loss="LambdaLoss").loss == "LambdaLoss"


def test_targets_of_0_and_1_are_held_against_probabilities(loaded_model: Any) -> None:
    for loss in ("MSELoss", "MarginMSELoss"):
        assert isinstance(make_loss(loss, loaded_model).activation_fn, torch.nn.Sigmoid)


@pytest.fixture(scope="module")
def loaded_model(model_dir: Path) -> Any:
    from sentence_transformers import CrossEncoder

    return CrossEncoder(str(model_dir), local_files_only=True)
