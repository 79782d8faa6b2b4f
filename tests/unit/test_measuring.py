"""The models that a run measures: what is checked of them, and how often."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from errors import UnusableModel
from reranker import loading, measuring
from reranker.engine import Plan


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that were checked since the test began."""
    done: list[Plan] = []
    check = loading._Builder.check

    def counted(builder: loading._Builder, engine: loading.Engine) -> str:
        done.append(engine.plan)
        return check(builder, engine)

    monkeypatch.setattr(measuring, "_checked", {})
    monkeypatch.setattr(loading._Builder, "check", counted)
    return done


def copy_of(model_dir: Path, out: Path) -> Path:
    return Path(shutil.copytree(model_dir, out))


def test_models_of_one_kind_are_checked_once_and_scored_alike(
    model_dir: Path, tmp_path: Path, checks: list[Plan]
) -> None:
    other = copy_of(model_dir, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({name: weight * 0.9 for name, weight in weights.items()}, other / "model.safetensors", {"format": "pt"})
    first, second = measuring.load(model_dir), measuring.load(other)
    assert len(checks) == 1
    assert second.loaded.engine.plan == first.loaded.engine.plan == checks[0]
    pair = [("what crosses a river", "A bridge crosses a river.")]
    right = loading.load_model(other, "sentence-transformers")
    assert second.scores(pair) == pytest.approx(right.engine.score(right.tokenizer.encode(pair)), abs=0.05)
    assert second.scores(pair) != first.scores(pair)


def test_another_configuration_is_checked_by_itself(model_dir: Path, tmp_path: Path, checks: list[Plan]) -> None:
    other = copy_of(model_dir, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}))
    measuring.load(model_dir)
    measuring.load(other)
    assert len(checks) == 2


def test_what_cannot_be_scored_as_its_kind_was_is_scored_in_another_way(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, checks: list[Plan]
) -> None:
    first = measuring.load(model_dir).loaded.engine.plan
    build = loading._Builder.build

    def fail(builder: loading._Builder, plan: Plan) -> loading.Engine:
        if plan == first:
            raise MemoryError("the memory ran out")
        return build(builder, plan)

    monkeypatch.setattr(loading._Builder, "build", fail)
    again = measuring.load(model_dir)
    assert again.loaded.engine.plan != first
    assert len(checks) == 2


def test_damaged_weights_are_found_though_the_kind_was_checked(
    model_dir: Path, tmp_path: Path, checks: list[Plan]
) -> None:
    damaged = copy_of(model_dir, tmp_path / "damaged")
    weights = load_file(damaged / "model.safetensors")
    save_file(
        {name: torch.full_like(weight, torch.nan) for name, weight in weights.items()},
        damaged / "model.safetensors",
        {"format": "pt"},
    )
    measuring.load(model_dir)
    with pytest.raises(UnusableModel, match="not a number: its weights are damaged"):
        measuring.load(damaged)
