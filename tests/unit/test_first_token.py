"""A last layer that works for the first token only: the same scores and gradients, of the models that allow it."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from reranker.first_token import MODEL_TYPES, shorten, shortened

SMALL = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "num_labels": 1,
    "initializer_range": 0.3,
    "pad_token_id": 1,
}


def classifier(model_type: str, attention: str = "sdpa", **more: object) -> torch.nn.Module:
    torch.manual_seed(3)
    config = AutoConfig.for_model(model_type, **SMALL | more)
    return AutoModelForSequenceClassification.from_config(config, attn_implementation=attention).eval()


def padded_batch() -> dict[str, torch.Tensor]:
    """Three texts of 20, 7 and 1 tokens."""
    ids = torch.randint(5, 90, (3, 20), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    for row, length in enumerate((20, 7, 1)):
        mask[row, length:] = 0
        ids[row, length:] = 1
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("model_type", sorted(MODEL_TYPES))
def test_the_scores_stay_the_same_for_less_work(model_type: str, attention: str) -> None:
    model = classifier(model_type, attention)
    short = shortened(model)
    rows: list[int] = []
    short.base_model.encoder.layer[-1].intermediate.register_forward_hook(
        lambda _, __, output: rows.append(output.shape[1])
    )
    with torch.no_grad():
        assert torch.allclose(model(**padded_batch()).logits, short(**padded_batch()).logits, atol=1e-5)
        one = {name: tensor[:1] for name, tensor in padded_batch().items()}  # nothing padded: no mask at all
        assert torch.allclose(model(**one).logits, short(**one).logits, atol=1e-5)
    assert rows == [1, 1], "the last layer worked for more than the first token"


def test_the_model_itself_stays_as_it_is_and_shares_its_weights() -> None:
    model = classifier("bert")
    short = shortened(model)
    assert "forward" not in vars(model.base_model.encoder.layer[-1])
    assert list(short.state_dict()) == list(model.state_dict())
    assert [p.data_ptr() for p in short.parameters()] == [p.data_ptr() for p in model.parameters()]


def test_the_gradients_stay_the_same() -> None:
    gradients = []
    for change in (False, True):
        model = classifier("electra")
        if change:
            shorten(model)
        model(**padded_batch()).logits.square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize(("model_type", "more"), [("distilbert", {}), ("albert", {}), ("bert", {"is_decoder": True})])
def test_other_kinds_are_left_alone(model_type: str, more: dict[str, object]) -> None:
    model = classifier(model_type, **more)
    assert shortened(model) is model
