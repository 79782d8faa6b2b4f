"""A training that is broken off and goes on, is cancelled, or stops early; with a real model in this process."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from reranker import watch as watching
from reranker.dataset import JudgedQuery, LabelledPair, queries_that_tell
from reranker.reporter import Reporter
from reranker.run_files import RunFiles, read_json
from reranker.training import train

PASSAGES = ["a bridge and the rain", "music in the city " * 4, "the old garden", "red stone " * 9]


def pairs_of(name: str, queries: int) -> list[LabelledPair]:
    return [
        LabelledPair(f"{name}{number}", f"{name} query {number}", f"{passage} {number}", int(place == number % 4))
        for number in range(queries)
        for place, passage in enumerate(PASSAGES)
    ]


PAIRS = pairs_of("train", 15)
DEV = queries_that_tell(pairs_of("dev", 6))
STEPS = 24


class Killed(BaseException):
    """Stands for kill -9: nothing in the training catches it."""


@pytest.fixture
def fit(model_dir: Path, tmp_path: Path) -> Callable[..., RunFiles]:
    """Trains in a directory of that name; `kill_at` breaks it off after so many steps of this go."""
    for_all = {"base_path": str(model_dir), "base_name": "tiny", "base_on_hub": False, "batch_size": 5, "epochs": 2}

    def run(name: str, kill_at: int | None = None, dev: list[JudgedQuery] | None = DEV, **config: Any) -> RunFiles:
        files = RunFiles(tmp_path / name)
        files.directory.mkdir(exist_ok=True)
        config = {**for_all, "recipe": "default", "learning_rate": 1e-3, "seed": 42, **config}
        stream = io.StringIO()
        steps = itertools.count(1)
        end_of_step = watching.Watch.on_step_end

        def step_end(watch: watching.Watch, *args: Any, **options: Any) -> None:
            end_of_step(watch, *args, **options)
            if next(steps) == kill_at:
                raise Killed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(watching.Watch, "on_step_end", step_end)
            try:
                train(config, PAIRS, files, Reporter(stream, 1), dev)
            finally:
                with files.events.open("a") as events:
                    events.write(stream.getvalue())
        return files

    return run


def weights(files: RunFiles) -> dict[str, torch.Tensor]:
    return load_file(files.model / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def events(files: RunFiles) -> list[dict[str, Any]]:
    return [json.loads(line) for line in files.events.read_text().splitlines()]


@pytest.mark.parametrize("recipe", ["default", pytest.param("classic", marks=pytest.mark.slow)])
def test_a_training_that_was_broken_off_ends_with_the_same_weights(fit: Callable[..., RunFiles], recipe: str) -> None:
    whole = fit("whole", recipe=recipe)
    # In the middle of an epoch, at its end, before the first step of the next one, and more than once.
    for name, kills in (("middle", [7]), ("end of an epoch", [12]), ("often", [5, 1, 9])):
        for kill_at in kills:
            with pytest.raises(Killed):
                fit(name, kill_at, recipe=recipe, seconds_between_checkpoints=0)
        files = fit(name, recipe=recipe, seconds_between_checkpoints=0)
        assert same(weights(files), weights(whole)), name
        assert read_json(files.history) == read_json(whole.history), name


def test_it_goes_on_from_the_last_checkpoint_that_is_whole(fit: Callable[..., RunFiles]) -> None:
    with pytest.raises(Killed):
        fit("torn", 9, seconds_between_checkpoints=0)
    files = RunFiles(fit("whole").directory.with_name("torn"))
    # The hook breaks off before the checkpoint of the ninth step.
    assert files.saved_step() == 8
    torn = files.checkpoints / "checkpoint-9"
    torn.mkdir()
    (torn / "trainer_state.json").write_text("{")
    assert files.saved_step() == 8
    fit("torn")
    steps = [event["step"] for event in events(files) if "loss" in event]
    assert steps == [*range(1, 9), *range(9, STEPS + 1)]
    assert same(weights(files), weights(RunFiles(files.directory.with_name("whole"))))


def test_checkpoints_do_not_pile_up(fit: Callable[..., RunFiles]) -> None:
    with pytest.raises(Killed):
        fit("run", 20, seconds_between_checkpoints=0)
    files = RunFiles(fit("run", seconds_between_checkpoints=0).directory)
    assert len(list(files.checkpoints.iterdir())) <= 1
    assert len(list(files.directory.glob("best-*"))) == 1
    files.tidy()
    assert {path.name for path in files.directory.iterdir()} <= {"history.json", "events.jsonl"}


def test_a_checkpoint_is_written_when_it_is_time(fit: Callable[..., RunFiles]) -> None:
    assert not list(fit("run", seconds_between_checkpoints=10_000).checkpoints.glob("checkpoint-*"))


def cancel_at(files: RunFiles, step: int) -> pytest.MonkeyPatch:
    """From this step on there is a wish to stop."""
    patch = pytest.MonkeyPatch()
    evaluate = watching.Watch._why_stop

    def why_stop(watch: watching.Watch) -> str | None:
        if watch.step == step:
            files.stop.touch()
        return evaluate(watch)

    patch.setattr(watching.Watch, "_why_stop", why_stop)
    return patch


def test_who_cancels_keeps_the_best_so_far(fit: Callable[..., RunFiles], tmp_path: Path) -> None:
    # Measured at every second step or so, and best somewhere before the end.
    whole = fit("whole", epochs=6, learning_rate=3e-2, seed=1)
    scores = {int(step): score for step, score in read_json(whole.history)["scores"].items()}
    at = max(scores)
    best = max(scores, key=lambda step: (scores[step], -step))
    files = RunFiles(tmp_path / "cancelled")
    patch = cancel_at(files, at)
    fit("cancelled", epochs=6, learning_rate=3e-2, seed=1)
    patch.undo()
    trained = read_json(files.trained)
    assert (trained["stopped"], trained["step"], trained["last_step"]) == ("cancelled", best, at)
    # What is kept is what the same training has after that step.
    stopped = fit("stopped", epochs=6, learning_rate=3e-2, seed=1, stop_after=best)
    assert same(weights(files), weights(stopped))
    assert best != at or same(weights(files), weights(whole))


def test_who_cancels_what_cannot_be_measured_keeps_the_latest(fit: Callable[..., RunFiles], tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "cancelled")
    patch = cancel_at(files, 5)
    fit("cancelled", dev=[])
    patch.undo()
    assert read_json(files.trained) == {
        "stopped": "cancelled", "step": 5, "last_step": 5, "total_steps": STEPS, "scores": None,
    }  # fmt: skip
    assert same(weights(files), weights(fit("stopped", stop_after=5, dev=[])))


def test_a_wish_to_stop_that_was_there_first_ends_it_after_a_step(fit: Callable[..., RunFiles], tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "cancelled")
    files.directory.mkdir()
    files.stop.touch()
    fit("cancelled")
    assert read_json(files.trained)["last_step"] == 1


def test_a_training_stops_early_when_nothing_gets_better(fit: Callable[..., RunFiles]) -> None:
    # With no learning rate to speak of, the first evaluation is as good as any.
    files = fit("run", epochs=6, learning_rate=1e-12, patience=2)
    trained, history = read_json(files.trained), read_json(files.history)
    scores = list(history["scores"].values())
    assert len(scores) == 3 and len(set(scores)) == 1
    first = min(map(int, history["scores"]))
    assert (trained["stopped"], trained["step"]) == ("early", first)
    assert trained["last_step"] == max(map(int, history["scores"])) < trained["total_steps"]
    assert [event["dev"] for event in events(files) if "dev" in event] == scores


def test_it_stops_early_also_where_it_was_broken_off(fit: Callable[..., RunFiles]) -> None:
    whole = fit("whole", epochs=6, learning_rate=1e-12, patience=2)
    with pytest.raises(Killed):
        fit("broken", 15, epochs=6, learning_rate=1e-12, patience=2, seconds_between_checkpoints=0)
    broken = fit("broken", epochs=6, learning_rate=1e-12, patience=2)
    assert read_json(broken.trained) == read_json(whole.trained)
    assert same(weights(broken), weights(whole))


def test_with_patience_the_best_is_kept_though_it_went_on_to_the_end(fit: Callable[..., RunFiles]) -> None:
    files = fit("run", epochs=4, learning_rate=3e-2, patience=50)
    history = read_json(files.history)
    assert read_json(files.trained)["step"] == history["best"]["step"]
