"""A training run as a Hugging Face Job: what is sent, trained there and brought back, and all that may go wrong.

The Hub is the stand-in, which really runs the job's command on this machine.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from reranker import process as child
from reranker.hub_job import _may_pass, explain
from reranker.jobs import CANCELLED
from reranker.launch import Launch
from services import Services
from tests.conftest import make_settings
from tests.integration.hub_jobs import HubJobs, Job
from tests.integration.hub_server import HubServer, serve, unused_endpoint
from tests.serving import assert_error, ended, eventually, label, loaded_version, serving

BUCKET = "acme/rerank-workbench-runs"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with serve({}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("HF_TOKEN", "hf_of_acme")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.delenv("HF_HUB_DISABLE_XET", raising=False)
        yield server


@pytest.fixture
def jobs(hub: HubServer) -> HubJobs:
    return hub.jobs


@pytest.fixture
def build(tmp_path: Path, model_dir: Path, hub: HubServer) -> Callable[..., Services]:
    """What builds an app, again and again on the same data, whose runs are jobs that are looked after often."""

    def build(seconds_to_stop: float = 300, **environment: str) -> Services:
        known = {"TRAIN_LAUNCHER": "hf_job", "TRAIN_FLAVOR": "cpu-basic", "CHECKPOINT_SECONDS": "0"}
        services = Services.build(make_settings(tmp_path / "data", model_dir, **known | environment))
        job = services.jobs.launch.job
        assert job is not None
        quick = replace(
            job,
            seconds_between_looks=0.2,
            seconds_to_stop=seconds_to_stop,
            seconds_to_settle=2,
            seconds_between_checkpoints=0,
        )
        services.jobs.launch = replace(services.jobs.launch, job=quick)
        return services

    return build


def label_queries(client: httpx.Client) -> None:
    loaded_version(client)
    for number in range(30):
        query = f"query {number} bridge"
        label(client, (query, "an answer " * (1 + number % 7) + str(number), 1), (query, f"rain {number}", 0))


def start(client: httpx.Client, **body: Any) -> str:
    return (
        client.post("/v1/training-runs", json={"recipe": "classic", "epochs": 1} | body).raise_for_status().json()["id"]
    )


def read(client: httpx.Client, run_id: str) -> dict[str, Any]:
    return client.get(f"/v1/training-runs/{run_id}").raise_for_status().json()


def log_of(client: httpx.Client, run_id: str) -> str:
    return client.get(f"/v1/training-runs/{run_id}/log").json()["log"]


def only(jobs: HubJobs) -> Job:
    assert len(jobs.jobs) == 1
    return next(iter(jobs.jobs.values()))


def test_a_run_is_trained_by_a_job_and_promoted(build: Callable[..., Services], jobs: HubJobs) -> None:
    services = build()
    with serving(services) as client:
        label_queries(client)
        run_id = start(client, epochs=2, promote="always")
        run = ended(client, run_id)
        assert (run["status"], run["promoted"], run["model_version"]) == ("succeeded", True, "v1"), (
            run, log_of(client, run_id)[-3000:],
        )  # fmt: skip
        assert run["progress"] == 1 and run["memory"] is None
        job = only(jobs)
        assert "cpu-basic" in run["note"] and job.id in run["note"]
        assert len(client.get(f"/v1/training-runs/{run_id}/curves").json()["loss"]) == run["total_steps"] > 0
        assert loaded_version(client) == "v1"
    # Asked for as the settings say, and told no secret.
    assert (job.spec["flavor"], job.spec["timeoutSeconds"]) == ("cpu-basic", 6 * 3600)
    assert job.spec["dockerImage"].startswith("python:3.") and "hf_of_acme" not in json.dumps(job.spec)
    assert jobs.private == {BUCKET: True} and jobs.files(BUCKET) == []
    files = services.jobs.files(run_id)
    assert not files.job.exists() and not files.checkpoints.exists()
    manifest = json.loads(files.manifest.read_text())
    assert manifest["environment"]["cores"] and str(jobs.root) not in json.dumps(manifest)


@pytest.mark.slow
def test_several_processes_train_in_a_job(build: Callable[..., Services], jobs: HubJobs) -> None:
    with serving(build(TRAIN_PROCESSES="2")) as client:
        label_queries(client)
        run_id = start(client)
        run = ended(client, run_id)
        assert (run["status"], run["model_version"]) == ("succeeded", "v1"), (run, log_of(client, run_id)[-3000:])
    assert only(jobs).spec["command"][-1].endswith(" 2")


def test_what_is_sent_is_what_the_job_needs(build: Callable[..., Services], jobs: HubJobs, model_dir: Path) -> None:
    jobs.is_full = True
    services = build(TRAIN_BUCKET="acme-team/shared-runs")
    with serving(services) as client:
        label_queries(client)
        run_id = start(client)
        eventually(lambda: jobs.jobs, "the job was asked for")
        files = jobs.files("acme-team/shared-runs")
        folders = {name.partition("/")[0] for name in files}
        assert len(folders) == 1 and folders.pop().startswith(f"{run_id}-")
        names = {name.partition("/")[2] for name in files}
        # The base is the champion, and is sent once; of the run, what a child needs.
        assert {name for name in names if name.startswith("models/")} == {
            f"models/base/{path.relative_to(model_dir).as_posix()}" for path in model_dir.rglob("*") if path.is_file()
        }
        assert {name for name in names if name.startswith("run/")} == {
            "run/config.json", "run/train.jsonl", "run/dev.jsonl", "run/test.jsonl",
        }  # fmt: skip
        assert {"code/errors.py", "code/requirements.txt", "code/reranker/train.py"} <= names
        assert not [name for name in names if name.endswith(".db") or "starter" in name or "storage" in name]
        eventually(lambda: "Waiting for a machine" in read(client, run_id)["phase"], "it says what it waits for")
        # Nothing has begun, so there is nothing to keep: the first request to stop ends it.
        client.delete(f"/v1/training-runs/{run_id}").raise_for_status()
        run = ended(client, run_id)
        assert (run["status"], run["model_version"], run["error"]) == ("cancelled", None, None)
        assert only(jobs).status["stage"] == "CANCELED" and jobs.files("acme-team/shared-runs") == []


def test_a_cancelled_run_keeps_the_best_so_far(build: Callable[..., Services], jobs: HubJobs) -> None:
    with serving(build()) as client:
        label_queries(client)
        run_id = start(client, epochs=100)
        eventually(lambda: read(client, run_id)["step"] > 3, "the training has begun")
        client.delete(f"/v1/training-runs/{run_id}").raise_for_status()
        run = ended(client, run_id)
        assert (run["status"], run["model_version"], run["promoted"]) == ("cancelled", "v1", False), run
        assert only(jobs).status["stage"] == "COMPLETED"


@pytest.mark.slow
def test_cancelled_twice_the_job_ends_at_once(build: Callable[..., Services], jobs: HubJobs) -> None:
    jobs.deaf = True
    with serving(build()) as client:
        label_queries(client)
        run_id = start(client, epochs=100)
        eventually(lambda: read(client, run_id)["step"] > 0, "the training has begun")
        for _ in range(2):
            client.delete(f"/v1/training-runs/{run_id}").raise_for_status()
        run = ended(client, run_id)
        assert (run["status"], run["model_version"]) == ("cancelled", None), run
        assert only(jobs).status["stage"] == "CANCELED" and jobs.files(BUCKET) == []


@pytest.mark.slow
def test_a_job_that_does_not_heed_is_cancelled(build: Callable[..., Services], jobs: HubJobs) -> None:
    jobs.deaf = True
    with serving(build(seconds_to_stop=1)) as client:
        label_queries(client)
        run_id = start(client, epochs=100)
        eventually(lambda: read(client, run_id)["step"] > 0, "the training has begun")
        client.delete(f"/v1/training-runs/{run_id}").raise_for_status()
        run = ended(client, run_id)
        assert (run["status"], run["error"], only(jobs).status["stage"]) == ("cancelled", None, "CANCELED"), run


@pytest.mark.parametrize("how", ["stopped", pytest.param("killed", marks=pytest.mark.slow)])
def test_an_app_that_is_started_anew_follows_the_job(build: Callable[..., Services], jobs: HubJobs, how: str) -> None:
    services = build()
    with serving(services) as client:
        label_queries(client)
        run_id = start(client, epochs=4)
        eventually(lambda: read(client, run_id)["step"] > 0, "the training has begun")
        follower = services.jobs._processes[run_id]
        if how == "killed":
            # As when the machine goes down: nobody could say how it ended.
            services.jobs._shutting_down = True
            child.kill(follower)
    assert services.model_store.run(run_id).status == "running"
    services = build()
    with serving(services) as client:
        run = ended(client, run_id)
        assert (run["status"], run["model_version"]) == ("succeeded", "v1"), (run, log_of(client, run_id)[-3000:])
        # All that the job has said, once.
        steps = [event["step"] for event in services.model_store.events(run_id) if event.get("loss") is not None]
        assert steps == list(range(1, run["total_steps"] + 1))
    assert only(jobs).status["stage"] == "COMPLETED" and jobs.files(BUCKET) == []


@pytest.mark.slow
def test_who_only_lost_the_follower_finds_the_job_again(build: Callable[..., Services], jobs: HubJobs) -> None:
    services = build()
    with serving(services) as client:
        label_queries(client)
        run_id = start(client, epochs=4)
        eventually(lambda: read(client, run_id)["step"] > 0, "the training has begun")
        child.kill(services.jobs._processes[run_id])
        run = ended(client, run_id)
        assert (run["status"], run["resumable"]) == ("failed", True) and "the job may go on" in run["error"]
        client.post(f"/v1/training-runs/{run_id}/resume").raise_for_status()
        run = ended(client, run_id)
        assert (run["status"], run["model_version"]) == ("succeeded", "v1"), run
    assert only(jobs).status["stage"] == "COMPLETED"


@pytest.mark.slow
def test_a_job_whose_start_was_not_heard_of_is_found(build: Callable[..., Services], jobs: HubJobs) -> None:
    jobs.loses_answers = True
    with serving(build()) as client:
        label_queries(client)
        run_id = start(client)
        run = ended(client, run_id)
        assert (run["status"], run["resumable"]) == ("failed", True) and "cannot be reached" in run["error"]
        client.post(f"/v1/training-runs/{run_id}/resume").raise_for_status()
        assert ended(client, run_id)["status"] == "succeeded"
    only(jobs)


@pytest.mark.slow
def test_a_hub_that_is_away_for_a_while_does_not_end_a_run(build: Callable[..., Services], jobs: HubJobs) -> None:
    with serving(build()) as client:
        label_queries(client)
        run_id = start(client, epochs=3)
        eventually(lambda: read(client, run_id)["step"] > 0, "the training has begun")
        jobs.is_down = True
        eventually(lambda: "does not answer" in read(client, run_id)["phase"], "the page says so")
        jobs.is_down = False
        run = ended(client, run_id)
        assert (run["status"], run["error"]) == ("succeeded", None), run


@pytest.mark.slow
def test_a_job_that_was_ended_from_outside_goes_on_in_another(build: Callable[..., Services], jobs: HubJobs) -> None:
    services = build()
    with serving(services) as client:
        label_queries(client)
        run_id = start(client, epochs=20)
        eventually(lambda: [name for name in jobs.files(BUCKET) if name.endswith("/whole")], "a checkpoint is there")
        only(jobs).end("CANCELED")
        run = ended(client, run_id)
        assert run["status"] == "failed" and "cancelled on the Hub" in run["error"] and "from step" in run["error"]
        step = services.jobs.files(run_id).saved_step()
        assert step > 0 and jobs.files(BUCKET) == []
        client.post(f"/v1/training-runs/{run_id}/resume").raise_for_status()
        eventually(lambda: read(client, run_id)["step"] > step, "the training goes on")
        client.delete(f"/v1/training-runs/{run_id}").raise_for_status()
        assert ended(client, run_id)["model_version"] == "v1"
        _, second = jobs.jobs
        first_said = next(
            event["step"]
            for event in reversed(services.model_store.events(run_id))
            if event["event"] == "progress" and event.get("step") == step
        )
        assert second and first_said == step


def test_a_job_that_was_ended_among_its_folds_leaves_nothing_that_could_be_mistaken(
    build: Callable[..., Services], jobs: HubJobs
) -> None:
    jobs.is_full = True
    services = build()
    with serving(services) as client:
        label_queries(client)
        run_id = start(client, recipe="default")
        eventually(lambda: jobs.jobs, "the job was asked for")
        run_dir = next(jobs.directory(BUCKET).glob("*/run"))
        for name in ("model/model.safetensors", "trained.json", "checkpoints/checkpoint-3/whole"):
            (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
            (run_dir / name).write_text("of the job")
        only(jobs).end("CANCELED")
        assert ended(client, run_id)["status"] == "failed"
        files = services.jobs.files(run_id)
        assert not files.is_trained() and not files.model.exists() and not files.trained.exists()
        assert files.saved_step() == 3


def test_what_cannot_be_stored_here_is_said_and_fetched_again(build: Callable[..., Services], jobs: HubJobs) -> None:
    jobs.is_full = True
    services = build()
    with serving(services) as client:
        label_queries(client)
        run_id = start(client)
        eventually(lambda: jobs.jobs, "the job was asked for")
        (next(jobs.directory(BUCKET).glob("*/run")) / "history.json").write_text("{}")
        # What no file can take the place of.
        in_the_way = services.jobs.files(run_id).history / "file"
        in_the_way.mkdir(parents=True)
        only(jobs).end("CANCELED")
        run = ended(client, run_id)
        assert run["status"] == "failed" and "could not be stored here" in run["error"] and run["resumable"], run
        assert "follow it again" in run["error"] and jobs.files(BUCKET)
        shutil.rmtree(in_the_way.parent)
        client.post(f"/v1/training-runs/{run_id}/resume").raise_for_status()
        assert "cancelled on the Hub" in ended(client, run_id)["error"]
        assert services.jobs.files(run_id).history.read_text() == "{}" and jobs.files(BUCKET) == []


def test_a_full_disk_is_not_taken_for_a_hub_that_is_away() -> None:
    # As Python says it, and as what moves the files does.
    for full in (
        OSError(28, "No space left on device", "model.safetensors"),
        RuntimeError("Task error: File reconstruction error: IO Error: No space left on device (os error 28)"),
    ):
        assert not _may_pass(full)
        assert explain(full, "acme", "It could not be stored").startswith("It could not be stored: ")
    for away in (ConnectionResetError(), RuntimeError("Task error: Network error")):
        assert _may_pass(away) and "cannot be reached" in explain(away, "acme", "It could not be stored")
    assert "cannot be reached" in explain(TimeoutError(), "acme", "It could not be stored")


@pytest.mark.parametrize("wish", [None, CANCELLED], ids=["under way", "being cancelled"])
def test_an_app_that_lost_its_disk_says_where_the_job_is(
    build: Callable[..., Services], jobs: HubJobs, wish: str | None
) -> None:
    jobs.is_full = True
    services = build()
    with serving(services) as client:
        label_queries(client)
        run_id = start(client)
        eventually(lambda: "Waiting for a machine" in read(client, run_id)["phase"], "the job was asked for")
        services.model_store.update_run(run_id, outcome=wish)
    # What is backed up is the store alone.
    shutil.rmtree(services.jobs.runs_dir)
    with serving(build()) as client:
        run = ended(client, run_id)
        assert run["status"] == ("cancelled" if wish else "failed")
        assert only(jobs).status["stage"] == "SCHEDULING" and "may still run" in run["error"]
        (folder,) = jobs.directory(BUCKET).iterdir()
        assert f"/{only(jobs).id} " in run["error"] and folder.name.startswith(run_id) and run_id in run["error"]


def test_a_job_that_takes_too_long_says_what_the_hub_says(build: Callable[..., Services], jobs: HubJobs) -> None:
    with serving(build(TRAIN_TIMEOUT="2s")) as client:
        label_queries(client)
        run = ended(client, start(client, epochs=100))
        assert run["status"] == "failed" and "Job timeout" in run["error"]


def test_a_job_that_cannot_install_says_why_in_its_log(
    build: Callable[..., Services], jobs: HubJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.is_full = True
    with serving(build()) as client:
        label_queries(client)
        run_id = start(client)
        eventually(lambda: jobs.jobs, "the job was asked for")
        requirements = next(jobs.directory(BUCKET).glob("*/code/requirements.txt"))
        requirements.write_text("no-such-library==1\n")
        jobs.run(only(jobs))
        run = ended(client, run_id)
        assert run["status"] == "failed" and "job on the Hub failed" in run["error"] and run["resumable"]
        assert "no-such-library" in log_of(client, run_id)


@pytest.mark.slow
def test_an_error_of_the_training_is_told_as_anywhere(build: Callable[..., Services], jobs: HubJobs) -> None:
    jobs.is_full = True
    with serving(build()) as client:
        label_queries(client)
        run_id = start(client)
        eventually(lambda: jobs.jobs, "the job was asked for")
        next(jobs.directory(BUCKET).glob("*/models/base/model.safetensors")).write_bytes(b"torn")
        jobs.run(only(jobs))
        run = ended(client, run_id)
        assert run["status"] == "failed" and "job on the Hub" not in run["error"], run
        assert "Traceback" in log_of(client, run_id)


@pytest.mark.parametrize(
    ("call", "status", "words"),
    [
        ("POST /api/jobs/", 402, "no credit left"),
        ("POST /api/jobs/", 403, "may not start jobs"),
        ("POST /api/buckets/", 403, "TRAIN_BUCKET"),
        ("GET /api/whoami", 401, "does not know the token"),
        ("POST /api/jobs/", 400, "Unknown flavor"),
    ],
)
def test_what_the_hub_refuses_is_said_and_loses_nothing(
    build: Callable[..., Services], jobs: HubJobs, call: str, status: int, words: str
) -> None:
    jobs.refusals[call] = (status, "Unknown flavor")
    with serving(build()) as client:
        label_queries(client)
        run_id = start(client)
        run = ended(client, run_id)
        assert run["status"] == "failed" and words in run["error"], run
        # Nothing of it stays there.
        assert run["resumable"] and not jobs.jobs and (not jobs.private or jobs.files(BUCKET) == [])


@pytest.mark.slow
def test_what_the_hub_refused_can_be_done_here(build: Callable[..., Services], jobs: HubJobs) -> None:
    jobs.refusals["POST /api/jobs/"] = (402, "Payment required")
    services = build()
    with serving(services) as client:
        label_queries(client)
        run_id = start(client)
        assert ended(client, run_id)["status"] == "failed"
        services.jobs.launch = Launch()
        client.post(f"/v1/training-runs/{run_id}/resume").raise_for_status()
        run = ended(client, run_id)
        assert (run["status"], run["error"], jobs.jobs) == ("succeeded", None, {}), run
        assert run["memory"] > 0


def test_a_public_bucket_is_not_used(build: Callable[..., Services], jobs: HubJobs) -> None:
    jobs.private[BUCKET] = False
    jobs.directory(BUCKET).mkdir(parents=True)
    with serving(build()) as client:
        label_queries(client)
        run = ended(client, start(client))
        assert run["status"] == "failed" and "Everyone can read" in run["error"]
        assert jobs.files(BUCKET) == [] and not jobs.jobs


def test_a_hub_that_cannot_be_reached_at_the_start_is_told(
    build: Callable[..., Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", unused_endpoint())
    with serving(build()) as client:
        label_queries(client)
        run = ended(client, start(client))
        assert run["status"] == "failed" and "cannot be reached" in run["error"] and run["resumable"]


def test_without_a_token_no_run_begins(build: Callable[..., Services], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with serving(build()) as client:
        label_queries(client)
        assert "HF_TOKEN" in assert_error(client.post("/v1/training-runs", json={}), 422, "invalid_input")
        assert client.get("/v1/models").json()[0]["active"]
