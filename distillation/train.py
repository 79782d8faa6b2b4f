"""Train the student on the teacher's scores.

A batch is some whole queries with all of their pairs. Two terms make the loss, each a mean square over the batch:

- the error of the logit;
- the error's deviation from its mean within the query: equal to the error of the margins between all pairs of the
  same query, it is what the ranking depends on.

A forward pass takes micro-batches of similar length, so that padding is little and queries still stay whole. It runs in
a bfloat16 copy of the student, whose own weights stay in fp32: on a CPU that is 1.2 times as fast as autocast, which
converts the weights for each micro-batch. Attention is the plain product of matrices, since the backward pass of the
fused one takes a third of the time at these lengths.
"""

import copy
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from transformers import ElectraForSequenceClassification, get_linear_schedule_with_warmup

from distillation.pairs import Pair
from distillation.teacher import batches_by_length, pad

log = logging.getLogger(__name__)
MICRO_BATCH_TOKENS = 1024
LOG_STEPS = 100


@dataclass(frozen=True)
class TrainSettings:
    """`steps` batches of `queries_per_batch` whole queries; `margin_weight` scales the margins' term."""

    steps: int
    queries_per_batch: int = 4
    learning_rate: float = 1e-4
    warmup_share: float = 0.05
    weight_decay: float = 0.01
    margin_weight: float = 1.0
    seed: int = 42


def rows_by_query(pairs: Sequence[Pair]) -> list[list[int]]:
    """Return the pair numbers of each query."""
    found: dict[str, list[int]] = {}
    for number, pair in enumerate(pairs):
        found.setdefault(pair.query_id, []).append(number)
    return list(found.values())


def forward(student: ElectraForSequenceClassification, rows: Sequence[dict[str, list[int]]]) -> torch.Tensor:
    """Return the (B,) fp32 logits of tokenized pairs."""
    order, logits = [], []
    for batch in batches_by_length(rows, batch_tokens=MICRO_BATCH_TOKENS):
        order += batch
        logits.append(student(**pad([rows[number] for number in batch])).logits[:, 0].float())
    return torch.cat(logits)[torch.argsort(torch.tensor(order))]


def within_query(error: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Return (B,) errors less the mean of their query; `query` (B,) numbers the queries from 0."""
    count = torch.bincount(query).to(error.dtype)
    mean = torch.zeros_like(count).index_add(0, query, error) / count
    return error - mean[query]


@torch.no_grad()
def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy the parameters from one precision into another."""
    torch._foreach_copy_(list(target.parameters()), list(source.parameters()))


@torch.no_grad()
def move_gradients(source: nn.Module, target: nn.Module) -> None:
    """Give `target` the gradients of `source` in its own precision, and leave `source` without."""
    for given, taken in zip(source.parameters(), target.parameters(), strict=True):
        taken.grad = given.grad.to(taken.dtype)
        given.grad = None


def train(
    student: ElectraForSequenceClassification,
    pairs: Sequence[Pair],
    rows: Sequence[dict[str, list[int]]],
    teacher: np.ndarray,
    settings: TrainSettings,
) -> list[float]:
    """Train `student` in place on (N,) teacher logits of N tokenized pairs; return the loss of each step."""
    rng = random.Random(settings.seed)
    queries = rows_by_query(pairs)
    decayed = [p for p in student.parameters() if p.ndim > 1]
    others = [p for p in student.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
    warmup = int(settings.steps * settings.warmup_share)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, settings.steps)
    fast = copy.deepcopy(student).to(torch.bfloat16).train()
    fast.set_attn_implementation("eager")
    losses, waiting, started = [], [], time.monotonic()
    for step in range(1, settings.steps + 1):
        while len(waiting) < settings.queries_per_batch:
            waiting += rng.sample(queries, len(queries))
        chosen, waiting = waiting[: settings.queries_per_batch], waiting[settings.queries_per_batch :]
        batch = [number for query in chosen for number in query]
        query = torch.tensor([column for column, numbers in enumerate(chosen) for _ in numbers])
        copy_weights(student, fast)
        error = forward(fast, [rows[n] for n in batch]) - torch.from_numpy(teacher[batch])
        logit_loss, margin_loss = error.square().mean(), within_query(error, query).square().mean()
        loss = logit_loss + settings.margin_weight * margin_loss
        loss.backward()
        move_gradients(fast, student)
        nn.utils.clip_grad_norm_(student.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % LOG_STEPS == 0 or step == settings.steps:
            rate = step * len(batch) / (time.monotonic() - started)
            mean = np.mean(losses[-LOG_STEPS:])
            log.info("step %d of %d: loss %.3f; %.0f pairs a second", step, settings.steps, mean, rate)
    return losses
