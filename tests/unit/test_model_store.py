"""The store of training runs and model versions, on a real file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from errors import Conflict, NotFound
from storage import database
from storage.model_store import ModelStore
from storage.records import ModelEvent, ModelVersion, TrainingRun, now
from tests.at_once import THREADS, in_threads


@pytest.fixture
def models(tmp_path: Path) -> ModelStore:
    database.create(tmp_path / "workbench.db")
    return ModelStore(tmp_path / "workbench.db")


def make_run(name: str, status: str = "queued") -> TrainingRun:
    return TrainingRun(name, status, {"epochs": 3}, now())  # type: ignore[arg-type]


def make_version(name: str) -> ModelVersion:
    return ModelVersion(name, f"model-{name}", "trained", None, "base", None, 12, {"ndcg@10": 0.5}, now())


def test_two_runs_cannot_be_under_way_at_once(models: ModelStore) -> None:
    models.add_run(make_run("one"))
    with pytest.raises(Conflict, match="Another training run is under way"):
        models.add_run(make_run("two"))
    models.update_run("one", status="running")
    with pytest.raises(Conflict):
        models.add_run(make_run("two", "running"))
    models.update_run("one", status="failed")
    models.add_run(make_run("two"))
    assert [run.id for run in models.runs()] == ["two", "one"]


def test_of_runs_started_at_once_one_wins(models: ModelStore) -> None:
    refused: list[int] = []

    def work(number: int) -> None:
        try:
            models.add_run(make_run(f"run {number}"))
        except Conflict:
            refused.append(number)

    in_threads(work)
    assert len(refused) == THREADS - 1
    assert len(models.runs()) == 1


def test_a_run_is_read_back_as_it_was_written(models: ModelStore) -> None:
    run = replace(make_run("one"), metrics={"champion": {"ndcg@10": 0.25}, "challenger": {}}, loss=0.5, pid=7)
    models.add_run(run)
    assert models.run("one") == run
    assert models.update_run("one", promoted=True, metrics={}) == replace(run, promoted=True, metrics={})


def test_events_of_a_run_come_in_order(models: ModelStore) -> None:
    models.add_run(make_run("one"))
    models.add_events("one", [{"event": "progress", "step": 1}, {"event": "progress", "step": 2}])
    models.add_events("one", [{"event": "done"}])
    assert [event.get("step") for event in models.events("one")] == [1, 2, None]


def test_unknown_runs_and_versions_are_not_found(models: ModelStore) -> None:
    with pytest.raises(NotFound, match="'nowhere'"):
        models.run("nowhere")
    with pytest.raises(NotFound, match="'nowhere'"):
        models.version("nowhere")


def test_a_version_is_brought_up_to_date_in_place(models: ModelStore) -> None:
    models.add_version(make_version("v1"))
    changed = replace(make_version("v1"), labels=40)
    models.add_version(changed)
    assert models.versions() == [changed]


def test_versions_come_newest_first_and_their_events_oldest_first(models: ModelStore) -> None:
    events = []
    for place, name in enumerate(("v1", "v2", "v3")):
        models.add_version(replace(make_version(name), created_at=f"2026-01-0{place + 1}"))
        events.append(ModelEvent(name, events[-1].version if events else None, "promote", "better", now()))
        models.add_model_event(events[-1])
    assert [version.version for version in models.versions()] == ["v3", "v2", "v1"]
    assert models.model_events() == events
