"""Fixtures that several rooms of the tests share."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services import Services
from settings import Settings
from tests.forked import forked_trainings, whole_trainings
from tests.serving import App, app_in_thread, serving
from tests.tiny_model import save_tiny_model


@pytest.fixture(scope="session", autouse=True)
def quick_trainings() -> Iterator[None]:
    """Runs that the tests' own process starts need no time to import; those of an app are whole processes."""
    with forked_trainings():
        yield


@pytest.fixture
def own_processes() -> Iterator[None]:
    """Each run of the test is a process of its own, with the command line that it has in the app."""
    with whole_trainings():
        yield


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real cross-encoder that is small and knows nothing."""
    path = save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
    # Each training collects garbage first, and would look for it in all that was imported.
    import reranker.trainer  # noqa: F401

    gc.collect()
    gc.freeze()
    return path


@pytest.fixture(scope="session")
def other_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, which gives other scores."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "other", seed=1)


@pytest.fixture(scope="session")
def still_model(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without dropout: it gives the same loss however its pairs are grouped, and in whichever process."""
    path = tmp_path_factory.mktemp("still") / "model"
    shutil.copytree(model_dir, path)
    config = json.loads((path / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}
    (path / "config.json").write_text(json.dumps(config))
    return path


def make_settings(data_dir: Path, model_dir: Path, **environment: str) -> Settings:
    """Settings as an environment with these variables and no others makes them; torch scores, so nothing is converted.

    The tests with an app in a process of its own have the engine that the app chooses by itself.
    """
    known = {"DATA_DIR": str(data_dir), "RERANKER_MODEL": str(model_dir), "ENGINE": "torch-float32"}
    return Settings.from_env(known | environment)


@pytest.fixture
def settings(tmp_path: Path, model_dir: Path) -> Settings:
    return make_settings(tmp_path / "data", model_dir)


@pytest.fixture
def services(settings: Settings) -> Services:
    """The parts of the workbench on an empty store; not started."""
    return Services.build(settings)


@pytest.fixture
def client(services: Services) -> Iterator[httpx.Client]:
    """A client of a real server that runs `services`."""
    with serving(services) as client:
        yield client


@pytest.fixture(scope="module")
def shared_client(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[httpx.Client]:
    """A client of a server that the tests of a module share: for those that change nothing."""
    with serving(Services.build(make_settings(tmp_path_factory.mktemp("shared"), model_dir))) as client:
        yield client


@pytest.fixture(scope="module")
def shared_app(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[App]:
    """An app, page and all, that the tests of a module share, with a model that is quick to load."""
    with app_in_thread(tmp_path_factory.mktemp("shared") / "app", model_dir) as app:
        yield app


@pytest.fixture
def app(tmp_path: Path, model_dir: Path) -> Iterator[App]:
    """An app, page and all, for one test."""
    with app_in_thread(tmp_path / "app", model_dir) as app:
        yield app
