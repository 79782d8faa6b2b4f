"""A real Chromium on the real page. Any error in its console fails the test that caused it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Download, Locator, Page, expect, sync_playwright

from page import events
from storage.model_store import ModelStore
from tests.serving import App, app_in_process, ended, label

CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium-headless-shell") or shutil.which("chromium") or "chromium"
)
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
# How long the page may take for what takes a moment on an idle machine, in milliseconds.
PATIENCE = 180_000

# What gradio says of its own requests when a page that still waits for an answer is loaded anew. The page that is left
# gives its session up, and may yet ask for an answer of it in the moment before it is gone: the last three.
BROKEN_OFF = (
    "AbortError: signal is aborted",
    "Connection errored out.",
    "Unexpected error Connection errored out.",
    "Unexpected error 404: Not Found",
    "Failed to load resource: net::ERR_INCOMPLETE_CHUNKED_ENCODING",
    "TypeError: network error",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Not for longer than a module: Playwright keeps an event loop running, in which asyncio.run fails.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def expected_errors() -> list[str]:
    """What errors in the console may begin with in this test, since it makes something fail on purpose."""
    return []


@pytest.fixture(scope="module")
def profile(browser: Browser) -> Iterator[BrowserContext]:
    """What the tests of a module share of the browser: its cache, since a page is several megabytes of script."""
    context = browser.new_context(
        viewport={"width": 1360, "height": 900},
        accept_downloads=True,
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


@pytest.fixture
def context(profile: BrowserContext, expected_errors: list[str]) -> Iterator[BrowserContext]:
    """Somebody's browser, with no page open and nothing remembered from a test before."""
    expect.set_options(timeout=PATIENCE)
    errors: list[str] = []
    loads: list[str] = []

    def watch(page: Page) -> None:
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("load", lambda loaded: loads.append(loaded.url.split("#")[0]))

    profile.on("page", watch)
    yield profile
    for page in profile.pages:
        page.evaluate("localStorage.clear()")
        page.close()
    profile.remove_listener("page", watch)
    left = len(loads) > len(set(loads))
    expected = (*expected_errors, *(BROKEN_OFF if left else ()))
    assert [error for error in errors if not error.startswith(expected)] == []


@pytest.fixture
def starter_app(tmp_path: Path) -> Iterator[App]:
    """The app with the model that it ships with, in a process of its own: `python app.py`."""
    with app_in_process(tmp_path / "app", Path("starter")) as app:
        yield app


@pytest.fixture
def page(context: BrowserContext, shared_app: App) -> Page:
    """The page of the shared app, loaded."""
    return open_page(context, shared_app)


def open_page(context: BrowserContext, app: App) -> Page:
    """Open the app's page and wait until a model answers."""
    page = context.new_page()
    page.goto(str(app.client.base_url))
    expect(page.locator("#active-version")).to_be_visible()
    return page


def open_tab(page: Page, name: str) -> None:
    """Press a tab."""
    page.get_by_role("tab", name=name).click()


def box(page: Page, elem_id: str):  # noqa: ANN201
    """The text box inside one of gradio's components."""
    return page.locator(f"#{elem_id} :is(input, textarea)").first


def more_settings(page: Page) -> Locator:
    """The box on the Train tab with what few people change, opened; its head says what differs from the recipe."""
    head = page.locator("#more-settings > button")
    head.click()
    expect(page.locator("#epochs")).to_be_visible()
    return head


def say_name(page: Page, name: str) -> None:
    """Type the annotator's name."""
    box(page, "annotator").fill(name)
    box(page, "annotator").press("Enter")


def settle(page: Page) -> None:
    """Wait until the server has answered everything that was pressed on the Label tab."""
    page.wait_for_function("workbench.waiting() === 0")


def choose_strategy(page: Page, strategy: str) -> None:
    """Open the Label tab, and there say which pair comes next."""
    open_tab(page, "Label")
    box(page, "strategy").click()
    page.get_by_role("option", name=re.compile(f"^{strategy}:")).click()


