"""Training runs over HTTP, with real training of a tiny model."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from reranker.dataset import Suspect
from server.training_schemas import SuspectBody
from services import Services
from storage.records import TrainingRun
from tests.conftest import make_settings
from tests.serving import assert_error, ended, eventually, label, loaded_version, serving

RUN_FIELDS = {
    "id", "status", "config", "progress", "step", "total_steps", "loss", "metrics", "model_version", "promoted",
    "error", "created_at", "phase", "seconds_left", "memory", "outcome", "note", "resumable",
}  # fmt: skip
ACCEPTED_FIELDS = {"id", "status"}


def label_queries(client: httpx.Client, count: int) -> None:
    """Label two passages of each of these queries, one relevant and one not."""
    queries = [f"query {number} bridge" for number in range(count)]
    label(client, *((query, f"{query} answer", 1) for query in queries), *((query, "rain", 0) for query in queries))


def start(client: httpx.Client, **body: Any) -> str:
    response = client.post("/v1/training-runs", json=body)
    assert response.status_code == 202, response.text
    run = response.json()
    assert set(run) == ACCEPTED_FIELDS
    assert run["status"] in ("queued", "running")
    return run["id"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[tuple[httpx.Client, dict[str, Any]]]:
    """A server on which one run has ended: with enough queries to measure on, and promoted."""
    with serving(Services.build(make_settings(tmp_path_factory.mktemp("trained"), model_dir))) as client:
        label_queries(client, 60)
        before = client.post("/rerank", json={"query": "query 1 bridge", "texts": ["rain", "answer"]}).json()
        run = ended(client, start(client, epochs=2, learning_rate=1e-3, promote="always"))
        yield client, {"run": run, "before": before}


# What is refused


def test_without_labels_there_is_nothing_to_train_on(shared_client: httpx.Client) -> None:
    for sent in ({"json": {}}, {}, {"json": {"recipe": "classic"}}):
        assert "no labels" in assert_error(shared_client.post("/v1/training-runs", **sent), 422, "invalid_input")


@pytest.mark.parametrize(("value", "word"), [(1, "relevant"), (0, "not relevant")])
def test_labels_of_one_kind_do_not_train(client: httpx.Client, value: int, word: str) -> None:
    label(client, ("a", "b", value), ("c", "d", value))
    message = assert_error(client.post("/v1/training-runs", json={}), 422, "invalid_input")
    assert f"are {word}." in message


def test_where_only_relevant_passages_are_known_others_may_count_as_not_relevant(client: httpx.Client) -> None:
    queries = [f"who built bridge {number}" for number in range(30)]
    label(client, *((query, f"{query[4:]} in the year {query[17:]}", 1) for query in queries))
    refused = assert_error(client.post("/v1/training-runs", json={}), 422, "invalid_input")
    assert "taken as not relevant" in refused
    run = ended(client, start(client, assume_not_relevant=True, recipe="classic", epochs=1, promote="never"))
    assert run["status"] == "succeeded", run
    assert "pairs that nobody has judged were taken as not relevant" in run["note"]
    # Also the queries that are held out can be measured, and what was assumed is no label.
    assert 4 <= run["metrics"]["challenger"]["queries"] < 30
    assert len(client.get("/v1/labels").text.splitlines()) == 30
    assert run["metrics"]["champion"]["queries"] == run["metrics"]["challenger"]["queries"]
    version = next(v for v in client.get("/v1/models").json() if v["version"] == run["model_version"])
    assert version["labels"] < 30
    again = client.post(f"/v1/models/{run['model_version']}/make-again").raise_for_status().json()
    assert ended(client, again["id"])["metrics"] == run["metrics"]


def test_a_loss_that_compares_needs_queries_with_both_labels(client: httpx.Client) -> None:
    label(client, ("a", "b", 1), ("c", "d", 0))
    message = assert_error(client.post("/v1/training-runs", json={"loss": "ListNetLoss"}), 422, "invalid_input")
    assert "ListNetLoss compares" in message
    message = assert_error(client.post("/v1/training-runs", json={"loss": "CrossEntropyLoss"}), 422, "invalid_input")
    assert "one output for each class" in message


def test_a_loss_is_chosen_by_its_name(client: httpx.Client) -> None:
    label_queries(client, 3)
    run = ended(client, start(client, loss="LambdaLoss", batch_size=2, epochs=1))
    assert run["status"] == "succeeded", run
    assert run["total_steps"] == 2


@pytest.mark.parametrize(
    "body",
    [
        {"patience": -1}, {"patience": 101}, {"patience": 1.5}, {"patience": True},
        {"recipe": "magic"}, {"recipe": ""}, {"recipe": 1}, {"base": 1}, {"base": "x" * 301},
{"base": "\ud800"}, {"epochs": 0}, {"epochs": 101}, {"epochs": 1.5}, {"epochs": "3"},
        {"epochs": True}, {"learning_rate": 0}, {"learning_rate": 1}, {"learning_rate": "fast"},
        {"learning_rate": math.nan}, {"learning_rate": math.inf}, {"batch_size": 0}, {"batch_size": 513}, {"seed": -1},
        {"seed": 2**32}, {"promote": "yes"}, {"promote": True}, {"epoch": 3}, {"loss": "hinge"}, {"loss": 1},
        {"assume_not_relevant": "perhaps"},
        {"\ud800": 1}, [], "classic", 5,
    ],
    ids=ascii,
)  # fmt: skip
def test_bad_configurations_are_refused(trained: tuple[httpx.Client, Any], body: Any) -> None:
    client, _ = trained
    sent = {"content": json.dumps(body), "headers": {"Content-Type": "application/json"}}
    assert_error(client.post("/v1/training-runs", **sent), 422, "invalid_input")


@pytest.mark.parametrize("base", ["v99", "", "../../etc/passwd", "..%2f..%2fetc%2fpasswd"])
def test_an_unknown_base_is_not_found(trained: tuple[httpx.Client, Any], base: str) -> None:
    client, _ = trained
    assert_error(client.post("/v1/training-runs", json={"base": base}), 404, "not_found")


@pytest.mark.parametrize("run_id", ["nothing", "..%2f..%2fetc%2fpasswd", "%00", "%F0%9F%8C%89", "x" * 5_000])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_unknown_runs_are_not_found(shared_client: httpx.Client, method: str, run_id: str) -> None:
    assert_error(shared_client.request(method, f"/v1/training-runs/{run_id}"), 404, "not_found")


# What a run does


def test_a_run_draws_its_learning_curve(client: httpx.Client) -> None:
    label_queries(client, 40)
    run_id = start(client, learning_curve=True, epochs=1, promote="never")
    assert ended(client, run_id)["status"] == "succeeded"
    curve = client.get(f"/v1/training-runs/{run_id}/learning-curve").raise_for_status().json()
    labels = [point["labels"] for point in curve["points"]]
    assert labels[0] == 0 and labels == sorted(set(labels)) and len(labels) > 3
    assert all(0 <= point["low"] <= point["ndcg"] <= point["high"] <= 1 for point in curve["points"])
    assert curve["outlook"]["more"] == 50 and curve["outlook"]["words"]


def test_a_run_that_gets_no_better_stops_early_and_says_so(client: httpx.Client) -> None:
    label_queries(client, 40)
    run = ended(client, start(client, patience=1, epochs=6, learning_rate=1e-8, promote="never"))
    assert run["status"] == "succeeded"
    assert 0 < run["step"] < run["total_steps"]
    kept = re.fullmatch(
        rf"Stopped early at step {run['step']} of {run['total_steps']}: the held-out queries were not ranked better "
        r"any more\. The weights of step (\d+) are kept, which ranked the held-out queries best: "
        r"how well these are ranked is rather too good a figure\.",
        run["note"],
    )
    assert kept and int(kept[1]) < run["step"]


def test_a_run_says_why_it_drew_no_learning_curve(client: httpx.Client) -> None:
    label_queries(client, 6)
    run = ended(client, start(client, learning_curve=True, recipe="classic", epochs=1, promote="never"))
    assert run["status"] == "succeeded"
    assert run["note"].startswith("No learning curve was drawn: it needs held-out queries")
    missing = client.get(f"/v1/training-runs/{run['id']}/learning-curve")
    assert "drawn no learning curve" in assert_error(missing, 404, "not_found")


def test_a_run_reports_how_it_ended(trained: tuple[httpx.Client, dict[str, Any]]) -> None:
    client, seen = trained
    run = seen["run"]
    assert set(run) == RUN_FIELDS
    assert (run["status"], run["progress"], run["error"]) == ("succeeded", 1.0, None)
    assert run["step"] == run["total_steps"] > 0
    assert run["loss"] > 0
    assert run["promoted"] is True
    assert set(run["metrics"]) == {"champion", "challenger"}
    for metrics in run["metrics"].values():
        assert {"ndcg@10", "mrr@10", "map"} <= set(metrics)
        assert all(0 <= metrics[name] <= 1 for name in ("ndcg@10", "mrr@10", "map"))
    assert client.get(f"/v1/training-runs/{run['id']}").json() == run


def test_a_promoted_run_answers_without_a_restart(trained: tuple[httpx.Client, dict[str, Any]]) -> None:
    client, seen = trained
    model = client.get("/health").json()["model"]
    assert model["version"] == seen["run"]["model_version"]
    assert model["source"] == "trained"
    texts = {"query": "query 1 bridge", "texts": ["rain", "answer"]}
    after = {rank["index"]: rank["score"] for rank in client.post("/rerank", json=texts).json()}
    before = {rank["index"]: rank["score"] for rank in seen["before"]}
    assert all(abs(after[index] - before[index]) > 1e-3 for index in before)
    answer = client.post("/v1/rerank", json={"query": "q", "documents": ["a"]}).json()
    assert answer["model"] == seen["run"]["model_version"]


def test_labels_that_the_others_contradict_are_listed(client: httpx.Client) -> None:
    label_queries(client, 30)
    wrong = "query 77 bridge"
    label(client, (wrong, f"{wrong} answer", 0), (wrong, "rain", 1))
    run_id = start(client, recipe="classic", epochs=1, promote="never")
    path = f"/v1/training-runs/{run_id}/suspects"
    assert "has not finished" in assert_error(client.get(path), 404, "not_found")
    ended(client, run_id)
    suspects = client.get(path).raise_for_status().json()
    assert (suspects[0]["passage"], suspects[0]["label"], suspects[0]["assumed"]) == (f"{wrong} answer", 0, False)
    for suspect in suspects:
        assert (suspect["probability"] > 0.5) != suspect["label"]


def test_what_was_assumed_is_told_from_a_label() -> None:
    assert SuspectBody(**asdict(Suspect("query", "passage", 0, 0.9, assumed=True))).assumed


def test_a_run_leaves_a_version(trained: tuple[httpx.Client, dict[str, Any]]) -> None:
    client, seen = trained
    version = next(item for item in client.get("/v1/models").json() if item["version"] == seen["run"]["model_version"])
    assert version["active"] is True
    assert version["base"] in [item["version"] for item in client.get("/v1/models").json()]
    assert 2 <= version["labels"] < 120, "some queries are held out"
    assert version["metrics"] == seen["run"]["metrics"]["challenger"]


def test_a_model_that_is_better_is_promoted_by_itself_and_one_that_is_worse_is_not(
    services: Services, client: httpx.Client
) -> None:
    base = loaded_version(client)
    label_queries(client, 60)
    better = ended(client, start(client, epochs=4, learning_rate=1e-3, promote="auto"))
    gain = better["metrics"]["challenger"]["ndcg@10"] - better["metrics"]["champion"]["ndcg@10"]
    assert gain > 0.05
    assert better["promoted"], services.model_store.run(better["id"]).outcome
    assert loaded_version(client) == better["model_version"]
    # The base that was active before, trained so little that it is as it was: worse than the champion now.
    worse = ended(client, start(client, base=base, epochs=1, learning_rate=1e-8, promote="auto"))
    assert (worse["status"], worse["promoted"]) == ("succeeded", False)
    assert worse["metrics"]["challenger"]["ndcg@10"] < worse["metrics"]["champion"]["ndcg@10"]
    assert "Not promoted automatically" in (services.model_store.run(worse["id"]).outcome or "")
    assert loaded_version(client) == better["model_version"]


def test_a_run_that_ended_cannot_be_cancelled(trained: tuple[httpx.Client, dict[str, Any]]) -> None:
    client, seen = trained
    message = assert_error(client.delete(f"/v1/training-runs/{seen['run']['id']}"), 409, "conflict")
    assert "succeeded" in message
    assert client.get(f"/v1/training-runs/{seen['run']['id']}").json() == seen["run"]


def test_one_run_at_a_time_and_a_running_one_can_be_cancelled(client: httpx.Client) -> None:
    loaded_version(client)
    label_queries(client, 12)
    loaded_version(client)
    models = client.get("/v1/models").json()
    run_id = start(client, epochs=100, batch_size=1)
    assert "under way" in assert_error(client.post("/v1/training-runs", json={}), 409, "conflict")

    # It is cancelled in the middle of the training.
    eventually(lambda: client.get(f"/v1/training-runs/{run_id}").json()["step"] > 0, "the training has begun")
    during = client.get(f"/v1/training-runs/{run_id}").json()
    assert set(during) == RUN_FIELDS
    assert (during["status"], during["model_version"], during["promoted"]) == ("running", None, False)
    assert 0 < during["progress"] < 1
    assert during["total_steps"] == 24 * 100
    assert (during["config"]["epochs"], during["config"]["batch_size"]) == (100, 1)
    curve = client.get(f"/v1/training-runs/{run_id}/learning-curve")
    assert "`learning_curve` set to true" in assert_error(curve, 404, "not_found")

    response = client.delete(f"/v1/training-runs/{run_id}")
    assert response.status_code == 202
    assert set(response.json()) == ACCEPTED_FIELDS
    run = ended(client, run_id)
    # What it had learned by then is kept; nothing could be measured with so few queries.
    assert (run["status"], run["model_version"], run["promoted"]) == ("cancelled", "v1", False)
    assert "kept as v1, unmeasured" in run["outcome"]
    # What was not done does not count as done; before the training the labels and the general set were looked at.
    assert run["step"] < run["total_steps"] / 2 and run["progress"] < 0.7
    kept, *others = client.get("/v1/models").json()
    assert (kept["version"], kept["active"], others) == ("v1", False, models)

    again = start(client, epochs=1, promote="never")
    run = ended(client, again)
    assert (run["status"], run["promoted"]) == ("succeeded", False)
    assert client.get("/health").json()["model"]["version"] != run["model_version"]
    assert {item["version"]: item["active"] for item in client.get("/v1/models").json()}[run["model_version"]] is False


def test_a_run_whose_loss_overflowed_can_be_read(services: Services, client: httpx.Client) -> None:
    services.model_store.add_run(
        TrainingRun("overflowed", "failed", {}, "2026-01-01T00:00:00+00:00", loss=math.inf, seconds_left=math.inf)
    )
    response = client.get("/v1/training-runs/overflowed")
    assert response.status_code == 200
    run = json.loads(response.text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (run["status"], run["loss"]) == ("failed", None)
