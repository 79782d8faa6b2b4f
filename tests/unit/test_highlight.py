"""Query words are marked in passages, and nothing that people typed becomes HTML."""

from __future__ import annotations

import pytest

from page.highlight import excerpt, highlight, query_stems, stem


@pytest.mark.parametrize(
    "words",
    [("bridge", "bridges", "Bridged"), ("make", "makes", "making"), ("study", "studies"), ("sway", "swaying", "sways")],
)
def test_forms_of_a_word_have_one_stem(words: tuple[str, ...]) -> None:
    assert len({stem(word) for word in words}) == 1


@pytest.mark.parametrize(("one", "other"), [("bridge", "bridal"), ("cat", "car"), ("his", "her"), ("red", "rest")])
def test_other_words_have_other_stems(one: str, other: str) -> None:
    assert stem(one) != stem(other)


def test_words_of_the_query_are_marked() -> None:
    marked = highlight("The bridge sways; bridging is another thing.", "why do bridges sway")
    assert marked == "The <mark>bridge</mark> <mark>sways</mark>; <mark>bridging</mark> is another thing."


def test_words_that_say_nothing_are_not_marked_unless_there_are_no_others() -> None:
    assert highlight("the who", "who is the king") == "the who"
    assert query_stems("the who") == {"the", "who"}


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "a & b < c", "\"quotes\" 'too'", "<b>script</b>"])
def test_nothing_becomes_html(text: str) -> None:
    html = str(highlight(text, "script alert b quotes"))
    without_marks = html.replace("<mark>", "").replace("</mark>", "")
    assert "<" not in without_marks and ">" not in without_marks
    assert "&amp;" in html or "&" not in text


def test_texts_in_other_scripts_stay_whole() -> None:
    assert highlight("Der Brückenbau in Köln, 桥", "köln 桥") == "Der Brückenbau in <mark>Köln</mark>, <mark>桥</mark>"
    # What is found without its accents is marked with them, and the other way round.
    assert highlight("Köln, Resume", "koln résumés") == "<mark>Köln</mark>, <mark>Resume</mark>"
    assert highlight("", "a query") == ""
    assert highlight("पानी की बोतल, पिता का पान और पानी", "पानी") == (
        "<mark>पानी</mark> की बोतल, पिता का पान और <mark>पानी</mark>"
    )
    # A character that only joins letters is part of the word, as in the search.
    assert highlight("ශ්\u200dරී ලංකා", "ශ්රී") == "<mark>ශ්\u200dරී</mark> ලංකා"
    assert highlight("el nin\u0303o y la nina", "NIÑO") == "el <mark>nin\u0303o</mark> y la nina"


@pytest.mark.parametrize(
    ("text", "query", "marked"),
    [
        ("今日の東京の天気は晴れ。", "天気", "今日の東京の<mark>天気</mark>は晴れ。"),
        ("今天北京的天气很好", "北京天气", "今天<mark>北京</mark>的<mark>天气</mark>很好"),
        # Characters that both happen to have are not in common: only two in a row are, or one that is all.
        ("気の毒な天使", "天気の話", "<mark>気の</mark>毒な天使"),
        ("木の橋", "橋", "木の<mark>橋</mark>"),
        ("ร้านนี้ปิดวันจันทร์", "วันจันทร์", "ร้านนี้ปิด<mark>วันจันทร์</mark>"),
        ("旧iPhoneの電池 <b>", "iphone 電池", "旧<mark>iPhone</mark>の<mark>電池</mark> &lt;b&gt;"),
    ],
)
def test_what_stands_together_is_marked_in_scripts_without_spaces(text: str, query: str, marked: str) -> None:
    assert highlight(text, query) == marked


LONG = "word " * 200


def test_a_long_text_is_cut_around_the_first_word_that_was_found() -> None:
    cut = excerpt(f"{LONG}a Zeppelin and another zeppelin {LONG}", 160, "the zeppelin")
    assert cut.startswith("... word ") and cut.endswith(" word...")
    assert 120 < len(cut) < 170
    assert highlight(cut, "the zeppelin").count("<mark>") == 2
    assert excerpt(f"{LONG}the end: zeppelin", 160, "zeppelin").endswith(" word the end: zeppelin")


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ("zeppelins", "red zep"),  # the last one is the beginning of a word
        ("Köln", "koln"),
        ("您可以在火车站租自行车", "火车站"),
        ("पानी", "पानी"),
        ("the", "the"),
    ],
)
def test_a_text_is_cut_around_what_the_search_finds(there: str, words: str) -> None:
    assert there in excerpt(f"reddish {LONG}{there} {LONG}", 320, words)


def test_a_text_in_a_script_without_spaces_is_cut_around_what_was_found() -> None:
    assert "火车站" in excerpt(f"租 {'车' * 900}火车站{'车' * 900} 租", 320, "火车站")


@pytest.mark.parametrize("words", ["", "elsewhere", "beginning", "word", "?"])
def test_a_long_text_is_shown_from_the_beginning_where_nothing_is_further_on(words: str) -> None:
    text = f"beginning {LONG}elsewise"
    assert excerpt(text, 320, words).startswith("beginning word word")
    assert excerpt(text, 320, words).endswith("word...")
    assert excerpt("short", 320, words) == "short"
