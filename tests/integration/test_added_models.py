"""A model of the Hub that is added while the app runs: downloaded, tried out, and a version like any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import psutil
import pytest
from huggingface_hub import constants
from transformers import BertConfig, BertForSequenceClassification

from services import Services
from tests.conftest import make_settings
from tests.integration.hub_server import HubServer, serve
from tests.serving import assert_error, ended, label, loaded_version, serving

MODEL = "ada/reranker"
QUESTION = {"query": "rain", "documents": ["sun", "water", "the old bridge"]}


@pytest.fixture
def hub(other_model_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A Hub on this machine with one model, and an empty cache."""
    with serve({MODEL: other_model_dir}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield server


def add(client: httpx.Client, name: str) -> httpx.Response:
    return client.post("/v1/models", json={"name": name})


def versions(client: httpx.Client) -> list[str]:
    return [version["version"] for version in client.get("/v1/models").json()]


def test_it_ranks_is_trained_from_and_is_promoted(client: httpx.Client, hub: HubServer, other_model_dir: Path) -> None:
    first = loaded_version(client)
    answer = add(client, MODEL)
    assert answer.status_code == 201, answer.text
    version = answer.json()["version"]
    assert answer.json() | {"name": MODEL, "active": False, "base": None, "labels": 0} == answer.json()
    assert versions(client) == [version, first]
    asked = len(hub.requests)
    message = assert_error(add(client, MODEL), 409, "conflict")
    assert f"{MODEL} is here already, as version {version}" in message
    assert len(hub.requests) == asked

    one, other = (client.post("/v1/rerank", json=QUESTION | {"model": name}).json() for name in (version, first))
    assert one["model"] == version and one["results"] != other["results"]
    label(client, ("rain", "water", 1), ("rain", "sun", 0))
    body = {"recipe": "classic", "epochs": 1, "base": version, "promote": "never"}
    run = ended(client, client.post("/v1/training-runs", json=body).json()["id"])
    assert run["status"] == "succeeded", run
    [trained] = [found for found in client.get("/v1/models").json() if found["version"] == run["model_version"]]
    assert (trained["base"], trained["name"]) == (version, "reranker-v1")
    client.post(f"/v1/models/{version}/promote").raise_for_status()
    assert client.get("/health").json()["model"] == {"version": version, "name": MODEL, "source": "hub"}


def test_it_can_be_taken_out_and_added_again(client: httpx.Client, hub: HubServer) -> None:
    first = loaded_version(client)
    version = add(client, MODEL).json()["version"]
    client.delete(f"/v1/models/{version}").raise_for_status()
    assert versions(client) == [first]
    asked = len(hub.requests)
    assert add(client, MODEL).status_code == 201
    assert versions(client) == [version, first]
    assert len(hub.requests) == asked  # it lay in the cache


def test_an_active_one_is_downloaded_again_where_the_disk_was_lost(
    tmp_path: Path, model_dir: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(tmp_path / "data", model_dir)
    with serving(Services.build(settings)) as client:
        loaded_version(client)
        version = add(client, MODEL).json()["version"]
        client.post(f"/v1/models/{version}/promote").raise_for_status()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "new"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "new" / "hub"))
    with serving(Services.build(settings)) as client:
        assert loaded_version(client) == version


def test_one_whose_files_were_lost_can_be_added_again(
    client: httpx.Client, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded_version(client)
    version = add(client, MODEL).json()["version"]
    monkeypatch.setenv("HF_HOME", str(tmp_path / "new"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "new" / "hub"))
    assert_error(client.post("/v1/rerank", json=QUESTION | {"model": version}), 404, "not_found")
    assert add(client, MODEL).status_code == 201
    client.post("/v1/rerank", json=QUESTION | {"model": version}).raise_for_status()


def test_what_cannot_be_used_is_no_version(
    client: httpx.Client, hub: HubServer, tmp_path: Path, other_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = loaded_version(client)
    assert "no model ada/none" in assert_error(add(client, "ada/none"), 409, "hub_refused")
    assert_error(add(client, "none"), 422, "invalid_input")
    two = tmp_path / "two"
    tiny = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertForSequenceClassification(BertConfig(**tiny, intermediate_size=64, num_labels=2)).save_pretrained(two)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (two / name).write_bytes((other_model_dir / name).read_bytes())
    hub.models["ada/two"] = two
    message = assert_error(add(client, "ada/two"), 409, "unusable_model")
    assert message.startswith("ada/two cannot be used") and "has 2 outputs" in message
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1_000, total=2_000))
    assert "is too large for this machine" in assert_error(add(client, MODEL), 409, "unusable_model")
    assert versions(client) == [first]


def test_the_model_of_the_settings_stays(tmp_path: Path, hub: HubServer) -> None:
    settings = make_settings(tmp_path / "data", Path("starter"), RERANKER_MODEL=MODEL)
    with serving(Services.build(settings)) as client:
        version = loaded_version(client)
        assert versions(client) == [version]
        message = assert_error(client.delete(f"/v1/models/{version}"), 409, "conflict")
        assert "is the model of the settings" in message
