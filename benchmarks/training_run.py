"""A training run as the app does it, in this process and without its store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from reranker.dataset import LabelledPair
from reranker.recipe import TrainingConfig
from reranker.run_files import RunFiles
from reranker.train import run


def train_as_the_app(
    directory: Path, config: TrainingConfig, sets: Mapping[str, list[LabelledPair]], model: Path
) -> RunFiles:
    """Train `model`, which has learned from none of these pairs and answers now, on `sets`; returns the run's files."""
    files = files_of(directory, config, sets, model)
    with files.events.open("a", encoding="utf-8") as events:
        run(files.directory, events)
    return files


def files_of(
    directory: Path, config: TrainingConfig, sets: Mapping[str, list[LabelledPair]], model: Path
) -> RunFiles:
    """The files of such a run before it begins."""
    files = RunFiles(directory)
    known = {"base": model.name, "base_path": str(model), "base_name": model.name, "base_on_hub": False}
    champion = {"champion": model.name, "champion_path": str(model), "learned": []}
    files.create({**asdict(config), **known, **champion}, sets)
    return files
