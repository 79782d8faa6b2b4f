"""The guidelines on the Label tab."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import box, open_tab

pytestmark = pytest.mark.browser


def test_guidelines_are_written_and_read(page: Page) -> None:
    open_tab(page, "Label")
    page.locator("#guidelines").get_by_role("button", name="Guidelines").click()
    expect(page.locator("#guidelines-text")).to_contain_text("Nothing is written yet")
    page.locator("#guidelines-edit").click()
    # Who begins to type at once does not judge with it.
    expect(box(page, "guidelines-box")).to_be_focused()
    box(page, "guidelines-box").fill("# When it counts\n\nAn *answer* counts. <script>alert(1)</script>")
    page.locator("#guidelines-save").click()
    expect(page.locator("#guidelines-text h1")).to_have_text("When it counts")
    expect(page.locator("#guidelines-text em")).to_have_text("answer")
    assert page.locator("#guidelines-text script").count() == 0
    page.reload()
    open_tab(page, "Label")
    page.locator("#guidelines").get_by_role("button", name="Guidelines").click()
    expect(page.locator("#guidelines-text h1")).to_have_text("When it counts")


def test_guidelines_that_are_being_written_outlive_a_reload(page: Page) -> None:
    def open_guidelines() -> None:
        open_tab(page, "Label")
        page.locator("#guidelines").get_by_role("button", name="Guidelines").click()
        page.locator("#guidelines-edit").click()
        expect(box(page, "guidelines-box")).to_be_visible()

    open_guidelines()
    box(page, "guidelines-box").fill("An answer counts.")
    open_tab(page, "Train")
    page.reload()
    # Nobody has asked for it yet: it waits.
    expect(page.locator("#active-version")).to_be_visible()
    page.reload()
    open_guidelines()
    expect(box(page, "guidelines-box")).to_have_value("An answer counts.")
    box(page, "guidelines-box").fill("An answer counts. A hint does not.")
    page.locator("#guidelines-save").click()
    expect(page.locator("#guidelines-text")).to_contain_text("A hint does not.")
    page.locator("#guidelines-edit").click()
    expect(box(page, "guidelines-box")).to_have_value("An answer counts. A hint does not.")
    box(page, "guidelines-box").fill("Something else")
    page.locator("#guidelines").get_by_role("button", name="Cancel").click()
    expect(box(page, "guidelines-box")).not_to_be_visible()
    page.reload()
    open_guidelines()
    expect(box(page, "guidelines-box")).to_have_value("An answer counts. A hint does not.")
