"""The page of how far the judging has come."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import empty_queue, open_tab, say_name
from tests.serving import App, label

pytestmark = pytest.mark.browser


def test_progress_tells_of_the_team_of_me_and_of_the_balance(page: Page, shared_app: App) -> None:
    empty_queue(shared_app)
    open_tab(page, "Label")
    open_tab(page, "Progress")
    expect(page.locator("#progress-head")).to_contain_text("There is nothing to judge yet")
    label(shared_app.client, ("q", "a", 1), ("q", "b", 0), ("r", "a", 0), annotator="ada")
    label(shared_app.client, ("q", "c", 0), annotator="bo")
    head = page.locator("#progress-head")
    open_tab(page, "Data")
    open_tab(page, "Label")
    expect(head).to_contain_text("Type your name at the top of the page")
    say_name(page, "ada")
    expect(page.locator("#mine")).to_have_text("3")
    expect(head).to_contain_text("4 of 4 pairs judged, by 2 annotators")
    expect(head).to_contain_text("3 labels, 1 pair left for you")
    expect(head).to_contain_text("✓ 1 relevant")
    expect(head).to_contain_text("✗ 3 not")
    expect(
        page.locator("#progress-chart .vega-embed, #progress-chart svg, #progress-chart canvas").first
    ).to_be_visible()
    page.get_by_text("The same as a table").click()
    expect(page.get_by_label("Labels by day").locator("tbody td").nth(1)).to_have_text("4")
    expect(page.get_by_label("Labels by day").locator("tbody td").nth(2)).to_have_text("3")
    expect(page.locator("#worth")).to_contain_text("That cannot be told yet. Train once")
