"""What was answered stays true when the app is killed, and requests go on being answered while models change."""

from __future__ import annotations

import itertools
import json
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from services import Services
from storage.model_store import ModelStore
from storage.records import TrainingRun
from tests.conftest import make_settings
from tests.serving import App, AppProcess, app_in_process, ended, eventually, label, serving

QUERY, TEXTS = "how long is the old bridge", ["the bridge is long", "music in the city", "rain and sun"]


def stored(client: httpx.Client) -> set[str]:
    """The queries of all labels."""
    return {json.loads(line)["query"] for line in client.get("/v1/labels").raise_for_status().text.splitlines()}


def label_queries(client: httpx.Client, count: int = 12) -> None:
    queries = [f"query {number} bridge" for number in range(count)]
    label(client, *((query, f"{query} answer", 1) for query in queries), *((query, "rain", 0) for query in queries))


def start(client: httpx.Client, **body: Any) -> str:
    return client.post("/v1/training-runs", json={"recipe": "classic"} | body).raise_for_status().json()["id"]


def test_answered_labels_survive_a_kill(tmp_path: Path, model_dir: Path) -> None:
    data_dir = tmp_path / "data"
    answered: set[str] = set()

    with app_in_process(data_dir, model_dir) as app:
        for number in range(20):
            label(app.client, (f"one by one {number}", "passage", number % 2))
            answered.add(f"one by one {number}")
        app.kill()

    with app_in_process(data_dir, model_dir) as app:
        assert stored(app.client) == answered
        # Once more, and it is killed while labels are on their way.
        enough = threading.Event()
        sent = itertools.count()

        def post_until_killed() -> None:
            with httpx.Client(base_url=app.client.base_url, timeout=60) as client:
                while True:
                    query = f"at once {next(sent)}"
                    try:
                        label(client, (query, "passage", 1))
                    except httpx.TransportError:
                        return
                    answered.add(query)
                    if len(answered) > 60:
                        enough.set()

        with ThreadPoolExecutor(4) as threads:
            posting = [threads.submit(post_until_killed) for _ in range(4)]
            assert enough.wait(120)
            app.kill()
            for poster in posting:
                poster.result()

    with app_in_process(data_dir, model_dir) as app:
        found = stored(app.client)
        assert found >= answered
        # Each thread may have had one label stored whose answer never came.
        assert len(found - answered) <= 4


def training_child(app: AppProcess) -> psutil.Process:
    (child,) = [
        process
        for process in psutil.Process(app.process.pid).children()
        if "reranker.train" in " ".join(process.cmdline())
    ]
    return child


def test_a_training_run_outlives_a_kill_of_the_app(tmp_path: Path, model_dir: Path) -> None:
    data_dir = tmp_path / "data"
    with app_in_process(data_dir, model_dir) as app:
        label_queries(app.client)
        # Of classic, since the default would train models beside its own, each as long.
        run_id = start(app.client, recipe="classic", epochs=15, batch_size=1, learning_rate=1e-3, promote="always")
        eventually(lambda: app.client.get(f"/v1/training-runs/{run_id}").json()["step"] > 0, "the training has begun")
        # It goes on when the next app is there, however long that takes to start.
        child = training_child(app)
        child.suspend()
        app.kill()

    with app_in_process(data_dir, model_dir) as app:
        child.resume()
        run = ended(app.client, run_id)
        assert (run["status"], run["error"], run["promoted"]) == ("succeeded", None, True)
        assert run["step"] == run["total_steps"] == 24 * 15
        assert "started anew meanwhile" in (ModelStore(data_dir / "workbench.db").run(run_id).note or "")
        assert app.client.get("/health").json()["model"]["version"] == run["model_version"]

        # A run whose process dies with the app is found again too, and is said to have failed.
        run_id = start(app.client, epochs=100, batch_size=1)
        eventually(lambda: app.client.get(f"/v1/training-runs/{run_id}").json()["step"] > 0, "the training has begun")
        child = training_child(app)
        app.kill()
        child.kill()

    with app_in_process(data_dir, model_dir) as app:
        failed = ended(app.client, run_id)
        assert (failed["status"], failed["model_version"], failed["promoted"]) == ("failed", None, False)
        assert "The app was stopped while this run was under way" in failed["error"]
        assert app.client.get("/health").json()["model"]["version"] == run["model_version"]
        # It does not stand in the way of the next one.
        next_id = start(app.client, recipe="classic", epochs=1, promote="never")
        assert ended(app.client, next_id)["status"] == "succeeded"


