"""Skips what a classifier computes in its last layer and never reads.

BERT and its relatives classify by the first token alone. What their last layer works out for all the others is thrown
away: there, only the keys and values of the other tokens are needed. That is the same score, up to rounding, for a
sixth of the work less in a model of six layers.
"""

from __future__ import annotations

import copy
import types
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

# Those whose classification head reads the first token, and whose layers are built as BERT's.
MODEL_TYPES = frozenset({"bert", "camembert", "electra", "roberta", "xlm-roberta"})


def shortened(model: torch.nn.Module) -> torch.nn.Module:
    """The sequence classifier with a last layer that works for its first token only; `model` itself for other kinds.

    The copy shares the weights of `model`, which stays as it is.
    """
    if not _can_be_shortened(model):
        return model
    tensors = [*model.parameters(), *model.buffers()]
    model = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    shorten(model)
    return model


def shorten(model: torch.nn.Module) -> None:
    """Make the last layer of a sequence classifier work for its first token only, where it is of a kind that allows it.

    Weights and their names stay as they are.
    """
    if _can_be_shortened(model):
        layer = model.base_model.encoder.layer[-1]
        layer.forward = types.MethodType(_forward_for_first_token, layer)


def _can_be_shortened(model: torch.nn.Module) -> bool:
    config = model.config
    return (
        config.model_type in MODEL_TYPES
        and type(model).__name__.endswith("ForSequenceClassification")
        and not (config.is_decoder or config.add_cross_attention)
        and config._attn_implementation in ("sdpa", "eager")
    )


def _forward_for_first_token(
    layer: Any, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any
) -> torch.Tensor:
    """A BERT layer's forward: (N, T, width) hidden states to the (N, 1, width) of the first tokens.

    `attention_mask` is (N, 1, T or 1, T), true or 0 where a token may be attended to, None where all may.
    """
    attention = layer.attention.self
    first = hidden_states[:, :1]

    def heads(tensor: torch.Tensor) -> torch.Tensor:
        size = (tensor.shape[0], -1, attention.num_attention_heads, attention.attention_head_size)
        return tensor.view(size).transpose(1, 2)

    context = scaled_dot_product_attention(
        heads(attention.query(first)),
        heads(attention.key(hidden_states)),
        heads(attention.value(hidden_states)),
        attn_mask=None if attention_mask is None else attention_mask[:, :, :1],
        dropout_p=attention.dropout.p if layer.training else 0.0,
    )
    context = context.transpose(1, 2).reshape(first.shape)
    return layer.feed_forward_chunk(layer.attention.output(context, first))
