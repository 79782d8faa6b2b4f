"""Keeps a model where it was on pairs that nobody judged.

A few dozen labels say little, and binary cross-entropy takes them at their word: where most of the passages that were
judged are relevant, all scores go up, whatever they are for. So each step also looks at pairs that have no label, a
query with a passage that was judged for another, and holds the model to the scores that it gave them before it was
trained. The penalty is that of learning without forgetting (Li and Hoiem, 2016, "Learning without forgetting"),
with the squared error of the scores, as in knowledge distillation for rerankers.

Where many labels say something that the model did not know, it is in their way: then it is left out (cross_check.py).
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reranker.dataset import LabelledPair
from reranker.loading import logits

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

# So many pairs are drawn and scored once, before the training; each step takes some of them.
MOST_PAIRS = 200
# What the model knew counts as much as it does by its recipe up to this many labels to train on, and then less and
# less, as any prior does beside data.
LABELS_OF_FULL_WEIGHT = 70


def share_of(labels: int) -> float:
    """What the anchor counts with so many labels to train on, as a share of what it does by its recipe; and how many
    pairs of it a step looks at, as a share of those with labels: what counts less need not be known as well."""
    return min(1.0, LABELS_OF_FULL_WEIGHT / max(labels, 1))


@dataclass(frozen=True)
class Anchor:
    """(query, passage) pairs without a label, the (N,) scores that they had, what holding to these counts, and how many
    of them go with a batch, as a share of it."""

    pairs: list[tuple[str, str]]
    scores: np.ndarray
    weight: float
    share: float
    seed: int

    @classmethod
    def of(cls, pairs: list[LabelledPair], model: CrossEncoder, weight: float, seed: int) -> Anchor | None:
        """An anchor out of the queries and passages of the pairs to train on; None where there is no pair to hold to.

        `model` is the one to be trained, before its training; `weight` what a recipe gives to few labels.
        """
        drawn = draw(pairs, seed)
        if not drawn:
            return None
        scores = logits(model, drawn)
        share = share_of(len(pairs))
        return cls(drawn, scores.astype(np.float32), weight * share, share, seed)

    def batch(self, step: int, size: int) -> dict[str, Any]:
        """The pairs that go with a batch of `size` labels in a step, the same ones each time that it is made, with the
        columns of such a batch."""
        import torch

        count = math.ceil(self.share * size)
        places = np.random.default_rng([self.seed, step]).integers(len(self.pairs), size=count)
        return {
            "sentence_0": [self.pairs[place][0] for place in places],
            "sentence_1": [self.pairs[place][1] for place in places],
            "label": torch.from_numpy(self.scores[places]),
        }


def draw(pairs: list[LabelledPair], seed: int) -> list[tuple[str, str]]:
    """Up to MOST_PAIRS different pairs of a labelled query with a passage that it was not judged with."""
    queries = list(dict.fromkeys(pair.query for pair in pairs))
    passages = list(dict.fromkeys(pair.passage for pair in pairs))
    seen = {(pair.query, pair.passage) for pair in pairs}
    places = range(len(queries) * len(passages))
    # More than are wanted, since some of them may be labelled.
    drawn = random.Random(seed).sample(places, min(len(places), MOST_PAIRS + len(seen)))
    found = [(queries[place // len(passages)], passages[place % len(passages)]) for place in drawn]
    return [pair for pair in found if pair not in seen][:MOST_PAIRS]
