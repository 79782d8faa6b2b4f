"""Pairs as tokens, held against what transformers itself makes of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from reranker.sources import STARTER_DIR
from reranker.tokens import PairTokenizer, batches_by_tokens, padded_length
from tests.serving import ROOT

LIMIT = 24


@pytest.fixture(scope="module")
def library():  # noqa: ANN201
    return AutoTokenizer.from_pretrained(STARTER_DIR)


@pytest.fixture(scope="module")
def tokenizer() -> PairTokenizer:
    return PairTokenizer((Path(STARTER_DIR) / "tokenizer.json").read_text(encoding="utf-8"), LIMIT)


@pytest.mark.parametrize(
    ("query", "passage"),
    [
        ("what is a bridge", "A bridge crosses a river."),
        ("what is a bridge", "A bridge crosses a river. " * 20),
        ("a very long query " * 20, "short"),
        ("a very long query " * 20, "and a very long passage " * 20),
        ("naïve café ☕", "emoji 👩‍👩‍👧 and עברית from right to left"),
        ("a very long query " * 2_000, "short"),
        ("a very long query " * 2_000, "and a very long passage " * 5),
        (" " * 5_000 + "late", "short"),
        ("x", "unbelievablylongwordthatissplitintomanypieces" * 10),
    ],
)
def test_the_model_reads_what_the_library_would_give_it(library, tokenizer, query: str, passage: str) -> None:  # noqa: ANN001
    [pair] = tokenizer.encode([(query, passage)])
    right = library(query, passage, truncation=True, max_length=LIMIT)
    assert pair.ids == right["input_ids"]
    assert pair.type_ids == right["token_type_ids"]
    assert pair.tokens == len(library(query, passage, truncation=False, verbose=False)["input_ids"])


def test_it_tells_how_far_the_passage_is_read(tokenizer: PairTokenizer) -> None:
    whole, cut, none = tokenizer.encode(
        [("bridge", "A short passage."), ("bridge", "one two three " * 30), ("long query " * 40, "kept whole")]
    )
    assert whole.read_characters == len("A short passage.")
    read = cut.passage[: cut.read_characters]
    assert len(read.split()) == LIMIT - 4  # three special tokens and the query's one
    assert none.read_characters == len("kept whole") and none.tokens > LIMIT


def test_the_order_of_the_pairs_is_kept(tokenizer: PairTokenizer) -> None:
    texts = ["long passage " * 40, "short", "another long passage " * 40, "brief"]
    pairs = tokenizer.encode([("q", text) for text in texts])
    assert [pair.passage for pair in pairs] == texts
    assert [len(pair.ids) for pair in pairs] == [LIMIT, 5, LIMIT, 5]


def test_many_pairs_of_a_long_query_take_little_memory() -> None:
    """Anybody may send a thousand of them: all their tokens at once took twenty gigabytes."""
    lines = (
        "from pathlib import Path; from reranker.tokens import PairTokenizer",
        f"definition = Path({str(STARTER_DIR)!r}, 'tokenizer.json').read_text(encoding='utf-8')",
        "pairs = [(' '.join(map(str, range(5_000))), f'passage {number} ' * 50) for number in range(150)]",
        "print(len(PairTokenizer(definition, 512).encode(pairs)))",
        # The most that was used, in kB; what getrusage says includes the process that started this one.
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])",
    )
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    count, kilobytes = map(int, done.stdout.split())
    assert count == 150
    assert kilobytes < 400_000


def test_no_pairs_are_no_tokens(tokenizer: PairTokenizer) -> None:
    assert tokenizer.encode([]) == []


def test_lengths_are_padded_in_steps(tokenizer: PairTokenizer) -> None:
    [pair] = tokenizer.encode([("q", "one two three four five")])
    assert len(pair.ids) == 9 and padded_length(pair) == 16


@given(st.lists(st.integers(1, 512), max_size=60), st.integers(1, 2048))
def test_batches_hold_every_place_once_and_no_more_tokens_than_they_may(lengths: list[int], most: int) -> None:
    batches = batches_by_tokens(lengths, most)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        assert batch
        longest = max(lengths[place] for place in batch)
        assert len(batch) == 1 or len(batch) * longest <= most
    longest_of = [max(lengths[place] for place in batch) for batch in batches]
    assert longest_of == sorted(longest_of)
