"""The guidelines on the Label tab."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from storage.label_store import LabelStore
from tests.browser.conftest import box, empty_queue, expect_error, open_tab, say_name
from tests.serving import App

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def none_yet(shared_app: App) -> None:
    empty_queue(shared_app)


def open_guidelines(page: Page) -> None:
    open_tab(page, "Label")
    page.locator("#guidelines").get_by_role("button", name="Guidelines").click()
    page.locator("#guidelines-edit").click()
    expect(box(page, "guidelines-box")).to_be_visible()


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
    expect(page.locator("#guidelines-edit")).to_be_focused()
    assert page.locator("#guidelines-text script").count() == 0
    page.reload()
    open_tab(page, "Label")
    page.locator("#guidelines").get_by_role("button", name="Guidelines").click()
    expect(page.locator("#guidelines-text h1")).to_have_text("When it counts")


def test_guidelines_that_are_being_written_outlive_a_reload(page: Page) -> None:
    open_guidelines(page)
    box(page, "guidelines-box").fill("An answer counts.")
    open_tab(page, "Train")
    page.reload()
    # Nobody has asked for it yet: it waits.
    expect(page.locator("#active-version")).to_be_visible()
    page.reload()
    open_guidelines(page)
    expect(box(page, "guidelines-box")).to_have_value("An answer counts.")
    box(page, "guidelines-box").fill("An answer counts. A hint does not.")
    page.locator("#guidelines-save").click()
    expect(page.locator("#guidelines-text")).to_contain_text("A hint does not.")
    page.locator("#guidelines-edit").click()
    expect(box(page, "guidelines-box")).to_have_value("An answer counts. A hint does not.")
    box(page, "guidelines-box").fill("Something else")
    page.locator("#guidelines").get_by_role("button", name="Cancel").click()
    expect(box(page, "guidelines-box")).not_to_be_visible()
    expect(page.locator("#guidelines-edit")).to_be_focused()
    page.reload()
    open_guidelines(page)
    expect(box(page, "guidelines-box")).to_have_value("An answer counts. A hint does not.")


def test_guidelines_that_another_has_saved_meanwhile_are_replaced_by_nobody_who_has_not_seen_them(
    page: Page, shared_app: App
) -> None:
    store = LabelStore(shared_app.data_dir / "workbench.db")
    shown = page.locator("#guidelines-text")
    told = "ann\u2069 has saved other guidelines meanwhile: they are shown above the box now. Yours are still in it"
    store.write_guidelines("An answer counts.", "cy", None)
    say_name(page, "bo")
    open_guidelines(page)
    expect(shown).to_contain_text("An answer counts.")
    store.write_guidelines("A hint counts.", "ann", store.guidelines().created_at)
    box(page, "guidelines-box").fill("An answer counts. A link does not.")
    page.locator("#guidelines-save").click()
    expect_error(page, told)
    expect(shown).to_contain_text("A hint counts.")
    expect(box(page, "guidelines-box")).to_have_value("An answer counts. A link does not.")
    assert store.guidelines().text == "A hint counts."
    page.locator("#guidelines-save").click()
    expect(shown).to_contain_text("A link does not.")
    assert (store.guidelines().text, store.guidelines().written_by) == ("An answer counts. A link does not.", "bo")
    # Nor by what was typed before a reload.
    page.locator("#guidelines-edit").click()
    box(page, "guidelines-box").fill("Nothing counts.")
    page.reload()
    store.write_guidelines("A number counts.", "ann", store.guidelines().created_at)
    open_guidelines(page)
    expect(box(page, "guidelines-box")).to_have_value("Nothing counts.")
    page.locator("#guidelines-save").click()
    expect_error(page, told)
    assert store.guidelines().text == "A number counts."
