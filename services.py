"""The parts of the workbench, put together once for the page and the HTTP interface."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from labeling.queue import Queue
from labeling.scorer import Score, Scorer
from labeling.service import LabelingService
from reranker.jobs import TrainingJobs
from reranker.label_sets import LabelSets
from reranker.launch import HUB_JOB, HubJob, Launch
from reranker.model import Reranker
from reranker.registry import ModelRegistry
from reranker.scoring_queue import ScoringQueue
from server.access import Access
from settings import Settings
from storage import database
from storage.backup import Backup
from storage.browse_store import BrowseStore
from storage.label_store import LabelStore
from storage.model_store import ModelStore
from storage.progress_store import ProgressStore
from storage.queue_store import QueueStore
from storage.records import Quota
from storage.review_store import ReviewStore
from storage.score_store import ScoreStore


@dataclass(frozen=True)
class Services:
    """Everything that a tab or an HTTP call may need."""

    settings: Settings
    access: Access
    label_store: LabelStore
    model_store: ModelStore
    review_store: ReviewStore
    browse_store: BrowseStore
    progress_store: ProgressStore
    labeling: LabelingService
    registry: ModelRegistry
    label_sets: LabelSets
    jobs: TrainingJobs
    scorer: Scorer
    backup: Backup | None

    @classmethod
    def build(cls, settings: Settings) -> Services:
        """Open the store (restoring or making it where it is missing) and wire the parts; starts nothing."""
        path = settings.database_path
        backup = Backup(settings.backup_repo, path) if settings.backup_repo else None
        if backup:
            backup.restore()
        database.create(path)
        label_store, model_store = LabelStore(path), ModelStore(path)
        review_store, score_store = ReviewStore(path), ScoreStore(path)
        load = functools.partial(
            Reranker,
            queue=ScoringQueue(),
            engine=settings.engine,
            conversions=settings.conversions_dir,
            at_once=True,
        )
        registry = ModelRegistry(
            model_store, settings.models_dir, settings.reranker_model, load, settings.max_models_gb * 1e9
        )
        quota = Quota(settings.overlap, settings.overlap_share) if settings.overlap else None
        queue_store = QueueStore(path, quota, settings.lease_minutes * 60)
        label_sets = LabelSets(label_store)
        scorer = Scorer(score_store, lambda: _champion(registry))
        queue = Queue(queue_store, scorer.versions, label_store.anything_judged)
        return cls(
            settings=settings,
            access=Access(settings),
            label_store=label_store,
            model_store=model_store,
            review_store=review_store,
            browse_store=BrowseStore(path),
            progress_store=ProgressStore(path),
            labeling=LabelingService(label_store, queue, review_store, score_store),
            registry=registry,
            label_sets=label_sets,
            jobs=TrainingJobs(
                settings.runs_dir,
                model_store,
                label_sets,
                registry,
                settings.checkpoint_seconds,
                _launch(settings),
            ),
            scorer=scorer,
            backup=backup,
        )

    def start(self) -> None:
        """Load the model, look after interrupted training runs and copy the store, all in the background."""
        database.keep_open(self.settings.database_path)
        self.registry.start()
        self.jobs.recover()
        self.scorer.start()
        if self.backup:
            self.backup.start()

    def stop(self) -> None:
        """Stop what is under way, in order."""
        self.scorer.stop()
        self.jobs.shut_down()
        # After that, so that the copy has what stopping has written.
        if self.backup:
            self.backup.stop()
        database.let_close(self.settings.database_path)
        self.registry.stop()


def _launch(settings: Settings) -> Launch:
    job = HubJob(settings.train_flavor, settings.train_image, settings.train_timeout, settings.train_bucket)
    on_hub = settings.train_launcher == HUB_JOB
    return Launch(settings.train_launcher, settings.train_processes, job if on_hub else None)


def _champion(registry: ModelRegistry) -> tuple[str, Score] | None:
    """The version that answers and how it scores, both of the same model; None while it is being loaded."""
    if registry.status().version is None:
        return None
    active = registry.active()
    return active.version.version, active.reranker.scores
