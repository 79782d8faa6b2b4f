"""What counts as a usable query, passage or name."""

import pytest

from errors import InvalidInput, TooLarge, WorkbenchError
from texts import (
    MAX_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_PASSAGES,
    WORD,
    check_name,
    check_note,
    check_passages,
    check_text,
    counted,
    folded,
    p_value_said,
    words,
)

USUAL = ["x", " spaces around ", "two\nlines", "emoji 🙂", "عربي", "水", "a\tb", "‮left‬", "0", "e\u0301", "<b>&amp;</b>"]


@pytest.mark.parametrize("text", USUAL)
def test_text_comes_back_as_it_was(text: str) -> None:
    assert check_text(text, "The query") == text


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\u00a0\u2003"])
def test_blank_text_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^Passage 3 is empty\."):
        check_text(text, "Passage 3")


@pytest.mark.parametrize(
    ("text", "what"), [("ab\x00c", "NUL character at position 3"), ("\ud83d", "half of a surrogate pair at position 1")]
)
def test_what_is_not_text_is_refused_with_its_place(text: str, what: str) -> None:
    with pytest.raises(InvalidInput, match=what):
        check_text(text, "The query")


def test_text_may_be_as_long_as_the_limit_and_no_longer() -> None:
    assert check_text("x" * MAX_CHARACTERS, "The query")
    with pytest.raises(TooLarge, match="The query has 100,001 characters; at most 100,000"):
        check_text("x" * (MAX_CHARACTERS + 1), "The query")


def test_passages_come_back_in_order() -> None:
    assert check_passages(USUAL) == USUAL


def test_the_passage_at_fault_is_counted_from_one() -> None:
    with pytest.raises(InvalidInput, match=r"^Passage 2 is empty"):
        check_passages(["a", " ", "c"])


def test_no_passages_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no passages"):
        check_passages([])


def test_passages_may_be_as_many_as_the_limit_and_no_more() -> None:
    assert len(check_passages(["x"] * MAX_PASSAGES)) == MAX_PASSAGES
    with pytest.raises(TooLarge, match="1,001 passages; at most 1,000"):
        check_passages(["x"] * (MAX_PASSAGES + 1))


def test_a_name_loses_the_spaces_around_it() -> None:
    assert check_name("  Anna María 水 ") == "Anna María 水"


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\tb", "a\x7fb", "a\u2028b", "a\x85b", "\x00"])
def test_a_name_that_is_blank_or_holds_control_characters_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="^The annotator's name "):
        check_name(name)


def test_a_name_may_be_as_long_as_the_limit_and_no_longer() -> None:
    assert check_name("x" * MAX_NAME_CHARACTERS)
    with pytest.raises(TooLarge, match="The source has 101 characters"):
        check_name("x" * (MAX_NAME_CHARACTERS + 1), "The source")


def test_each_refusal_is_fit_to_be_shown() -> None:
    with pytest.raises(WorkbenchError) as raised:
        check_text("", "The query")
    assert (raised.value.code, str(raised.value)) == ("invalid_input", "The query is empty. Type or paste some text.")


@pytest.mark.parametrize(
    ("count", "noun", "said"),
    [(1, "pair", "1 pair"), (0, "pair", "0 pairs"), (1200, "label", "1,200 labels"), (1, "held-out query",
     "1 held-out query"), (3, "held-out query", "3 held-out queries")],
)  # fmt: skip
def test_a_number_of_things_is_said_as_people_do(count: int, noun: str, said: str) -> None:
    assert counted(count, noun) == said


@pytest.mark.parametrize(
    ("p_value", "said"), [(0.0, "p < 0.001"), (0.0004, "p < 0.001"), (0.001, "p = 0.001"), (1.0, "p = 1.000")]
)
def test_a_small_p_value_is_not_said_to_be_nought(p_value: float, said: str) -> None:
    assert p_value_said(p_value) == said


def test_words_are_the_same_in_every_form_of_unicode_and_keep_their_marks() -> None:
    assert words("Ku\u0308ndigungsfrist, cafe\u0301") == words("Kündigungsfrist, café") == ["kündigungsfrist", "café"]
    assert words("दिन दान") == ["दिन", "दान"]
    assert words("foo_bar 火车站") == ["foo", "bar", "火", "车", "站"]
    assert words("iPhone的3月") == ["iphone", "的", "3", "月"]


def test_words_are_the_same_however_they_are_set() -> None:
    assert words("the bro\u00adwn o\ufb03ce of \uff21\uff22\uff23") == ["the", "brown", "office", "of", "abc"]


def test_what_no_model_reads_is_not_to_be_cut_into_passages() -> None:
    with pytest.raises(TooLarge, match="at most 100,000 can be taken. Shorten it."):
        check_note("x" * (MAX_CHARACTERS + 1))


def test_the_words_of_plain_ascii_are_those_that_are_found_in_any_text() -> None:
    every = "".join(map(chr, range(1, 128)))
    for text in (every, "Don't_stop 3.5 x-RAY\tA1b2", "", "__", " ".join(f"a{sign}B" for sign in every)):
        assert words(text) == WORD.findall(folded(text))
