"""Model versions over HTTP: list, promote, roll back, download."""

from __future__ import annotations

import http.client
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from errors import Conflict, NotFound
from reranker.model import Reranker
from reranker.publish import zip_directory
from services import Services
from tests.conftest import make_settings
from tests.integration.conftest import version_of
from tests.serving import assert_error, eventually, serving

FIELDS = {"version", "name", "active", "base", "created_at", "labels", "metrics"}
QUERY = "how long is the old bridge"
TEXTS = ["the bridge is long", "music in the city", "rain and sun"]


def active(client: httpx.Client) -> str:
    eventually(lambda: client.get("/health").json()["status"] == "ok", "the model is loaded")
    (version,) = [item["version"] for item in client.get("/v1/models").json() if item["active"]]
    assert client.get("/health").json()["model"]["version"] == version
    return version


def scores(client: httpx.Client, model: str | None = None) -> dict[int, float]:
    answer = client.post("/v1/rerank", json={"query": QUERY, "documents": TEXTS, "model": model}).json()
    return {result["index"]: result["relevance_score"] for result in answer["results"]}


def unpacked(response: httpx.Response, path: Path) -> Path:
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        assert all(not name.startswith("/") and ".." not in name for name in archive.namelist())
        archive.extractall(path)
    return path


def test_the_models_are_listed(client: httpx.Client, add_version: Callable[[], str]) -> None:
    base = active(client)
    new = add_version()
    response = client.get("/v1/models")
    assert response.status_code == 200
    models = response.json()
    assert all(set(model) == FIELDS for model in models)
    assert [(model["version"], model["active"], model["base"], model["labels"]) for model in models] == [
        (new, False, base, 12),
        (base, True, None, 0),
    ]
    assert models[0]["metrics"] == {"ndcg@10": 0.5}


def test_promote_and_roll_back(client: httpx.Client, add_version: Callable[[], str]) -> None:
    base, first, second = active(client), add_version(), add_version()
    before = scores(client)

    response = client.post(f"/v1/models/{first}/promote")
    assert response.status_code == 200
    assert set(response.json()) == FIELDS
    assert (response.json()["version"], response.json()["active"]) == (first, True)
    assert active(client) == first
    assert scores(client) != pytest.approx(before, abs=1e-3)
    client.post(f"/v1/models/{second}/promote").raise_for_status()

    for expected in (first, base):
        response = client.post("/v1/models/rollback")
        assert response.status_code == 200
        assert set(response.json()) == FIELDS
        assert (response.json()["version"], response.json()["active"]) == (expected, True)
        assert active(client) == expected
    assert scores(client) == pytest.approx(before, abs=1e-6)
    assert_error(client.post("/v1/models/rollback"), 409, "conflict")
    assert active(client) == base


def test_promoting_the_active_version_changes_nothing(client: httpx.Client) -> None:
    base = active(client)
    response = client.post(f"/v1/models/{base}/promote")
    assert (response.status_code, response.json()["version"]) == (200, base)
    assert_error(client.post("/v1/models/rollback"), 409, "conflict")


def test_nothing_to_roll_back_to_is_a_conflict(client: httpx.Client) -> None:
    assert "nothing to roll back" in assert_error(client.post("/v1/models/rollback"), 409, "conflict")


def test_rolling_back_goes_to_the_version_that_was_named_or_nowhere(
    services: Services, client: httpx.Client, add_version: Callable[[], str]
) -> None:
    base, first, second = active(client), add_version(), add_version()
    for name in (first, second):
        client.post(f"/v1/models/{name}/promote").raise_for_status()
    with pytest.raises(Conflict, match=f"{second} answers now, .* return to {first}, not to {base}"):
        services.registry.roll_back("a page from before", to=base)
    assert active(client) == second
    assert services.registry.roll_back("a page of now", to=first).version == first
    assert active(client) == first


def test_the_active_version_survives_a_restart(
    services: Services, client: httpx.Client, add_version: Callable[[], str]
) -> None:
    base, new = active(client), add_version()
    client.post(f"/v1/models/{new}/promote").raise_for_status()
    with serving(Services.build(services.settings)) as restarted:
        assert active(restarted) == new
        assert restarted.post("/v1/models/rollback").json()["version"] == base


