"""Pairs as tokens: what the model reads of each, and how many tokens there would be without its limit.

Works on a `tokenizers.Tokenizer`, which needs neither torch nor transformers and may be used by many threads at once
as long as nobody changes its settings: so there are two, one that never cuts and one that always does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

# A step of lengths that batches are padded to: matrix products like it, and a compiled graph meets fewer shapes.
LENGTH_STEP = 8
# Texts are tokenized in pieces of so many characters, one after the other: all that the library says of a token takes
# two hundred times the room of its character, and who sends little is not to wait for who sends much.
CHARACTERS_AT_ONCE = 200_000
# A query of more characters than this for each token that the model reads is tokenized once, and not with each passage.
CHARACTERS_TO_READ = 8


@dataclass(frozen=True)
class EncodedPair:
    """A (query, passage) pair as the model reads it.

    `ids` and `type_ids` have at most the model's limit of tokens, special ones included; `tokens` counts those of the
    whole pair, and `read_characters` how many characters of the passage are within the limit.
    """

    query: str
    passage: str
    ids: Sequence[int]
    type_ids: Sequence[int]
    tokens: int
    read_characters: int


@dataclass(frozen=True)
class _Front:
    """The part of a query that may be read, and how many tokens there are after it."""

    text: str
    more: int = 0


class PairTokenizer:
    """Tokenizes pairs for one model, the longer text of a pair cut first, as sentence-transformers does it."""

    def __init__(self, definition: str, max_tokens: int) -> None:
        """`definition` is the content of a tokenizer.json; `max_tokens` the longest pair that the model reads."""
        self.definition = definition
        self.max_tokens = max_tokens
        self._whole = Tokenizer.from_str(definition)
        self._whole.no_padding()
        self._whole.no_truncation()
        self._cut = Tokenizer.from_str(definition)
        self._cut.no_padding()
        self._cut.enable_truncation(max_tokens, strategy="longest_first")

    def encode(self, pairs: Sequence[tuple[str, str]]) -> list[EncodedPair]:
        """Tokenize (query, passage) pairs, in the order given."""
        fronts = {query: self._front(query) for query in {query for query, _ in pairs}}
        encoded: list[EncodedPair] = []
        while len(encoded) < len(pairs):
            piece, characters = [], 0
            for query, passage in pairs[len(encoded) :]:
                characters += len(fronts[query].text) + len(passage)
                if piece and characters > CHARACTERS_AT_ONCE:
                    break
                piece.append((query, passage))
            encoded += self._encode(piece, fronts)
        return encoded

    def _encode(self, pairs: list[tuple[str, str]], fronts: dict[str, _Front]) -> list[EncodedPair]:
        texts = [(fronts[query].text, passage) for query, passage in pairs]
        whole = self._whole.encode_batch(texts)
        long = [place for place, encoding in enumerate(whole) if len(encoding.ids) > self.max_tokens]
        cut = dict(zip(long, self._cut.encode_batch([texts[place] for place in long]), strict=True))
        encoded = []
        for place, (query, passage) in enumerate(pairs):
            read = cut.get(place, whole[place])
            characters = _read_characters(read) if place in cut else len(passage)
            tokens = len(whole[place].ids) + fronts[query].more
            encoded.append(EncodedPair(query, passage, read.ids, read.type_ids, tokens, characters))
        return encoded

    def _front(self, query: str) -> _Front:
        """What has to be tokenized of a query with each passage: all of it, unless it is far longer than can be read.

        Beside a passage that is longer still, a query that is shortened may be read one token less far than the whole.
        """
        longest = CHARACTERS_TO_READ * self.max_tokens
        if len(query) > longest:
            front, *_ = query[:longest].rsplit(maxsplit=1) or [""]
            tokens = self._count(front)
            # The model may cut into this part only.
            if tokens > self.max_tokens:
                return _Front(front, self._count(query) - tokens)
        return _Front(query)

    def _count(self, text: str) -> int:
        return len(self._whole.encode(text, add_special_tokens=False).ids)


def _read_characters(encoding) -> int:  # noqa: ANN001 - the type has no public name
    """How many characters of the second text lie before the cut."""
    ends = (end for (_, end), sequence in zip(encoding.offsets, encoding.sequence_ids, strict=True) if sequence == 1)
    return max(ends, default=0)


def padded_length(pair: EncodedPair) -> int:
    """The length that a pair is padded to at least: that of its tokens, rounded up to a multiple of LENGTH_STEP."""
    return -(-len(pair.ids) // LENGTH_STEP) * LENGTH_STEP


def batches_by_tokens(lengths: Sequence[int], most_tokens: int) -> list[list[int]]:
    """Group places 0..n-1 into batches of similar length, each of at most `most_tokens` tokens with its padding.

    Shortest first. A pair that is longer than that alone is a batch of its own.
    """
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not batches or (len(batches[-1]) + 1) * lengths[place] > most_tokens:
            batches.append([])
        batches[-1].append(place)
    return batches
