"""What the Train tab says of a run."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from reranker.recipe import TrainingConfig
from reranker.train_tab import render_run
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
    assert "press Start training" in shown
    assert "progressbar" not in shown
