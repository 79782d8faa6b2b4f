"""The directories of training runs, where the app was ended while it made one."""

from __future__ import annotations

from pathlib import Path

import pytest

from reranker import run_files
from reranker.dataset import SPLITS
from reranker.run_files import RunFiles, remove_what_never_began
from services import Services
from settings import Settings
from storage import database
from storage.model_store import ModelStore
from storage.records import TrainingRun


def test_what_no_run_began_with_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database.create(tmp_path / "workbench.db")
    models = ModelStore(tmp_path / "workbench.db")
    runs = tmp_path / "runs"
    remove_what_never_began(runs, models.has_run)  # where nothing was ever trained
    for name in ("noted", "unknown", "of-a-lost-store"):
        RunFiles(runs / name).create({}, {split: [] for split in SPLITS})
    models.add_run(TrainingRun("noted", "queued", {}, "2025-01-01"))
    RunFiles(runs / "of-a-lost-store").events.touch()

    def ended(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_files, "write_pairs", ended)
    with pytest.raises(KeyboardInterrupt):
        RunFiles(runs / "half").create({}, {split: [] for split in SPLITS})
    assert len(list(runs.iterdir())) == 4
    remove_what_never_began(runs, models.has_run)
    assert {path.name for path in runs.iterdir()} == {"noted", "of-a-lost-store"}


def test_a_start_removes_it(settings: Settings) -> None:
    services = Services.build(settings)
    files = services.jobs.files("unknown")
    files.create({}, {split: [] for split in SPLITS})
    services.jobs.recover()
    assert not files.directory.exists()
