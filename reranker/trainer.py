"""sentence-transformers' trainer, with each batch shared by processes, and worked through in parts of similar length.

A batch of random pairs is padded to its longest, which on mixed lengths makes most of it padding. Here the pairs of a
batch are sorted into parts by their tokens, each part goes forward and backward by itself, and the optimizer steps once
they have all been through. The gradient of a mean over the batch is the sum of the parts' gradients, each weighted by
its share of the pairs: so it is that of the plain trainer, for a fraction of the time and of the memory.

Only for losses that are such means, as BinaryCrossEntropyLoss is: one that compares pairs needs them all at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from sentence_transformers.cross_encoder import CrossEncoderTrainer
from sentence_transformers.cross_encoder.losses import MSELoss

from reranker.anchor import Anchor
from reranker.tokens import batches_by_tokens

# Tokens in a part, with their padding: more are not faster on a processor, and take more memory; a graphics processor
# wants many.
CPU_PART_TOKENS, GPU_PART_TOKENS = 512, 16_384


class SharingTrainer(CrossEncoderTrainer):
    """The plain trainer, whose processes, where there are several, share each batch so that it stays what it was.

    The last batch of an epoch may be too small for them; the sampler then fills it up with pairs from the first ones.
    These are left out again, and each process counts by the pairs that it has: the gradient, of which the mean over the
    processes is taken, is that of the batch.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._share = 1.0
        self._weight = 1.0

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Forward and backward for one batch; returns its mean loss."""
        own, self._weight = self._own(inputs)
        if self.args.world_size == 1:
            return self._step(model, own, num_items_in_batch)
        # Not through the wrapped model, which would wait for the others with each part, and they may have fewer.
        loss = self._step(self.model, own, num_items_in_batch)
        average_gradients(self.model, self.args.world_size)
        return loss

    def _step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items: torch.Tensor | int | None
    ) -> torch.Tensor:
        return super().training_step(model, inputs, num_items)

    def compute_loss(self, *args: Any, **options: Any) -> Any:
        """The loss of what goes forward together, weighted by its share of the batch."""
        loss = super().compute_loss(*args, **options)
        weight = self._share * self._weight
        if weight == 1:
            return loss
        return (loss[0] * weight, loss[1]) if isinstance(loss, tuple) else loss * weight

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Save the weights of a checkpoint: without a card, which would take longer than they do."""
        self.model.save_pretrained(output_dir, create_model_card=False)

    def _build_dataloader(self, *args: Any, **options: Any) -> Any:
        # All processes have as many batches, or one that has none left would end before the others do.
        self.accelerator.even_batches = True
        return super()._build_dataloader(*args, **options)

    def _own(self, inputs: dict[str, Any]) -> tuple[dict[str, Any], float]:
        """What of this batch is this process's own, and what its mean loss counts in the mean over the processes."""
        processes, place = self.args.world_size, self.args.process_index
        pairs, size = len(self.train_dataset), self.args.per_device_train_batch_size
        in_last = pairs % (processes * size)
        is_last = (self.state.global_step + 1) % math.ceil(pairs / (processes * size)) == 0
        if processes == 1 or not in_last or not is_last:
            return inputs, 1.0
        own = min(max(in_last - place * size, 0), size)
        # One that has none goes through the motions with a pair that does not count, for the others wait for it.
        return take(inputs, range(max(own, 1))), own * processes / in_last


class MicroBatchTrainer(SharingTrainer):
    """Trains on batches in parts, and holds on to an anchor.

    Takes what CrossEncoderTrainer takes, `count_tokens` for a (query, passage), and the anchor, if there is one.
    """

    def __init__(
        self, *args: Any, count_tokens: Callable[[str, str], int], anchor: Anchor | None = None, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self._count_tokens = count_tokens
        self._anchor = anchor
        self._label_loss, self._anchor_loss = self.loss, MSELoss(self.model)

    def _step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items: torch.Tensor | int | None
    ) -> torch.Tensor:
        loss = self._step_in_parts(model, inputs, 1.0, num_items)
        if self._anchor:
            held, self._weight = self._own_of_anchor()
            self.loss = self._anchor_loss
            self._step_in_parts(model, held, self._anchor.weight, num_items)
            self.loss = self._label_loss
        # What is reported is the loss of the labels.
        return loss

    def _step_in_parts(
        self, model: torch.nn.Module, inputs: dict[str, Any], weight: float, num_items: torch.Tensor | int | None
    ) -> torch.Tensor:
        losses = []
        for part, share in self._parts(inputs):
            self._share = share * weight
            losses.append(super()._step(model, part, num_items))
        return torch.stack(losses).sum()

    def _own_of_anchor(self) -> tuple[dict[str, Any], float]:
        """This process's share of the anchor's pairs for this step, and what their mean counts in that over all."""
        processes, place = self.args.world_size, self.args.process_index
        inputs = self._anchor.batch(self.state.global_step, self.args.per_device_train_batch_size * processes)
        count = len(inputs["label"])
        own = range(place, count, processes)
        # One that has none goes through the motions, as with a batch.
        return take(inputs, own or range(1)), len(own) * processes / count

    def _parts(self, inputs: dict[str, Any]) -> Iterator[tuple[dict[str, Any], float]]:
        """The batch in parts of similar length, each with its share of the pairs."""
        queries, passages = (inputs[name] for name in ("sentence_0", "sentence_1"))
        lengths = [self._count_tokens(*pair) for pair in zip(queries, passages, strict=True)]
        most = CPU_PART_TOKENS if self.args.device.type == "cpu" else GPU_PART_TOKENS
        for places in batches_by_tokens(lengths, most):
            yield take(inputs, places), len(places) / len(lengths)


def average_gradients(model: torch.nn.Module, processes: int) -> None:
    """Give each process the mean of the gradients that all have."""
    for weight in model.parameters():
        if weight.requires_grad:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            torch.distributed.all_reduce(weight.grad)
            weight.grad /= processes


def take(inputs: dict[str, Any], places: Sequence[int]) -> dict[str, Any]:
    """These rows of a batch; what is not one for each row stays as it is."""
    places = list(places)
    return {
        name: column[places]
        if isinstance(column, torch.Tensor)
        else [column[place] for place in places]
        if isinstance(column, list)
        else column
        for name, column in inputs.items()
    }