def empty_queue(app: App) -> None:
    """Take everything out of the store of a running app that has to do with judging."""
    tables = (
        "labels", "label_events", "skips", "flags", "leases", "adjudications", "candidate_scores", "candidates",
        "annotators", "guidelines", "splits", "deletions",
    )  # fmt: skip
    with sqlite3.connect(app.data_dir / "workbench.db", timeout=30) as db:
        for table in tables:
            db.execute(f"DELETE FROM {table}")
    db.close()
    # The index of words is made again where it is missing.
    (app.data_dir / "search.db").unlink(missing_ok=True)


def exported(page: Page, name: str) -> Download:
    """The file of this format that the Data tab makes."""
    box(page, "export-format").click()
    page.get_by_role("option", name=re.compile(f"^{name}:")).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    return download.value


def paste(page: Page, elem_id: str, text: str) -> None:
    """Paste text into a box, as people do with long ones."""
    page.evaluate("text => navigator.clipboard.writeText(text)", text)
    box(page, elem_id).press("Control+v")


def rerank(page: Page, query: str, passages: str) -> None:
    """Type a query, paste passages and press the button."""
    box(page, "query").fill(query)
    paste(page, "passages", passages)
    page.locator("#rerank").click()


def expect_error(page: Page, text: str) -> None:
    """Wait for a notice that says so, and close it."""
    notice = page.get_by_test_id("toast-body").filter(has_text=text)
    expect(notice.first).to_be_visible()
    notice.first.get_by_test_id("toast-close").click()


def answer_late(
    monkeypatch: pytest.MonkeyPatch, is_late: Callable[[str, list[Any]], bool]
) -> tuple[list[str], list[str]]:
    """Have the page wait for answers of which `is_late` says so, by the name of the handler and what it is given.

    Returns the handlers that were asked, and those that have answered, to be filled from now on.
    """
    asked: list[str] = []
    answered: list[str] = []

    async def late(page: events.Page, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        asked.append(block_fn.name)
        found = await answer(page, block_fn, inputs, *args, **kwargs)
        if is_late(block_fn.name, inputs):
            await asyncio.sleep(2)
        answered.append(block_fn.name)
        return found

    answer = events.Page.process_api
    monkeypatch.setattr(events.Page, "process_api", late)
    return asked, answered


LABELS = [{"query": "a query", "passage": f"passage {number}", "label": number % 2} for number in range(40)]


@pytest.fixture
def data(page: Page, shared_app: App) -> Page:
    """The Data tab of an app that holds nothing."""
    empty_queue(shared_app)
    open_tab(page, "Data")
    return page


def give(page: Page, path: Path, field: str = "import-file") -> None:
    """Choose a file in a field of the Data tab."""
    page.set_input_files(f"#{field} input[type=file]", path)


def stored(app: App) -> list[str]:
    """The labels in the store, a line of JSON for each."""
    return app.client.get("/v1/labels").text.splitlines()


@pytest.fixture
def empty_app(shared_app: App) -> Iterator[App]:
    """The app that the tests share, with no labels in it and no run under way; what was trained before is there."""
    empty_queue(shared_app)
    yield shared_app
    for run in store_of(shared_app).runs(under_way=True):
        shared_app.client.delete(f"/v1/training-runs/{run.id}").raise_for_status()
        ended(shared_app.client, run.id)


@pytest.fixture
def labelled_app(empty_app: App) -> App:
    """That app with enough labels that a long run can be asked for."""
    empty_app.client.post("/v1/labels", json={"labels": LABELS}).raise_for_status()
    return empty_app


@pytest.fixture
def labelled_page(page: Page, labelled_app: App) -> Page:
    """The page of that app."""
    return page


def store_of(app: App) -> ModelStore:
    """The runs and versions of a running app."""
    return ModelStore(app.data_dir / "workbench.db")


def choose(page: Page, elem_id: str, name: str) -> None:
    """Choose in a drop-down."""
    box(page, elem_id).click()
    page.locator(f"#{elem_id}").get_by_role("option", name=name, exact=True).click()


def know_only_relevant(app: App) -> None:
    """Add six queries of which only a relevant passage is known."""
    label(app.client, *((f"who built bridge {n}", f"Bridge {n} was built by {n} men.", 1) for n in range(6)))
