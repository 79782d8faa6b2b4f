"""A ranking that takes long: it shows how far it has come, holds nobody up, and can be stopped."""

from __future__ import annotations

import re
import time

from playwright.sync_api import BrowserContext, expect

from tests.browser.conftest import box, open_page
from tests.serving import App

# So long that it is not over on a quick processor before it is looked at.
MANY = "\n".join(
    f"Passage {number} about ships and the sea. " + "Water is boiled on board. " * 60 for number in range(900)
)


def test_a_long_ranking_is_watched_and_stopped(starter_app: App, context: BrowserContext) -> None:
    page = open_page(context, starter_app)
    box(page, "query").fill("how is fresh water made")
    box(page, "passages").fill(MANY)
    expect(page.locator("#stop-rerank")).to_be_hidden()
    page.locator("#rerank").click()
    expect(page.locator("#ranking-time-left")).to_contain_text("left")
    expect(page.locator("#ranking .figures")).to_have_text(re.compile(r"^[1-9]\d* of 900 passages$"))

    # Somebody else is answered meanwhile.
    body = {"query": "what crosses a river", "documents": ["A bridge does.", "Bread is baked."]}
    asked = time.monotonic()
    assert starter_app.client.post("/v1/rerank", json=body).raise_for_status().json()["results"][0]["index"] == 0
    expect(page.locator("#ranking .figures")).to_contain_text("of 900 passages")
    assert time.monotonic() - asked < 60

    page.locator("#stop-rerank").click()
    expect(page.locator("#ranking")).to_contain_text("Nothing is ranked yet")
    expect(page.locator(".toast-body")).to_contain_text("Stopped")
    expect(page.locator("#stop-rerank")).to_be_hidden()
    expect(box(page, "passages")).to_have_value(MANY)

    # The page goes on as if nothing had been.
    page.get_by_role("button", name="Fresh water at sea").click()
    expect(page.locator(".result")).to_have_count(6)

    # And what was shown before comes back when another one is stopped.
    box(page, "passages").fill(MANY.replace("ships", "boats"))
    page.locator("#rerank").click()
    expect(page.locator("#ranking .figures").first).to_contain_text("of 900 passages")
    expect(page.locator("#queue-ranking")).to_be_hidden()
    page.locator("#stop-rerank").click()
    expect(page.locator(".result")).to_have_count(6)
    expect(page.locator("#queue-ranking")).to_be_visible()

    # Who presses again with other passages does not wait for those of before.
    page.locator("#rerank").click()
    expect(page.locator("#ranking .figures").first).to_contain_text("of 900 passages")
    box(page, "passages").fill("Sea water is boiled.\nBread is baked.")
    page.locator("#rerank").click()
    expect(page.locator(".result")).to_have_count(2)
    expect(page.locator("#stop-rerank")).to_be_hidden()
    page.wait_for_timeout(1000)
    expect(page.locator(".result")).to_have_count(2)