def test_a_version_that_is_not_active_can_be_asked(client: httpx.Client, add_version: Callable[[], str]) -> None:
    base, new = active(client), add_version()
    ours, theirs = scores(client), scores(client, new)
    assert ours != pytest.approx(theirs, abs=1e-3)
    assert active(client) == base
    answer = client.post("/v1/rerank", json={"query": QUERY, "documents": TEXTS, "model": new}).json()
    assert answer["model"] == new


def test_a_version_is_not_mistaken_for_the_active_model_of_that_name(
    tmp_path: Path, model_dir: Path, other_model_dir: Path
) -> None:
    # As where a version that was made elsewhere and downloaded, v1.zip, is the model of the settings.
    named = shutil.copytree(model_dir, tmp_path / "v1")
    services = Services.build(make_settings(tmp_path / "data", named))
    with serving(services) as client:
        base = active(client)
        assert base != "v1" and scores(client, "v1") == scores(client)
        assert version_of(services, other_model_dir) == "v1"
        assert scores(client, "v1") != pytest.approx(scores(client), abs=1e-3)
        assert active(client) == base


def test_a_model_that_fails_when_it_scores_is_refused_in_words(
    services: Services, client: httpx.Client, add_version: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Reranker) -> None:
        raise IndexError("index 514 is out of bounds for dimension 1 with size 514")

    base, new = active(client), add_version()
    monkeypatch.setattr(Reranker, "smoke_test", fail)
    said = assert_error(client.post(f"/v1/models/{new}/promote"), 409, "unusable_model")
    assert "loads but cannot score: index 514" in said
    assert active(client) == base


