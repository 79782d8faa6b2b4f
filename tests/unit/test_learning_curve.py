"""The learning curve: its parts, and what it says of labels to come, held against curves whose slope is known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reranker.dataset import LabelledPair, by_query, write_pairs
from reranker.evaluation import evaluate
from reranker.learning_curve import look_ahead, parts
from reranker.measuring import load
from reranker.recipe import RECIPES
from reranker.run_files import read_json
from tests import cross_checked_run

PAIRS = [
    LabelledPair(f"q{number}", f"query {number}", f"passage {place}", int(place == 0))
    for number in range(40)
    for place in range(3)
]
LABELS = [15, 30, 60, 90, 120]


def test_each_part_is_within_the_next_and_takes_whole_queries() -> None:
    found = parts(PAIRS)
    assert [len(part) for part in found] == [15, 30, 60, 90]
    for smaller, larger in zip(found, [*found[1:], PAIRS], strict=True):
        assert set(smaller) < set(larger)
        assert len(smaller) == 3 * len({pair.query_id for pair in smaller})


def test_a_query_has_its_place_whenever_it_was_labelled() -> None:
    assert [set(part) for part in parts(PAIRS[::-1])] == [set(part) for part in parts(PAIRS)]


def test_what_nothing_can_be_learned_from_is_left_out() -> None:
    one_relevant = [LabelledPair(f"q{n}", f"query {n}", "p", int(n == 7)) for n in range(16)]
    for part in parts(one_relevant):
        assert {pair.label for pair in part} == {0, 1}
    assert parts(PAIRS[:3]) == []
    assert parts([]) == []


def test_a_part_has_to_say_what_its_loss_learns_from() -> None:
    # The relevant passages are of other queries than those that are not, but for the last in the order of the parts.
    last = parts(PAIRS[:30])[-1]
    telling = next(pair.query_id for pair in PAIRS[:30] if pair not in last)
    pairs = [
        replace(pair, label=pair.label if pair.query_id == telling else int(pair.query_id < "q5"))
        for pair in PAIRS[:30]
    ]
    assert parts(pairs)
    assert parts(pairs, "LambdaLoss") == []


def drawn(slope: float, seed: int, queries: int = 30, scatter: float = 0.01) -> np.ndarray:
    """What dev queries might show whose mean nDCG@10 grows by `slope` with each e-fold of the labels."""
    random = np.random.default_rng(seed)
    start = random.normal(0.5, 0.15, queries)
    own = random.normal(slope, 0.03, queries)
    training = random.normal(0, scatter, len(LABELS))  # the luck of a training, which all queries share
    luck = random.normal(0, 0.05, (len(LABELS), queries))
    return start + np.log(np.array(LABELS) / 60)[:, None] * own + training[:, None] + luck


@pytest.mark.parametrize("slope", [0.0, 0.02, 0.1])
def test_what_is_true_lies_within_the_interval_nine_times_out_of_ten(slope: float) -> None:
    truth = slope * math.log(170 / 120)
    seen = [look_ahead(LABELS, drawn(slope, seed)) for seed in range(200)]
    inside = [outlook.low <= truth <= outlook.high for outlook in seen]  # type: ignore[operator]
    assert sum(inside) >= 0.87 * len(inside)


def test_a_clear_slope_is_told_and_none_is_not() -> None:
    steep = look_ahead(LABELS, drawn(0.1, 0, queries=200, scatter=0.002))
    assert steep.low is not None and steep.low > 0
    assert steep.gain == pytest.approx(0.1 * math.log(170 / 120), abs=0.01)
    assert "would likely bring +" in steep.words
    flat = look_ahead(LABELS, np.full((5, 50), 0.8) + np.random.default_rng(0).normal(0, 1e-4, (5, 50)))
    assert "little or nothing" in flat.words
    level = look_ahead(LABELS, np.full((5, 50), 0.79))
    assert (level.gain, level.low, level.high) == pytest.approx((0, 0, 0), abs=1e-9) and "little" in level.words
    noisy = look_ahead(LABELS, drawn(0.0, 1, scatter=0.05))
    assert "cannot be told yet" in noisy.words and noisy.low < 0 < noisy.high  # type: ignore[operator]


def test_no_more_than_all_can_be_gained() -> None:
    values = np.linspace(0.1, 0.99, 5)[:, None].repeat(20, axis=1) + np.random.default_rng(0).normal(0, 1e-3, (5, 20))
    outlook = look_ahead(LABELS, values, more=100_000)
    assert outlook.gain is not None and outlook.gain <= 1 - values[-1].mean() + 1e-9
    assert outlook.high is not None and outlook.high <= 1 - values[-1].mean() + 1e-9


def test_with_too_little_nothing_is_said() -> None:
    few_points = look_ahead(LABELS[:3], np.zeros((3, 30)))
    few_queries = look_ahead(LABELS, np.zeros((5, 3)))
    for outlook, why in ((few_points, "training queries are too few"), (few_queries, "held-out queries are too few")):
        assert (outlook.gain, outlook.low, outlook.high) == (None, None, None)
        assert "cannot be told" in outlook.words and why in outlook.words


@pytest.mark.parametrize("recipe", ["default", pytest.param("classic", marks=pytest.mark.slow)])
def test_a_run_draws_its_curve(recipe: str, model_dir: Path, tmp_path: Path) -> None:
    asked = {"recipe": recipe, "folds": RECIPES[recipe].folds, "learning_curve": True}
    files = cross_checked_run.new_run(tmp_path / "run", model_dir, **asked)
    dev = cross_checked_run.pairs_about("old bridges", "music at night", "rain in june", "light and stone")
    write_pairs(files.pairs("dev"), dev)
    cross_checked_run.go(files)
    points = read_json(files.manifest)["learning_curve"]["points"]
    labels = [0, *(len(part) for part in parts(cross_checked_run.PAIRS)), len(cross_checked_run.PAIRS)]
    assert [point["labels"] for point in points] == labels
    # Each part is trained once, so the whole is what was trained once, too: not the mean of it and the folds'.
    queries = by_query(dev)
    for model, point in ((model_dir, points[0]), (files.alone if files.alone.exists() else files.model, points[-1])):
        scores = load(model).scores([(judged.query, passage) for judged in queries for passage in judged.passages])
        of_each = [scores[3 * place : 3 * place + 3] for place in range(len(queries))]
        assert point["ndcg"] == pytest.approx(evaluate(queries, of_each).metrics["ndcg@10"], abs=1e-3)
    assert files.alone.exists() == (recipe == "default")
    progress = cross_checked_run.progress_of(files)
    assert progress == sorted(progress) and progress[-1] == pytest.approx(1)
