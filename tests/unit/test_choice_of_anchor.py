"""Whether a run does without its anchor: what the folds say of it, and what becomes of the run then."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from reranker import cross_check
from reranker.cross_check import Fold, Way, choose, ways_of
from reranker.dataset import JudgedQuery, LabelledPair
from reranker.evaluation import evaluate
from reranker.measuring import Stopped
from reranker.recipe import DEFAULT, TrainingConfig
from reranker.run_files import RunFiles, read_json, write_json
from tests.cross_checked_run import (
    PAIRS,
    assert_mean,
    assert_same,
    break_off,
    events_of,
    go,
    new_run,
    progress_of,
    weights,
)

MANY = [LabelledPair("q", "query", f"passage {number}", 0) for number in range(DEFAULT.choice_above + 1)]


def config_of(recipe: str = "default", **values: Any) -> dict[str, Any]:
    return vars(TrainingConfig.of(recipe, **values))


# What a run kept of its recipe before there was a choice.
EARLIER = {name: value for name, value in config_of().items() if name != "choice_above"}


def test_only_many_labels_are_asked_whether_the_anchor_is_worth_having(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    asked, free = ways_of(config_of(), files, MANY)
    assert (asked.config, asked.files) == (config_of(), files)
    assert free.config == config_of() | {"anchor": 0}
    assert free.files.directory != files.directory and free.files.stop == files.stop
    assert len(ways_of(config_of(), files, MANY[1:])) == 1


def test_what_has_no_anchor_has_no_choice(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    for config in (config_of("classic"), config_of(loss="LambdaLoss"), config_of() | {"anchor": 0.0}, EARLIER):
        assert len(ways_of(config, files, MANY)) == 1


# The places of the one relevant passage of each query among five, by the model that is held to what was known and the
# one that is free to forget.
EQUAL, BETTER, MUCH_BETTER, WORSE = ((2, 2), (1, 0), (4, 0), (0, 1))


def folds_that_say(tmp_path: Path, *places: list[tuple[int, int]]) -> tuple[list[Way], list[Fold]]:
    """Two ways to train and their folds, each with the queries that rank their relevant passage at these places."""
    ways = ways_of(config_of(), RunFiles(tmp_path / "run"), MANY)
    folds = []
    for number, of_fold in enumerate(places):
        queries = [
            JudgedQuery(f"{number}-{place}", "q", list("abcde"), [1, 0, 0, 0, 0]) for place, _ in enumerate(of_fold)
        ]
        folds.append(Fold(number, [], queries, queries))
        for which, way in enumerate(ways):
            own = way.files.part("folds", str(number))
            own.directory.mkdir(parents=True)
            found = evaluate(queries, [[4.5 - places_of_query[which], 4, 3, 2, 1] for places_of_query in of_fold])
            write_json(own.manifest, {"per_query": found.per_query})
    return ways, folds


@pytest.mark.parametrize(
    "queries,free",
    [
        ([EQUAL] * 6, False),
        ([BETTER] * 6, True),
        ([BETTER] * 6 + [EQUAL] * 6, True),
        ([WORSE] * 6, False),
        # Better in the mean, but by no more than a standard error.
        ([MUCH_BETTER] * 2 + [WORSE] * 2, False),
        ([MUCH_BETTER], False),
        ([], False),
    ],
)
def test_the_anchor_is_left_out_where_that_is_better_by_more_than_a_standard_error(
    tmp_path: Path, queries: list[tuple[int, int]], free: bool
) -> None:
    ways, folds = folds_that_say(tmp_path, queries)
    assert (choose(ways, folds) is ways[1]) == free
    assert choose(ways[:1], folds) is ways[0]


def test_no_query_has_a_say_in_what_it_is_judged_by(tmp_path: Path) -> None:
    ways, folds = folds_that_say(tmp_path, [MUCH_BETTER] * 6, [WORSE] * 3, [WORSE] * 3)
    assert choose(ways, folds) is ways[0]
    figures = cross_check.cross_checked(ways, folds).per_query
    # Without one of the folds that speak against it, the first one has the last word.
    expected = {0: ways[0], 1: ways[1], 2: ways[1]}
    for number, way in expected.items():
        own = read_json(way.files.part("folds", str(number)).manifest)["per_query"]
        assert {query_id: figures[query_id] for query_id in own} == own


@pytest.fixture
def files(model_dir: Path, tmp_path: Path) -> RunFiles:
    """A run with so strong an anchor that it learns next to nothing with it."""
    return anchored_run(tmp_path / "run", model_dir)


def anchored_run(directory: Path, model_dir: Path) -> RunFiles:
    return new_run(directory, model_dir, anchor=1000.0, choice_above=10, learning_rate=3e-3, epochs=3)


@pytest.fixture(scope="module")
def undisturbed(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    """Such a run that was left alone."""
    files = anchored_run(tmp_path_factory.mktemp("undisturbed") / "run", model_dir)
    go(files)
    return files


def test_a_run_that_does_better_without_becomes_the_mean_of_what_was_free(undisturbed: RunFiles) -> None:
    files, free = undisturbed, undisturbed.part("folds", "free")
    manifest = read_json(files.manifest)
    assert manifest["training"]["gain_without_anchor"] > 0
    assert_mean(files.model, [free.model, *(free.folds / str(number) / "model" for number in range(3))])
    assert not torch.equal(weights(files.alone)["classifier.weight"], weights(free.model)["classifier.weight"])
    progress, events = progress_of(files), events_of(files)
    assert progress == sorted(progress) and progress[-1] == pytest.approx(1)
    assert "without holding on" in events[-1]["note"]
    phases = " ".join(event.get("phase") or "" for event in events)
    assert "training 6 of 6" in phases and "Training on all labels again" in phases


def test_where_the_anchor_is_worth_having_the_run_stays_what_it_was(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_check, "choose", lambda ways, folds: ways[0])
    go(files)
    assert "gain_without_anchor" not in read_json(files.manifest)["training"]
    assert_mean(files.model, [files.alone, *(files.folds / str(number) / "model" for number in range(3))])
    assert not (files.folds / "free" / "model").exists()
    progress = progress_of(files)
    assert progress == sorted(progress) and progress[-1] == pytest.approx(1)
    assert events_of(files)[-1]["note"] is None


def wholly(function: Callable, *given: Any) -> None:
    function(*given)


@pytest.mark.parametrize(
    "moment,first",
    [
        ("train_chosen", wholly),
        ("average", None),
        pytest.param("choose", None, marks=pytest.mark.slow),
        pytest.param("cross_checked", None, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_broken_off_at_the_choice_ends_the_same(
    files: RunFiles, undisturbed: RunFiles, moment: str, first: Callable | None
) -> None:
    break_off(files, moment, first)
    go(files)
    assert_same(files.model, undisturbed.model)
    assert read_json(files.manifest)["comparison"] == read_json(undisturbed.manifest)["comparison"]
    files.tidy()
    assert not files.folds.exists()


def test_a_run_that_is_cancelled_while_it_trains_again_keeps_its_own_model(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = cross_check.train_part

    def stopped_meanwhile(config: dict[str, Any], pairs: list[LabelledPair], *given: Any) -> None:
        if len(pairs) == len(PAIRS):
            files.stop.touch()
        training(config, pairs, *given)

    monkeypatch.setattr(cross_check, "train_part", stopped_meanwhile)
    go(files)
    training_facts = read_json(files.manifest)["training"]
    assert training_facts["stopped"] == "cancelled" and "gain_without_anchor" not in training_facts
    assert files.model.is_dir() and not files.alone.exists()


def test_a_training_that_was_cut_short_is_not_a_part_of_the_mean(
    files: RunFiles, undisturbed: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancelled(whole: Callable, *given: Any) -> None:
        files.stop.touch()
        with suppress(Stopped):
            whole(*given)

    # Somebody cancels while it trains again, and once more before it is done: then the process is killed.
    break_off(files, "train_chosen", cancelled)
    assert read_json(files.part("folds", "free").trained)["stopped"] == "cancelled"
    files.forget_wish_to_stop()
    go(files)
    assert_same(files.model, undisturbed.model)