def test_a_promoted_version_answers_at_once_and_is_converted_elsewhere(
    tmp_path: Path, model_dir: Path, other_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert_here(*_: Any) -> None:
        raise AssertionError("Every request would wait for this; a process of its own converts.")

    monkeypatch.setattr("reranker.engine.convert", convert_here)
    services = Services.build(make_settings(tmp_path / "data", model_dir, ENGINE="openvino-float32"))
    with serving(services) as client:
        active(client)
        first, second, third = (version_of(services, other_model_dir) for _ in range(3))
        compared = services.registry.get(first).reranker
        client.post(f"/v1/models/{first}/promote").raise_for_status()
        promoted = services.registry.active().reranker
        beside = services.registry.get(third).reranker
        client.post(f"/v1/models/{second}/promote").raise_for_status()

        def engine() -> dict[str, str]:
            return client.get("/health").json()["engine"]

        assert engine()["backend"] == "torch" and "being converted" in engine()["reason"]
        before = scores(client)
        eventually(lambda: engine()["backend"] == "openvino", "the promoted version is converted")
        # Nothing is prepared for what was replaced meanwhile; one that is compared has its turn.
        for replaced in (compared, promoted):
            assert replaced.loaded.engine.plan.backend == "torch" and not replaced._preparing.is_alive()
        eventually(lambda: beside.loaded.engine.plan.backend == "openvino", "the one beside it is converted")
        services.registry.active().reranker._known.clear()
        assert scores(client) == pytest.approx(before, abs=1e-4)


def test_a_version_whose_files_are_gone_is_not_promoted(
    services: Services, client: httpx.Client, add_version: Callable[[], str]
) -> None:
    base, new = active(client), add_version()
    shutil.rmtree(services.registry.models_dir / new)
    assert_error(client.post(f"/v1/models/{new}/promote"), 404, "not_found")
    assert_error(client.get(f"/v1/models/{new}/download"), 404, "not_found")
    assert_error(client.post("/v1/rerank", json={"query": QUERY, "documents": TEXTS, "model": new}), 404, "not_found")
    assert active(client) == base


def test_a_version_with_damaged_weights_is_not_promoted(
    services: Services, client: httpx.Client, add_version: Callable[[], str]
) -> None:
    base, new = active(client), add_version()
    (services.registry.models_dir / new / "model.safetensors").write_bytes(b"not weights")
    before = scores(client)
    assert_error(client.post(f"/v1/models/{new}/promote"), 409, "unusable_model")
    assert active(client) == base
    assert scores(client) == pytest.approx(before, abs=1e-6)


NAMES_OUT_OF_THE_FOLDER = [
    "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e%2f%2e%2e%2fetc", "..", "%2e%2e", "%2fetc", "..%5c..%5cetc",
    ".", "%00", "v1%00.zip", "~",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES_OUT_OF_THE_FOLDER)
def test_names_lead_nowhere_out_of_the_models_folder(shared_client: httpx.Client, name: str) -> None:
    for method, call in (("GET", "download"), ("POST", "promote")):
        # http.client sends the path as it is; httpx would tidy it up.
        connection = http.client.HTTPConnection("127.0.0.1", shared_client.base_url.port)
        connection.request(method, f"/v1/models/{name}/{call}")
        answer = connection.getresponse()
        body = json.loads(answer.read())
        assert (answer.status, body["error"]["code"]) == (404, "not_found")
        connection.close()


@pytest.mark.parametrize("which", ["base", "trained"])
def test_a_download_gives_the_same_scores(
    client: httpx.Client, add_version: Callable[[], str], tmp_path: Path, which: str
) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    version = active(client) if which == "base" else add_version()
    response = client.get(f"/v1/models/{version}/download")
    assert f'filename="{version}.zip"' in response.headers["content-disposition"]
    model = CrossEncoder(str(unpacked(response, tmp_path / "unpacked")), activation_fn=torch.nn.Sigmoid())
    theirs = model.predict([(QUERY, text) for text in TEXTS]).tolist()
    assert scores(client, version) == pytest.approx(dict(enumerate(theirs)), abs=1e-5)


def test_a_download_holds_only_what_belongs_to_the_model(tmp_path: Path, model_dir: Path) -> None:
    mixed = shutil.copytree(model_dir, tmp_path / "mixed")
    belongs = {str(path.relative_to(model_dir)) for path in model_dir.rglob("*") if path.is_file()}
    (mixed / ".git").mkdir()
    for name in (".env", "id_rsa", "labels.db", "pytorch_model.bin", ".git/config.json", "notes.csv"):
        (mixed / name).write_text("secret")
    with serving(Services.build(make_settings(tmp_path / "data", mixed))) as client:
        files = unpacked(client.get(f"/v1/models/{active(client)}/download"), tmp_path / "unpacked")
    assert {str(path.relative_to(files)) for path in files.rglob("*") if path.is_file()} == belongs


def test_a_version_that_is_deleted_while_it_is_sent_comes_whole(tmp_path: Path, model_dir: Path) -> None:
    directory = shutil.copytree(model_dir, tmp_path / "v1")
    pieces = zip_directory(directory)
    shutil.rmtree(directory)
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        sent = {name: archive.read(name) for name in archive.namelist()}
    assert sent == {path.name: path.read_bytes() for path in model_dir.iterdir()}


def test_a_version_whose_files_have_just_gone_is_not_sent_empty(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="v1"):
        zip_directory(tmp_path / "v1")


def test_unknown_versions_are_not_found(shared_client: httpx.Client) -> None:
    requests: list[Any] = [("POST", "/v1/models/v99/promote"), ("GET", "/v1/models/v99/download")]
    for method, path in requests:
        assert "v99" in assert_error(shared_client.request(method, path), 404, "not_found")


def test_a_promoted_version_outlasts_other_settings_and_their_model_can_be_chosen(
    tmp_path: Path, model_dir: Path, other_model_dir: Path
) -> None:
    with serving(Services.build(make_settings(tmp_path, model_dir))) as client:
        first = active(client)
    with serving(Services.build(make_settings(tmp_path, other_model_dir))) as client:
        second = active(client)
        client.post(f"/v1/models/{first}/promote").raise_for_status()
    new_model = shutil.copytree(model_dir, tmp_path / "new")
    with serving(Services.build(make_settings(tmp_path, new_model))) as client:
        assert active(client) == first
        names = eventually(
            lambda: {item["version"] for item in client.get("/v1/models").json()} - {first, second}, "it is listed"
        )
        (name,) = names
        client.post(f"/v1/models/{name}/promote").raise_for_status()
        assert active(client) == name
