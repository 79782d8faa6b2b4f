"""Marks the words of a query in a passage, as HTML in which everything that people typed is escaped; and cuts a long
text to where a search has found its words."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from markupsafe import Markup, escape

from texts import UNSPACED, WORD, folded, words_together

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
# Of a text that is cut around a word, so many characters are shown before it.
BEFORE = 60
# So far from where a text is to be cut, a space is looked for.
TO_A_SPACE = 40
_ACCENTS = re.compile("[\u0300-\u036f]")


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """A word without its ending, and without accents, as the search finds it: "bridges" and "bridge" are the same then.
    Light on purpose; words of other languages are at worst compared whole."""
    word = re.sub("(ies|ied)$", "y", _without_accents(word))
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


def excerpt(text: str, length: int, words: str = "") -> str:
    """About so many characters of a text, with dots where something is left out: its beginning or, where the search for
    these words has found the first of them further on, what is around that."""
    if len(text) <= length:
        return text
    start, found = 0, _found_at(text, words)
    if found > length - BEFORE:
        start = text.find(" ", found - BEFORE, found) + 1 or found - BEFORE
    end = start + length
    if end < len(text):
        space = text.rfind(" ", end - TO_A_SPACE, end)
        end = space if space > 0 else end
    return f"{'... ' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}"


def _found_at(text: str, words: str) -> int:
    """Where the first word begins that the search for these words has found in a text, but for those that say nothing;
    0 where it has found none."""
    terms = [" ".join(map(_without_accents, together)) for together in words_together(words)]
    telling = [term for term in terms if term not in STOP_WORDS] or terms
    there = [(word.start(), _without_accents(word[0])) for word in WORD.finditer(text)] if terms else []
    for place, (start, _) in enumerate(there):
        for term in telling:
            here = " ".join(word for _, word in there[place : place + term.count(" ") + 1])
            # The last one is searched for as the beginning of a word.
            if here == term or (term == terms[-1] and here.startswith(term)):
                return start
    return 0


def _without_accents(word: str) -> str:
    """A word as the search compares it."""
    return word.lower() if word.isascii() else _ACCENTS.sub("", unicodedata.normalize("NFD", folded(word)))


def _parts(run: str, length: int) -> list[tuple[int, int, str]]:
    """So many words, or characters, in a row: where they begin and end, and the stem."""
    words = [word.span() for word in WORD.finditer(run)]
    spans = [(first[0], last[1]) for first, last in zip(words, words[length - 1 :], strict=False)]
    return [(start, end, stem(run[start:end])) for start, end in spans]
