"""The stream in which the page hears its answers: what is sent as it ends is answered all the same."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import box, open_page, say_name
from tests.serving import App

pytestmark = pytest.mark.browser

# That the stream has ended is heard 1.2 seconds later than anything else.
ENDS_LATE = """
const ask = fetch;
globalThis.fetch = async (input, init) => {
  const response = await ask(input, init);
  if (!String(input.url ?? input).includes('/queue/data')) return response;
  const reader = response.body.getReader();
  return new Response(new ReadableStream({
    async pull(page) {
      const { done, value } = await reader.read();
      if (done) return page.close();
      const text = new TextDecoder().decode(value);
      const end = text.includes('"close_stream"') ? text.lastIndexOf('data: ') : text.length;
      page.enqueue(new TextEncoder().encode(text.slice(0, end)));
      if (end === text.length) return;
      await new Promise((done) => setTimeout(done, 1200));
      page.enqueue(new TextEncoder().encode(text.slice(end)));
    },
  }), response);
};
"""


def wait_for_news(page: Page) -> None:
    """Wait until the page asks for news, as it does every two seconds."""
    with page.expect_request("**/queue/join*"):
        pass


def test_what_is_sent_as_the_stream_ends_is_answered(shared_app: App, context: BrowserContext) -> None:
    page = open_page(context, shared_app)
    page.add_init_script(ENDS_LATE)
    page.reload()
    expect(page.locator("#active-version")).to_be_visible()
    say_name(page, "ada")
    box(page, "query").fill("how long is the bridge")
    for count in (2, 3, 4):
        box(page, "passages").fill("\n".join(f"passage {number}" for number in range(count)))
        wait_for_news(page)
        # The next news is asked for while the end of what comes now is under way.
        page.wait_for_timeout(1500)
        page.locator("#rerank").click()
        expect(page.locator(".result")).to_have_count(count)
        page.locator(".result .yes").first.click()
        expect(page.locator(".result .yes[aria-pressed=true]")).to_have_count(1)
        wait_for_news(page)
