"""What the page says when something went wrong."""

from __future__ import annotations

from errors import InvalidInput
from page.notices import notice


def test_a_notice_shows_what_a_file_holds_as_text() -> None:
    shown = notice(InvalidInput("The label is '<form action=\"https://elsewhere.example\"><input></form>' & not 1."))
    assert shown.message.startswith("The label is '&lt;form action=\"https")
    assert "<" not in shown.message and shown.message.endswith("&amp; not 1.")
