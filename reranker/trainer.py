"""sentence-transformers' trainer, with each batch worked through in parts of similar length.

A batch of random pairs is padded to its longest, which on mixed lengths makes most of it padding. Here the pairs of a
batch are sorted into parts by their tokens, each part goes forward and backward by itself, and the optimizer steps once
they have all been through. The gradient of a mean over the batch is the sum of the parts' gradients, each weighted by
its share of the pairs: so it is that of the plain trainer, for a fraction of the time and of the memory.

Only for losses that are such means, as BinaryCrossEntropyLoss is: one that compares pairs needs them all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from sentence_transformers.cross_encoder import CrossEncoderTrainer

from reranker.tokens import batches_by_tokens

# Tokens in a part, with their padding: more are not faster on a processor, and take more memory; a graphics processor
# wants many.
CPU_PART_TOKENS, GPU_PART_TOKENS = 512, 16_384


class MicroBatchTrainer(CrossEncoderTrainer):
    """Trains on batches in parts. Takes what CrossEncoderTrainer takes, and `count_tokens` for a (query, passage)."""

    def __init__(self, *args: Any, count_tokens: Callable[[str, str], int], **options: Any) -> None:
        super().__init__(*args, **options)
        self._count_tokens = count_tokens
        self._share = 1.0

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Forward and backward for one batch; returns its mean loss."""
        losses = []
        for part, share in self._parts(inputs):
            self._share = share
            losses.append(super().training_step(model, part, num_items_in_batch))
        return torch.stack(losses).sum()

    def compute_loss(self, *args: Any, **options: Any) -> Any:
        """The loss of a part, weighted by its share of the batch."""
        loss = super().compute_loss(*args, **options)
        return (loss[0] * self._share, loss[1]) if isinstance(loss, tuple) else loss * self._share

    def _parts(self, inputs: dict[str, Any]) -> Iterator[tuple[dict[str, Any], float]]:
        """The batch in parts of similar length, each with its share of the pairs."""
        queries, passages = (inputs[name] for name in ("sentence_0", "sentence_1"))
        lengths = [self._count_tokens(*pair) for pair in zip(queries, passages, strict=True)]
        most = CPU_PART_TOKENS if self.args.device.type == "cpu" else GPU_PART_TOKENS
        for places in batches_by_tokens(lengths, most):
            part = {
                name: column[places] if isinstance(column, torch.Tensor) else [column[place] for place in places]
                for name, column in inputs.items()
                if isinstance(column, list | torch.Tensor)
            }
            rest = {name: value for name, value in inputs.items() if name not in part}
            yield rest | part, len(places) / len(lengths)
