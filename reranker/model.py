"""A cross-encoder that ranks passages for a query.

Scores are raw logits, as CrossEncoder.predict gives them with the identity activation; the probability is their
sigmoid. torch and sentence-transformers are imported when the first model is loaded: the page is up by then.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from errors import InvalidInput, WorkbenchError

# Pairs scored under one hold of the lock. Requests take turns after so many, so a long one does not hold up a short.
PAIRS_PER_TURN = 32
BATCH_SIZE = 8

_scoring = threading.Lock()


class UnusableModel(WorkbenchError):
    """A model directory or Hub id that does not hold a cross-encoder this app can use."""

    code = "unusable_model"


@dataclass(frozen=True)
class RankedPassage:
    """One passage in its place.

    `rank` is its place in the ranking and `index` its place in the input (from 0 and 0). `tokens` counts the tokens of
    the whole pair, special tokens included; `read_characters` is how many characters of the passage the model read,
    which is all of them unless the pair is longer than the model's window.
    """

    rank: int
    index: int
    text: str
    score: float
    probability: float
    tokens: int
    read_characters: int

    @property
    def truncated(self) -> bool:
        return self.read_characters < len(self.text)


class Reranker:
    """A loaded cross-encoder with one output."""

    def __init__(self, path: Path) -> None:
        """Load the cross-encoder in the directory `path`: safetensors only, no code of its own is run.

        Raises UnusableModel with the reason where it cannot be used.
        """
        import torch
        from sentence_transformers import CrossEncoder

        try:
            self.cross_encoder = CrossEncoder(
                str(path),
                local_files_only=True,
                activation_fn=torch.nn.Identity(),
                model_kwargs={"use_safetensors": True},
            )
        except Exception as error:  # transformers raises a dozen kinds for a damaged or foreign directory
            raise UnusableModel(f"The model in {path.name!r} cannot be loaded: {_first_line(error)}") from error
        if self.cross_encoder.num_labels != 1:
            raise UnusableModel(
                f"The model in {path.name!r} has {self.cross_encoder.num_labels} outputs; a reranker has one."
            )
        self.max_tokens: int = self.cross_encoder.max_seq_length or 512
        # A tokenizer is not safe to use from two threads, and counting must not wait for the scoring of others.
        self._tokenizer = copy.deepcopy(self.cross_encoder.tokenizer)
        self._counting = threading.Lock()

    def rank(
        self, query: str, passages: Sequence[str], on_progress: Callable[[int, int], None] | None = None
    ) -> list[RankedPassage]:
        """Rank `passages` for `query`, best first; equal scores keep the order of the input.

        `on_progress(done, total)` is called as pairs are scored; what it raises ends the scoring.
        """
        scores = self.scores([(query, passage) for passage in passages], on_progress)
        lengths = self._lengths(query, passages)
        order = sorted(range(len(passages)), key=lambda index: -scores[index])
        return [
            RankedPassage(rank, index, passages[index], scores[index], sigmoid(scores[index]), *lengths[index])
            for rank, index in enumerate(order)
        ]

    def scores(
        self, pairs: Sequence[tuple[str, str]], on_progress: Callable[[int, int], None] | None = None
    ) -> list[float]:
        """The logit of each (query, passage) pair, in the order given."""
        # By length, so that a batch holds pairs of about the same length and little of it is padding.
        order = sorted(range(len(pairs)), key=lambda index: len(pairs[index][1]))
        scores = [0.0] * len(pairs)
        for start in range(0, len(order), PAIRS_PER_TURN):
            turn = order[start : start + PAIRS_PER_TURN]
            with _scoring:
                logits = self.cross_encoder.predict(
                    [pairs[index] for index in turn], batch_size=BATCH_SIZE, show_progress_bar=False
                )
            for index, logit in zip(turn, logits.tolist(), strict=True):
                if not math.isfinite(logit):
                    raise UnusableModel("The model gave a score that is not a number: its weights are damaged.")
                scores[index] = logit
            if on_progress:
                on_progress(start + len(turn), len(pairs))
        return scores

    def smoke_test(self) -> None:
        """Score two pairs of different length. Raises UnusableModel when the model cannot."""
        try:
            self.scores([("what is a reranker", "It orders passages by relevance."), ("a", "b " * 600)])
        except WorkbenchError:
            raise
        except Exception as error:
            raise UnusableModel(f"The model loads but cannot score: {_first_line(error)}") from error

    def _lengths(self, query: str, passages: Sequence[str]) -> list[tuple[int, int]]:
        """For each passage, the tokens of its pair with the query, and the characters of it that the model reads."""
        with self._counting:
            return [self._length(query, passage) for passage in passages]

    def _length(self, query: str, passage: str) -> tuple[int, int]:
        tokens = len(self._tokenizer(query, passage, truncation=False, verbose=False)["input_ids"])
        if tokens <= self.max_tokens:
            return tokens, len(passage)
        kept = self._tokenizer(
            query, passage, truncation="longest_first", max_length=self.max_tokens, return_offsets_mapping=True
        )
        offsets = zip(kept["offset_mapping"], kept.sequence_ids(), strict=True)
        return tokens, max((end for (_, end), sequence in offsets if sequence == 1), default=0)


def sigmoid(logit: float) -> float:
    """1 / (1 + exp(-logit)), without overflow."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))


def check_model_directory(path: Path) -> None:
    """Raise InvalidInput unless `path` is a directory with a configuration and safetensors weights."""
    if not path.is_dir():
        raise InvalidInput(f"{str(path)!r} is not a directory.")
    if not (path / "config.json").is_file():
        raise InvalidInput(f"{str(path)!r} has no config.json, so it holds no model.")
    if not any(path.glob("*.safetensors")):
        raise InvalidInput(f"{str(path)!r} has no .safetensors file. Weights in another format are not loaded.")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
