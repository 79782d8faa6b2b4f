"""Folds, the models that are trained without one, and the mean of these; with a real model in this process."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import CrossEncoder

from reranker import cross_check
from reranker.averaging import EXAMPLE, average
from reranker.card import add_results
from reranker.cross_check import judged_queries, make_folds
from reranker.dataset import SPLITS, LabelledPair, queries_that_tell, write_pairs
from reranker.measuring import Stopped, load
from reranker.recipe import INNER, MOST_CROSS_CHECKED
from reranker.run_files import RunFiles, read_json, write_json
from reranker.side_by_side import Part
from reranker.train import folds_of
from tests.cross_checked_run import (
    PAIRS,
    SUBJECTS,
    assert_mean,
    assert_same,
    break_off,
    go,
    new_run,
    pairs_about,
    progress_of,
    weights,
)
from tests.tiny_model import save_tiny_model


def test_each_query_is_kept_from_one_model() -> None:
    folds = make_folds(PAIRS, 3, learned=[])
    assert [fold.number for fold in folds] == [0, 1, 2]
    for fold in folds:
        held_out = {judged.query_id for judged in fold.held_out}
        assert len(held_out) in (3, 4)
        assert not held_out & {pair.query_id for pair in fold.train}
        assert fold.held_out == fold.judged
    assert sorted(judged.query_id for judged in judged_queries(folds)) == sorted(f"q-{name}" for name in SUBJECTS)


def test_a_query_has_its_fold_whenever_it_was_labelled() -> None:
    def dealt(pairs: list[LabelledPair]) -> list[set[str]]:
        return [{judged.query_id for judged in fold.held_out} for fold in make_folds(pairs, 3, [])]

    assert dealt(PAIRS) == dealt(PAIRS[::-1])


def test_queries_that_share_an_answer_are_kept_from_the_same_model() -> None:
    answer = "the bridge over the river was built of red stone in the winter of that year by three brothers"
    twins = [LabelledPair(f"twin{number}", f"{name} of the bridge", answer, 1) for number, name in enumerate("abcd")]
    twins += [LabelledPair(f"twin{number}", pair.query, f"nothing {number}", 0) for number, pair in enumerate(twins)]
    for fold in make_folds(PAIRS + twins, 3, []):
        held_out = {judged.query_id for judged in fold.held_out if judged.query_id.startswith("twin")}
        assert len(held_out) in (0, 4)
        in_training = {pair.query_id for pair in fold.train if pair.query_id.startswith("twin")}
        assert not (held_out and in_training)


def test_nothing_is_judged_by_what_was_learned_before() -> None:
    folds = make_folds(PAIRS, 3, learned=["q-music", "q-rain", "another that is gone"])
    judged = {query.query_id for query in judged_queries(folds)}
    assert judged == {f"q-{name}" for name in SUBJECTS} - {"q-music", "q-rain"}
    # They are trained on as before.
    assert [fold.train for fold in folds] == [fold.train for fold in make_folds(PAIRS, 3, [])]
    assert judged_queries(make_folds(PAIRS, 3, learned=None)) == []


def test_there_are_no_folds_where_one_would_leave_nothing_to_learn_from() -> None:
    assert make_folds([], 3, []) == []
    assert make_folds(pairs_about("bridges"), 3, []) == []
    # All that is relevant is about one query.
    only = [LabelledPair(pair.query_id, pair.query, pair.passage, int(pair.label and "bridges" in pair.query))
            for pair in PAIRS]  # fmt: skip
    assert make_folds(only, 3, []) == []
    assert make_folds(PAIRS, 0, []) == []


def test_there_are_no_folds_where_one_would_leave_nothing_that_the_loss_learns_from() -> None:
    # One query with both labels; of the others either all passages are relevant or none.
    all_or_none = [replace(pair, label=int(pair.query_id < "q-m")) for pair in PAIRS[3:]]
    assert make_folds(PAIRS[:3] + all_or_none, 3, [])
    for loss in ("LambdaLoss", "MultipleNegativesRankingLoss"):
        assert make_folds(PAIRS[:3] + all_or_none, 3, [], loss) == []
        assert make_folds(PAIRS, 3, [], loss)


def test_there_are_no_folds_where_there_are_labels_enough() -> None:
    many = pairs_about(*(f"number {number}" for number in range(MOST_CROSS_CHECKED // 3)))
    config = {"recipe": "default", "learned": []}
    held_out = queries_that_tell(PAIRS)
    assert len(folds_of(config, many, held_out)) == 3
    assert folds_of(config, many + pairs_about("one more"), held_out) == []
    # Where next to nothing is held out, there would be nothing to judge by.
    assert len(folds_of(config, many + pairs_about("one more"), held_out[:3])) == 3


def test_the_mean_of_models_is_that_of_their_weights(tmp_path: Path) -> None:
    models = [save_tiny_model(tmp_path / str(seed), seed=seed) for seed in range(3)]
    (models[0] / "README.md").write_text("the card of the first")
    average(models, tmp_path / "mean")
    assert_mean(tmp_path / "mean", models)
    assert (tmp_path / "mean" / "README.md").read_text() == "the card of the first"


@pytest.fixture
def files(model_dir: Path, tmp_path: Path) -> RunFiles:
    return new_run(tmp_path / "run", model_dir)


@pytest.fixture(scope="module")
def undisturbed(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    """A run that was left alone."""
    files = new_run(tmp_path_factory.mktemp("undisturbed") / "run", model_dir)
    go(files)
    return files


def test_a_run_is_judged_by_the_queries_that_it_learned_from(undisturbed: RunFiles) -> None:
    files = undisturbed
    manifest = read_json(files.manifest)
    assert manifest["training"]["folds"] == 3
    telling = {judged.query_id for judged in queries_that_tell(PAIRS)}
    for who in ("champion", "challenger"):
        assert manifest[who]["cross"]["per_query"].keys() == telling
    assert manifest["comparison"]["judged"] == manifest["comparison"]["cross"]
    # Each by the model that has not seen it.
    for fold in make_folds(PAIRS, 3, []):
        own = read_json(files.folds / str(fold.number) / "manifest.json")["per_query"]
        for judged in fold.held_out:
            assert manifest["challenger"]["cross"]["per_query"][judged.query_id] == own[judged.query_id]
    models = [files.alone, *(files.folds / str(number) / "model" for number in range(3))]
    assert not torch.equal(weights(models[0])["classifier.weight"], weights(models[1])["classifier.weight"])
    assert_mean(files.model, models)
    progress = progress_of(files)
    assert progress == sorted(progress) and progress[-1] == pytest.approx(1)


def test_the_card_of_a_mean_tells_its_own_scores(undisturbed: RunFiles, tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text((undisturbed.model / "README.md").read_text())
    found = EXAMPLE.search(card.read_text())
    assert found
    told = [float(number) for number in re.findall(r"-?\d+\.\d*(?:e-?\d+)?", found["scores"])]
    pairs = ast.literal_eval(found["pairs"])
    own, alone = (CrossEncoder(str(model)).predict(pairs) for model in (undisturbed.model, undisturbed.alone))
    assert told == pytest.approx(own.tolist(), abs=1e-3)
    assert told != pytest.approx(alone.tolist(), abs=1e-3)
    # What other models were measured as is told as theirs, and not as the model's on the Hub.
    add_results(card, "tiny-v1", read_json(undisturbed.manifest))
    text = card.read_text()
    assert "split: general" in text and "split: cross" not in text
    assert "| Cross-checked labelled queries (10) | models trained like this one, without the query |" in text
    assert "mean of 4 models" in text


def two_of_three(train_folds: Callable, ways: Any, folds: list, *given: Any) -> None:
    train_folds(ways, folds[:2], *given)


@pytest.mark.parametrize("moment,first", [("train_folds", two_of_three), ("average", None), ("cross_checked", None)])
def test_a_run_that_is_broken_off_among_its_folds_ends_the_same(
    files: RunFiles, undisturbed: RunFiles, moment: str, first: Callable | None
) -> None:
    break_off(files, moment, first)
    assert files.is_trained() and not files.manifest.exists()
    before = progress_of(files)
    go(files)
    # It goes on where it was, and what was done counts neither as to be done nor as speed.
    after = progress_of(files)[len(before) :]
    assert after == sorted(after) and after[0] == pytest.approx(before[-1], abs=0.2) and after[-1] == pytest.approx(1)
    assert after[0] > 0.3
    assert_same(files.model, undisturbed.model)
    assert read_json(files.manifest)["comparison"] == read_json(undisturbed.manifest)["comparison"]
    files.tidy()
    assert not files.folds.exists()


def test_a_query_that_turns_out_to_be_learned_before_is_not_judged_by(files: RunFiles) -> None:
    """While a run was broken off, the text of a query that was learned from was corrected into that of another."""
    break_off(files, "average")
    before = read_json(files.before)["champion"]["cross"]["per_query"]
    learned = next(iter(before))
    write_json(files.config, read_json(files.config) | {"learned": [learned]})
    go(files)
    assert read_json(files.manifest)["comparison"]["cross"]["queries"] == len(before) - 1


def test_a_run_that_is_cancelled_among_its_folds_keeps_its_own_model(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        files.stop.touch()
        raise Stopped

    monkeypatch.setattr(cross_check, "train_folds", stop)
    go(files)
    manifest = read_json(files.manifest)
    assert manifest["training"]["stopped"] == "cancelled"
    assert "judged" not in manifest["comparison"]
    assert files.model.is_dir() and not files.alone.exists()


def test_a_run_that_is_cancelled_when_it_has_its_mean_says_how_good_that_is(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev = pairs_about("bridges of old", "music at night", "rain in june", "light and stone", "paper trains")
    write_pairs(files.pairs("dev"), dev)
    averaged = cross_check.average_folds

    def then_stop(*given: Any) -> None:
        averaged(*given)
        files.stop.touch()

    monkeypatch.setattr(cross_check, "average_folds", then_stop)
    go(files)
    manifest = read_json(files.manifest)
    assert manifest["training"]["stopped"] == "cancelled"
    scores = [score for figures in manifest["challenger"]["dev"]["per_query"].values() for score in figures["scores"]]

    def by(model: Path) -> list[float]:
        return load(model).scores([(pair.query, pair.passage) for pair in dev])

    assert scores == pytest.approx(by(files.model), abs=1e-4)
    assert scores != pytest.approx(by(files.alone), abs=1e-4)


def test_it_stops_in_the_middle_of_a_fold(files: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Part.train

    def stopped_meanwhile(*given: Any) -> None:
        files.stop.touch()
        training(*given)

    monkeypatch.setattr(Part, "train", stopped_meanwhile)
    go(files)
    assert read_json(files.manifest)["training"]["stopped"] == "cancelled"
    assert set(path.name for path in files.directory.iterdir() if path.is_dir()) >= {"model"}
    assert not (files.folds / "1").exists()


def test_the_classic_recipe_has_no_folds(files: RunFiles) -> None:
    config = read_json(files.config) | {"recipe": "classic", **dict.fromkeys(INNER)}
    files.config.write_text(json.dumps(config))
    go(files)
    manifest = read_json(files.manifest)
    assert "folds" not in manifest["training"] and set(manifest["champion"]) <= {*SPLITS, "general"}
    assert not files.folds.exists()


def test_patience_without_held_out_queries_is_said_to_have_had_no_effect(files: RunFiles) -> None:
    write_json(files.config, read_json(files.config) | {"patience": 1, "epochs": 1})
    go(files)
    note = json.loads(files.events.read_text().splitlines()[-1])["note"]
    assert note == "Patience had no effect: there are no held-out queries to measure on meanwhile."
