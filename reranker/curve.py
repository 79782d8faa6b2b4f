"""A learning curve as it is kept with a run and shown: its points, and what is to be expected beyond them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CurvePoint:
    """The dev queries' nDCG@10, with its 95 % confidence interval, after training on so many labels."""

    labels: int
    queries: int
    ndcg: float
    low: float
    high: float


@dataclass(frozen=True)
class Outlook:
    """What `more` labels would bring in nDCG@10, between `low` and `high` with 90 % confidence; the three are None
    where it cannot be told. `words` says so for a person."""

    more: int
    gain: float | None
    low: float | None
    high: float | None
    words: str


@dataclass(frozen=True)
class LearningCurve:
    """How good the model was with a part of the labels, and what more of them would likely bring."""

    points: list[CurvePoint]
    outlook: Outlook
