"""What a training is asked for with on the Train tab: it is told, kept, and never undone by a late answer."""

from __future__ import annotations

import re
from time import sleep
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from reranker import train_tab
from reranker.recipe import CLASSIC, DEFAULT, Recipe
from tests.browser.conftest import (
    answer_late,
    box,
    choose,
    expect_error,
    know_only_relevant,
    more_settings,
    open_page,
    open_tab,
)
from tests.serving import App, ended, eventually

pytestmark = pytest.mark.browser


def test_a_negative_patience_is_refused_by_its_name(labelled_page: Page) -> None:
    page = labelled_page
    open_tab(page, "Train")
    more_settings(page)
    box(page, "patience").fill("-1")
    page.locator("#start-training").click()
    expect_error(page, "The patience is -1; it has to be from 0 to 100.")


def test_the_closed_box_says_what_differs_from_the_recipe(labelled_page: Page) -> None:
    page = labelled_page
    open_tab(page, "Train")
    expect(page.locator("#start-training")).to_be_in_viewport(ratio=1)
    for name in ("epochs", "batch-size", "learning-rate", "seed", "patience", "loss", "assume"):
        expect(page.locator(f"#{name}")).to_be_hidden()
    head = more_settings(page)
    box(page, "epochs").fill("2")
    box(page, "seed").fill("4294967295")
    box(page, "learning-rate").fill("1e-4")
    box(page, "loss").click()
    page.get_by_role("option", name="MSELoss", exact=True).click()
    expect(head).to_contain_text("More settings: epochs 2, seed 4294967295, loss MSELoss")
    head.click()
    expect(page.locator("#epochs")).to_be_hidden()
    expect(head).to_contain_text("More settings: epochs 2, seed 4294967295, loss MSELoss")
    # A recipe sets its own numbers.
    page.get_by_label("classic").check()
    expect(head).to_have_text(re.compile(r"^More settings: loss MSELoss\s*▼"))
    head.click()
    expect(page.locator("#epochs")).to_be_visible()
    assert [box(page, name).input_value() for name in ("epochs", "batch-size", "learning-rate", "seed")] == [
        "3", "16", "5e-05", "42",
    ]  # fmt: skip
    box(page, "learning-rate").fill("fast")
    box(page, "learning-rate").press("Tab")
    expect(head).to_contain_text("More settings: learning rate fast, loss MSELoss")


