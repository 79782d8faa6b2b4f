"""What rolling back returns to, after promotions, rollbacks and deletions."""

from __future__ import annotations

import pytest

from reranker.history import stack_of
from storage.records import ModelEvent


def promoted(version: str, previous: str | None) -> ModelEvent:
    return ModelEvent(version, previous, "promote", "", "")


def rolled_back(version: str, previous: str) -> ModelEvent:
    return ModelEvent(version, previous, "rollback", "", "")


THREE = [promoted("v1", "hub"), promoted("v2", "v1"), promoted("v3", "v2")]


@pytest.mark.parametrize(
    ("events", "stack"),
    [
        ([], []),
        ([promoted("v1", "hub")], ["hub", "v1"]),
        ([promoted("v1", None)], ["v1"]),
        (THREE, ["hub", "v1", "v2", "v3"]),
        ([*THREE, rolled_back("v2", "v3")], ["hub", "v1", "v2"]),
        ([*THREE, rolled_back("v2", "v3"), rolled_back("v1", "v2")], ["hub", "v1"]),
        ([*THREE, rolled_back("v2", "v3"), promoted("v4", "v2")], ["hub", "v1", "v2", "v4"]),
        ([*THREE, promoted("v1", "v3")], ["hub", "v1", "v2", "v3", "v1"]),
        # The files of v2 and v3, and of v1 as well, were lost by then: another one had to answer.
        ([*THREE, promoted("v4", "v1")], ["hub", "v1", "v4"]),
        ([*THREE, promoted("v4", "hub"), promoted("v5", "v4")], ["hub", "v4", "v5"]),
        ([*THREE, promoted("v4", "starter")], ["hub", "v1", "v2", "v3", "starter", "v4"]),
        # The version between was deleted by then.
        ([*THREE, rolled_back("v1", "v3")], ["hub", "v1"]),
    ],
)
def test_each_promotion_goes_on_top_and_a_rollback_takes_away(events: list[ModelEvent], stack: list[str]) -> None:
    assert stack_of(events, (), None) == stack


def test_a_deleted_version_is_not_returned_to() -> None:
    assert stack_of(THREE, {"v2"}, None) == ["hub", "v1", "v3"]
    # One that stands on both sides of it is not returned to from itself.
    assert stack_of([*THREE[:2], promoted("v1", "v2")], {"v2"}, None) == ["hub", "v1"]


def test_what_could_not_be_loaded_any_more_is_above_the_version_that_answers() -> None:
    assert stack_of(THREE, (), "v2") == ["hub", "v1", "v2"]
    assert stack_of(THREE, (), "v3") == ["hub", "v1", "v2", "v3"]
    assert stack_of([*THREE, promoted("v2", "v3")], (), "v2") == ["hub", "v1", "v2", "v3", "v2"]


def test_a_version_that_was_never_promoted_changes_nothing() -> None:
    assert stack_of(THREE, (), "starter") == ["hub", "v1", "v2", "v3"]