@pytest.mark.parametrize(
    "moved",
    [
        pytest.param(False, id="before its model was moved"),
        pytest.param(True, id="after its model was moved", marks=pytest.mark.slow),
    ],
)
def test_a_finished_run_is_kept_after_a_kill(tmp_path: Path, model_dir: Path, moved: bool) -> None:
    settings = make_settings(tmp_path / "data", model_dir)
    services = Services.build(settings)
    texts = {"query": QUERY, "documents": TEXTS}
    with serving(services) as client:
        label_queries(client)
        run = ended(client, start(client, epochs=5, learning_rate=1e-3, promote="never"))
        expected = client.post("/v1/rerank", json=texts | {"model": run["model_version"]}).json()["results"]

    # As it is when the app is killed after the training has ended, before the new version is noted down.
    with sqlite3.connect(settings.database_path) as db:
        db.execute("UPDATE training_runs SET status = 'running'")
        db.execute("DELETE FROM model_versions WHERE version = ?", [run["model_version"]])
    db.close()
    if not moved:
        shutil.move(settings.models_dir / run["model_version"], settings.runs_dir / run["id"] / "model")

    with serving(Services.build(settings)) as client:
        again = ended(client, run["id"])
        assert (again["status"], again["error"]) == ("succeeded", None)
        assert again["model_version"] == run["model_version"]
        answer = client.post("/v1/rerank", json=texts | {"model": run["model_version"]}).json()
        assert answer["results"] == expected


def test_what_a_killed_app_left_behind_is_not_taken_for_the_next_version(
    tmp_path: Path, model_dir: Path, other_model_dir: Path
) -> None:
    settings = make_settings(tmp_path / "data", model_dir)
    shutil.copytree(other_model_dir, settings.models_dir / "v1")
    with serving(Services.build(settings)) as client:
        label_queries(client)
        run = ended(client, start(client, epochs=1, learning_rate=1e-8, promote="never"))
        assert run["status"] == "succeeded"
        texts = {"query": QUERY, "documents": TEXTS}
        base = client.post("/v1/rerank", json=texts).json()["results"]
        new = client.post("/v1/rerank", json=texts | {"model": run["model_version"]}).json()["results"]
        # A learning rate of next to nothing leaves the scores as they were; the other model has others.
        assert {result["index"]: result["relevance_score"] for result in new} == pytest.approx(
            {result["index"]: result["relevance_score"] for result in base}, abs=1e-4
        )


@pytest.mark.parametrize("name", ["events.jsonl", "manifest.json"])
def test_damaged_files_of_a_run_do_not_keep_the_app_from_starting(services: Services, name: str) -> None:
    services.model_store.add_run(TrainingRun("damaged", "running", {}, "2026-01-01T00:00:00+00:00"))
    (services.settings.runs_dir / "damaged").mkdir(parents=True)
    (services.settings.runs_dir / "damaged" / name).write_bytes(b"\xff\x00 not JSON\n")
    with serving(services) as client:
        run = ended(client, "damaged")
        assert run["status"] == "failed"
        assert run["error"].strip()
        assert eventually(lambda: client.get("/health").json()["status"] == "ok", "the model is loaded")


def test_no_request_fails_while_models_change(app: App) -> None:
    client = app.client
    label_queries(client)
    base = client.get("/health").json()["model"]["version"]
    run = ended(client, start(client, epochs=5, learning_rate=1e-2, promote="never"))
    assert run["status"] == "succeeded"
    new = run["model_version"]

    def ask(model: str | None = None) -> tuple[int, str, dict[int, float]]:
        body = {"query": QUERY, "documents": TEXTS, "model": model}
        response = client.post("/v1/rerank", json=body)
        answer = response.json()
        results = answer.get("results", [])
        return response.status_code, answer.get("model", ""), {r["index"]: r["relevance_score"] for r in results}

    expected = {version: ask(version)[2] for version in (base, new)}
    assert expected[base] != pytest.approx(expected[new], abs=1e-3)
    done = threading.Event()

    def ask_until_done() -> list[tuple[int, str, dict[int, float]]]:
        answers = []
        while not done.is_set():
            answers.append(ask())
        return answers

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask_until_done) for _ in range(4)]
        try:
            for _ in range(5):
                assert client.post(f"/v1/models/{new}/promote").json()["version"] == new
                assert client.post("/v1/models/rollback").json()["version"] == base
        finally:
            done.set()
        answers = [answer for thread in asking for answer in thread.result()]

    assert {status for status, _, _ in answers} == {200}
    assert {version for _, version, _ in answers} == {base, new}
    for _, version, scores in answers:
        assert scores == pytest.approx(expected[version], abs=1e-5)
