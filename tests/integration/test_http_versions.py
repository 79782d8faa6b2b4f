"""What becomes of versions: made again, deleted, kept within bounds, pushed to the Hub; and what their cards say."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from huggingface_hub import ModelCard

from reranker.card import add_results
from reranker.results import how_made
from services import Services
from storage.records import ModelVersion, TrainingRun, now
from tests.conftest import make_settings
from tests.integration.hub_server import HubServer, serve, unused_endpoint
from tests.serving import assert_error, ended, label, loaded_version, serving

PASSAGES = ["the bridge is old and long", "music in the city", "rain in winter", "the best garden of the south"]


def label_queries(client: httpx.Client, count: int) -> None:
    """Label one passage of each query as relevant, and three as not."""
    for number in range(count):
        query = f"query {number} about a bridge"
        own = [(query, f"{passage} {number}", int(place == 0)) for place, passage in enumerate(PASSAGES)]
        label(client, *own)


def train(client: httpx.Client, **body: object) -> dict:
    wanted = {"recipe": "classic"} | body
    run = ended(client, client.post("/v1/training-runs", json=wanted).raise_for_status().json()["id"])
    assert run["status"] == "succeeded", run
    return run


def weights(services: Services, version: str) -> dict[str, str]:
    directory = services.registry.directory(services.model_store.version(version))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.glob("*.safetensors")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[tuple[Services, httpx.Client, dict]]:
    """A server on which a run has made v1, with queries enough to measure on."""
    services = Services.build(make_settings(tmp_path_factory.mktemp("versions"), model_dir))
    with serving(services) as client:
        loaded_version(client)
        label_queries(client, 40)
        run = train(client, epochs=2, learning_rate=1e-3, seed=7, promote="never")
        assert run["model_version"] == "v1"
        yield services, client, run


# The card and the record


def test_the_card_has_the_results_as_a_model_index(trained: tuple[Services, httpx.Client, dict]) -> None:
    services, _, run = trained
    card = (services.registry.models_dir / "v1" / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    (model,) = front["model-index"]
    assert model["name"] == services.model_store.version("v1").name
    found = {
        (result["dataset"]["split"], metric["type"]): metric["value"]
        for result in model["results"]
        for metric in result["metrics"]
    }
    measured = run["metrics"]["challenger"]
    for name in ("ndcg@10", "mrr@10", "map", "accuracy", "auc"):
        assert found["dev", name] == pytest.approx(measured[name], abs=1e-4)
        assert found["general", name] == pytest.approx(measured[f"general_{name}"], abs=1e-4)
    assert front["library_name"] == "sentence-transformers"
    assert card.count("## Evaluation\n") == 1
    section = card.partition("## Evaluation\n")[2].partition("## Training Details\n")[0]
    assert f"{measured['ndcg@10']:.4f}" in section
    assert f"{run['metrics']['champion']['ndcg@10']:.4f}" in section
    assert "## Citation" in card


def test_results_are_written_twice_without_harm(trained: tuple[Services, httpx.Client, dict], tmp_path: Path) -> None:
    services, _, run = trained
    card = tmp_path / "README.md"
    shutil.copy(services.registry.models_dir / "v1" / "README.md", card)
    before = card.read_text(encoding="utf-8")
    manifest = json.loads((services.jobs.runs_dir / run["id"] / "manifest.json").read_text())
    add_results(card, services.model_store.version("v1").name, manifest)
    assert card.read_text(encoding="utf-8") == before


def test_a_card_that_cannot_be_written_is_left_as_it_was(
    trained: tuple[Services, httpx.Client, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_up(card: ModelCard, path: Path) -> None:
        path.write_text(str(card)[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    services, _, run = trained
    card = tmp_path / "README.md"
    shutil.copy(services.registry.models_dir / "v1" / "README.md", card)
    before = card.read_text(encoding="utf-8")
    monkeypatch.setattr(ModelCard, "save", fill_up)
    with pytest.raises(OSError, match="No space left"):
        add_results(card, "x-v1", json.loads((services.jobs.runs_dir / run["id"] / "manifest.json").read_text()))
    assert card.read_text(encoding="utf-8") == before


def test_files_from_before_zips_can_be_downloaded(trained: tuple[Services, httpx.Client, dict]) -> None:
    services, client, _ = trained
    os.utime(services.registry.models_dir / "v1" / "config.json", (0, 0))
    answer = client.get("/v1/models/v1/download")
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None and "config.json" in archive.namelist()


def test_a_base_that_cannot_be_on_the_hub_is_not_named(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    figures = {"dev": {"metrics": {"ndcg@10": 0.5, "queries": 5}}}
    for name, kept in (("my model (old)", False), ("owner/name", True)):
        card.write_text(f"---\nbase_model: {name}\n---\n\n# A model\n\n## Training Details\n")
        add_results(card, "x-v1", {"champion": figures, "challenger": figures})
        assert ("base_model" in yaml.safe_load(card.read_text().split("---\n")[1])) is kept


def test_what_a_version_was_made_with_is_kept(trained: tuple[Services, httpx.Client, dict]) -> None:
    services, _, run = trained
    manifest = json.loads((services.jobs.runs_dir / run["id"] / "manifest.json").read_text())
    assert manifest["environment"]["libraries"].keys() >= {"torch", "transformers", "sentence-transformers"}
    how = how_made(services.model_store.run(run["id"]), services.jobs.files(run["id"]))
    assert "seed 7" in how["Configuration"]
    assert f"{services.model_store.version('v1').labels} train" in how["Labels"]
    assert "torch" in how["Environment"]
    memory = services.model_store.run(run["id"]).memory
    assert memory is not None and memory > 50_000_000


# Made again


def test_a_version_that_is_made_again_has_the_same_weights(trained: tuple[Services, httpx.Client, dict]) -> None:
    services, client, first = trained
    # Labels that came later have no part in it.
    label(client, *((f"query {number} about a bridge", f"{PASSAGES[0]} {number}", 0) for number in range(20)))
    answer = client.post("/v1/models/v1/make-again")
    assert answer.status_code == 202
    run = ended(client, answer.json()["id"])
    assert (run["status"], run["promoted"]) == ("succeeded", False), run
    again = run["model_version"]
    assert again != "v1"
    assert weights(services, again) == weights(services, "v1")
    kept = {name: value for name, value in services.model_store.run(first["id"]).config.items() if name != "promote"}
    assert services.model_store.run(run["id"]).config == {**kept, "promote": "never"}
    assert run["metrics"] == first["metrics"]
    # Another seed gives other weights: that they are the same says something.
    other = train(client, epochs=1, promote="never", seed=8)
    assert weights(services, other["model_version"]) != weights(services, "v1")


def test_only_what_was_trained_here_can_be_made_again(trained: tuple[Services, httpx.Client, dict]) -> None:
    services, client, _ = trained
    base = services.registry.active().version.version
    message = assert_error(client.post(f"/v1/models/{base}/make-again"), 409, "conflict")
    assert "not trained here" in message
    assert_error(client.post("/v1/models/v99/make-again"), 404, "not_found")


def test_without_its_labels_a_version_cannot_be_made_again(services: Services, client: httpx.Client) -> None:
    loaded_version(client)
    services.model_store.add_run(TrainingRun("gone", "succeeded", {}, now()))
    base = services.registry.active().version.version
    services.model_store.add_version(ModelVersion("v1", "x", "trained", None, base, "gone", 1, {}, now()))
    message = assert_error(client.post("/v1/models/v1/make-again"), 409, "conflict")
    assert "no longer on this disk" in message
    assert services.jobs.current() is None


def test_without_its_base_a_version_cannot_be_made_again(client: httpx.Client, add_version: Callable[[], str]) -> None:
    loaded_version(client)
    label_queries(client, 3)
    first = add_version()
    second = train(client, epochs=1, base=first, promote="never")["model_version"]
    client.delete(f"/v1/models/{first}").raise_for_status()
    message = assert_error(client.post(f"/v1/models/{second}/make-again"), 409, "conflict")
    assert f"Model version {first} was deleted" in message
    # It still answers, and still knows what it was first made from.
    client.post(f"/v1/models/{second}/promote").raise_for_status()
    assert train(client, epochs=1, promote="never")["model_version"] == "v3"


# Compared


def test_two_versions_are_compared(trained: tuple[Services, httpx.Client, dict]) -> None:
    _, client, _ = trained
    base = loaded_version(client)
    found = client.get(f"/v1/models/{base}/compare/v1").raise_for_status().json()
    back = client.get(f"/v1/models/v1/compare/{base}").raise_for_status().json()
    assert [side["version"] for side in found["versions"]] == [base, "v1"]
    assert found["versions"] == back["versions"][::-1]
    difference = found["difference"]
    one, other = (side["metrics"]["ndcg@10"] for side in found["versions"])
    assert difference["gain"] == pytest.approx(other - one)
    assert back["difference"]["gain"] == pytest.approx(-difference["gain"])
    assert (back["difference"]["better"], back["difference"]["worse"]) == (difference["worse"], difference["better"])
    assert len(found["queries"]) == difference["queries"] > 3
    for verdict in ("better", "equal", "worse"):
        assert [query["verdict"] for query in found["queries"]].count(verdict) == difference[verdict]
    gaps = [abs(query["after"] - query["before"]) for query in found["queries"]]
    assert gaps == sorted(gaps, reverse=True) and gaps[0] > 0
    assert found["versions"][0]["intervals"]["map"][0] <= found["versions"][0]["metrics"]["map"]


def test_what_cannot_be_compared(trained: tuple[Services, httpx.Client, dict], shared_client: httpx.Client) -> None:
    _, client, _ = trained
    assert "same version" in assert_error(client.get("/v1/models/v1/compare/v1"), 422, "invalid_input")
    assert_error(client.get("/v1/models/v1/compare/v99"), 404, "not_found")
    name = loaded_version(shared_client)
    assert_error(shared_client.get(f"/v1/models/{name}/compare/v1"), 404, "not_found")


# Deleted


def names(client: httpx.Client) -> list[str]:
    return [version["version"] for version in client.get("/v1/models").json()]


def test_a_version_is_deleted_for_good(
    services: Services, client: httpx.Client, add_version: Callable[[], str]
) -> None:
    base = loaded_version(client)
    first, second = add_version(), add_version()
    client.post("/v1/rerank", json={"query": "q", "documents": ["a"], "model": first}).raise_for_status()
    answer = client.delete(f"/v1/models/{first}")
    assert (answer.status_code, answer.json()["version"]) == (200, first)
    assert names(client) == [second, base]
    assert not (services.registry.models_dir / first).exists()
    for call in (
        client.delete(f"/v1/models/{first}"),
        client.post(f"/v1/models/{first}/promote"),
        client.get(f"/v1/models/{first}/download"),
        client.post("/v1/rerank", json={"query": "q", "documents": ["a"], "model": first}),
    ):
        assert "deleted" in assert_error(call, 404, "not_found")
    assert_error(client.delete("/v1/models/v99"), 404, "not_found")
    # Its name is never given again, also when it was the highest.
    client.delete(f"/v1/models/{second}").raise_for_status()
    assert services.registry.next_name() == "v3"


def test_a_model_is_found_by_its_name_also_when_it_is_not_the_active_one(
    client: httpx.Client, add_version: Callable[[], str]
) -> None:
    def answers(model: str) -> str:
        body = {"query": "q", "documents": ["one"], "model": model}
        return client.post("/v1/rerank", json=body).raise_for_status().json()["model"]

    loaded_version(client)
    older, newer = add_version(), add_version()
    client.post(f"/v1/models/{newer}/promote").raise_for_status()
    for version in client.get("/v1/models").json():
        assert answers(version["name"]) == version["version"]
    assert answers(f"tiny-{older}") == older


def test_what_is_needed_is_not_deleted(client: httpx.Client, add_version: Callable[[], str]) -> None:
    base = loaded_version(client)
    first, second, third = add_version(), add_version(), add_version()
    assert "not trained here" in assert_error(client.delete(f"/v1/models/{base}"), 409, "conflict")
    for name in (first, second, third):
        client.post(f"/v1/models/{name}/promote").raise_for_status()
    assert "active" in assert_error(client.delete(f"/v1/models/{third}"), 409, "conflict")
    assert "rolling back returns to" in assert_error(client.delete(f"/v1/models/{second}"), 409, "conflict")
    # One further back is not needed: rolling back goes past it.
    client.delete(f"/v1/models/{first}").raise_for_status()
    assert client.post("/v1/models/rollback").json()["version"] == second
    assert client.post("/v1/models/rollback").json()["version"] == base
    assert_error(client.post("/v1/models/rollback"), 409, "conflict")


def test_rolling_back_past_a_deleted_version_reaches_another_one(
    client: httpx.Client, add_version: Callable[[], str]
) -> None:
    base = loaded_version(client)
    first, second = add_version(), add_version()
    for name in (first, second, first):
        client.post(f"/v1/models/{name}/promote").raise_for_status()
    client.post("/v1/models/rollback").raise_for_status()
    client.post(f"/v1/models/{base}/promote").raise_for_status()
    # The stack is base, first, second, base; without `first` its neighbours stay two.
    client.delete(f"/v1/models/{first}").raise_for_status()
    assert client.post("/v1/models/rollback").json()["version"] == second
    assert client.post("/v1/models/rollback").json()["version"] == base


def test_what_a_run_starts_from_is_not_deleted(
    services: Services, client: httpx.Client, add_version: Callable[[], str]
) -> None:
    loaded_version(client)
    base = add_version()
    label_queries(client, 3)
    run = client.post("/v1/training-runs", json={"base": base, "epochs": 100, "batch_size": 1}).json()
    assert "starts from" in assert_error(client.delete(f"/v1/models/{base}"), 409, "conflict")
    client.delete(f"/v1/training-runs/{run['id']}").raise_for_status()
    assert ended(client, run["id"])["status"] == "cancelled"
    client.delete(f"/v1/models/{base}").raise_for_status()
    assert not (services.jobs.runs_dir / run["id"] / "model").exists()


def test_what_a_run_is_measured_against_is_not_deleted(
    services: Services, client: httpx.Client, add_version: Callable[[], str]
) -> None:
    base = loaded_version(client)
    champion, *others = (add_version() for _ in range(3))
    client.post(f"/v1/models/{champion}/promote").raise_for_status()
    label_queries(client, 3)
    run = client.post("/v1/training-runs", json={"base": base, "epochs": 100, "batch_size": 1}).json()
    for other in others:
        client.post(f"/v1/models/{other}/promote").raise_for_status()
    assert "is measured against" in assert_error(client.delete(f"/v1/models/{champion}"), 409, "conflict")
    client.delete(f"/v1/training-runs/{run['id']}").raise_for_status()
    assert ended(client, run["id"])["status"] == "cancelled"
    client.delete(f"/v1/models/{champion}").raise_for_status()


def test_the_oldest_that_was_never_promoted_makes_room(
    services: Services, client: httpx.Client, add_version: Callable[[], str]
) -> None:
    base = loaded_version(client)
    made = [add_version() for _ in range(6)]
    for name in (made[0], made[1], made[3]):
        client.post(f"/v1/models/{name}/promote").raise_for_status()
    one = services.registry.size(services.model_store.version(made[0]))
    services.registry.max_bytes = 4.5 * one
    assert services.registry.make_room() == [made[2], made[4]]
    # Then the oldest that was promoted; never the active one, the one before it, nor the newest.
    services.registry.max_bytes = 0
    assert services.registry.make_room() == [made[0]]
    assert names(client) == [made[5], made[3], made[1], base]
    assert services.registry.make_room() == []


def test_what_a_crash_left_of_a_deleted_version_is_removed(
    services: Services, client: httpx.Client, add_version: Callable[[], str]
) -> None:
    loaded_version(client)
    name = add_version()
    # As it is when the app is killed after the deletion was noted.
    services.model_store.delete_version(name)
    assert (services.registry.models_dir / name).exists()
    services.registry.make_room()
    assert not (services.registry.models_dir / name).exists()


def test_a_run_makes_room_for_its_version(
    services: Services, client: httpx.Client, add_version: Callable[[], str], tmp_path: Path, model_dir: Path
) -> None:
    limited = Services.build(make_settings(tmp_path / "limited", model_dir, MAX_MODELS_GB="0.5"))
    assert limited.registry.max_bytes == 5e8
    loaded_version(client)
    label_queries(client, 3)
    first, second = add_version(), add_version()
    services.registry.max_bytes = 1.8 * services.registry.size(services.model_store.version(first))
    third = train(client, epochs=1, promote="never")
    assert third["model_version"] == "v3"
    assert "v3" in names(client) and not {first, second} & set(names(client))
    assert "had to go" in (services.model_store.run(third["id"]).note or "")


# Pushed to the Hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A Hub on this machine that the app pushes to, with a token."""
    with serve({}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")  # this Hub takes large files by git LFS
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield server


def test_a_version_is_pushed(
    services: Services, client: httpx.Client, add_version: Callable[[], str], hub: HubServer
) -> None:
    loaded_version(client)
    name = add_version()
    answer = client.post(f"/v1/models/{name}/push", json={"repo": "ada/reranker"})
    assert answer.status_code == 200, (answer.text, hub.requests)
    assert answer.json() == {"version": name, "repo": "ada/reranker", "url": f"{hub.endpoint}/ada/reranker"}
    repo = hub.pushed["ada/reranker"]
    assert repo.visibility == "private"
    directory = services.registry.directory(services.model_store.version(name))
    for path in directory.rglob("*.*"):
        assert repo.files[path.relative_to(directory).as_posix()] == path.read_bytes()



def test_nothing_of_an_earlier_model_is_left_that_a_pushed_version_would_be_loaded_with(
    client: httpx.Client, add_version: Callable[[], str], hub: HubServer
) -> None:
    loaded_version(client)
    name = add_version()
    client.post(f"/v1/models/{name}/push", json={"repo": "ada/reranker"}).raise_for_status()
    repo = hub.pushed["ada/reranker"]
    before = dict(repo.files)
    earlier = (
        "model-00009-of-00009.safetensors", "model.safetensors.index.json", "chat_template.jinja", "added_tokens.json",
        "1_Dense/config.json", "merges.txt", "spm.model",
    )  # fmt: skip
    mine = {"notes.md": b"mine", "plot.png": b"mine", ".github/labels.json": b"mine"}
    repo.commit(**dict.fromkeys(earlier, b"old"), **mine)
    client.post(f"/v1/models/{name}/push", json={"repo": "ada/reranker"}).raise_for_status()
    assert repo.files == before | mine


def test_a_push_that_fails_says_why(
    client: httpx.Client, add_version: Callable[[], str], hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded_version(client)
    name = add_version()
    hub.behaviour = "read_only"
    message = assert_error(client.post(f"/v1/models/{name}/push", json={"repo": "ada/x"}), 409, "hub_refused")
    assert "may not do that" in message and "rights" in message
    monkeypatch.setenv("HF_TOKEN", "")
    message = assert_error(client.post(f"/v1/models/{name}/push", json={"repo": "ada/x"}), 409, "hub_refused")
    assert "HF_TOKEN is not set" in message
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", unused_endpoint())
    assert_error(client.post(f"/v1/models/{name}/push", json={"repo": "ada/x"}), 409, "hub_refused")
    assert hub.pushed == {}


@pytest.mark.parametrize("repo", ["", "x", "a/b/c", "ada/", "../etc", "ada/a--b", "ada/x y", 5, None])
def test_what_cannot_be_a_repository_is_refused(shared_client: httpx.Client, repo: object) -> None:
    name = loaded_version(shared_client)
    assert_error(shared_client.post(f"/v1/models/{name}/push", json={"repo": repo}), 422, "invalid_input")
