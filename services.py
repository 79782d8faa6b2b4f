"""The parts of the workbench, put together once for the page and the HTTP interface."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from labeling.service import LabelingService
from reranker.jobs import TrainingJobs
from reranker.model import Reranker
from reranker.registry import ModelRegistry
from reranker.scoring_queue import ScoringQueue
from server.access import Access
from settings import Settings
from storage import database
from storage.backup import Backup
from storage.label_store import LabelStore
from storage.model_store import ModelStore


@dataclass(frozen=True)
class Services:
    """Everything that a tab or an HTTP call may need."""

    settings: Settings
    access: Access
    label_store: LabelStore
    model_store: ModelStore
    labeling: LabelingService
    registry: ModelRegistry
    jobs: TrainingJobs
    backup: Backup | None

    @classmethod
    def build(cls, settings: Settings) -> Services:
        """Open the store (restoring or making it where it is missing) and wire the parts; starts nothing."""
        backup = Backup(settings.backup_repo, settings.database_path) if settings.backup_repo else None
        if backup:
            backup.restore()
        database.create(settings.database_path)
        label_store = LabelStore(settings.database_path)
        model_store = ModelStore(settings.database_path)
        load = functools.partial(
            Reranker, queue=ScoringQueue(), engine=settings.engine, conversions=settings.conversions_dir
        )
        registry = ModelRegistry(
            model_store, settings.models_dir, settings.reranker_model, load, settings.max_models_gb * 1e9
        )
        return cls(
            settings=settings,
            access=Access(settings),
            label_store=label_store,
            model_store=model_store,
            labeling=LabelingService(label_store),
            registry=registry,
            jobs=TrainingJobs(settings.runs_dir, model_store, label_store, registry),
            backup=backup,
        )

    def start(self) -> None:
        """Load the model, look after interrupted training runs and copy the store, all in the background."""
        self.registry.start()
        self.jobs.recover()
        if self.backup:
            self.backup.start()

    def stop(self) -> None:
        """Stop what is under way, in order."""
        self.jobs.shut_down()
        # Last, so that the copy has what stopping has written.
        if self.backup:
            self.backup.stop()
