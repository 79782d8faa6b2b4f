"""What people wrote is shown as they wrote it."""

from __future__ import annotations

import html
import re

from labeling.browse_tab import View
from page.render import plain_markdown, render
from storage.browse_store import FoundCounts
from storage.records import FoundPair


def test_a_name_is_no_markdown() -> None:
    name = "**Ada** _B_ [here](https://elsewhere.example) <b>C</b> www.elsewhere.example # `d` ~~e~~ &amp; Zoë d'Or"
    written = plain_markdown(name)
    assert re.fullmatch(r"(?:[^\W_]|\s|&#\d+;)*", written)
    assert html.unescape(written) == name


def test_words_of_people_do_not_turn_those_of_the_page_around() -> None:
    version = {"version": "v1", "name": "\u202eada"}
    assert "<bdi>\u202eada</bdi>" in render("status.html", loading=False, version=version, notices=[], run=None)


def test_what_is_read_aloud_of_a_run_is_not_each_percent_of_it() -> None:
    version = {"version": "v1", "name": "ada"}
    shown = [
        render("status.html", loading=False, version=version, notices=[], run={"progress": part}) for part in (0.1, 0.2)
    ]
    assert "20 %" in shown[1]
    hidden = re.compile(r'<span aria-hidden="true">.*?</span>')
    assert hidden.sub("", shown[0]) == hidden.sub("", shown[1])


def test_what_a_search_found_is_seen_in_a_long_passage() -> None:
    pair = FoundPair(1, "q", "how long", "p", f"{'word ' * 200}zeppelin", "faq.csv", None, [], None)
    shown = {"pairs": [pair], "more": False, "found": FoundCounts(1, 0, 1), "filtered": True, "waiting": 0}
    html = render("browse.html", **shown, view=View("zeppelin"), words="zeppelin", history=[], counts=(0, 0))
    assert "... word " in html and "<mark>zeppelin</mark>" in html
