"""What is stored, on the Data tab: found, labelled, corrected, deleted and put back, page by page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from labeling import browse_tab
from storage.browse_store import BrowseStore
from storage.records import text_id
from storage.review_store import ReviewStore
from tests.browser.conftest import box, choose, expect_error, give, open_tab, say_name, stored
from tests.serving import App, eventually, label

pytestmark = pytest.mark.browser


def add_pairs(app: App, count: int) -> None:
    """So many pairs of one query, "passage 00" and so on: 25 are on a page."""
    pairs = [{"query": "q", "passage": f"passage {number:02}"} for number in range(count)]
    app.client.post("/v1/candidates", json={"pairs": pairs}).raise_for_status()


def to_the_last_page(data: Page, rows: Locator) -> None:
    """From the first page of the list to the second, which has one row."""
    expect(rows).to_have_count(25)
    data.get_by_role("button", name="Next").click()
    expect(rows).to_have_count(1)


def test_what_is_stored_is_found_labelled_and_deleted_with_undo(data: Page, shared_app: App) -> None:
    pairs = [{"query": "how long", "passage": passage} for passage in ("The red bridge <i>is</i> long", "Rain falls")]
    shared_app.client.post("/v1/candidates", json={"pairs": pairs}).raise_for_status()
    rows = data.locator("#latest-labels tbody tr")
    box(data, "search").fill("bridg")
    box(data, "search").press("Enter")
    expect(rows).to_have_count(1)
    assert rows.locator("i").count() == 0
    rows.nth(0).get_by_role("button", name="✓ Relevant").click()
    expect_error(data, "Who is judging?")
    say_name(data, "ed")
    rows.nth(0).get_by_role("button", name="✓ Relevant").click()
    expect(rows.nth(0)).to_contain_text("ed")
    rows.nth(0).get_by_role("button", name="History").click()
    expect(data.locator(".history-row")).to_contain_text("said ✓ relevant")
    rows.nth(0).get_by_role("button", name="Delete").click()
    expect(data.locator("#latest-labels")).to_contain_text("Nothing is found")
    assert stored(shared_app) == []
    data.get_by_role("button", name="Put it back").click()
    expect(rows.nth(0)).to_contain_text("✓ relevant")
    assert len(stored(shared_app)) == 1
    box(data, "search").fill("")
    box(data, "filter").fill("not judged")
    box(data, "filter").press("Enter")
    expect(rows).to_have_count(1)
    expect(rows.nth(0)).to_contain_text("Rain falls")


def test_what_was_decided_is_shown_with_the_votes_and_in_the_history(data: Page, shared_app: App) -> None:
    for who, given in {"anna": 1, "bo": 0}.items():
        label(shared_app.client, ("how long", "rain", given), annotator=who)
    pair = text_id("how long"), text_id("rain")
    ReviewStore(shared_app.data_dir / "workbench.db").decide(*pair, 0, "dora", "says <nothing>")
    rows = data.locator("#latest-labels tbody tr")
    box(data, "search").fill("rain")
    box(data, "search").press("Enter")
    expect(rows.nth(0)).to_contain_text("Counts as ✗ not relevant, decided by dora")
    expect(rows.nth(0)).to_contain_text("✎ says <nothing>")
    rows.nth(0).get_by_role("button", name="History").click()
    last = data.locator(".history-row li").last
    expect(last).to_contain_text("dora decided that it counts as ✗ not relevant: says <nothing>")


def test_all_of_an_import_is_deleted_and_put_back(data: Page, shared_app: App, tmp_path: Path) -> None:
    label(shared_app.client, ("how long", "the bridge", 1))
    path = tmp_path / "wrong file.csv"
    path.write_text("query,passage,label\n" + "".join(f"q{n},p{n},{n % 2}\n" for n in range(60)))
    give(data, path)
    expect(data.locator("#import-report")).to_contain_text("holds 60 labels")
    data.locator("button#import").click()
    expect(data.locator("#import-report")).to_contain_text("60 new pairs")
    shown = data.locator("#latest-labels")
    box(data, "source").click()
    data.get_by_role("option", name="wrong file.csv").click()
    expect(shown).to_contain_text("60 pairs found, 60 labels")
    shown.get_by_role("button", name="Delete all of these").click()
    expect(shown.get_by_role("alertdialog")).to_contain_text("60 pairs with 60 labels")
    expect(shown.get_by_role("button", name="Cancel")).to_be_focused()
    data.keyboard.press("Enter")
    expect(shown.get_by_role("alertdialog")).to_have_count(0)
    assert len(stored(shared_app)) == 61
    shown.get_by_role("button", name="Delete all of these").click()
    shown.get_by_role("button", name="Delete 60 pairs").click()
    expect(shown).to_contain_text("Deleted: 60 pairs.")
    assert [json.loads(line)["passage"] for line in stored(shared_app)] == ["the bridge"]
    # Also when the page is loaded again, and whoever comes.
    data.reload()
    open_tab(data, "Data")
    box(data, "filter").click()
    data.get_by_role("option", name="deleted").click()
    expect(shown.locator("tbody tr")).to_contain_text("60 pairs, 60 labels")
    shown.get_by_role("button", name="Put them back").click()
    expect(shown).to_contain_text("60 pairs are back.")
    expect(shown).to_contain_text("Nothing is deleted")
    assert len(stored(shared_app)) == 61


def test_texts_are_corrected_with_their_labels_or_to_be_judged_again(data: Page, shared_app: App) -> None:
    label(shared_app.client, ("how long", "teh {bridge}", 1), ("how wide", "teh {bridge}", 0), ("how long", "rain", 0))
    rows = data.locator("#latest-labels tbody tr:not(.history-row)")
    editor = data.locator(".edit-row")
    say_name(data, "ed")
    box(data, "search").fill("teh")
    box(data, "search").press("Enter")
    expect(rows).to_have_count(2)
    rows.nth(0).get_by_role("button", name="Edit").click()
    expect(editor).to_contain_text("Passage in 2 pairs")
    expect(editor.get_by_label("Passage")).to_have_value("teh {bridge}")
    editor.get_by_role("button", name="Save, labels stay").click()
    expect_error(data, "Both texts are the same as before")
    editor.get_by_label("Passage").fill("the {bridge}\n<b>is</b> red")
    editor.get_by_role("button", name="Save, labels stay").click()
    expect(data.locator("#latest-labels")).to_contain_text("Corrected in 2 pairs; what was said of them stays.")
    expect(data.locator("#latest-labels")).to_contain_text("Nothing is found")
    assert {(row["passage"], row["label"]) for row in map(json.loads, stored(shared_app))} == {
        ("the {bridge}\n<b>is</b> red", 1), ("the {bridge}\n<b>is</b> red", 0), ("rain", 0),
    }  # fmt: skip
    box(data, "search").fill("rain")
    box(data, "search").press("Enter")
    rows.nth(0).get_by_role("button", name="Edit").click()
    editor.get_by_label("Query").fill("how heavy")
    editor.get_by_role("button", name="Save, judge again").press("Enter")
    expect(data.locator("#latest-labels")).to_contain_text("Corrected in 2 pairs; they wait to be judged again.")
    expect(rows.nth(0)).to_contain_text("not judged")
    # The boxes are gone, and with them the button that was pressed.
    expect(rows.nth(0).get_by_role("button", name="Edit")).to_be_focused()
    rows.nth(0).get_by_role("button", name="History").click()
    expect(data.locator(".history-row")).to_contain_text("corrected the query, to be judged again; it was: how long")
    assert len(stored(shared_app)) == 1


def test_a_correction_that_is_half_written_stays_while_others_are_opened(data: Page, shared_app: App) -> None:
    label(shared_app.client, ("how long", "teh bridge", 1), ("how long", "rain", 0))
    rows = data.locator("#latest-labels tbody tr:not(.history-row)")
    bridge, rain = (rows.filter(has_text=text) for text in ("teh bridge", "rain"))
    editor = data.locator(".edit-row")
    box(data, "search").fill("how")
    box(data, "search").press("Enter")
    expect(data.locator("#latest-labels")).to_contain_text("2 pairs found")
    bridge.get_by_role("button", name="Edit").click()
    editor.get_by_label("Passage").fill("the bri")
    rain.get_by_role("button", name="Edit").click()
    expect(editor.get_by_label("Passage")).to_have_value("rain")
    editor.get_by_label("Passage").fill("It rains")
    bridge.get_by_role("button", name="Draft").click()
    expect(editor.get_by_label("Passage")).to_have_value("the bri")
    # Given up is gone.
    editor.get_by_role("button", name="Cancel").click()
    bridge.get_by_role("button", name="Edit").click()
    expect(editor.get_by_label("Passage")).to_have_value("teh bridge")
    # What is refused stays, and what is written; also over another search, and when the page is loaded anew.
    rain.get_by_role("button", name="Draft").click()
    expect(editor.get_by_label("Passage")).to_have_value("It rains")
    editor.get_by_label("Passage").fill(" ")
    editor.get_by_role("button", name="Save, labels stay").click()
    expect_error(data, "The passage is empty")
    box(data, "search").fill("rain")
    box(data, "search").press("Enter")
    expect(data.locator("#latest-labels")).to_contain_text("1 pair found")
    rain.get_by_role("button", name="Draft").click()
    expect(editor.get_by_label("Passage")).to_have_value(" ")
    editor.get_by_label("Passage").fill("It rains again")
    box(data, "search").fill("how")
    box(data, "search").press("Enter")
    expect(data.locator("#latest-labels")).to_contain_text("2 pairs found")
    rain.get_by_role("button", name="Draft").click()
    expect(editor.get_by_label("Passage")).to_have_value("It rains again")
    choose(data, "source", "api")
    data.reload()
    open_tab(data, "Data")
    # So does what is searched for.
    expect(data.locator("#latest-labels")).to_contain_text("2 pairs found")
    expect(box(data, "search")).to_have_value("how")
    expect(box(data, "source")).to_have_value("api")
    rain.get_by_role("button", name="Draft").click()
    expect(editor.get_by_label("Passage")).to_have_value("It rains again")
    editor.get_by_role("button", name="Save, labels stay").click()
    expect(data.locator("#latest-labels")).to_contain_text("Corrected in 1 pair")
    expect(data.get_by_role("button", name="Draft")).to_have_count(0)
    assert {json.loads(line)["passage"] for line in stored(shared_app)} == {"teh bridge", "It rains again"}


def test_who_presses_by_keyboard_in_the_list_stays_in_it_and_hears_what_was_done(
    data: Page, shared_app: App
) -> None:
    label(shared_app.client, ("how long", "rain", 0), ("how long", "snow", 0), ("how long", "hail", 0))
    say_name(data, "ed")
    # The tab may have been read before there was a label.
    data.reload()
    open_tab(data, "Data")
    shown = data.locator("#latest-labels")
    rows = shown.locator("tbody tr")
    expect(rows).to_have_count(3)
    rows.nth(1).get_by_role("button", name="Relevant").press("Enter")
    expect(shown.get_by_role("status").first).to_have_text("Stored as relevant: snow")
    expect(rows.nth(1).get_by_role("button", name="Relevant")).to_be_focused()
    rows.nth(1).get_by_role("button", name="Delete").press("Enter")
    expect(rows).to_have_count(2)
    expect(rows.nth(1).get_by_role("button", name="Delete")).to_be_focused()
    shown.get_by_role("button", name="Put it back").press("Enter")
    expect(rows).to_have_count(3)
    expect(shown.locator(".found-bar")).to_be_focused()


def test_what_is_stored_is_put_in_order_and_turned_page_by_page(data: Page, shared_app: App) -> None:
    add_pairs(shared_app, 30)
    rows = data.locator("#latest-labels tbody tr")
    box(data, "sort").click()
    data.get_by_role("option", name="oldest first").click()
    expect(rows.first).to_contain_text("passage 00")
    expect(rows).to_have_count(25)
    data.get_by_role("button", name="Next").press("Enter")
    expect(rows).to_have_count(5)
    expect(rows.last).to_contain_text("passage 29")
    # One begins to read at the head of the next page.
    expect(data.locator(".found-bar")).to_be_focused()
    expect(data.locator(".found-bar")).to_be_in_viewport()
    data.get_by_role("button", name="Back").click()
    expect(rows).to_have_count(25)


def test_enter_finds_what_came_in_since_and_what_was_not_indexed_yet(
    data: Page, shared_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(passage: str) -> None:
        pairs = [{"query": "how long", "passage": passage}]
        shared_app.client.post("/v1/candidates", json={"pairs": pairs}).raise_for_status()

    add("the red bridge")
    found = data.locator("#latest-labels .found-bar")
    box(data, "search").fill("bridge")
    box(data, "search").press("Enter")
    expect(found).to_contain_text("1 pair found")
    add("the blue bridge")
    box(data, "search").press("Enter")
    expect(found).to_contain_text("2 pairs found")
    expect(found.get_by_role("button", name="Delete all of these")).to_be_visible()
    # Many more than are indexed before the answer.
    monkeypatch.setattr(browse_tab, "INDEXED_BEFORE_A_SEARCH", 0)
    add("the green bridge")
    box(data, "search").press("Enter")
    expect(data.locator("#latest-labels")).to_contain_text("The words of 1 pair are still being indexed")
    expect(found).to_contain_text("2 pairs found")
    expect(found.get_by_role("button", name="Delete all of these")).to_have_count(0)
    store = BrowseStore(shared_app.data_dir / "workbench.db")
    eventually(lambda: store.not_indexed() == 0, "all words are indexed")
    box(data, "search").press("Enter")
    expect(found).to_contain_text("3 pairs found")
    add("the grey bridge")
    found.get_by_role("button", name="Delete all of these").click()
    expect(data.locator("#latest-labels")).to_contain_text("The words of 1 pair are still being indexed")
    expect(data.get_by_role("alertdialog")).to_have_count(0)


def test_who_empties_the_last_page_is_shown_the_one_before(data: Page, shared_app: App) -> None:
    add_pairs(shared_app, 26)
    say_name(data, "ed")
    shown = data.locator("#latest-labels")
    rows = shown.locator("tbody tr")
    choose(data, "sort", "oldest first")
    to_the_last_page(data, rows)
    rows.get_by_role("button", name="Delete").press("Enter")
    expect(shown.locator(".found-bar")).to_contain_text("25 pairs")
    expect(rows).to_have_count(25)
    # Not at the button that deletes another one.
    expect(shown.locator(".found-bar")).to_be_focused()
    shown.get_by_role("button", name="Put it back").click()
    choose(data, "filter", "not judged")
    expect(shown.locator(".found-bar")).to_contain_text("26 pairs found")
    data.get_by_role("button", name="Next").click()
    expect(rows).to_have_count(1)
    rows.get_by_role("button", name="✓ Relevant").click()
    expect(shown.locator(".found-bar")).to_contain_text("25 pairs found")
    expect(rows).to_have_count(25)


def test_who_puts_back_the_last_step_of_the_last_page_is_shown_the_page_before(data: Page, shared_app: App) -> None:
    store = BrowseStore(shared_app.data_dir / "workbench.db")
    add_pairs(shared_app, 26)
    for number in range(26):
        store.delete(text_id("q"), text_id(f"passage {number:02}"), "ed")
    shown = data.locator("#latest-labels")
    rows = shown.locator("tbody tr")
    choose(data, "filter", "deleted")
    to_the_last_page(data, rows)
    rows.get_by_role("button", name="Put it back").click()
    expect(shown).to_contain_text("It is back.")
    expect(rows).to_have_count(25)
