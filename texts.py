"""What counts as a usable query, passage or name, wherever it comes from: the page, a file or the HTTP interface;
what counts as a word; and how a number of things is said."""

from __future__ import annotations

import re
import unicodedata

from errors import InvalidInput, TooLarge

MAX_PASSAGES = 1_000
MAX_CHARACTERS = 100_000
MAX_NAME_CHARACTERS = 100

# Characters that no text holds on purpose, and that files of another kind are full of.
_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")
# Scripts that put no spaces between words are taken by the character.
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
UNSPACED = re.compile(f"[{_UNSPACED}]")
# What only says how letters are joined or parted: a hyphen at the end of a line, and what Sinhala and Persian need.
_JOINERS = "\u00ad\u200c\u200d"
_NO_JOINERS = str.maketrans("", "", _JOINERS)
# Letters are followed by marks that belong to them, such as vowels in Hindi, which Python takes for no part of a word.
_MARKS = _JOINERS + "".join(mark for mark in map(chr, range(0x300, 0x10000)) if unicodedata.category(mark)[0] == "M")
WORD = re.compile(rf"{UNSPACED.pattern}[{_MARKS}]*|[^\W_{_UNSPACED}](?:[^\W_{_UNSPACED}]|[{_MARKS}])*")
_TOGETHER = re.compile(f"(?:{WORD.pattern})+")
# What WORD finds where there is nothing but ASCII in lower case, in a third of the time.
_ASCII_WORD = re.compile("[a-z0-9]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation, and the same in whichever form of Unicode it is."""
    return _ASCII_WORD.findall(text.lower()) if text.isascii() else WORD.findall(folded(text))


def folded(text: str) -> str:
    """A text in lower case, and the same in whichever form of Unicode it is, be its letters wide or joined, and without
    hyphens that are seen at the end of a line only: what words are compared in."""
    return unicodedata.normalize("NFKC", text).translate(_NO_JOINERS).casefold()


def words_or_all(text: str) -> tuple[str, ...]:
    """What a text says, to be compared with others: its words, or all of it where it has none, such as "👍"."""
    return tuple(words(text)) or (text.strip(),)


def words_together(text: str) -> list[list[str]]:
    """The words of a text, those in one list that have nothing between them, as in a script without spaces."""
    return [WORD.findall(run) for run in _TOGETHER.findall(folded(text))]


def counted(count: int, noun: str) -> str:
    """A number of things as people say it, with the noun in the singular: "1 pair", "1,200 pairs", "3 queries"."""
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else many}"


def p_value_said(p_value: float) -> str:
    """A p-value as papers say it: "p = 0.012", and "p < 0.001" for what is never nought."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def check_text(
    text: str, what: str, too_long: str = "The model reads only the first few thousand: cut the text into passages."
) -> str:
    """Return `text` if it can be scored and stored; `what` names it in the message ("The query", "Passage 3"), and
    `too_long` says what to do with one that is too long.

    Raises InvalidInput for text that is empty, blank or not text, TooLarge past MAX_CHARACTERS.
    """
    if not text.strip():
        raise InvalidInput(f"{what} is empty. Type or paste some text.")
    if bad := _NOT_TEXT.search(text):
        name = "a NUL character" if bad[0] == "\x00" else "half of a surrogate pair"
        raise InvalidInput(
            f"{what} has {name} at position {bad.start() + 1}, which is not text. Remove it and try again."
        )
    if len(text) > MAX_CHARACTERS:
        raise TooLarge(
            f"{what} has {len(text):,} characters; at most {MAX_CHARACTERS:,} can be taken. "
            f"{too_long}"
        )
    return text


def check_note(note: str, what: str = "The note") -> str:
    """Return a note, or another text that no model reads, if it can be stored. Raises as `check_text`."""
    return check_text(note, what, "Shorten it.")


def check_passages(passages: list[str]) -> list[str]:
    """Return `passages` if they can be ranked together. Raises InvalidInput or TooLarge naming the one at fault."""
    if not passages:
        raise InvalidInput("There are no passages. Paste some, one to a line, or open a file.")
    if len(passages) > MAX_PASSAGES:
        raise TooLarge(
            f"These are {len(passages):,} passages; at most {MAX_PASSAGES:,} can be ranked at once. "
            "Send them in parts, or keep the best ones of your first stage."
        )
    return [check_text(passage, f"Passage {place}") for place, passage in enumerate(passages, start=1)]


def check_name(name: str, what: str = "The annotator's name") -> str:
    """Return the name without the spaces around it. Raises InvalidInput or TooLarge."""
    name = check_text(name.strip(), what)
    if len(name) > MAX_NAME_CHARACTERS:
        raise TooLarge(f"{what} has {len(name):,} characters; at most {MAX_NAME_CHARACTERS} can be taken.")
    if _CONTROL.search(name):
        raise InvalidInput(f"{what} holds a line break or another control character. Use plain text.")
    return name