def test_the_recipe_is_one_stop_of_the_keyboard_and_the_arrows_choose(labelled_page: Page) -> None:
    page = labelled_page
    open_tab(page, "Train")
    page.locator("#set-queries-box > button").focus()
    page.keyboard.press("Tab")
    recipe = page.get_by_role("group", name="Recipe", exact=True)
    expect(recipe.get_by_label("default")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(recipe.get_by_label("classic")).to_be_checked()
    expect(page.locator("#recipe")).to_contain_text(CLASSIC.description)
    page.keyboard.press("Tab")
    expect(box(page, "base")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(recipe.get_by_label("classic")).to_be_focused()


def test_a_late_answer_does_not_undo_what_a_newer_one_says(
    labelled_app: App, context: BrowserContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    answered: list[int] = []

    def slow_at_first(recipe: Recipe, *, seed: int, **others: Any) -> str:  # noqa: ANN401
        asked.append(seed)
        if seed == recipe.seed:
            sleep(1)
        answered.append(seed)
        return describe(recipe, seed=seed, **others)

    describe = train_tab.more_settings
    monkeypatch.setattr(train_tab, "more_settings", slow_at_first)
    page = open_page(context, labelled_app)
    eventually(lambda: answered == [42], "it is told as the page is loaded")
    open_tab(page, "Train")
    head = more_settings(page)
    eventually(lambda: asked == [42, 42], "and as the tab is opened")
    box(page, "seed").fill("7")
    eventually(lambda: sorted(answered) == [7, 42, 42], "both are told")
    page.wait_for_timeout(500)
    expect(head).to_contain_text("seed 7")


@pytest.fixture
def assuming_page(empty_app: App, context: BrowserContext) -> Page:
    """The Train tab where passages that nobody judged are taken as not relevant, which its sets say."""
    know_only_relevant(empty_app)
    page = open_page(context, empty_app)
    open_tab(page, "Train")
    more_settings(page)
    page.get_by_label("Treat unjudged passages as not relevant").check()
    expect(page.locator("#assumed")).to_be_visible()
    return page


def test_what_is_assumed_is_still_counted_where_the_tab_is_slow_after_a_reload(
    assuming_page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = assuming_page
    _, answered = answer_late(monkeypatch, lambda handler, inputs: handler == "open_tab")
    page.reload()
    eventually(lambda: {"open_tab", "check_kept"} <= set(answered), "the sets are there")
    page.wait_for_timeout(500)
    expect(page.locator("#assumed")).to_be_visible()


SLOW_TO_COME_BACK = """
document.addEventListener('readystatechange', () => {
  const kept = globalThis.workbench?.kept;
  if (!kept) return;
  workbench.kept = async (...asked) => {
    await new Promise((done) => setTimeout(done, 1000));
    return kept(...asked);
  };
}, { once: true });
"""


def test_what_is_assumed_counts_also_where_the_tab_is_open_before_it_is_back(assuming_page: Page) -> None:
    page = assuming_page
    overtaken: list[Route] = []

    def hold_what_opens_the_tab(route: Route) -> None:
        sent = route.request.post_data_json
        if (sent.get("event_data") or {}).get("value") == "Train" and sent["data"][1:] == [False]:
            overtaken.append(route)
        else:
            route.continue_()

    page.add_init_script(SLOW_TO_COME_BACK)
    page.route("**/queue/join*", hold_what_opens_the_tab)
    page.reload()
    expect(page.locator("#assumed")).to_be_visible()
    for route in overtaken:
        route.continue_()
    page.wait_for_timeout(500)
    expect(page.locator("#assumed")).to_be_visible()


def test_the_recipe_that_was_chosen_last_sets_the_numbers(
    labelled_app: App, context: BrowserContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, _ = answer_late(monkeypatch, lambda handler, inputs: handler == "reset")
    page = open_page(context, labelled_app)
    open_tab(page, "Train")
    head = more_settings(page)
    box(page, "epochs").fill("9")
    expect(head).to_contain_text("epochs 9")
    page.get_by_label("classic").check()
    eventually(lambda: "reset" in asked, "the numbers of classic are asked for")
    page.get_by_label("default").check()
    expect(head).not_to_contain_text("epochs")
    expect(page.locator("#recipe")).to_contain_text(DEFAULT.description)
    assert [box(page, name).input_value() for name in ("epochs", "batch-size")] == ["4", "8"]


def test_the_choice_of_what_to_promote_stays(labelled_page: Page) -> None:
    page = labelled_page
    open_tab(page, "Train")
    expect(page.get_by_label("If better or as good")).to_be_checked()
    page.get_by_label("No, only keep it").check()
    open_tab(page, "Data")
    open_tab(page, "Train")
    expect(page.locator("#training-sets")).to_contain_text("Nothing can be measured yet")
    expect(page.get_by_label("No, only keep it")).to_be_checked()


def test_the_settings_outlive_a_reload(labelled_app: App, context: BrowserContext) -> None:
    run = labelled_app.client.post("/v1/training-runs", json={"epochs": 1, "promote": "never", "recipe": "classic"})
    version = ended(labelled_app.client, run.json()["id"])["model_version"]
    know_only_relevant(labelled_app)
    page = open_page(context, labelled_app)
    open_tab(page, "Train")
    head = more_settings(page)
    box(page, "seed").fill("7")
    expect(head).to_contain_text("seed 7")
    # A recipe sets its own numbers, and what is changed after it stays.
    page.get_by_label("classic").check()
    expect(head).not_to_contain_text("seed")
    expect(box(page, "seed")).to_have_value("42")
    choose(page, "base", version)
    page.get_by_label("No, only keep it").check()
    page.get_by_label("Learning curve").check()
    box(page, "epochs").fill("2")
    box(page, "learning-rate").fill("3e-4")
    box(page, "patience").fill("5")
    choose(page, "loss", "LambdaLoss")
    page.get_by_label("Treat unjudged passages as not relevant").check()
    numbers = {"epochs": "2", "batch-size": "16", "learning-rate": "3e-4", "seed": "42", "patience": "5"}
    changed = "epochs 2, learning rate 0.0003, patience 5, loss LambdaLoss, unjudged passages as not relevant"
    expect(head).to_contain_text(changed)

    page.reload()
    expect(head).to_contain_text(changed)
    expect(page.locator("#assumed")).to_be_visible()
    expect(page.get_by_label("classic")).to_be_checked()
    expect(page.locator("#recipe")).to_contain_text("the plain trainer")
    expect(box(page, "base")).to_have_value(version)
    expect(page.get_by_label("No, only keep it")).to_be_checked()
    expect(page.get_by_label("Learning curve")).to_be_checked()
    more_settings(page)
    assert {name: box(page, name).input_value() for name in numbers} == numbers
    expect(box(page, "loss")).to_have_value("LambdaLoss")
    expect(page.get_by_label("Treat unjudged passages as not relevant")).to_be_checked()

    # Also where the page comes up with another tab; and a version that is gone is not kept.
    open_tab(page, "Rerank")
    labelled_app.client.delete(f"/v1/models/{version}").raise_for_status()
    page.reload()
    open_tab(page, "Train")
    expect(box(page, "base")).to_have_value("the active model")
    expect(page.get_by_label("classic")).to_be_checked()
    expect(head).to_contain_text(changed)
