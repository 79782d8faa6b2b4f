"""The Models tab on a page that others have gone on beside."""

from __future__ import annotations

import contextlib
import itertools
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from reranker.registry import ActiveModel, ModelRegistry
from storage.model_store import ModelStore
from storage.records import ModelVersion, now
from tests.browser.conftest import answer_late, box, choose, expect_error, open_page, open_tab, rerank, say_name
from tests.serving import App, eventually, loaded_version

pytestmark = pytest.mark.browser


# The names of all versions that are added, since tests share an app.
NAMES = (f"v{number}" for number in itertools.count(1))


@pytest.fixture
def add_versions(other_model_dir: Path) -> Callable[[App, int], list[str]]:
    """Adds so many versions to a running app, and says their names."""

    def add(app: App, count: int) -> list[str]:
        base, data_dir = loaded_version(app.client), app.data_dir
        names = list(itertools.islice(NAMES, count))
        for name in names:
            shutil.copytree(other_model_dir, data_dir / "models" / name)
            ModelStore(data_dir / "workbench.db").add_version(
                ModelVersion(name, f"tiny-{name}", "trained", None, base, None, 12, {"ndcg@10": 0.5}, now())
            )
        return names

    return add


def promote(app: App, name: str) -> None:
    app.client.post(f"/v1/models/{name}/promote").raise_for_status()


