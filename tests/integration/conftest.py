"""Fixtures for tests of the HTTP interface."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from services import Services
from storage.records import ModelVersion, now


@pytest.fixture
def add_version(services: Services, other_model_dir: Path) -> Callable[[], str]:
    """Adds a version, made as training makes them, and returns its name."""
    return lambda: version_of(services, other_model_dir)


def version_of(services: Services, model_dir: Path) -> str:
    """The name of a new version that has the weights in `model_dir`."""
    name = services.registry.next_name()
    shutil.copytree(model_dir, services.registry.models_dir / name)
    base = services.registry.active().version.version
    services.model_store.add_version(
        ModelVersion(name, f"tiny-{name}", "trained", None, base, None, 12, {"ndcg@10": 0.5}, now())
    )
    return name
