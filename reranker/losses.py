"""Every loss of sentence-transformers for rerankers, by its own name, with the labels in the shape that it takes.

Three shapes are made from labelled pairs. *Pairs*: a query, a passage and its label. *Lists*: a query, its passages and
their labels; only queries with both labels say something about an order. *Triplets*: a query, a relevant passage and
one that is not, each relevant passage once with each of the others of its query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from errors import InvalidInput
from reranker.dataset import LabelledPair, queries_that_tell

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import CrossEncoder

PAIRS = ("BinaryCrossEntropyLoss", "MSELoss")
# These take the order that the passages come in for the one that is wanted, unless they are told to go by the labels.
BY_ORDER = ("ListMLELoss", "PListMLELoss")
LISTS = ("LambdaLoss", "RankNetLoss", "ListNetLoss", *BY_ORDER, "ADRMSELoss")
TRIPLETS = ("MultipleNegativesRankingLoss", "CachedMultipleNegativesRankingLoss", "MarginMSELoss")
LOSSES = (*PAIRS, *LISTS, *TRIPLETS)
# The one that a reranker cannot be trained with, and why.
FOR_CLASSES = "CrossEntropyLoss"
WHY_NOT_FOR_CLASSES = (
    f"{FOR_CLASSES} needs a model with one output for each class; a reranker has one score. "
    "BinaryCrossEntropyLoss is its form for one score."
)
# Means over the pairs of a batch: only these can be worked through in parts (see trainer.py).
MEANS_OVER_PAIRS = PAIRS
# Passages of a list in one forward pass: more would take more memory and not be faster.
MINI_BATCH = 16


def why_not(loss: str, pairs: Sequence[LabelledPair]) -> str | None:
    """What these labels lack for the loss of this name, for a person; None when nothing is lacking."""
    if loss in PAIRS or queries_that_tell(pairs):
        return None
    return (
        f"{loss} compares the passages of a query, and no query to train on has both relevant and not relevant ones. "
        "Label more passages of the same queries, or choose BinaryCrossEntropyLoss."
    )


def can_learn(loss: str, pairs: Sequence[LabelledPair]) -> bool:
    """Whether a training with the loss of this name has anything to learn from in these labels."""
    return len({pair.label for pair in pairs}) == 2 and why_not(loss, pairs) is None


def examples(loss: str, pairs: Sequence[LabelledPair]) -> Dataset:
    """The labelled pairs in the shape that the loss of this name takes. Raises InvalidInput where they lack something.

    Columns: `sentence_0`, `sentence_1` and `label` for pairs, as sentence-transformers names those of unnamed pairs;
    `query`, `passages` and `labels` for lists; `query`, `relevant` and `not_relevant` for triplets, for MarginMSELoss
    with a `label` of 1, the margin between the two labels.
    """
    from datasets import Dataset

    if problem := why_not(loss, pairs):
        raise InvalidInput(problem)
    if loss in PAIRS:
        return Dataset.from_dict(
            {
                "sentence_0": [pair.query for pair in pairs],
                "sentence_1": [pair.passage for pair in pairs],
                "label": [float(pair.label) for pair in pairs],
            }
        )
    queries = queries_that_tell(pairs)
    if loss in LISTS:
        return Dataset.from_dict(
            {
                "query": [judged.query for judged in queries],
                "passages": [judged.passages for judged in queries],
                "labels": [judged.labels for judged in queries],
            }
        )
    triplets = [
        (judged.query, relevant, other)
        for judged in queries
        for relevant, label in zip(judged.passages, judged.labels, strict=True)
        if label
        for other, other_label in zip(judged.passages, judged.labels, strict=True)
        if not other_label
    ]
    columns = zip(*triplets, strict=True)
    rows: dict[str, Any] = dict(zip(("query", "relevant", "not_relevant"), map(list, columns), strict=True))
    return Dataset.from_dict(rows | {"label": [1.0] * len(triplets)} if loss == "MarginMSELoss" else rows)


def make_loss(loss: str, model: CrossEncoder) -> Any:
    """The loss of this name for a model, with sentence-transformers' own settings.

    Where labels of 0 and 1 are the targets themselves (MSELoss, MarginMSELoss), they are held against probabilities:
    a raw logit has no upper end.
    """
    import torch
    from sentence_transformers.cross_encoder import losses

    options: dict[str, Any] = {}
    if loss in ("MSELoss", "MarginMSELoss"):
        options["activation_fn"] = torch.nn.Sigmoid()
    if loss in LISTS:
        options["mini_batch_size"] = MINI_BATCH
    if loss in BY_ORDER:
        options["respect_input_order"] = False
    return getattr(losses, loss)(model, **options)
