"""What the Train tab shows of a run."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from typing import Any

import pytest

from page.training_view import more_settings, points, render_run, render_sets, steps_of
from reranker.dataset import LabelledPair, TrainingSets
from reranker.recipe import CLASSIC, DEFAULT, Recipe, TrainingConfig
from storage.records import TrainingRun

ALWAYS_THERE = ("recipe", "base", "epochs", "learning_rate", "batch_size", "seed", "promote")


def test_a_run_says_how_it_was_configured() -> None:
    run = TrainingRun("1", "succeeded", asdict(TrainingConfig.of(loss="LambdaLoss", epochs=7)), "2026-01-01")
    assert "LambdaLoss" in render_run(run)
    assert "7 epochs" in render_run(run)


@pytest.mark.parametrize("status", ["queued", "running", "succeeded", "failed", "cancelled"])
def test_a_run_is_shown_that_is_older_than_some_of_what_can_be_configured(status: str) -> None:
    config = {name: value for name, value in asdict(TrainingConfig.of()).items() if name in ALWAYS_THERE}
    assert "4 epochs" in render_run(TrainingRun("1", status, config, "2026-01-01"))


def test_without_a_run_it_says_how_to_start_one() -> None:
    shown = render_run(None)
    assert "No model has been trained here yet" in shown
    assert "Press Start training" in shown
    assert "progressbar" not in shown


@pytest.mark.parametrize(
    ("status", "phase", "shown"),
    [
        ("running", "Training", True),
        ("running", "Cross-checking: training 2 of 6", False),
        ("succeeded", "Measuring the new model", True),
    ],
)
def test_the_last_step_of_a_run_does_not_stand_beside_what_it_does_next(status: str, phase: str, shown: bool) -> None:
    config = asdict(TrainingConfig.of())
    run = TrainingRun(
        "1", status, config, "2026-01-01", phase=phase, progress=0.4, step=120, total_steps=120, loss=0.125
    )
    html = render_run(run)
    assert ("step 120 of 120" in html, "loss 0.1250" in html) == (shown, shown)
    assert "40 %" in html and (phase in html or status != "running")


def test_a_plot_without_a_curve_is_hidden_and_not_emptied() -> None:
    for curve in ([], [(1, 0.5)]):
        shown = points(curve, "loss")
        assert shown["visible"] == "hidden"
        assert "value" not in shown


@pytest.mark.parametrize("steps", [2, 12, 17, 200])
def test_steps_are_numbers_from_the_first_look_on_and_never_marked_at_fractions(steps: int) -> None:
    shown = points([(step, 1 / step) for step in range(1, steps + 1)], "loss")
    assert list(shown["value"]["step"]) == list(range(1, steps + 1))
    assert "sort" not in shown  # a plot that was once told to sort by name cannot forget it
    assert steps_of(TrainingRun("1", "running", {}, "2026-01-01")) is None
    low, high = steps_of(TrainingRun("1", "running", {}, "2026-01-01", total_steps=steps))  # type: ignore[misc]
    assert low == 1 and high >= steps and high - low >= 20


@pytest.mark.parametrize("steps", [500, 501, 9_045])
def test_a_plot_of_many_steps_has_no_more_points_than_can_be_seen(steps: int) -> None:
    shown = points([(step, float(step % 2)) for step in range(1, steps + 1)], "loss")["value"]
    assert 250 <= len(shown) <= 500
    assert shown["step"].is_monotonic_increasing and shown["step"].iloc[-1] == steps
    assert steps == 500 or shown["loss"][:-1].between(0.4, 0.6).all()


def test_the_figures_of_the_active_and_the_new_model_stand_side_by_side() -> None:
    run = TrainingRun("1", "succeeded", asdict(TrainingConfig.of()), "2026-01-01")
    before = {"ndcg@10": 0.5, "ndcg@10_low": 0.25, "ndcg@10_high": 1.0, "auc": 0.75, "queries": 7}
    run.metrics.update(champion=before | {"general_ndcg@10": 0.8, "general_queries": 24}, challenger={"ndcg@10": 0.625})
    shown = " ".join(re.sub(r"<[^>]+>", " ", render_run(run)).split())
    assert "Measured on Held-out queries (7) General set (24) nDCG@10 0.500 → 0.625 .25–1.00 0.800 MRR@10 – –" in shown
    assert "AUC 0.750 –" in shown


def test_the_page_says_where_nothing_can_be_measured_although_there_are_labels() -> None:
    pairs = [
        LabelledPair(f"q{number}", f"query {number}", passage, label)
        for number in range(8)
        for passage, label in (("the one answer", 1), (f"nothing {number}", 0))
    ]
    assert "the labelled queries share most of their relevant passages" in render_sets(TrainingSets(pairs))
    assert "at least 4 labelled queries need both" in render_sets(TrainingSets(pairs[:4]))
    apart = [replace(pair, passage=f"answer to {pair.query}") if pair.label else pair for pair in pairs]
    few = render_sets(TrainingSets(apart))
    assert "recipe cross-checks instead" in few and "some are from 20 labelled queries on" in few
    # Labelled one after the other, with a run between: all of them are trained on.
    many = [
        replace(pair, **{name: f"{turn} {getattr(pair, name)}" for name in ("query", "query_id", "passage")})
        for turn in range(3)
        for pair in apart
    ]
    assert "of new ones some will be held out" in render_sets(TrainingSets(many))


def settings_of(recipe: Recipe, **changed: Any) -> str:
    own = {name: getattr(recipe, name) for name in ("epochs", "batch_size", "learning_rate", "seed")}
    return more_settings(recipe, **{**own, "patience": 0, "loss": None, "assume": False, **changed})


def test_more_settings_are_called_by_what_differs_from_the_recipe() -> None:
    assert settings_of(DEFAULT) == settings_of(CLASSIC) == "More settings"
    assert settings_of(CLASSIC, epochs=2, seed=2**32 - 1) == "More settings: epochs 2, seed 4294967295"
    assert settings_of(DEFAULT, learning_rate=5e-5, patience=3) == "More settings: learning rate 5e-05, patience 3"
    # What is written out and the same is no change, nor is an empty field, for which the recipe's own is taken.
    assert settings_of(DEFAULT, loss=DEFAULT.loss, epochs=None, patience=None) == "More settings"
    assert settings_of(DEFAULT, loss="LambdaLoss", assume=True) == (
        "More settings: loss LambdaLoss, unjudged passages as not relevant"
    )
    # Nor does it fail on what will be refused.
    assert settings_of(DEFAULT, learning_rate="fast") == "More settings: learning rate fast"
    assert settings_of(DEFAULT, learning_rate=" ") == "More settings: learning rate empty"
    assert settings_of(DEFAULT, learning_rate=float("nan")) == "More settings: learning rate nan"


def test_where_only_relevant_passages_are_known_the_way_on_is_named() -> None:
    one_sided = TrainingSets(train=[LabelledPair("1", "q", "p", 1), LabelledPair("2", "r", "p", 1)])
    assert "Of 2 queries only relevant passages are known" in render_sets(one_sided)
    taken = TrainingSets(train=[*one_sided.train, LabelledPair("1", "q", "o", 0, assumed=True)])
    assert "only relevant passages are known" not in render_sets(taken)
