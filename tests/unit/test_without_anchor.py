"""Whether a run does without its anchor: what the folds say of it, and what becomes of the run then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from reranker import cross_check
from reranker.cross_check import Fold, Way, choose, ways_of
from reranker.dataset import JudgedQuery, LabelledPair
from reranker.evaluation import evaluate
from reranker.recipe import DEFAULT, TrainingConfig
from reranker.run_files import RunFiles, read_json, write_json
from tests.unit.test_cross_check import PAIRS, go, new_run, weights

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
    files = new_run(directory, model_dir)
    config = read_json(files.config) | {"anchor": 1000.0, "choice_above": 10, "learning_rate": 3e-3, "epochs": 3}
    files.config.write_text(json.dumps(config))
    return files


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
    models = [weights(free.model), *(weights(free.folds / str(number) / "model") for number in range(3))]
    for name, weight in weights(files.model).items():
        assert torch.allclose(weight, torch.stack([model[name] for model in models]).mean(0), atol=1e-6), name
    assert not torch.equal(weights(files.alone)["classifier.weight"], models[0]["classifier.weight"])
    events = [json.loads(line) for line in files.events.read_text().splitlines()]
    progress = [event["progress"] for event in events if "progress" in event]
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
    models = [weights(files.alone), *(weights(files.folds / str(number) / "model") for number in range(3))]
    for name, weight in weights(files.model).items():
        assert torch.allclose(weight, torch.stack([model[name] for model in models]).mean(0), atol=1e-6), name
    assert not (files.folds / "free" / "model").exists()
    events = [json.loads(line) for line in files.events.read_text().splitlines()]
    progress = [event["progress"] for event in events if "progress" in event]
    assert progress == sorted(progress) and progress[-1] == pytest.approx(1)
    assert events[-1]["note"] is None


@pytest.mark.parametrize("moment", ["choose", "train_chosen", "average", "cross_checked"])
def test_a_run_that_is_broken_off_at_the_choice_ends_the_same(
    files: RunFiles, undisturbed: RunFiles, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    class Killed(BaseException):
        """Stands for kill -9."""

    whole = getattr(cross_check, moment)

    def broken(*given: Any) -> None:
        if moment == "train_chosen":
            whole(*given)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(cross_check, moment, broken)
        with pytest.raises(Killed):
            go(files)
    go(files)
    expected = weights(undisturbed.model)
    assert all(torch.equal(weight, expected[name]) for name, weight in weights(files.model).items())
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
