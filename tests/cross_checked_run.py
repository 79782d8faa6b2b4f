"""A small training run with cross-checking, in this process: to look at it, and to break it off."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from reranker import cross_check
from reranker.dataset import LabelledPair
from reranker.recipe import TrainingConfig
from reranker.run_files import RunFiles
from reranker.train import run

SUBJECTS = ["bridges", "rivers", "gardens", "music", "rain", "trains", "stones", "light", "paper", "winter"]


def pairs_about(*subjects: str) -> list[LabelledPair]:
    """Three pairs for each: what it is about is relevant."""
    return [
        LabelledPair(f"q-{subject}", f"all about {subject}", f"{kind} {subject} {place * subject}", int(place == 0))
        for subject in subjects
        for place, kind in enumerate(("the best of", "no word on", "a song without"))
    ]


PAIRS = pairs_about(*SUBJECTS)


def new_run(directory: Path, model_dir: Path, **values: Any) -> RunFiles:
    """A run on these pairs that has not begun; `values` are of its configuration."""
    files = RunFiles(directory)
    config = asdict(TrainingConfig.of("default", seed=1, learning_rate=1e-3, epochs=2))
    config |= {"base": "base", "base_path": str(model_dir), "base_name": "tiny", "base_on_hub": False}
    config |= {"champion": "base", "champion_path": str(model_dir), "learned": []}
    files.create(config | values, {"train": PAIRS, "dev": [], "test": []})
    return files


def go(files: RunFiles, cores: int = 1) -> None:
    """Begin a run or go on with it, to its end; with several cores, with processes beside this one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(cores)
    try:
        with files.events.open("a") as events:
            run(files.directory, events)
    finally:
        torch.set_num_threads(threads)


class Killed(BaseException):
    """Stands for kill -9."""


def break_off(files: RunFiles, moment: str, first: Callable[..., Any] | None = None, cores: int = 1) -> None:
    """Run until it comes to this function of cross_check.py; `first(function, *arguments)` is still done."""
    whole = getattr(cross_check, moment)

    def broken(*given: Any) -> None:
        if first:
            first(whole, *given)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_check, moment, broken)
        with pytest.raises(Killed):
            go(files, cores)


def weights(directory: Path) -> dict[str, torch.Tensor]:
    """The weights of the model in a directory, by their names."""
    return load_file(directory / "model.safetensors")


def assert_same(model: Path, expected: Path) -> None:
    """Check that two models have the same weights, bit for bit."""
    theirs = weights(expected)
    assert all(torch.equal(weight, theirs[name]) for name, weight in weights(model).items())


def assert_mean(model: Path, of: Sequence[Path]) -> None:
    """Check that the weights of a model are the mean of those of others."""
    parts = [weights(part) for part in of]
    for name, weight in weights(model).items():
        assert torch.allclose(weight, torch.stack([part[name] for part in parts]).mean(0), atol=1e-6), name


def progress_of(files: RunFiles) -> list[float]:
    """How far a run said that it was, each time that it did."""
    return [event["progress"] for event in events_of(files) if "progress" in event]


def events_of(files: RunFiles) -> list[dict[str, Any]]:
    """What a run said while it worked."""
    return [json.loads(line) for line in files.events.read_text().splitlines()]
