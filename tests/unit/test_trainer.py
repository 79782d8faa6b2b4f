"""Training in parts, held against the plain trainer: the same losses and the same weights, up to rounding."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from reranker import trainer as trainer_module
from reranker import training
from reranker.dataset import LabelledPair
from reranker.recipe import CLASSIC, RECIPES
from reranker.reporter import Reporter
from reranker.run_files import RunFiles
from reranker.training import train

PAIRS = [
    LabelledPair(f"q{number}", f"query {number} river", "a bridge and the rain " * (1 + 7 * number % 23), number % 2)
    for number in range(40)
]


def trained(
    recipe: str, base: Path, out: Path, pairs: Sequence[LabelledPair] = PAIRS, **changes: Any
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The loss of each step, and the weights at the end."""
    config = {"recipe": recipe, "base_path": str(base), "base_name": "tiny", "base_on_hub": False}
    config |= {"batch_size": 16, "epochs": 2, "learning_rate": 1e-3, "seed": 42} | changes
    out.mkdir(exist_ok=True)
    stream = io.StringIO()
    train(config, list(pairs), RunFiles(out), Reporter(stream, 1))
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [event["loss"] for event in events if "loss" in event], load_file(out / "model" / "model.safetensors")


def test_parts_learn_what_the_whole_batch_would(
    still_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "CPU_PART_TOKENS", 256)
    monkeypatch.setattr(training, "has_bfloat16", lambda: False)
    monkeypatch.setitem(RECIPES, "parts", replace(CLASSIC, fast=True))
    plain_losses, plain = trained("classic", still_model, tmp_path / "plain")
    losses, weights = trained("parts", still_model, tmp_path / "parts")
    assert len(losses) == 6
    assert losses == pytest.approx(plain_losses, abs=2e-4)
    for name, weight in weights.items():
        assert torch.allclose(weight, plain[name], atol=2e-3), name


def test_the_default_warms_up_and_classic_does_not(still_model: Path, tmp_path: Path) -> None:
    def rates(recipe: str) -> list[float]:
        config = {"recipe": recipe, "base_path": str(still_model), "base_name": "tiny", "base_on_hub": False}
        config |= {"batch_size": 2, "epochs": 1, "learning_rate": 1e-3, "seed": 42}
        stream = io.StringIO()
        (tmp_path / recipe).mkdir()
        train(config, PAIRS, RunFiles(tmp_path / recipe), Reporter(stream, 1))
        events = [json.loads(line) for line in stream.getvalue().splitlines()]
        return [event["learning_rate"] for event in events if "learning_rate" in event]

    classic = rates("classic")
    assert classic[0] == max(classic) == pytest.approx(1e-3)
    default = rates("default")
    assert default[0] < default[1] < max(default)
    assert default[-1] < max(default)


def test_the_batches_are_cut_into_parts(still_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "CPU_PART_TOKENS", 256)
    sizes: list[int] = []
    loss = trainer_module.CrossEncoderTrainer.compute_loss

    def counted(self, model, inputs, *args: Any, **options: Any) -> Any:  # noqa: ANN001
        sizes.append(len(inputs["sentence_0"]))
        return loss(self, model, inputs, *args, **options)

    monkeypatch.setattr(trainer_module.CrossEncoderTrainer, "compute_loss", counted)
    trained("default", still_model, tmp_path, epochs=1)
    # The labelled pairs, and with each of the 3 batches as many of the anchor's.
    assert sum(sizes) == len(PAIRS) + 3 * 16
    assert len(sizes) > 6 and max(sizes) < 16


@pytest.mark.parametrize("loss", ["BinaryCrossEntropyLoss", "RankNetLoss"])
def test_the_default_trains_in_bfloat16_on_a_processor(
    loss: str, still_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a machine whose processor would be slower in it, and so would not."""
    of_few_queries = [
        LabelledPair(f"q{place // 4}", f"query {place // 4}", pair.passage, pair.label)
        for place, pair in enumerate(PAIRS)
    ]
    found = {}
    for has in (False, True):
        monkeypatch.setattr(training, "has_bfloat16", lambda has=has: has)
        found[has], _ = trained("default", still_model, tmp_path / str(has), of_few_queries, epochs=1, loss=loss)
    assert found[True] == pytest.approx(found[False], abs=0.05)
    assert found[True] != found[False]


def test_a_batch_of_one_is_a_part(still_model: Path, tmp_path: Path) -> None:
    losses, _ = trained("default", still_model, tmp_path, epochs=1, batch_size=1)
    assert len(losses) == len(PAIRS)


def test_the_same_run_gives_the_same_weights(model_dir: Path, tmp_path: Path) -> None:
    _, first = trained("default", model_dir, tmp_path / "first", epochs=1)
    _, second = trained("default", model_dir, tmp_path / "second", epochs=1)
    assert all(torch.equal(first[name], second[name]) for name in first)
