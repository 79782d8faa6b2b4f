"""Recipes and the values that may be changed: whatever is asked for is right, or refused with a reason."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from errors import InvalidInput
from reranker.recipe import CLASSIC, DEFAULT_RECIPE, LIMITS, RECIPES, TrainingConfig, recipe_of


def refusal(**wanted: Any) -> str:
    """What is said of a configuration that cannot be used."""
    with pytest.raises(InvalidInput) as raised:
        TrainingConfig.of(**wanted)
    return str(raised.value)


def test_classic_has_the_hyperparameters_of_the_model_card() -> None:
    assert (CLASSIC.epochs, CLASSIC.learning_rate, CLASSIC.batch_size, CLASSIC.seed) == (3, 5e-5, 16, 42)


def test_nothing_asked_for_is_the_default_recipe() -> None:
    config = TrainingConfig.of()
    assert (config.recipe, config.promote, config.base) == (DEFAULT_RECIPE, "auto", None)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_gives_its_own_values(name: str) -> None:
    config = asdict(TrainingConfig.of(name))
    assert config["recipe"] == name
    own = {limit: getattr(RECIPES[name], limit) for limit in LIMITS if hasattr(RECIPES[name], limit)}
    assert own and {limit: config[limit] for limit in own} == own
    assert config["patience"] == 0


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_is_within_the_limits_and_described(name: str) -> None:
    assert RECIPES[name].name == name
    assert RECIPES[name].description
    config = TrainingConfig.of(name)
    for limit, (low, high) in LIMITS.items():
        assert low <= getattr(config, limit) <= high


def test_what_is_asked_for_takes_the_place_of_the_recipe() -> None:
    config = TrainingConfig.of("classic", "never", base="v3", epochs=1, learning_rate=None, seed=0)
    assert (config.base, config.epochs, config.seed, config.promote) == ("v3", 1, 0, "never")
    assert (config.learning_rate, config.batch_size) == (CLASSIC.learning_rate, CLASSIC.batch_size)


@pytest.mark.parametrize(("name", "low", "high"), [(name, *limits) for name, limits in LIMITS.items()])
def test_the_limits_themselves_are_allowed(name: str, low: float, high: float) -> None:
    assert getattr(TrainingConfig.of(**{name: low}), name) == low
    assert getattr(TrainingConfig.of(**{name: high}), name) == high


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0), ("epochs", 101), ("epochs", -1), ("learning_rate", 0), ("learning_rate", 0.2),
        ("learning_rate", -5e-5), ("batch_size", 0), ("batch_size", 513), ("seed", -1), ("seed", 2**32),
    ],
)  # fmt: skip
def test_values_outside_the_limits_are_refused_with_the_limits(name: str, value: float) -> None:
    message = refusal(**{name: value})
    assert name.replace("_", " ") in message
    assert "it has to be from" in message
    assert "The epochs is" not in message


@pytest.mark.parametrize("name", ["epochs", "batch_size", "seed"])
def test_half_numbers_are_refused_where_whole_ones_are_meant(name: str) -> None:
    assert "whole number" in refusal(**{name: 2.5})


@pytest.mark.parametrize("name", ["epochs", "batch_size", "seed"])
def test_a_whole_number_stays_whole_for_those_who_count_with_it(name: str) -> None:
    value = getattr(TrainingConfig.of(**{name: 8.0}), name)
    assert (value, type(value)) == (8, int)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", ["3", True, float("nan"), float("inf"), [1], pytest.param(10**400, id="huge")])
def test_what_is_not_a_usable_number_is_refused(name: str, value: Any) -> None:
    assert name.replace("_", " ") in refusal(**{name: value})


def test_an_unknown_recipe_is_refused_with_those_there_are() -> None:
    message = refusal(recipe="magic")
    assert "'magic'" in message
    for name in RECIPES:
        assert name in message


def test_an_unknown_way_to_promote_is_refused() -> None:
    assert "auto, always or never" in refusal(promote="perhaps")


@pytest.mark.parametrize("promote", ["auto", "always", "never"])
def test_each_way_to_promote_is_kept(promote: str) -> None:
    assert TrainingConfig.of(promote=promote).promote == promote


def test_a_run_keeps_what_its_recipe_was(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = asdict(TrainingConfig.of("default", epochs=2))
    before = RECIPES["default"]
    later = replace(before, warmup=0.5, anchor=7, folds=9, choice_above=5, fast=False)
    monkeypatch.setitem(RECIPES, "default", later)
    assert recipe_of(stored) == before
    # A run that is older than this knows no more than the name.
    assert recipe_of({"recipe": "default", "epochs": 2}) == later


def test_a_configuration_survives_being_stored() -> None:
    config = TrainingConfig.of(epochs=2, base="v1")
    assert TrainingConfig(**asdict(config)) == config
