"""What a training is held to: pairs without a label, and the scores that they had."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from reranker import training
from reranker.anchor import LABELS_OF_FULL_WEIGHT, MOST_PAIRS, Anchor, draw
from reranker.dataset import LabelledPair
from reranker.recipe import DEFAULT, RECIPES
from reranker.reporter import Reporter
from reranker.run_files import RunFiles

# All judged passages are relevant but one, so that binary cross-entropy has every score go up.
PAIRS = [
    LabelledPair(f"q{number}", f"query {number} river", f"the rain {number} " * 5, int(number > 0))
    for number in range(24)
]


def labelled(queries: int, passages: int) -> list[LabelledPair]:
    return [LabelledPair(f"q{q}", f"query {q}", f"passage {p}", 1) for q in range(queries) for p in range(passages)]


def test_only_pairs_without_a_label_are_drawn_and_each_once() -> None:
    drawn = draw(PAIRS, 1)
    assert len(drawn) == len(set(drawn)) == MOST_PAIRS
    assert not set(drawn) & {(pair.query, pair.passage) for pair in PAIRS}
    assert {query for query, _ in drawn} <= {pair.query for pair in PAIRS}
    assert {passage for _, passage in drawn} <= {pair.passage for pair in PAIRS}


def test_a_draw_is_the_same_for_a_seed() -> None:
    assert draw(PAIRS, 1) == draw(PAIRS, 1) != draw(PAIRS, 2)


def test_few_pairs_are_all_drawn() -> None:
    assert set(draw(PAIRS[:2], 1)) == {(PAIRS[0].query, PAIRS[1].passage), (PAIRS[1].query, PAIRS[0].passage)}


@pytest.mark.parametrize("pairs", [[], labelled(1, 1), labelled(1, 5), labelled(3, 4)])
def test_where_everything_is_labelled_there_is_nothing_to_hold_to(pairs: list[LabelledPair], model_dir: Path) -> None:
    assert draw(pairs, 1) == []
    assert Anchor.of(pairs, CrossEncoder(str(model_dir)), 0.1, 1) is None


@pytest.mark.parametrize("kind", ["sequence classifier", "another kind"])
def test_its_scores_are_those_of_the_model(kind: str, model_dir: Path) -> None:
    model = CrossEncoder(str(model_dir))
    if kind == "another kind":
        model.model.__class__ = type("Reranker", (type(model.model),), {})
    anchor = Anchor.of(PAIRS, model, 0.1, 1)
    assert anchor is not None
    logits = model.predict(anchor.pairs, activation_fn=torch.nn.Identity())
    assert np.allclose(anchor.scores, logits, atol=1e-5)
    batch = anchor.batch(3, 8)
    score = dict(zip(anchor.pairs, anchor.scores, strict=True))
    in_batch = zip(batch["sentence_0"], batch["sentence_1"], strict=True)
    assert [score[pair] for pair in in_batch] == batch["label"].tolist()


def test_each_step_has_its_own_pairs_and_the_same_ones_when_it_is_done_again() -> None:
    anchor = Anchor([(str(number), "p") for number in range(50)], np.zeros(50, np.float32), 0.1, 1.0, 1)
    assert anchor.batch(3, 8)["sentence_0"] == anchor.batch(3, 8)["sentence_0"]
    assert anchor.batch(3, 8)["sentence_0"] != anchor.batch(4, 8)["sentence_0"]
    assert anchor.batch(3, 8)["sentence_0"] != replace(anchor, seed=2).batch(3, 8)["sentence_0"]


def test_with_many_labels_it_counts_less_and_takes_less_time(model_dir: Path) -> None:
    model = CrossEncoder(str(model_dir))

    def weight_and_pairs(count: int) -> tuple[float, int]:
        pairs = [LabelledPair(f"q{n}", f"query {n}", f"passage {n}", 1) for n in range(count)]
        anchor = Anchor.of(pairs, model, 0.1, 1)
        assert anchor
        return anchor.weight, len(anchor.batch(0, 8)["label"])

    assert weight_and_pairs(2) == weight_and_pairs(LABELS_OF_FULL_WEIGHT) == (0.1, 8)
    assert weight_and_pairs(2 * LABELS_OF_FULL_WEIGHT) == (pytest.approx(0.05), 4)
    assert weight_and_pairs(20 * LABELS_OF_FULL_WEIGHT) == (pytest.approx(0.005), 1)


def drift(recipe: str, base: Path, directory: Path) -> tuple[float, list[float]]:
    """How far the scores of pairs that nobody judged move in a training, in the mean; and its losses."""
    config = {"recipe": recipe, "base_path": str(base), "base_name": "tiny", "base_on_hub": False}
    config |= {"batch_size": 8, "epochs": 4, "learning_rate": 1e-3, "seed": 42}
    directory.mkdir()
    stream = io.StringIO()
    training.train(config, PAIRS, RunFiles(directory), Reporter(stream, 1))
    others = draw(PAIRS, seed=99)
    before, after = (CrossEncoder(str(path)).predict(others) for path in (base, directory / "model"))
    losses = [event["loss"] for event in map(json.loads, stream.getvalue().splitlines()) if "loss" in event]
    return float(np.abs(after - before).mean()), losses


def test_it_holds_the_scores_of_what_nobody_judged(
    still_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, "loose", replace(DEFAULT, name="loose", anchor=0))
    monkeypatch.setitem(RECIPES, "tight", replace(DEFAULT, name="tight", anchor=1))
    loose, losses = drift("loose", still_model, tmp_path / "loose")
    tight, tight_losses = drift("tight", still_model, tmp_path / "tight")
    assert tight < loose / 2
    # The first step starts from the same weights, and what is reported is the loss of the labels alone.
    assert tight_losses[0] == pytest.approx(losses[0], abs=1e-3)


@pytest.mark.parametrize(
    ("recipe", "loss", "held"),
    [
        ("default", None, True),
        ("default", "MSELoss", True),
        ("default", "LambdaLoss", False),
        ("classic", None, False),
        ("classic", "MSELoss", False),
    ],
)
def test_only_the_default_with_a_mean_over_pairs_is_held(recipe: str, loss: str | None, held: bool) -> None:
    assert training.is_anchored({"recipe": recipe, "loss": loss}) is held
