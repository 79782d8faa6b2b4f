"""Disputes are decided on the page, and agreement is shown to those who may see it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from storage.review_store import ReviewStore
from tests.browser.conftest import box, empty_queue, expect_error, open_page, open_tab, rerank, say_name, settle
from tests.serving import App, app_in_thread, eventually, label

pytestmark = pytest.mark.browser

QUERY = "the query"


@pytest.fixture
def disputes(page: Page, shared_app: App) -> None:
    """Three pairs that annotators judged differently, and one that they agree on."""
    empty_queue(shared_app)
    for who, given in {"anna": (1, 0, 1, 1), "bo": (0, 1, 0, 1)}.items():
        pairs = zip(("first", "second", "third", "agreed"), given, strict=True)
        label(shared_app.client, *((QUERY, passage, value) for passage, value in pairs), annotator=who)
    say_name(page, "ed")
    open_tab(page, "Label")


def counted(app: App) -> int:
    return len(app.client.get("/v1/labels", params={"format": "qrels"}).text.splitlines())


def test_disputes_are_decided_by_key_and_by_button_and_taken_back(
    page: Page, disputes: None, shared_app: App
) -> None:
    open_tab(page, "Disputed")
    rows = page.locator("#disputes [data-row]")
    decided = page.locator("#disputes tbody tr")
    heard = page.locator("#disputes").get_by_role("status")
    expect(rows).to_have_count(3)
    expect(heard).to_have_text("3 pairs in dispute")
    heard.evaluate("(line) => { window.heard = line; }")
    expect(rows.nth(0)).to_contain_text("anna")
    expect(rows.nth(0)).to_have_attribute("aria-current", "true")
    assert counted(shared_app) == 1
    last = rows.nth(2).locator(".passage").inner_text()
    rows.nth(2).locator(".decision-note").fill("of the last")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("n")
    page.keyboard.type("1 of the 2 is right")
    page.keyboard.press("Enter")
    page.keyboard.press("1")
    page.keyboard.press("ArrowDown")
    expect(rows).to_have_count(2)
    expect(decided).to_contain_text("1 of the 2 is right")
    # The list is drawn anew: a note stays with the pair that it was written on, and so does the selection.
    expect(rows.nth(0).locator(".decision-note")).to_have_value("")
    expect(rows.nth(1).locator(".decision-note")).to_have_value("of the last")
    expect(page.locator("#disputes [aria-current]")).to_contain_text(last)
    page.keyboard.press("ArrowUp")
    page.keyboard.press("1")
    expect(rows).to_have_count(1)
    expect(decided.filter(has_text="✎")).to_have_count(1)
    rows.nth(0).get_by_role("button", name="✗ Counts as not relevant").click()
    expect(page.locator("#disputes .empty")).to_contain_text("Nothing is in dispute")
    expect(page.locator("#disputes .empty")).to_be_focused()
    # Only what changes in a line that stays is read aloud.
    assert page.evaluate("window.heard.isConnected && window.heard.textContent") == "0 pairs in dispute"
    expect(decided.filter(has_text=last)).to_contain_text("of the last")
    eventually(lambda: counted(shared_app) == 4, "all decisions count")
    page.get_by_role("button", name="Take back").first.click()
    expect(rows).to_have_count(1)
    assert counted(shared_app) == 3


def test_who_decides_what_another_has_decided_meanwhile_is_told_so_and_loses_no_note(
    page: Page, disputes: None, shared_app: App
) -> None:
    open_tab(page, "Disputed")
    rows = page.locator("#disputes [data-row]")
    decided = page.locator("#disputes tbody tr")
    expect(rows).to_have_count(3)
    (pair, *_) = ReviewStore(shared_app.data_dir / "workbench.db").disputes(1)
    ReviewStore(shared_app.data_dir / "workbench.db").decide(*pair.task.key, 1, "dora", "says the year")
    rows.nth(0).locator(".decision-note").fill("off topic")
    rows.nth(0).get_by_role("button", name="✗ Counts as not relevant").click()
    expect_error(page, "dora\u2069 has decided this meanwhile: relevant. To change that, take it back first")
    expect(rows).to_have_count(2)
    expect(decided).to_contain_text("says the year")
    expect(decided).to_contain_text("dora")
    page.get_by_role("button", name="Take back").click()
    expect(rows.nth(0).locator(".decision-note")).to_have_value("off topic")
    rows.nth(0).get_by_role("button", name="✗ Counts as not relevant").click()
    expect(decided).to_contain_text("off topic")


def test_a_note_on_a_dispute_outlives_a_reload_and_goes_with_the_decision(page: Page, disputes: None) -> None:
    open_tab(page, "Disputed")
    rows = page.locator("#disputes [data-row]")
    expect(rows).to_have_count(3)
    last = rows.nth(2).locator(".passage").inner_text()
    rows.nth(2).locator(".decision-note").fill("of the last")
    page.reload()
    expect(rows).to_have_count(3)
    expect(rows.nth(2).locator(".decision-note")).to_have_value("of the last")
    rows.nth(2).get_by_role("button", name="Counts as relevant").click()
    expect(rows).to_have_count(2)
    expect(page.locator("#disputes tbody tr").filter(has_text=last)).to_contain_text("of the last")
    page.get_by_role("button", name="Take back").click()
    expect(rows).to_have_count(3)
    expect(rows.filter(has_text=last).locator(".decision-note")).to_have_value("of the last")


def test_agreement_is_shown(page: Page, disputes: None, shared_app: App) -> None:
    open_tab(page, "Agreement")
    alpha = shared_app.client.get("/v1/agreement").json()["krippendorff_alpha"]
    expect(page.locator("#alpha")).to_have_text(f"{alpha:.3f}")
    expect(page.locator("#by-annotator tbody tr")).to_have_count(2)
    expect(page.locator("#by-annotator")).to_contain_text("25 %")
    expect(page.locator("#kappas tbody tr")).to_contain_text("anna and bo")
    expect(page.locator("#by-week tbody tr")).to_have_count(1)


def test_what_is_shown_is_read_anew_when_the_label_tab_is_opened_again(
    page: Page, disputes: None, shared_app: App
) -> None:
    label(shared_app.client, (QUERY, "fourth", 1), annotator="anna")
    open_tab(page, "Disputed")
    expect(page.locator("#disputes [data-row]")).to_have_count(3)
    open_tab(page, "Data")
    label(shared_app.client, (QUERY, "fourth", 0), annotator="bo")
    open_tab(page, "Label")
    expect(page.locator("#disputes [data-row]")).to_have_count(4)
    open_tab(page, "Agreement")
    expect(page.locator("#agreement")).to_contain_text("over 5 pairs")
    open_tab(page, "Data")
    label(shared_app.client, (QUERY, "fifth", 1), annotator="anna")
    label(shared_app.client, (QUERY, "fifth", 1), annotator="bo")
    open_tab(page, "Label")
    expect(page.locator("#agreement")).to_contain_text("over 6 pairs")
    expect(page.locator("#team")).to_have_text("6")


def test_without_shared_pairs_the_page_says_how_to_get_some(page: Page, shared_app: App) -> None:
    empty_queue(shared_app)
    open_tab(page, "Label")
    open_tab(page, "Agreement")
    expect(page.locator("#agreement")).to_contain_text("OVERLAP=2")


def test_my_figures_are_shown_to_me(page: Page, disputes: None) -> None:
    say_name(page, "anna")
    open_tab(page, "Mine")
    expect(page.locator("#mine-figures")).to_contain_text("25 %")
    expect(page.locator("#mine-figures")).to_contain_text("of 4 comparisons")


@pytest.fixture
def closed_app(tmp_path: Path, model_dir: Path) -> Iterator[App]:
    with app_in_thread(tmp_path / "app", model_dir, API_TOKEN="a-token", LABELING="closed") as app:
        yield app


@pytest.mark.parametrize("expected_errors", [["Failed to load resource"]])
def test_who_has_no_token_judges_nothing_sees_no_labels_of_others_and_changes_no_guidelines(
    closed_app: App, context: BrowserContext
) -> None:
    closed_app.client.headers["Authorization"] = "Bearer a-token"
    for who, given in {"anna": 1, "bo": 0}.items():
        label(closed_app.client, (QUERY, "first", given), annotator=who)
    page = open_page(context, closed_app)
    rerank(page, QUERY, "first\nsecond")
    expect(page.locator("#ranking")).to_contain_text("only for those who may train. This needs the API token")
    assert page.locator(".judge button").count() == 0 and page.locator("#queue-ranking").is_hidden()
    open_tab(page, "Label")
    expect(page.locator("#task")).to_contain_text("Labelling is closed to visitors")
    say_name(page, "cy")
    expect(page.locator("#judge-message")).to_contain_text("only for those who may train. This needs the API token")
    open_tab(page, "Query")
    expect(page.locator("#query-view .empty")).to_contain_text("only for those who may train")
    for tab, view in (("Agreement", "#agreement"), ("Disputed", "#disputes")):
        open_tab(page, tab)
        expect(page.locator(view)).to_contain_text("needs the API token")
    page.locator("#guidelines").get_by_role("button", name="Guidelines").click()
    page.locator("#guidelines-edit").click()
    expect_error(page, "needs the API token")
    box(page, "api-token").fill("a-token")
    box(page, "api-token").press("Enter")
    expect(page.locator("#disputes [data-row]")).to_have_count(1)
    open_tab(page, "Pair")
    expect(page.locator("#task .passage")).to_have_text("first")
    page.locator("#judge-relevant").click()
    settle(page)
    assert "cy" in closed_app.client.get("/v1/labels").text
    # What could not be sent before the page is loaded anew waits until the token is typed again: nobody keeps that.
    page.route("**/judging/judge", lambda route: route.abort("connectionfailed"))
    page.locator("#judge-back").click()
    page.locator("#judge-not-relevant").click()
    expect(page.locator("#saving")).to_contain_text("1 judgment kept here")
    page.unroute("**/judging/judge")
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    expect(page.locator("#saving")).to_contain_text("Not stored: 1 judgment of an earlier visit. Labelling here")
    box(page, "api-token").fill("a-token")
    box(page, "api-token").press("Enter")
    expect(page.locator("#saving")).to_be_hidden()
    settle(page)
    labels = map(json.loads, closed_app.client.get("/v1/labels").text.splitlines())
    assert {row["annotator"]: row["label"] for row in labels}["cy"] == 0


def test_what_is_stored_is_shown_once_the_token_is_typed(closed_app: App, context: BrowserContext) -> None:
    closed_app.client.headers["Authorization"] = "Bearer a-token"
    label(closed_app.client, (QUERY, "first", 1))
    page = open_page(context, closed_app)
    open_tab(page, "Data")
    expect(page.locator("#latest-labels")).to_contain_text("needs the API token")
    box(page, "api-token").fill("a-token")
    box(page, "api-token").press("Enter")
    expect(page.locator("#latest-labels tbody tr")).to_have_count(1)
