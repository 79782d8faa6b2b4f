"""The chosen tab is in the address; on a phone all tabs and the result of a ranking come into view."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import open_tab, rerank, say_name

pytestmark = pytest.mark.browser


def expect_tab(page: Page, *names: str) -> None:
    for name in names:
        expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")


def test_a_reload_stays_and_back_and_forward_move_between_tabs(page: Page) -> None:
    open_tab(page, "Label")
    open_tab(page, "Mine")
    expect_tab(page, "Label", "Mine")
    page.wait_for_url("**/#label/mine")
    open_tab(page, "Models")
    page.wait_for_url("**/#models")
    page.reload()
    expect_tab(page, "Models")
    expect(page.locator("tr.active")).to_be_visible()
    page.go_back()
    expect_tab(page, "Label", "Mine")
    page.go_back()
    expect_tab(page, "Label", "Pair")
    page.go_back()
    expect_tab(page, "Rerank")
    page.go_forward()
    expect_tab(page, "Label", "Pair")


def test_the_arrows_move_along_the_tabs_and_a_list_of_choices_goes_when_its_box_is_left(page: Page) -> None:
    page.get_by_role("tab", name="Rerank").focus()
    for key, name in (("ArrowLeft", "Models"), ("Home", "Rerank"), ("ArrowRight", "Label")):
        page.keyboard.press(key)
        expect(page.get_by_role("tab", name=name)).to_be_focused()
    page.keyboard.press("Enter")
    expect_tab(page, "Label")
    # Also with colours of one's own the chosen tab is told from the others.
    page.emulate_media(forced_colors="active")
    expect(page.get_by_role("tab", name="Label")).to_have_css("text-decoration-line", "underline")
    expect(page.get_by_role("tab", name="Data")).to_have_css("text-decoration-line", "none")
    strategy = page.get_by_role("combobox", name="Which pair next")
    strategy.focus()
    expect(strategy).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Tab")
    expect(strategy).to_have_attribute("aria-expanded", "false")
    expect(page.get_by_role("button", name="Guidelines")).to_be_focused()


def test_on_a_phone_every_tab_is_there_and_a_ranking_comes_into_view(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 850})
    for name in ("Rerank", "Label", "Data", "Train", "Models"):
        expect(page.get_by_role("tab", name=name)).to_be_in_viewport()
    rerank(page, "who built it", "one\ntwo\nthree\n")
    expect(page.locator(".result").first).to_be_in_viewport(ratio=1)
    expect(page.locator(".ranking .summary")).to_be_focused()
    open_tab(page, "Label")
    names = ("Pair", "Query", "Mine", "Disputed", "Agreement", "Progress")
    inner = [page.get_by_role("tab", name=name) for name in names]
    for tab in inner:
        expect(tab).to_be_in_viewport(ratio=1)
    # Side by side, so that the pair comes early on the screen. All at one moment: what is above them may still come.
    tops = "tabs => tabs.map(tab => tab.getBoundingClientRect().top)"
    assert len(set(page.evaluate(tops, [tab.element_handle() for tab in inner]))) == 1


def test_before_anything_is_ranked_the_loop_is_told_and_each_step_leads_to_its_tab(page: Page) -> None:
    steps = page.locator("#ranking .first-steps")
    assert len(steps.inner_text().split()) <= 60
    links = steps.get_by_role("link")
    expect(links).to_have_count(4)
    for number, name in enumerate(("Label", "Train", "Models"), start=1):
        links.nth(number).press("Enter")
        expect_tab(page, name)
        page.go_back()
        expect_tab(page, "Rerank")
    rerank(page, "who built it", "one\ntwo\n")
    expect(page.locator(".result")).to_have_count(2)
    expect(steps).to_be_hidden()


def test_on_a_phone_the_head_is_low_and_who_is_asked_for_a_name_can_read_it(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    # A long name of the version stands in a line of its own.
    page.wait_for_function("document.querySelector('#tabs').getBoundingClientRect().top <= 190")
    open_tab(page, "Label")
    expect(page.locator("#task .empty")).to_be_in_viewport(ratio=1)
    expect(page.locator("#judge-relevant")).to_be_hidden()
    # The whole head of a closed box takes the thumb.
    assert page.locator("#guidelines > button").bounding_box()["height"] >= 36
    say_name(page, "Ada")
    expect(page.locator("#judge-relevant")).to_be_in_viewport(ratio=1)
    # On its side it is wide, but as low.
    page.set_viewport_size({"width": 844, "height": 390})
    expect(page.locator("#task")).to_be_in_viewport()


def test_a_ranking_that_is_in_view_moves_nothing(page: Page) -> None:
    rerank(page, "who built it", "one\ntwo\nthree\n")
    expect(page.locator(".result")).to_have_count(3)
    expect(page.locator(".ranking .summary")).not_to_be_focused()
    assert page.evaluate("scrollY") == 0
