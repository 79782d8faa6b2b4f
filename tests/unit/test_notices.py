"""What the page says when something went wrong."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr
import pytest

from errors import InvalidInput
from page.notices import shown_to_people


def test_a_notice_shows_what_a_file_holds_as_text() -> None:
    def refused() -> None:
        raise InvalidInput("The label is '<form action=\"https://elsewhere.example\"><input></form>' & not 1.")

    def refused_later() -> Iterator[None]:
        yield
        refused()

    for call in (shown_to_people(refused), lambda: list(shown_to_people(refused_later)())):
        with pytest.raises(gr.Error) as caught:
            call()
        assert caught.value.message.startswith("The label is '&lt;form action=\"https")
        assert "<" not in caught.value.message and caught.value.message.endswith("&amp; not 1.")