def test_rolling_back_does_what_the_button_says_or_nothing(
    shared_app: App,
    context: BrowserContext,
    add_versions: Callable[[App, int], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    v1, v2, v3 = add_versions(shared_app, 3)
    promote(shared_app, v1)
    promote(shared_app, v2)
    page = open_page(context, shared_app)
    open_tab(page, "Models")
    button = page.locator("#roll-back")
    expect(button).to_have_text(f"Roll back to {v1}")
    # The page is to hear of it later than the button is pressed.
    answer_late(monkeypatch, lambda handler, inputs: handler == "show_status")
    promote(shared_app, v3)
    button.click()
    expect_error(page, f"{v3} answers now, and rolling back would return to {v2}, not to {v1}.")
    expect(button).to_have_text(f"Roll back to {v2}")
    expect(page.locator("tr.active")).to_contain_text(v3)
    button.click()
    expect(button).to_have_text(f"Roll back to {v1}")
    expect(page.locator("tr.active")).to_contain_text(v2)
    expect(page.locator("#active-version")).to_have_text(v2)
    page.locator(f'[data-promote="{v1}"]').click()
    expect(page.locator("tr.active")).to_contain_text(v1)
    expect(page.locator("#active-version")).to_have_text(v1)
    monkeypatch.undo()
    # By itself it hears of it a moment later.
    promote(shared_app, v3)
    expect(page.locator("tr.active")).to_contain_text(v3)
    expect(button).to_have_text(f"Roll back to {v1}")


def test_a_deleted_version_is_no_longer_chosen_and_another_stays(
    app: App, context: BrowserContext, add_versions: Callable[[App, int], list[str]]
) -> None:
    v1, v2 = add_versions(app, 2)
    page = open_page(context, app)
    open_tab(page, "Train")
    choose(page, "base", v1)
    open_tab(page, "Models")
    page.get_by_role("button", name="Compare two versions").click()
    page.get_by_role("button", name="Push a version").click()
    # What the tab offers by itself when it is opened would else come over what is chosen.
    expect(box(page, "compare-first")).to_have_value(v2)
    for elem_id, version in (("compare-first", v1), ("compare-second", v2), ("push-version", v1)):
        choose(page, elem_id, version)
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator(f'[data-delete="{v1}"]').click()
    expect(page.locator(f'tr[data-version="{v1}"]')).to_have_count(0)
    expect(box(page, "compare-first")).to_have_value("")
    expect(box(page, "compare-second")).to_have_value(v2)
    page.locator("#compare").click()
    expect_error(page, "Choose two versions first.")
    box(page, "push-repo").fill("ada/reranker")
    page.locator("#push").click()
    expect_error(page, "Choose a version and type where it goes")
    open_tab(page, "Train")
    expect(box(page, "base")).to_have_value("the active model")


def test_the_active_version_and_the_one_before_are_there_to_be_compared(
    app: App, context: BrowserContext, add_versions: Callable[[App, int], list[str]]
) -> None:
    page = open_page(context, app)
    open_tab(page, "Models")
    page.get_by_role("button", name="Compare two versions").click()
    # The only version is offered by now, and not chosen.
    expect(page.locator("tr.active")).to_be_visible()
    box(page, "compare-second").click()
    expect(page.get_by_role("option")).to_have_count(1)
    expect(box(page, "compare-second")).to_have_value("")
    box(page, "compare-second").press("Escape")
    v1, v2, v3 = add_versions(app, 3)
    promote(app, v1)
    promote(app, v2)
    open_tab(page, "Train")
    open_tab(page, "Models")
    expect(box(page, "compare-first")).to_have_value(v1)
    expect(box(page, "compare-second")).to_have_value(v2)


def test_the_focus_stays_at_the_version_whose_button_was_pressed(
    shared_app: App, context: BrowserContext, add_versions: Callable[[App, int], list[str]]
) -> None:
    v1, v2 = add_versions(shared_app, 2)
    page = open_page(context, shared_app)
    open_tab(page, "Models")
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator(f'[data-promote="{v1}"]').press("Enter")
    expect(page.locator("tr.active")).to_contain_text(v1)
    # Promote is gone from it.
    expect(page.locator(f'[data-download="{v1}"]')).to_be_focused()
    page.locator(f'[data-delete="{v2}"]').press("Enter")
    expect(page.locator(f'tr[data-version="{v2}"]')).to_have_count(0)
    expect(page.locator(f'tr[data-version="{v1}"] button').first).to_be_focused()


def test_it_says_how_is_scored(page: Page) -> None:
    open_tab(page, "Models")
    expect(page.locator("#engine")).to_contain_text(re.compile(r"Scored by (OpenVINO|torch) in (float32|bfloat16)"))


QUERY = "how long is the bridge"
PASSAGES = ["It opened in May.", "The bridge is two miles long.", "Cows eat grass.", "Two."]


def order_by(app: App, version: str) -> list[int]:
    """The places in the input as this version ranks them, asked for by HTTP."""
    asked = {"query": QUERY, "documents": PASSAGES, "model": version}
    return [found["index"] for found in app.client.post("/v1/rerank", json=asked).json()["results"]]


def test_another_version_ranks_the_same_passages_beside_the_active_one(
    app: App, context: BrowserContext, add_versions: Callable[[App, int], list[str]]
) -> None:
    first = loaded_version(app.client)
    page = open_page(context, app)
    say_name(page, "ada")
    rerank(page, QUERY, "\n".join(PASSAGES))
    expect(page.locator(".result")).to_have_count(len(PASSAGES))
    expect(page.locator("#beside")).to_have_count(0)
    v1, v2 = add_versions(app, 2)
    promote(app, v1)
    expect(page.locator("#active-version")).to_have_text(v1)
    choose(page, "beside", first)
    # What is shown is ranked anew by itself, now with both.
    expect(page.locator(".ranked-by-other")).to_have_text(first)
    expect(page.locator(".ranked-by")).to_have_text(v1)
    assert [int(row.get_attribute("data-index") or "") for row in page.locator(".result").all()] == order_by(app, v1)
    by_place = sorted(page.locator(".result").all(), key=lambda row: int(row.locator(".rank-by-other").inner_text()))
    assert [int(row.get_attribute("data-index") or "") for row in by_place] == order_by(app, first)
    # To leave the drop-down is not to choose in it.
    page.locator(".result").first.evaluate("result => result.id = 'still-there'")
    box(page, "beside").focus()
    page.keyboard.press("Tab")
    page.wait_for_timeout(500)
    expect(page.locator("#still-there")).to_be_visible()
    page.locator(".result .yes").first.click()
    expect(page.locator(".result .yes[aria-pressed=true]")).to_have_count(1)
    expect(page.locator(".rank-by-other")).to_have_count(len(PASSAGES))
    # The choice outlives a reload. Where nothing is ranked, another choice ranks nothing.
    page.reload()
    expect(box(page, "beside")).to_have_value(first)
    choose(page, "beside", v2)
    page.wait_for_timeout(500)
    expect(page.locator("#ranking .first-steps")).to_be_visible()
    page.locator("#rerank").click()
    expect(page.locator(".ranked-by-other")).to_have_text(v2)
    # One that is deleted meanwhile is named, and what was shown comes back.
    app.client.delete(f"/v1/models/{v2}").raise_for_status()
    page.locator("#rerank").click()
    expect_error(page, v2)
    expect(page.locator(".ranked-by-other")).to_have_text(v2)
    open_tab(page, "Models")
    open_tab(page, "Rerank")
    expect(box(page, "beside")).to_have_value("no other version")
    page.locator("#rerank").click()
    expect(page.locator(".ranked-by-other")).to_have_count(0)
    expect(page.locator(".result")).to_have_count(len(PASSAGES))


def test_the_version_that_was_chosen_last_is_compared_with(
    app: App, context: BrowserContext, add_versions: Callable[[App, int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    v1, v2 = add_versions(app, 2)
    page = open_page(context, app)
    say_name(page, "ada")
    rerank(page, QUERY, "\n".join(PASSAGES))
    expect(page.locator(".result")).to_have_count(len(PASSAGES))
    is_loaded = threading.Event()

    def slow(registry: ModelRegistry, name: str | None) -> ActiveModel:
        if name == v1:
            is_loaded.wait(60)
        return get(registry, name)

    get = ModelRegistry.get
    monkeypatch.setattr(ModelRegistry, "get", slow)
    choose(page, "beside", v1)
    expect(page.locator("#ranking")).to_contain_text(f"Waiting for {v1}")
    # Loading cannot be stopped.
    expect(page.locator("#stop-rerank")).to_be_hidden()
    choose(page, "beside", v2)
    # It does not wait for what is not wanted any more, which changes nothing when it comes.
    expect(page.locator(".ranked-by-other")).to_have_text(v2)
    is_loaded.set()
    page.wait_for_timeout(500)
    expect(page.locator(".ranked-by-other")).to_have_text(v2)
    page.locator(".result .yes").first.click()
    expect(page.locator(".result .yes[aria-pressed=true]")).to_have_count(1)


def test_what_is_pressed_counts_whichever_answer_comes_last(
    app: App, context: BrowserContext, add_versions: Callable[[App, int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (v1,) = add_versions(app, 1)
    order_by(app, v1)  # so that it is loaded
    page = open_page(context, app)
    say_name(page, "ada")
    rerank(page, QUERY, "\n".join(PASSAGES))
    expect(page.locator(".result")).to_have_count(len(PASSAGES))
    # The drop-down says twice what was chosen, on a busy machine at once. The first is told last.
    both, calls = threading.Barrier(2), itertools.count(1)

    def together(registry: ModelRegistry, name: str | None) -> ActiveModel:
        with contextlib.suppress(threading.BrokenBarrierError):
            time.sleep(both.wait(2) / 2)
        return get(registry, name)

    get = ModelRegistry.get
    monkeypatch.setattr(ModelRegistry, "get", together)
    asked, answered = answer_late(monkeypatch, lambda handler, inputs: "rank" in handler and next(calls) == 1)
    choose(page, "beside", v1)
    eventually(lambda: asked.count("rank") >= 4 and answered.count("rank") == asked.count("rank"), "both are told")
    expect(page.locator(".ranked-by-other")).to_have_text(v1)
    page.locator(".result .yes").first.click()
    expect(page.locator(".result .yes[aria-pressed=true]")).to_have_count(1)
