"""Marks the words of a query in a passage, as HTML in which everything that people typed is escaped."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_WORD = re.compile(r"\w+")
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


def stem(word: str) -> str:
    """A word without its ending: "bridges" and "bridge" are the same then. Light on purpose; words of other languages
    are at worst compared whole."""
    word = re.sub("(ies|ied)$", "y", word.lower())
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= SHORTEST_STEM:
            return word[: -len(ending)]
    return word


def query_stems(query: str) -> frozenset[str]:
    """The stems of the words of a query that say something; of all of its words where none does."""
    words = [word.lower() for word in _WORD.findall(query)]
    return frozenset(stem(word) for word in words if word not in STOP_WORDS) or frozenset(map(stem, words))


def highlight(text: str, query: str) -> Markup:
    """`text` as HTML with <mark> around each word that has a stem in common with `query`."""
    stems = query_stems(query)
    pieces: list[str] = []
    end = 0
    for found in _WORD.finditer(text):
        if stem(found[0]) in stems:
            pieces += [escape(text[end : found.start()]), Markup("<mark>"), escape(found[0]), Markup("</mark>")]
            end = found.end()
    return Markup("").join([*pieces, escape(text[end:])])
