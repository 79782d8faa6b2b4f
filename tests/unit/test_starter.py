"""The model that ships with the app: what it is made of, and that it loads as any other does."""

from __future__ import annotations

import json

import pytest
from sentence_transformers import CrossEncoder

from distillation.evaluate import SETS
from reranker.sources import STARTER_DIR


@pytest.fixture(scope="module")
def starter() -> CrossEncoder:
    return CrossEncoder(str(STARTER_DIR), local_files_only=True)


def test_its_weights_are_small_shards_of_safetensors() -> None:
    shards = list(STARTER_DIR.glob("*.safetensors"))
    assert sum(path.stat().st_size for path in shards) <= 25e6
    assert max(path.stat().st_size for path in STARTER_DIR.iterdir()) <= 9.5e6
    index = json.loads((STARTER_DIR / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {path.name for path in shards}


def test_it_loads_in_full_precision_with_one_output(starter: CrossEncoder) -> None:
    assert {str(parameter.dtype) for parameter in starter.parameters()} == {"torch.float32"}
    assert starter.num_labels == 1
    assert starter.max_seq_length == 512


def test_it_gives_logits_and_ranks_the_answer_first(starter: CrossEncoder) -> None:
    passages = [
        "Berlin is well known for its museums.",
        "Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.",
    ]
    ranking = starter.rank("How many people live in Berlin?", passages)
    assert [place["corpus_id"] for place in ranking] == [1, 0]
    # Logits lie on both sides of 0; a sigmoid would not.
    assert ranking[0]["score"] > 0 > ranking[1]["score"]


def test_its_card_says_how_it_was_made_and_how_good_it_is() -> None:
    card = (STARTER_DIR / "README.md").read_text(encoding="utf-8")
    assert "python -m distillation --teacher DIR" in card
    assert all(f"\n| {name} | " in card for name in SETS)
    assert "{" not in card.partition("```python")[0]


def test_it_is_small_beside_its_teacher() -> None:
    config = json.loads((STARTER_DIR / "config.json").read_text())
    assert config["architectures"] == ["ElectraForSequenceClassification"]
    assert config["vocab_size"] == 30_522
    assert sum(path.stat().st_size for path in STARTER_DIR.iterdir()) <= 25e6
