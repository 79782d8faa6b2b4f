"""What goes wrong at the end of a run or around it: nothing is lost, nothing blocks, and nothing is promoted that was
not measured against what it would replace."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from errors import ModelNotReady
from reranker import finish, jobs
from reranker.comparison import queries_to_compare
from reranker.history import stack_of
from reranker.launch import Launch
from reranker.run_files import RunFiles, read_json, write_json
from services import Services
from storage.browse_store import Search
from storage.records import TrainingRun, now
from tests.at_once import in_threads
from tests.integration.test_resume import kill, label_queries, read, start, weights_of
from tests.serving import assert_error, ended, eventually, label, loaded_version


def begun(client: httpx.Client, **body: Any) -> str:
    """A run that is in the middle of its training."""
    run_id = start(client, **({"epochs": 100, "batch_size": 1, "recipe": "classic"} | body))
    eventually(lambda: read(client, run_id)["step"] > 0, "the training has begun")
    return run_id


def broken_off(services: Services, client: httpx.Client, **body: Any) -> str:
    """A run whose child was killed in the middle of its training."""
    run_id = begun(client, **body)
    assert kill(services.model_store, run_id)
    assert ended(client, run_id)["resumable"]
    return run_id


def cancelled_and_killed(services: Services, client: httpx.Client, **body: Any) -> str | None:
    """A run that was cancelled, and then killed before it could keep what it had; None where it was too quick."""
    run_id = begun(client, **body)
    client.delete(f"/v1/training-runs/{run_id}").raise_for_status()
    files = services.jobs.files(run_id)
    eventually(lambda: files.trained.is_file() or read(client, run_id)["model_version"], "the training has stopped")
    kill(services.model_store, run_id)
    return None if ended(client, run_id)["model_version"] else run_id


# Promotion


def test_a_model_is_not_promoted_over_one_that_it_was_not_measured_against(
    services: Services, client: httpx.Client, add_version: Callable[[], str]
) -> None:
    champion = loaded_version(client)
    label_queries(client)
    # Trained so little that it is as good as what it is measured against.
    run_id = begun(client, epochs=3, learning_rate=1e-8, promote="auto")
    other = add_version()
    client.post(f"/v1/models/{other}/promote").raise_for_status()
    run = ended(client, run_id)
    assert (run["status"], run["promoted"]) == ("succeeded", False)
    assert f"{champion} was active when this run began" in run["outcome"]
    assert f"{other} is active now" in run["outcome"]
    assert loaded_version(client) == other
    client.post("/v1/models/rollback").raise_for_status()
    assert ended(client, start(client, recipe="classic", epochs=1, learning_rate=1e-8, promote="auto"))["promoted"]


def test_rolling_back_is_remembered_over_deleted_versions(
    services: Services, client: httpx.Client, add_version: Callable[[], str]
) -> None:
    base = loaded_version(client)
    first, second, third = (add_version() for _ in range(3))
    for version in (first, second, first, third):
        client.post(f"/v1/models/{version}/promote").raise_for_status()
    client.delete(f"/v1/models/{second}").raise_for_status()
    for expected in (first, base):
        assert client.post("/v1/models/rollback").json()["version"] == expected
    # What an app that is started anew goes by.
    assert stack_of(services.model_store.model_events(), {second}, None) == [base]


# Cancelling


def test_a_run_that_is_cancelled_when_it_is_trained_is_cancelled_all_the_same(
    services: Services, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded_version(client)
    label_queries(client, 12)

    def cancel_and_keep(run: TrainingRun, *given: Any) -> finish.Kept:
        services.jobs.cancel(run.id)
        return finish.keep(run, *given)

    monkeypatch.setattr(jobs, "keep", cancel_and_keep)
    run = ended(client, start(client, recipe="classic", epochs=1, promote="always"))
    assert (run["status"], run["model_version"], run["promoted"]) == ("cancelled", "v1", False)
    assert run["outcome"] == "Cancelled when it was done already: v1 is kept, not promoted."


# Starting


@pytest.mark.usefixtures("own_processes")
@pytest.mark.parametrize("refusals", [1, 2])
def test_a_run_that_cannot_be_noted_down_is_ended_and_stands_in_nobodys_way(
    services: Services, client: httpx.Client, monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    """Its process was started, but the store had no room left to say so, or for a while for anything."""
    loaded_version(client)
    label_queries(client)
    update, refused = services.model_store.update_run, []

    def refuse(run_id: str, **columns: Any) -> TrainingRun:
        if "status" in columns and len(refused) < refusals:
            refused.append(columns["status"])
            raise sqlite3.OperationalError("database or disk is full")
        return update(run_id, **columns)

    monkeypatch.setattr(services.model_store, "update_run", refuse)
    response = client.post("/v1/training-runs", json={"recipe": "classic"})
    assert response.status_code == 500, response.text
    assert refused == ["running", "failed"][:refusals]
    [run_id] = [run.id for run in services.model_store.runs()]
    ended(client, run_id)
    run = services.model_store.run(run_id)
    assert (run.status, run.phase) == ("failed", "Failed")
    assert run.finished_at and run.error
    assert run.error.startswith("The run could not be started: database or disk is full.")
    children = psutil.Process().children(recursive=True)
    assert not [process for process in children if run_id in " ".join(process.cmdline())]
    # Which answers only where none is under way.
    start(client, recipe="classic", epochs=1)


def test_a_run_that_is_being_started_is_not_said_to_have_ended(services: Services, client: httpx.Client) -> None:
    loaded_version(client)
    services.model_store.add_run(TrainingRun("just asked for", "queued", {}, now()))
    message = assert_error(client.delete("/v1/training-runs/just asked for"), 409, "conflict")
    assert "just being started" in message and "ended" not in message


# Resuming


@pytest.mark.usefixtures("own_processes")
def test_of_those_who_resume_a_run_at_once_one_does(services: Services, client: httpx.Client) -> None:
    loaded_version(client)
    label_queries(client, 12)
    run_id = broken_off(services, client)
    answers: list[httpx.Response] = []

    def press(_: int) -> None:
        with httpx.Client(base_url=client.base_url, timeout=60) as own:
            answers.append(own.post(f"/v1/training-runs/{run_id}/resume"))

    in_threads(press)
    assert sorted({answer.status_code for answer in answers}) == [202, 409], [answer.text for answer in answers]
    assert sum(answer.status_code == 202 for answer in answers) == 1
    children = psutil.Process().children(recursive=True)
    assert sum(run_id in " ".join(process.cmdline()) for process in children) == 1
    for _ in range(2):
        client.delete(f"/v1/training-runs/{run_id}")
    ended(client, run_id)


def test_what_was_cancelled_and_then_stopped_goes_on_to_its_end(services: Services, client: httpx.Client) -> None:
    loaded_version(client)
    label_queries(client, 12)
    wanted = {"recipe": "classic", "epochs": 4, "batch_size": 4}
    whole = ended(client, start(client, **wanted))
    run_id = next(filter(None, (cancelled_and_killed(services, client, **wanted) for _ in range(5))))
    assert client.post(f"/v1/training-runs/{run_id}/resume").status_code == 202
    run = ended(client, run_id)
    assert (run["status"], run["step"]) == ("succeeded", run["total_steps"]), run
    data_dir = services.settings.data_dir
    assert weights_of(data_dir, run["model_version"]) == weights_of(data_dir, whole["model_version"])


def test_a_wish_to_stop_is_forgotten_but_what_was_trained_is_not(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    trained = {"stopped": "cancelled", "step": 9, "last_step": 9, "total_steps": 9, "scores": None, "folds": 3}
    write_json(files.trained, trained)
    files.model.mkdir()
    files.stop.touch()
    assert files.saved_step() == 9
    files.forget_wish_to_stop()
    assert read_json(files.trained) == {**trained, "stopped": None} and files.model.is_dir()
    assert not files.stop.exists()
    # It had stopped early, and then had its folds: that is its end, too.
    early = {**trained, "total_steps": 12}
    write_json(files.trained, early)
    assert files.saved_step() == 9
    files.forget_wish_to_stop()
    assert read_json(files.trained) == {**early, "stopped": "early"} and files.model.is_dir()
    write_json(files.trained, {**early, "folds": None})
    assert files.saved_step() == 0
    files.forget_wish_to_stop()
    assert not files.trained.exists() and not files.model.exists()


def test_of_a_progress_bar_the_log_shows_the_last_state(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    files.log.write_bytes(b"begun\n  0%|  | 0/2\r 50%|# | 1/2\r100%|##| 2/2\r\nended \xff\n")
    assert files.log_tail(10).splitlines() == ["begun", "100%|##| 2/2", "ended \N{REPLACEMENT CHARACTER}"]


def test_a_run_that_cannot_be_resumed_now_can_be_later(
    services: Services, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded_version(client)
    label_queries(client, 12)
    run_id = broken_off(services, client, batch_size=4, epochs=30)
    with monkeypatch.context() as patch:

        def not_ready(*_: object) -> None:
            raise ModelNotReady("The model is being loaded.")

        patch.setattr(services.registry, "active", not_ready)
        assert_error(client.post(f"/v1/training-runs/{run_id}/resume"), 503, "model_not_ready")
    with monkeypatch.context() as patch:
        patch.setattr(services.jobs, "launch", Launch("accelerate", 3))
        message = assert_error(client.post(f"/v1/training-runs/{run_id}/resume"), 409, "conflict")
        assert "3 processes share each batch" in message
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise OSError("No space left on device")

        patch.setattr(jobs, "write_json", full)
        assert client.post(f"/v1/training-runs/{run_id}/resume").status_code == 500
    run = read(client, run_id)
    assert (run["status"], run["resumable"]) == ("failed", True) and "No space left" in run["error"]
    assert client.post(f"/v1/training-runs/{run_id}/resume").status_code == 202
    for _ in range(2):
        client.delete(f"/v1/training-runs/{run_id}")
    ended(client, run_id)


# What cannot be stored


def test_a_run_that_the_app_loses_is_ended_and_can_go_on(
    services: Services, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded_version(client)
    label_queries(client, 12)
    run_id = begun(client)
    child = psutil.Process(services.model_store.run(run_id).pid)
    store, update = services.model_store, services.model_store.update_run
    monkeypatch.setattr(jobs, "SECONDS_BETWEEN_TRIES", 0.05)
    refused = threading.Event()

    def locked(*_: object, **columns: object) -> Any:
        # Also the news that it has failed cannot be stored at first.
        if not refused.is_set() or columns.get("status") != "failed":
            if columns.get("status") == "failed":
                refused.set()
            raise sqlite3.OperationalError("database is locked")
        return update(run_id, **columns)

    monkeypatch.setattr(store, "update_run", locked)
    run = ended(client, run_id)
    monkeypatch.setattr(store, "update_run", update)
    assert run["status"] == "failed" and "database is locked. Resume it." in run["error"]
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert run["resumable"]
    # And nothing stands in the way of another one.
    assert ended(client, start(client, recipe="classic", epochs=1))["status"] == "succeeded"


@pytest.mark.parametrize("moment", ["before its model is moved", "after"])
def test_a_model_that_cannot_be_put_in_place_is_not_lost(
    services: Services, client: httpx.Client, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    loaded_version(client)
    label_queries(client, 12)
    function = (finish, "add_results") if moment == "after" else (jobs, "keep")
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise OSError("No space left on device")

        patch.setattr(*function, full)
        run_id = start(client, recipe="classic", epochs=1)
        run = ended(client, run_id)
    assert run["status"] == "failed" and "No space left on device. Resume it." in run["error"]
    assert run["resumable"]
    client.post(f"/v1/training-runs/{run_id}/resume").raise_for_status()
    run = ended(client, run_id)
    assert (run["status"], run["model_version"], run["error"], run["resumable"]) == ("succeeded", "v1", None, False)
    assert [version["version"] for version in client.get("/v1/models").json()][0] == "v1"
    assert weights_of(services.settings.data_dir, "v1")
    client.delete("/v1/models/v1").raise_for_status()
    assert not read(client, run_id)["resumable"]


# What is made again, and what has been learned before


def test_what_was_cancelled_after_its_folds_is_made_again_in_full(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    for training, step in (
        ({"stopped": "cancelled", "step": 4}, 4),
        ({"stopped": "cancelled", "step": 9, "folds": 3}, None),
        ({"stopped": None, "step": 9}, None),
    ):
        write_json(files.manifest, {"training": training})
        assert files.stop_after() == step


def test_later_runs_look_at_the_labels_with_a_model_that_has_not_learned_them(
    services: Services, client: httpx.Client
) -> None:
    loaded_version(client)
    label_queries(client)
    wanted = {"recipe": "classic", "learning_curve": True, "learning_rate": 3e-4}
    first = ended(client, start(client, **wanted, promote="always"))
    second = ended(client, start(client, **wanted))
    assert first["promoted"] and second["status"] == "succeeded"
    found = [json.loads(services.jobs.files(run["id"]).manifest.read_text()) for run in (first, second)]
    assert found[0]["suspects"] == found[1]["suspects"]
    # The same parts of the same labels, learned from the same beginning; only that beginning was not measured again.
    points = [manifest["learning_curve"]["points"] for manifest in found]
    assert points[0][0]["labels"] == 0
    assert points[0][1:] == points[1]
    base = second["model_version"]
    assert services.model_store.version(base).base == first["model_version"]


def test_what_was_learned_is_not_held_out_when_its_labels_come_back_in_other_words(
    services: Services, client: httpx.Client
) -> None:
    loaded_version(client)

    def import_queries(words: str) -> None:
        answers = ((f"bridge number {number} of the old town leads to gate {number}", number) for number in range(40))
        for answer, number in answers:
            query = words.format(number)
            label(client, (query, answer, 1), (query, f"nothing of the kind {number}", 0))

    import_queries("teh way over bridge {}")
    run = ended(client, start(client, recipe="classic", epochs=1, promote="always"))
    learned = {pair.query.split()[-1] for pair in services.jobs.files(run["id"]).read_sets()["train"]}
    deletions = services.browse_store.delete_found(Search(), 10**9, "ada")
    assert [count for _, count in deletions][-1] == 80
    import_queries("the way over bridge {}")
    # By their words they are new queries, and some are held out that were trained on.
    as_new = services.label_sets.sets()
    assert learned & {pair.query.split()[-1] for pair in as_new.dev}
    compared = queries_to_compare(services.jobs, run["model_version"])
    assert compared and not learned & {judged.query.split()[-1] for judged in compared}
    second = ended(client, start(client, recipe="classic", epochs=1, promote="never"))
    sets = services.jobs.files(second["id"]).read_sets()
    assert not learned & {pair.query.split()[-1] for split in ("dev", "test") for pair in sets[split]}
    assert "held-out queries were not measured" in second["note"]
    # What is made again is given what it was made from.
    again = services.jobs.make_again(second["model_version"])
    assert services.jobs.files(again.id).read_sets() == sets
    ended(client, again.id)


def test_what_a_base_was_made_from_may_be_gone(services: Services, client: httpx.Client, model_dir: Path) -> None:
    root = loaded_version(client)
    label_queries(client, 6)
    version = ended(client, start(client, recipe="classic", epochs=1, promote="always"))["model_version"]
    moved = model_dir.with_name("moved away")
    shutil.move(model_dir, moved)
    try:
        run = ended(client, start(client, recipe="classic", epochs=1))
    finally:
        shutil.move(moved, model_dir)
    assert run["status"] == "succeeded", run
    assert services.model_store.version(run["model_version"]).base == version != root
