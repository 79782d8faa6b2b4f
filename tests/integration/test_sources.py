"""Where the first model comes from, against a stand-in Hub that finds, refuses, breaks off or says nothing.

Each start of the app is a process of its own here: huggingface_hub reads its environment when it is imported.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from reranker.model import Reranker
from reranker.sources import STALL_SECONDS, STARTER_DIR, find_model
from tests.integration.hub_server import HubServer, serve, unused_endpoint
from tests.tiny_model import save_tiny_model

ROOT = Path(__file__).parents[2]
MODEL_ID = "tiny/reranker"
# The app promises to give up after 5 seconds. The rest is for a machine that is busy with other tests: without the
# promise, the Hub of these tests would be waited for much longer.
PROMISED_SECONDS = 15

START = """
import json, sys, time
from reranker.sources import cached_snapshot, find_model
import psutil

told = []
before = time.monotonic()
found = find_model(sys.argv[1], told.append)
seconds = time.monotonic() - before
print(json.dumps({
    "source": found.source, "name": found.name, "location": found.location, "path": str(found.path),
    "notice": found.notice, "seconds": seconds, "told": told, "children": len(psutil.Process().children()),
    "cached": cached_snapshot(sys.argv[1]) is not None,
}))
"""


@dataclass(frozen=True)
class Started:
    """What find_model returned in a process of its own, how long it took, and what it left behind."""

    source: str
    name: str
    location: str | None
    path: str
    notice: str | None
    seconds: float
    told: list[str]
    children: int
    cached: bool


@dataclass(frozen=True)
class Machine:
    """A machine with an empty Hub cache."""

    home: Path

    def environment(self, endpoint: str, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        return {**kept, "HF_ENDPOINT": endpoint, "HF_HOME": str(self.home), "NO_PROXY": "127.0.0.1", **more}

    def start(self, endpoint: str, wanted: str = MODEL_ID, **more: str) -> Started:
        process = subprocess.run(
            [sys.executable, "-c", START, wanted],
            cwd=ROOT,
            env=self.environment(endpoint, **more),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        return Started(**json.loads(process.stdout))

    def unfinished_files(self) -> list[Path]:
        return list(self.home.rglob("*.incomplete"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "hf")


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as it lies on the Hub: with weights of some MB, and with files that the app does not fetch."""
    path = save_tiny_model(tmp_path_factory.mktemp("published") / "model", extra_tokens=25_000)
    (path / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    # What a model made from a chat model puts pairs into; this one is not asked so.
    (path / "chat_template.jinja").write_text("{{ messages }}")
    (path / "pytorch_model.bin").write_bytes(b"not fetched" * 1_000)
    (path / "onnx").mkdir()
    (path / "onnx" / "model.onnx").write_bytes(b"not fetched either" * 1_000)
    (path / "onnx" / "config.json").write_text("{}")
    return path


@pytest.fixture
def hub(published: Path) -> Iterator[HubServer]:
    with serve({MODEL_ID: published}) as server:
        yield server


def assert_starter(started: Started, *words: str) -> None:
    """The starter was chosen, and the notice is a sentence with these words in it."""
    assert (started.source, started.path) == ("starter", str(STARTER_DIR))
    assert started.notice is not None
    assert started.notice.endswith(".") and "\n" not in started.notice and "Traceback" not in started.notice
    for word in words:
        assert word in started.notice
    assert started.children == 0
    assert not started.cached


# The Hub answers


def test_a_model_on_the_hub_is_downloaded_and_works(hub: HubServer, machine: Machine, published: Path) -> None:
    started = machine.start(hub.endpoint)
    assert (started.source, started.name, started.location) == ("hub", MODEL_ID, MODEL_ID)
    assert started.notice is None
    assert started.cached
    assert (Path(started.path) / "model.safetensors").read_bytes() == (published / "model.safetensors").read_bytes()
    downloaded, original = Reranker(Path(started.path)), Reranker(published)
    assert downloaded.rank("rain", ["sun", "water"]) == original.rank("rain", ["sun", "water"])


def test_only_what_a_cross_encoder_needs_is_downloaded(hub: HubServer, machine: Machine) -> None:
    files = {path.name for path in Path(machine.start(hub.endpoint).path).rglob("*")}
    wanted = {"config.json", "tokenizer.json", "vocab.txt", "model.safetensors", "README.md", "chat_template.jinja"}
    assert wanted <= files
    assert not files & {"pytorch_model.bin", "onnx", "model.onnx", ".gitattributes"}


def test_nothing_is_left_running_or_unfinished_after_a_download(hub: HubServer, machine: Machine) -> None:
    assert machine.start(hub.endpoint).children == 0
    assert machine.unfinished_files() == []


def test_a_second_start_works_with_the_hub_gone(published: Path, machine: Machine) -> None:
    with serve({MODEL_ID: published}) as server:
        first = machine.start(server.endpoint)
    second = machine.start(server.endpoint)
    assert (second.source, second.path, second.notice) == ("hub", first.path, None)


def test_a_second_start_does_not_ask_the_hub(hub: HubServer, machine: Machine) -> None:
    machine.start(hub.endpoint)
    hub.requests.clear()
    assert machine.start(hub.endpoint).source == "hub"
    assert hub.requests == []


def test_a_slow_download_is_waited_for_and_reported(hub: HubServer, machine: Machine) -> None:
    hub.bytes_per_second = 600_000
    started = machine.start(hub.endpoint)
    assert started.source == "hub"
    assert started.seconds > STALL_SECONDS
    assert len(started.told) > 3
    assert started.told[-1].startswith(f"Downloading {MODEL_ID}: ")


def test_sharded_weights_are_downloaded_whole(published: Path, machine: Machine, tmp_path: Path) -> None:
    from transformers import BertForSequenceClassification

    sharded = tmp_path / "sharded"
    shutil.copytree(published, sharded)
    (sharded / "model.safetensors").unlink()
    BertForSequenceClassification.from_pretrained(published).save_pretrained(sharded, max_shard_size="1MB")
    assert not (sharded / "model.safetensors").exists()
    with serve({MODEL_ID: sharded}) as server:
        started = machine.start(server.endpoint)
    assert (started.source, started.cached) == ("hub", True)
    shard = next(Path(started.path).glob("model-*.safetensors"))
    shard.unlink()
    assert machine.start(unused_endpoint()).source == "starter"


def test_a_machine_that_takes_long_to_ask_the_hub_gets_its_model_all_the_same(
    hub: HubServer, machine: Machine, tmp_path: Path
) -> None:
    slow = "import sys, time\nif 'reranker.hub_download' in sys.orig_argv: time.sleep(6)\n"
    (tmp_path / "sitecustomize.py").write_text(slow)
    assert machine.start(hub.endpoint, PYTHONPATH=str(tmp_path)).source == "hub"


# The Hub refuses


def test_a_model_that_is_not_there_gives_the_starter(hub: HubServer, machine: Machine) -> None:
    assert_starter(machine.start(hub.endpoint, "tiny/missing"), "There is no model tiny/missing on the Hub")


def test_a_private_model_gives_the_starter_with_and_without_a_token(hub: HubServer, machine: Machine) -> None:
    hub.behaviour = "not_found"
    assert_starter(machine.start(hub.endpoint), MODEL_ID, "private", "HF_TOKEN")
    assert_starter(machine.start(hub.endpoint, HF_TOKEN="hf_of_somebody_else"), MODEL_ID, "private", "HF_TOKEN")


@pytest.mark.parametrize("token", [{}, {"HF_TOKEN": "hf_without_access"}])
def test_a_gated_model_gives_the_starter(hub: HubServer, machine: Machine, token: dict[str, str]) -> None:
    hub.behaviour = "gated"
    assert_starter(machine.start(hub.endpoint, **token), MODEL_ID, "gated", "accept its terms")


def test_a_name_that_cannot_be_a_hub_id_gives_the_starter(hub: HubServer, machine: Machine) -> None:
    assert_starter(machine.start(hub.endpoint, "two words"), "'two words' is not the id of a model")
    assert hub.requests == []


def test_a_hub_that_fails_gives_the_starter_in_time(hub: HubServer, machine: Machine) -> None:
    hub.behaviour = "broken"
    started = machine.start(hub.endpoint)
    assert_starter(started, MODEL_ID, "500")
    assert started.seconds <= PROMISED_SECONDS


def test_a_model_without_safetensors_on_the_hub_gives_the_starter(
    published: Path, machine: Machine, tmp_path: Path
) -> None:
    pickled = tmp_path / "pickled"
    shutil.copytree(published, pickled)
    (pickled / "model.safetensors").unlink()
    with serve({MODEL_ID: pickled}) as server:
        assert_starter(machine.start(server.endpoint), MODEL_ID, "no .safetensors file")


def test_offline_mode_gives_the_starter_without_asking(hub: HubServer, machine: Machine) -> None:
    assert_starter(machine.start(hub.endpoint, HF_HUB_OFFLINE="1"), MODEL_ID, "HF_HUB_OFFLINE")
    assert hub.requests == []


# The Hub does not answer


def test_a_hub_at_which_nothing_listens_gives_the_starter_in_time(machine: Machine) -> None:
    started = machine.start(unused_endpoint())
    assert_starter(started, "The Hub cannot be reached", MODEL_ID)
    assert started.seconds <= PROMISED_SECONDS


@pytest.mark.parametrize("behaviour", ["silent", "trickling"])
def test_an_unanswering_hub_costs_five_seconds_at_most(hub: HubServer, machine: Machine, behaviour: Any) -> None:
    hub.behaviour = behaviour
    started = machine.start(hub.endpoint)
    assert hub.requests
    assert_starter(started, "did not answer within 5 seconds", MODEL_ID)
    assert started.seconds <= PROMISED_SECONDS


@pytest.mark.parametrize("behaviour", ["trickling_weights", "cut_off"])
def test_a_hub_that_stops_half_way_is_given_up(hub: HubServer, machine: Machine, behaviour: Any) -> None:
    hub.behaviour = behaviour
    started = machine.start(hub.endpoint)
    assert_starter(started, "stopped sending", MODEL_ID, "MB")
    # The clock starts anew with what came last, which here is in the first seconds.
    assert started.seconds <= PROMISED_SECONDS
    assert machine.unfinished_files() == []


def test_a_cut_off_download_is_not_taken_for_a_complete_one(hub: HubServer, machine: Machine, published: Path) -> None:
    hub.behaviour = "cut_off"
    assert machine.start(hub.endpoint).source == "starter"
    assert_starter(machine.start(unused_endpoint()), "cannot be reached")
    hub.behaviour = "found"
    started = machine.start(hub.endpoint)
    assert started.source == "hub"
    assert (Path(started.path) / "model.safetensors").read_bytes() == (published / "model.safetensors").read_bytes()


def test_a_download_without_its_tokenizer_is_not_complete(hub: HubServer, machine: Machine) -> None:
    path = Path(machine.start(hub.endpoint).path)
    (path / "tokenizer.json").unlink()
    assert_starter(machine.start(unused_endpoint()), "cannot be reached")


def test_a_download_ends_with_the_app(hub: HubServer, machine: Machine) -> None:
    hub.behaviour = "trickling_weights"
    app = subprocess.Popen(
        [sys.executable, "-c", START, MODEL_ID],
        cwd=ROOT,
        env=machine.environment(hub.endpoint),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(lambda: bool(machine.unfinished_files()))
        (download,) = psutil.Process(app.pid).children()
    finally:
        app.kill()
        app.wait()
    psutil.wait_procs([download], timeout=30)
    assert not download.is_running()
    assert machine.unfinished_files() == []


def test_a_download_that_ends_between_two_files_leaves_none_of_them(machine: Machine, tmp_path: Path) -> None:
    """Eight threads begin the next files at the moment at which those that are begun are thrown away."""
    repository = tmp_path / "many"
    repository.mkdir()
    for number in range(400):
        (repository / f"{number}.txt").write_text(f"{number}\n")
    with serve({MODEL_ID: repository}) as server:
        for round_ in range(2):
            download = subprocess.Popen(
                [sys.executable, "-m", "reranker.hub_download", MODEL_ID],
                cwd=ROOT,
                env=machine.environment(server.endpoint),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
            _wait(lambda: len(list(machine.home.rglob("*.txt"))) > 60 * round_ + 10, 30)  # noqa: B023
            download.stdin.close()  # type: ignore[union-attr]
            assert download.wait(30) == 1
    assert machine.unfinished_files() == []


def _wait(condition: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


# A directory


def never(message: str) -> None:
    pytest.fail(f"Nothing is downloaded here, but it said: {message}")


def test_the_starter_can_be_asked_for_by_name() -> None:
    found = find_model("starter", never)
    assert (found.source, found.path, found.notice) == ("starter", STARTER_DIR, None)


def test_a_directory_is_used_as_it_is(published: Path) -> None:
    found = find_model(str(published), never)
    assert (found.source, found.path, found.location, found.notice) == ("directory", published, str(published), None)


def test_a_relative_directory_is_kept_by_its_full_path(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(published.parent)
    found = find_model(published.name, never)
    assert (found.source, found.path, found.location) == ("directory", published, str(published))


@pytest.mark.parametrize("missing", ["/no/such/model", "./no-such-model", "~nobody-here/model", "a/b/c"])
def test_a_directory_that_is_not_there_gives_the_starter(missing: str) -> None:
    found = find_model(missing, never)
    assert (found.source, found.path) == ("starter", STARTER_DIR)
    assert found.notice is not None
    assert missing in found.notice and found.notice.endswith("is not a directory.")


def test_a_directory_without_a_model_gives_the_starter(tmp_path: Path) -> None:
    found = find_model(str(tmp_path), never)
    assert found.source == "starter"
    assert found.notice is not None
    assert "has no config.json" in found.notice and str(tmp_path) in found.notice


def test_a_directory_with_pickled_weights_only_gives_the_starter(published: Path, tmp_path: Path) -> None:
    shutil.copy(published / "config.json", tmp_path)
    shutil.copy(published / "pytorch_model.bin", tmp_path)
    found = find_model(str(tmp_path), never)
    assert found.source == "starter"
    assert found.notice is not None
    assert "has no .safetensors file" in found.notice and found.notice.endswith(".")
