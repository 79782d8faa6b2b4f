"""Once round the loop on the page, with the model that ships with the app, as a person would go."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import box, choose_strategy, more_settings, open_page, open_tab, say_name
from tests.serving import App, eventually

pytestmark = pytest.mark.browser

PAIRS = """query,passage,label,annotator
how do ships make drinking water from seawater,Seawater is boiled and the vapour is condensed into fresh water.,1,bea
how do ships make drinking water from seawater,The captain's cabin has a view of the bow.,0,bea
what keeps a ship from tipping over,Ballast in the hull keeps the centre of gravity low.,,
what keeps a ship from tipping over,A lighthouse flashes every five seconds.,,
"""


def shown_scores(page: Page) -> dict[str, str]:
    """The score that the page shows for each passage, by the passage's text."""
    results = page.locator("#ranking .result")
    return {
        results.nth(place).locator(".text").inner_text(): results.nth(place).locator(".score").inner_text()
        for place in range(results.count())
    }


def wait_for_best_engine(app: App) -> None:
    """Wait until the engine answers that will answer again later: in bfloat16, scores differ a little from before."""

    def is_ready() -> bool:
        return "being converted" not in app.client.get("/health").json()["engine"]["reason"]

    eventually(is_ready, "the model is converted for this machine")


def test_the_whole_loop(starter_app: App, context: BrowserContext, tmp_path: Path) -> None:
    page = open_page(context, starter_app)
    active = page.locator("#active-version")
    expect(active).to_have_text("starter")
    wait_for_best_engine(starter_app)

    # Rerank an example: the passages that answer the query come out on top.
    page.get_by_role("button", name="Fresh water at sea").click()
    expect(page.locator(".result")).to_have_count(6)
    expect(page.locator(".ranked-by")).to_have_text("starter")
    assert {box.inner_text() for box in page.locator(".rank").all()} == {"1", "2", "3", "4", "5", "6"}
    before = shown_scores(page)
    assert (
        "evaporator"
        in page.locator(".result .text").nth(0).inner_text() + page.locator(".result .text").nth(1).inner_text()
    )

    # Label by button, on the results.
    say_name(page, "Ada")
    first = page.locator(".result").nth(0)
    first.get_by_role("button", name="✗ Not relevant").click()
    expect(first.get_by_role("button", name="✗ Not relevant")).to_have_attribute("aria-pressed", "true")
    last = page.locator(".result").nth(5)
    last.get_by_role("button", name="✓ Relevant").click()
    expect(last.get_by_role("button", name="✓ Relevant")).to_have_attribute("aria-pressed", "true")

    # Import a file of pairs.
    open_tab(page, "Data")
    file = tmp_path / "pairs.csv"
    file.write_text(PAIRS)
    page.set_input_files("#import-file input[type=file]", file)
    expect(page.locator("#import-report")).to_contain_text("2 labels and 2 pairs to be judged")
    page.locator("button#import").click()
    expect(page.locator("#import-report")).to_contain_text("Imported: 2 labels")
    expect(page.locator("#latest-labels tbody tr")).to_have_count(6)

    # Label by keyboard.
    choose_strategy(page, "oldest")
    expect(page.locator("#task")).to_contain_text("Ballast in the hull")
    page.keyboard.press("1")
    expect(page.locator("#task")).to_contain_text("A lighthouse")
    page.keyboard.press("0")
    expect(page.locator("#task")).to_contain_text("Seawater is boiled")
    expect(page.locator("#mine")).to_have_text("4")

    # Train, and see it move.
    open_tab(page, "Train")
    expect(page.locator("#training-sets")).to_contain_text("Nothing can be measured yet")
    more_settings(page)
    box(page, "epochs").fill("4")
    box(page, "batch-size").fill("2")
    page.get_by_label("Always", exact=True).check()
    page.locator("#start-training").click()
    expect(page.locator(".run-status")).to_contain_text(re.compile("Starting|Running"))
    expect(page.locator("#run-percent")).to_have_text(re.compile(r"^[1-9]\d* %$"), timeout=300_000)
    expect(page.locator("#time-left")).to_contain_text("left")
    expect(page.locator("#loss-curve")).to_be_visible()
    expect(page.locator(".run-status")).to_contain_text("Finished", timeout=300_000)
    expect(page.locator(".outcome")).to_contain_text("v1")
    expect(active).to_have_text("v1")

    # Rerank again: the new version answers, with other scores.
    open_tab(page, "Rerank")
    page.locator("#rerank").click()
    expect(page.locator(".ranked-by")).to_have_text("v1")
    after = shown_scores(page)
    assert after.keys() == before.keys()
    assert all(after[text] != before[text] for text in before)

    # Roll back: the old scores are there again.
    open_tab(page, "Models")
    expect(page.locator("tr.active")).to_contain_text("v1")
    page.get_by_role("button", name="Roll back to starter").click()
    expect(page.locator("tr.active")).to_contain_text("starter")
    expect(active).to_have_text("starter")
    open_tab(page, "Rerank")
    page.locator("#rerank").click()
    expect(page.locator(".ranked-by")).to_have_text("starter")
    assert shown_scores(page) == before

    # Promote it again, from its row.
    open_tab(page, "Models")
    page.locator('tr[data-version="v1"]').get_by_role("button", name="Promote").click()
    expect(page.locator("tr.active")).to_contain_text("v1")

    # The name is remembered.
    page.reload()
    expect(box(page, "annotator")).to_have_value("Ada")
