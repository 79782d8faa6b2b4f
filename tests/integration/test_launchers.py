"""The same training by several processes: the losses and the weights of one, up to rounding."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import torch
from safetensors.torch import load_file

from reranker.recipe import RECIPES
from reranker.training import has_bfloat16
from services import Services
from tests.conftest import make_settings
from tests.serving import assert_error, ended, eventually, label, loaded_version, serving

TWO = {"TRAIN_LAUNCHER": "accelerate", "TRAIN_PROCESSES": "2"}


def label_queries(client: httpx.Client) -> None:
    for number in range(30):
        query = f"query {number} bridge"
        label(client, (query, "an answer " * (1 + number % 7) + str(number), 1), (query, f"rain {number}", 0))


def train(client: httpx.Client, **body: object) -> tuple[dict, list[float]]:
    wanted = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "promote": "never"}
    run = ended(client, client.post("/v1/training-runs", json=wanted | body).raise_for_status().json()["id"])
    assert run["status"] == "succeeded", (run, client.get(f"/v1/training-runs/{run['id']}/log").json()["log"][-3000:])
    return run, _losses(client, run["id"])


def _losses(client: httpx.Client, run_id: str) -> list[float]:
    return [seen["value"] for seen in client.get(f"/v1/training-runs/{run_id}/curves").json()["loss"]]


@pytest.mark.parametrize("recipe", ["default", pytest.param("classic", marks=pytest.mark.slow)])
def test_two_processes_learn_what_one_would(tmp_path: Path, still_model: Path, recipe: str) -> None:
    seen = {}
    for name, environment in (("one", {}), ("two", TWO)):
        services = Services.build(make_settings(tmp_path / name, still_model, **environment))
        with serving(services) as client:
            loaded_version(client)
            label_queries(client)
            run, losses = train(client, recipe=recipe)
            weights = load_file(services.registry.models_dir / run["model_version"] / "model.safetensors")
            seen[name] = (run, losses, weights)
    (one, losses, weights), (two, other_losses, other_weights) = seen["one"], seen["two"]
    # The training pairs are no multiple of the batch size: the last batch of an epoch is shared, too.
    pairs = len((tmp_path / "one" / "runs" / one["id"] / "train.jsonl").read_text().splitlines())
    assert pairs % 8 not in (0, 4) and len(losses) == 2 * -(-pairs // 8)
    # In bfloat16, where the machine has that, half as many pairs at a time are rounded in another way.
    assert other_losses == pytest.approx(losses, abs=1e-2 if recipe == "default" and has_bfloat16() else 2e-4)
    assert other_losses[-1] < other_losses[0]
    assert RECIPES["classic"].folds == 0 < RECIPES["default"].folds
    for name, weight in weights.items() if recipe == "classic" else ():  # one process takes the mean of its folds
        assert torch.allclose(weight, other_weights[name], atol=2e-3), name
    measured = {name for name in one["metrics"]["challenger"] if not name.startswith("cross_")}
    assert two["metrics"]["challenger"].keys() == measured
    # The launcher's own memory is less than that of one training: those that it has started count, too.
    assert two["memory"] > one["memory"]


@pytest.mark.slow
def test_several_processes_stop_together(tmp_path: Path, model_dir: Path) -> None:
    services = Services.build(make_settings(tmp_path, model_dir, CHECKPOINT_SECONDS="0", **TWO))
    with serving(services) as client:
        loaded_version(client)
        label_queries(client)
        assert "multiple of 2" in assert_error(
            client.post("/v1/training-runs", json={"batch_size": 5}), 422, "invalid_input"
        )
        run_id = client.post("/v1/training-runs", json={"epochs": 100}).raise_for_status().json()["id"]

        def read() -> dict:
            return client.get(f"/v1/training-runs/{run_id}").json()

        # Killed, all of them end, and they go on together.
        eventually(lambda: read()["step"] > 3, "the training has begun")
        services.jobs._processes[run_id].kill()
        assert ended(client, run_id)["resumable"]
        step = services.jobs.files(run_id).saved_step()
        assert step > 0
        client.post(f"/v1/training-runs/{run_id}/resume").raise_for_status()
        eventually(lambda: read()["step"] > step, "the training goes on")
        client.delete(f"/v1/training-runs/{run_id}").raise_for_status()
        run = ended(client, run_id)
        assert (run["status"], run["model_version"]) == ("cancelled", "v1"), run
