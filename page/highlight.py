"""Marks the words of a query in a passage, as HTML in which everything that people typed is escaped."""

from __future__ import annotations

import re
from functools import lru_cache

from markupsafe import Markup, escape

from texts import UNSPACED, WORD, folded

# A word, or all that stands together in a script that puts no spaces between words.
_RUN = re.compile(rf"{UNSPACED.pattern}+|{WORD.pattern}")
# Words that say nothing about what is searched for.
STOP_WORDS = frozenset(
    {
        "a", "an", "and", "are", "as", "at", "be", "been", "by", "can", "did", "do", "does", "for", "from", "had",
        "has", "have", "how", "i", "if", "in", "is", "it", "its", "my", "not", "of", "on", "or", "our", "she", "so",
        "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "to", "was", "we", "were",
        "what", "when", "where", "which", "who", "whom", "why", "will", "with", "would", "you", "your",
    }
)  # fmt: skip
# Endings that are taken off, the longest first, as long as three letters stay.
ENDINGS = ("ingly", "edly", "ings", "ing", "ers", "est", "ed", "es", "ly", "er", "s", "e")
SHORTEST_STEM = 3


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """A word without its ending: "bridges" and "bridge" are the same then. Light on purpose; words of other languages
    are at worst compared whole."""
    word = re.sub("(ies|ied)$", "y", folded(word))
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= SHORTEST_STEM:
            return word[: -len(ending)]
    return word


def query_stems(query: str) -> frozenset[str]:
    """The stems of the words of a query that say something; of all of its words where none does.

    Of scripts without spaces it is each two characters in a row, or the one that stands alone.
    """
    runs = _RUN.findall(query)
    telling = [run for run in runs if folded(run) not in STOP_WORDS] or runs
    return frozenset(part for run in telling for _, _, part in _parts(run, 2) or _parts(run, 1))


def highlight(text: str, query: str) -> Markup:
    """`text` as HTML with <mark> around each word that has a stem in common with `query`."""
    stems = query_stems(query)
    is_marked = bytearray(len(text))
    for run in _RUN.finditer(text):
        for start, end, part in _parts(run[0], 1) + _parts(run[0], 2):
            if part in stems:
                is_marked[run.start() + start : run.start() + end] = b"\1" * (end - start)
    pieces: list[str] = []
    end = 0
    for marked in re.finditer(b"\1+", is_marked):
        start, done, end = marked.start(), end, marked.end()
        pieces += [escape(text[done:start]), Markup("<mark>"), escape(text[start:end]), Markup("</mark>")]
    return Markup("").join([*pieces, escape(text[end:])])


def _parts(run: str, length: int) -> list[tuple[int, int, str]]:
    """So many words, or characters, in a row: where they begin and end, and the stem."""
    words = [word.span() for word in WORD.finditer(run)]
    spans = [(first[0], last[1]) for first, last in zip(words, words[length - 1 :], strict=False)]
    return [(start, end, stem(run[start:end])) for start, end in spans]
