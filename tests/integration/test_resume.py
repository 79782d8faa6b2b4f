"""Runs that are killed with -9: what is said of them, that the model answers all the while, and that they end as if
nothing had happened once they are resumed. Nothing here waits for a fixed time but the kills, which are to be random.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services import Services
from storage.model_store import ModelStore
from storage.records import TrainingRun
from tests.conftest import make_settings
from tests.serving import PATIENCE, app_in_process, assert_error, ended, eventually, label, loaded_version, serving

PASSAGES = ["the bridge is old and long", "music in the city", "rain in winter", "the best garden of the south"]
QUESTION = {"query": "query 1 about a bridge", "documents": PASSAGES}
# Enough steps to be killed in the middle of them, each of which is saved.
RUN = {"epochs": 6, "batch_size": 8, "learning_rate": 1e-3, "promote": "never"}
SAVING = {"CHECKPOINT_SECONDS": "0"}


def label_queries(client: httpx.Client, count: int = 40) -> None:
    for number in range(count):
        query = f"query {number} about a bridge"
        label(client, *((query, f"{passage} {number}", int(place == 0)) for place, passage in enumerate(PASSAGES)))


def start(client: httpx.Client, **body: object) -> str:
    return client.post("/v1/training-runs", json=RUN | body).raise_for_status().json()["id"]


def read(client: httpx.Client, run_id: str) -> dict:
    return client.get(f"/v1/training-runs/{run_id}").raise_for_status().json()


def weights_of(data_dir: Path, version: str) -> str:
    files = sorted((data_dir / "models" / version).glob("*.safetensors"))
    assert files
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def kill(store: ModelStore, run_id: str) -> bool:
    """Kill the process of a run with -9; False where it had ended by itself."""
    pid = store.run(run_id).pid
    with contextlib.suppress(ProcessLookupError):
        if pid:
            os.kill(pid, signal.SIGKILL)
            return True
    return False


@contextlib.contextmanager
def asked_all_the_while(client: httpx.Client) -> Iterator[list[int]]:
    """Somebody ranks, one request after the other; the list has the status of each answer."""
    answers: list[int] = []
    done = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=client.base_url, timeout=PATIENCE) as own:
            while not done.is_set():
                answers.append(own.post("/v1/rerank", json=QUESTION).status_code)
                time.sleep(0.2)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        done.set()
        thread.join()


def undisturbed(client: httpx.Client, data_dir: Path, recipe: str) -> tuple[str, float, str]:
    """The weights of a run that was left alone, how long it took, and the version that it left."""
    began = time.monotonic()
    run = ended(client, start(client, recipe=recipe))
    assert run["status"] == "succeeded", run
    return weights_of(data_dir, run["model_version"]), time.monotonic() - began, run["model_version"]


def kill_and_resume(client: httpx.Client, store: ModelStore, recipe: str, moments: list[float]) -> dict:
    """A run whose child is killed so many seconds after it was started or resumed; returns it as it ended."""
    run_id = start(client, recipe=recipe)
    for seconds in moments:
        time.sleep(seconds)
        if not kill(store, run_id):
            break
        run = ended(client, run_id)
        if run["status"] == "succeeded":  # it had just written its last file
            break
        assert run["status"] == "failed" and run["model_version"] is None
        assert run["resumable"] is True
        assert "was killed" in run["error"] and "can be resumed" in run["error"]
        answer = client.post(f"/v1/training-runs/{run_id}/resume")
        assert answer.status_code == 202 and answer.json() == {"id": run_id, "status": "running"}
        again = read(client, run_id)
        assert again["error"] is None
        assert "Resumed from step" in again["note"] or "from its beginning" in again["note"]
    return ended(client, run_id)


def check_kills(tmp_path: Path, model_dir: Path, recipe: str, kills: int) -> None:
    services = Services.build(make_settings(tmp_path, model_dir, **SAVING))
    with serving(services) as client:
        loaded_version(client)
        label_queries(client)
        expected, seconds, version = undisturbed(client, tmp_path, recipe)
        moments = [random.uniform(0.3, 1) * seconds for _ in range(kills)]
        with asked_all_the_while(client) as answers:
            run = kill_and_resume(client, services.model_store, recipe, moments)
        assert answers and set(answers) == {200}
        assert (run["status"], run["resumable"], run["error"]) == ("succeeded", False, None)
        assert weights_of(tmp_path, run["model_version"]) == expected
        assert run["metrics"] == read(client, services.model_store.version(version).run_id)["metrics"]
        curves = client.get(f"/v1/training-runs/{run['id']}/curves").json()
        assert [seen["step"] for seen in curves["loss"]] == list(range(1, run["total_steps"] + 1))
        # Nothing that only a run under way needs is left.
        def tidied() -> bool:
            left = {path.name for path in services.jobs.files(run["id"]).directory.iterdir()}
            return not left & {"checkpoints", "folds", "model", "stop"} and not any(n.startswith("best") for n in left)

        eventually(tidied, "what is not needed is removed")


@pytest.mark.parametrize("recipe", ["default", pytest.param("classic", marks=pytest.mark.slow)])
def test_a_run_that_was_killed_ends_as_if_nothing_had_happened(tmp_path: Path, model_dir: Path, recipe: str) -> None:
    check_kills(tmp_path, model_dir, recipe, kills=2)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["default", "classic"])
def test_ten_kills(tmp_path: Path, model_dir: Path, recipe: str) -> None:
    check_kills(tmp_path, model_dir, recipe, kills=10)


def kill_everything(app_dir: Path, model_dir: Path, kills: int) -> None:
    """The app is killed together with its run, and started again each time."""
    with contextlib.ExitStack() as apps:
        app = apps.enter_context(app_in_process(app_dir, model_dir, **SAVING))
        label_queries(app.client)
        expected, seconds, _ = undisturbed(app.client, app_dir, "default")
        store = ModelStore(app_dir / "workbench.db")
        run_id = start(app.client)
        for _ in range(kills):
            time.sleep(random.uniform(0.3, 0.9) * seconds)
            app.kill()
            killed = kill(store, run_id)
            app = apps.enter_context(app_in_process(app_dir, model_dir, **SAVING))
            run = ended(app.client, run_id)
            if not killed or run["status"] == "succeeded":
                break
            assert run["resumable"] is True and "The app was stopped while this run was under way" in run["error"]
            app.client.post(f"/v1/training-runs/{run_id}/resume").raise_for_status()
        run = ended(app.client, run_id)
        assert run["status"] == "succeeded", run
        assert weights_of(app_dir, run["model_version"]) == expected
        assert app.client.post("/v1/rerank", json=QUESTION).status_code == 200


@pytest.mark.slow
def test_a_run_outlives_a_power_cut(tmp_path: Path, model_dir: Path) -> None:
    kill_everything(tmp_path / "app", model_dir, kills=1)


@pytest.mark.slow
def test_a_run_outlives_ten_power_cuts(tmp_path: Path, model_dir: Path) -> None:
    kill_everything(tmp_path / "app", model_dir, kills=10)


@pytest.mark.slow
def test_what_answers_now_is_what_a_resumed_run_is_measured_against(
    tmp_path: Path, model_dir: Path, other_model_dir: Path
) -> None:
    services = Services.build(make_settings(tmp_path, model_dir, **SAVING))
    with serving(services) as client:
        base = loaded_version(client)
        label_queries(client)
        run_id = start(client, epochs=100)
        eventually(lambda: read(client, run_id)["step"] > 2, "the training has begun")
        assert kill(services.model_store, run_id)
        assert ended(client, run_id)["resumable"]
        other = ended(client, start(client, epochs=1, promote="always"))["model_version"]
        client.post(f"/v1/training-runs/{run_id}/resume").raise_for_status()
        eventually(lambda: "Resumed from step" in (read(client, run_id)["note"] or ""), "it goes on")
        config = services.jobs.files(run_id).config.read_text()
        assert f'"champion": "{other}"' in config and f'"base": "{base}"' in config
        client.delete(f"/v1/training-runs/{run_id}").raise_for_status()
        assert ended(client, run_id)["status"] == "cancelled"


def test_what_cannot_be_resumed(services: Services, client: httpx.Client) -> None:
    loaded_version(client)
    label_queries(client, 12)
    assert_error(client.post("/v1/training-runs/nothing/resume"), 404, "not_found")
    run = ended(client, start(client, epochs=1))
    assert run["resumable"] is False
    assert "succeeded" in assert_error(client.post(f"/v1/training-runs/{run['id']}/resume"), 409, "conflict")
    # One from before its directory was removed.
    services.model_store.add_run(TrainingRun("gone", "failed", {}, "2026-01-01T00:00:00+00:00"))
    assert read(client, "gone")["resumable"] is False
    assert "no longer there" in assert_error(client.post("/v1/training-runs/gone/resume"), 409, "conflict")


@pytest.mark.slow
def test_a_run_whose_base_was_deleted_is_not_resumed(
    services: Services, client: httpx.Client, other_model_dir: Path
) -> None:
    loaded_version(client)
    label_queries(client, 12)
    first = ended(client, start(client, epochs=1))["model_version"]
    run_id = start(client, base=first, epochs=100, batch_size=1)
    eventually(lambda: read(client, run_id)["step"] > 0, "the training has begun")
    # While another one is under way, it is not resumed either.
    assert_error(client.post(f"/v1/training-runs/{run_id}/resume"), 409, "conflict")
    assert kill(services.model_store, run_id)
    assert ended(client, run_id)["resumable"]
    other = start(client, epochs=100, batch_size=1)
    assert "under way" in assert_error(client.post(f"/v1/training-runs/{run_id}/resume"), 409, "conflict")
    for _ in range(2):
        client.delete(f"/v1/training-runs/{other}")
    ended(client, other)
    client.delete(f"/v1/models/{first}").raise_for_status()
    assert "deleted" in assert_error(client.post(f"/v1/training-runs/{run_id}/resume"), 409, "conflict")


@pytest.mark.slow
def test_only_the_latest_broken_off_runs_keep_what_they_had(services: Services, client: httpx.Client) -> None:
    loaded_version(client)
    label_queries(client, 12)
    services.jobs.checkpoint_seconds = 0
    killed = []
    for _ in range(3):
        killed.append(start(client, epochs=100, batch_size=1))
        eventually(lambda: services.jobs.files(killed[-1]).saved_step() > 0, "a checkpoint is there")
        assert kill(services.model_store, killed[-1])
        ended(client, killed[-1])
    eventually(lambda: services.jobs.files(killed[0]).saved_step() == 0, "the oldest has made room")
    assert all(services.jobs.files(run_id).saved_step() > 0 for run_id in killed[1:])
    # It can go on all the same: from its beginning.
    assert read(client, killed[0])["resumable"]


def test_two_people_who_start_at_once_get_one_run(client: httpx.Client) -> None:
    loaded_version(client)
    label_queries(client, 12)
    together = threading.Barrier(4)
    answers: list[httpx.Response] = []

    def press() -> None:
        with httpx.Client(base_url=client.base_url, timeout=PATIENCE) as own:
            together.wait()
            answers.append(own.post("/v1/training-runs", json={"epochs": 100, "batch_size": 1}))

    people = [threading.Thread(target=press) for _ in range(4)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    started = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    assert len(started) == 1
    for answer in answers:
        if answer.status_code != 202:
            assert "under way" in assert_error(answer, 409, "conflict")
    assert [run["id"] for run in client.get("/v1/training-runs").json()] == started
    for _ in range(2):
        client.delete(f"/v1/training-runs/{started[0]}")
    assert ended(client, started[0])["status"] == "cancelled"


def test_what_was_cancelled_keeps_its_best_as_a_version(services: Services, client: httpx.Client) -> None:
    active = loaded_version(client)
    label_queries(client)
    run_id = start(client, epochs=100, promote="always")
    eventually(lambda: client.get(f"/v1/training-runs/{run_id}/curves").json()["dev"], "it was measured once")
    assert client.delete(f"/v1/training-runs/{run_id}").status_code == 202
    run = ended(client, run_id)
    assert (run["status"], run["promoted"]) == ("cancelled", False)
    assert run["model_version"] == "v1"
    dev = [seen["value"] for seen in client.get(f"/v1/training-runs/{run_id}/curves").json()["dev"]]
    assert run["metrics"]["challenger"]["ndcg@10"] == pytest.approx(max(dev), abs=1e-6)
    assert "kept as v1" in run["outcome"] and "Cancelled at step" in run["outcome"]
    assert loaded_version(client) == active
    assert client.post("/v1/models/v1/promote").json()["active"] is True
    assert client.post("/v1/rerank", json=QUESTION).json()["model"] == "v1"
    # Made again, it stops where this one was stopped.
    again = ended(client, client.post("/v1/models/v1/make-again").raise_for_status().json()["id"])
    assert again["status"] == "succeeded", again
    data_dir = services.settings.data_dir
    assert weights_of(data_dir, again["model_version"]) == weights_of(data_dir, "v1")
    log = client.get(f"/v1/training-runs/{run_id}/log").json()["log"]
    assert log == services.jobs.files(run_id).log_tail()
