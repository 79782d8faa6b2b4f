"""The two 10-K pairs that the project started from, labelled and trained on through the page alone."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, expect

from reranker.recipe import DEFAULT
from tests.browser.conftest import box, more_settings, open_page, open_tab, say_name
from tests.serving import App

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_two_labels_change_the_scores(starter_app: App, context: BrowserContext) -> None:
    page = open_page(context, starter_app)
    say_name(page, "Ada")
    page.get_by_role("button", name="10-K filing").click()
    results = page.locator(".result")
    expect(results).to_have_count(2)
    before = {results.nth(place).get_attribute("data-index"): place for place in (0, 1)}
    scores = {index: results.nth(place).locator(".score").inner_text() for index, place in before.items()}
    page.locator('.result[data-index="0"]').get_by_role("button", name="✗ Not relevant").click()
    page.locator('.result[data-index="1"]').get_by_role("button", name="✓ Relevant").click()
    expect(page.locator('.judge button[aria-pressed="true"]')).to_have_count(2)

    # What stands on the Train tab when it is opened is the default recipe; two pairs are too few to measure on.
    open_tab(page, "Train")
    expect(page.locator("#training-sets")).to_contain_text("Nothing can be measured yet")
    more_settings(page)
    assert [box(page, name).input_value() for name in ("epochs", "batch-size", "learning-rate", "seed")] == [
        f"{value:g}" for value in (DEFAULT.epochs, DEFAULT.batch_size, DEFAULT.learning_rate, DEFAULT.seed)
    ]
    expect(page.get_by_label("If better or as good")).to_be_checked()
    page.locator("#start-training").click()
    expect(page.locator(".run-status")).to_contain_text("Finished", timeout=300_000)
    expect(page.locator(".outcome")).to_contain_text("Nothing could be measured")
    expect(page.locator("#active-version")).to_have_text("starter")

    # What nothing could be measured of is not put in place by itself; a person can.
    open_tab(page, "Models")
    page.locator('tr[data-version="v1"]').get_by_role("button", name="Promote").click()
    expect(page.locator("#active-version")).to_have_text("v1")

    open_tab(page, "Rerank")
    page.locator("#rerank").click()
    expect(page.locator(".ranked-by")).to_have_text("v1")
    for index, score in scores.items():
        assert page.locator(f'.result[data-index="{index}"] .score').inner_text() != score
