"""Fixtures for tests of the HTTP interface."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from services import Services
from storage.label_store import now
from storage.records import ModelVersion


@pytest.fixture
def add_version(services: Services, other_model_dir: Path) -> Callable[[], str]:
    """Adds a version, made as training makes them, and returns its name."""

    def make() -> str:
        name = services.registry.next_name()
        shutil.copytree(other_model_dir, services.registry.models_dir / name)
        base = services.registry.active().version.version
        figures = {"ndcg@10": 0.5}
        services.model_store.add_version(
            ModelVersion(name, f"tiny-{name}", "trained", None, base, None, 12, figures, now())
        )
        return name

    return make
