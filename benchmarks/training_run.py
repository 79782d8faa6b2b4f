"""A training run as the app does it, in this process and without its store."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from reranker.dataset import SPLITS, LabelledPair, Settled, TrainingSets, assign_splits, groups_of, make_sets
from reranker.recipe import TrainingConfig
from reranker.run_files import RunFiles
from reranker.train import run


def train_as_the_app(directory: Path, config: TrainingConfig, sets: TrainingSets, model: Path) -> RunFiles:
    """Train `model`, which has learned from none of these pairs and answers now, on `sets`; returns the run's files."""
    files = files_of(directory, config, sets, model)
    with files.events.open("a", encoding="utf-8") as events:
        run(files.directory, events)
    return files


def split(pairs: list[LabelledPair]) -> TrainingSets:
    """The sets that the app makes of these labels, none of which it has seen before."""
    return make_sets(pairs, assign_splits({pair.query_id: pair.query for pair in pairs}, Settled(), groups_of(pairs)))


def files_of(directory: Path, config: TrainingConfig, sets: TrainingSets, model: Path) -> RunFiles:
    """The files of such a run before it begins."""
    files = RunFiles(directory)
    known = {"base": model.name, "base_path": str(model), "base_name": model.name, "base_on_hub": False}
    champion = {"champion": model.name, "champion_path": str(model), "learned": []}
    files.create({**asdict(config), **known, **champion}, {name: getattr(sets, name) for name in SPLITS})
    return files
