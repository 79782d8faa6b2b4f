"""The Label tab over a bad connection: what was pressed is stored once, in order, and the page says what is not yet."""

from __future__ import annotations

import itertools
import re
import sqlite3
import time

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from storage.records import text_id
from tests.browser.conftest import box, choose_strategy, empty_queue, open_page, open_tab, say_name, settle
from tests.serving import App, eventually

pytestmark = pytest.mark.browser

CUT_OFF = "Failed to load resource"
PASSAGES = ["First passage", "Second passage", "Third passage", "Fourth passage"]
people = (f"lost {number}" for number in itertools.count())


@pytest.fixture
def judge(page: Page, shared_app: App, expected_errors: list[str]) -> str:
    """Somebody new with four pairs to judge, on the Label tab."""
    expected_errors.append(CUT_OFF)
    empty_queue(shared_app)
    pairs = [{"query": "the query", "passage": passage} for passage in PASSAGES]
    shared_app.client.post("/v1/candidates", json={"pairs": pairs}).raise_for_status()
    name = next(people)
    say_name(page, name)
    choose_strategy(page, "oldest")
    expect(page.locator("#task")).to_contain_text(PASSAGES[0])
    return name


def events_of(app: App, annotator: str) -> list[tuple[str, str, int | None]]:
    """Everything that is stored of what an annotator pressed: (action, passage, label), the first first."""
    sql = """
        SELECT e.action, p.text, e.label FROM label_events e JOIN passages p ON p.id = e.passage_id
        WHERE e.annotator = ? ORDER BY e.id
    """
    with sqlite3.connect(app.data_dir / "workbench.db", timeout=30) as db:
        rows = db.execute(sql, [annotator]).fetchall()
    db.close()
    return rows


def cut_off(page: Page) -> None:
    page.route("**/judging/*", lambda route: route.abort("connectionfailed"))


def test_a_press_that_got_lost_on_the_way_is_sent_again(page: Page, judge: str, shared_app: App) -> None:
    page.route("**/judging/judge", lambda route: route.abort("connectionreset"), times=1)
    page.keyboard.press("1")
    expect(page.locator("#task")).to_contain_text(PASSAGES[1])
    page.keyboard.press("0")
    expect(page.locator("#task")).to_contain_text(PASSAGES[2])
    expect(page.locator("#mine")).to_have_text("2")
    settle(page)
    assert events_of(shared_app, judge) == [("label", PASSAGES[0], 1), ("label", PASSAGES[1], 0)]


@pytest.mark.parametrize("key", ["1", " ", "f"])
def test_a_press_whose_answer_got_lost_counts_once(page: Page, judge: str, shared_app: App, key: str) -> None:
    lost: list[str] = []

    def lose_each_answer_once(route: Route) -> None:
        press = (route.request.post_data_json or {})["press"]
        if press in lost:
            route.continue_()
            return
        lost.append(press)
        route.fetch()
        route.abort("connectionreset")

    page.route(re.compile("/judging/(judge|flag|undo)$"), lose_each_answer_once)
    page.keyboard.press(key)
    page.keyboard.press("u")
    if key == "f":
        expect(page.locator("#judge-message")).to_contain_text("nothing to undo")
        expect(page.locator("#task .flagged")).to_be_visible()
    else:
        expect(page.locator("#task")).to_contain_text(PASSAGES[0])
        expect(page.locator("#task [data-said]")).to_be_hidden()
    settle(page)
    actions = [action for action, *_ in events_of(shared_app, judge)]
    assert actions == {"1": ["label", "undo"], " ": ["skip", "undo"], "f": ["flag"]}[key]
    assert len(lost) == 2


def test_a_server_that_fails_is_asked_again(page: Page, judge: str, shared_app: App) -> None:
    broken = {"status": 500, "json": {"error": {"code": "internal_error", "message": "Something went wrong here."}}}
    page.route("**/judging/judge", lambda route: route.fulfill(**broken), times=2)
    page.keyboard.press("1")
    expect(page.locator("#mine")).to_have_text("1")
    settle(page)
    assert events_of(shared_app, judge) == [("label", PASSAGES[0], 1)]


def test_without_a_connection_the_page_goes_on_and_says_what_is_not_stored(
    page: Page, judge: str, shared_app: App
) -> None:
    cut_off(page)
    page.keyboard.press("1")
    expect(page.locator("#task")).to_contain_text(PASSAGES[1])
    page.keyboard.press("0")
    expect(page.locator("#task")).to_contain_text(PASSAGES[2])
    expect(page.locator("#saving")).to_contain_text("2 judgments kept here; sent again in")
    page.unroute("**/judging/*")
    # At once: on a slow machine it is tried by itself before a pointer could be there.
    page.locator("#saving").get_by_role("button", name="Try now").dispatch_event("click")
    expect(page.locator("#saving")).to_be_hidden()
    expect(page.locator("#mine")).to_have_text("2")
    settle(page)
    assert events_of(shared_app, judge) == [("label", PASSAGES[0], 1), ("label", PASSAGES[1], 0)]


def test_a_press_that_is_longer_than_what_may_outlive_the_page_stops_nothing(
    page: Page, judge: str, shared_app: App
) -> None:
    page.evaluate(
        """() => {
          const { query, passage } = document.querySelector('#task [data-query]').dataset;
          workbench.say('judge', { key: [query, passage], state: 'cannot-tell', note: '字'.repeat(23_000) });
        }"""
    )
    page.keyboard.press("1")
    expect(page.locator("#mine")).to_have_text("1")
    settle(page)
    assert events_of(shared_app, judge) == [("skip", PASSAGES[0], None), ("label", PASSAGES[0], 1)]


def test_a_note_that_the_server_refuses_stops_nothing(page: Page, judge: str, shared_app: App) -> None:
    open_tab(page, "Query")
    rows = page.locator("#query-view [data-row]")
    expect(rows).to_have_count(4)
    shown = rows.locator(".passage").all_text_contents()
    # Both are pressed before either is answered.
    cut_off(page)
    page.keyboard.press("n")
    rows.locator(".note-box").evaluate("(box) => { box.value = 'x'.repeat(100_001); }")
    page.keyboard.press("Enter")
    page.keyboard.press("1")
    page.keyboard.press("0")
    page.unroute("**/judging/*")
    page.locator("#saving").get_by_role("button", name="Try now").click()
    expect(page.locator("#query-view .list-status")).to_contain_text("has 100,001 characters")
    settle(page)
    expect(rows.nth(0)).to_have_attribute("data-state", "open")
    assert events_of(shared_app, judge) == [("label", shown[1], 0)]


def test_what_was_not_stored_outlives_a_reload(page: Page, judge: str, shared_app: App) -> None:
    cut_off(page)
    page.keyboard.press("1")
    expect(page.locator("#task")).to_contain_text(PASSAGES[1])
    page.keyboard.press("l")
    expect(page.locator("#task")).to_contain_text(PASSAGES[2])
    page.keyboard.press("0")
    expect(page.locator("#saving")).to_contain_text("3 judgments kept here")
    with sqlite3.connect(shared_app.data_dir / "workbench.db", timeout=30) as db:
        db.execute("DELETE FROM leases")
        db.execute("DELETE FROM candidates WHERE passage_id = ?", [text_id(PASSAGES[2])])
    db.close()
    page.unroute("**/judging/*")
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    eventually(lambda: len(events_of(shared_app, judge)) == 2, "both are stored")
    choose_strategy(page, "oldest")
    expect(page.locator("#task")).to_contain_text(PASSAGES[3])
    settle(page)
    assert events_of(shared_app, judge) == [("label", PASSAGES[0], 1), ("skip", PASSAGES[1], None)]
    # What is refused meanwhile is said, since it was pressed on a page that is gone.
    saving = page.locator("#saving")
    expect(saving).to_contain_text("Not stored: 1 judgment of an earlier visit. This pair is no longer in the queue.")
    saving.get_by_role("button", name="Close").click()
    expect(saving).to_be_hidden()
    assert page.evaluate("Object.keys(localStorage).filter(name => name.includes('unsaved'))") == []


def test_slow_answers_overtake_nothing(page: Page, judge: str, shared_app: App) -> None:
    """Each answer takes longer than the key after it, the first one longest."""
    delays = iter([1.5, 0.1, 0.6, 0.0])

    def answer_late(route: Route) -> None:
        time.sleep(next(delays, 0))
        route.continue_()

    page.route("**/judging/judge", answer_late)
    for passage, key in zip(PASSAGES, "1010", strict=True):
        expect(page.locator("#task")).to_contain_text(passage)
        page.keyboard.press(key)
    expect(page.locator("#task")).to_contain_text("Nothing is left for you to judge")
    expect(page.locator("#mine")).to_have_text("4")
    settle(page)
    assert [event[1:] for event in events_of(shared_app, judge)] == [*zip(PASSAGES, [1, 0, 1, 0], strict=True)]


def test_what_the_server_refuses_comes_back_with_its_note(page: Page, judge: str, shared_app: App) -> None:
    refused = {"status": 422, "json": {"error": {"code": "invalid_input", "message": "The note is no text."}}}
    page.route("**/judging/judge", lambda route: route.fulfill(**refused), times=1)
    box(page, "note").fill("a note")
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    expect(page.locator("#judge-message")).to_contain_text("The note is no text.")
    expect(page.locator("#task")).to_contain_text(PASSAGES[0])
    expect(page.locator("#task [data-said]")).to_be_hidden()
    expect(box(page, "note")).to_have_value("a note")
    page.keyboard.press("1")
    expect(page.locator("#task")).to_contain_text(PASSAGES[1])
    expect(page.locator("#mine")).to_have_text("1")


def test_a_pair_that_was_deleted_is_left_out(page: Page, judge: str, shared_app: App) -> None:
    with sqlite3.connect(shared_app.data_dir / "workbench.db", timeout=30) as db:
        db.execute("DELETE FROM leases")
        db.execute("DELETE FROM candidates")
    db.close()
    page.keyboard.press("1")
    expect(page.locator("#judge-message")).to_contain_text("no longer in the queue")
    # Those that came with it are on the page still.
    for passage in PASSAGES[1:]:
        expect(page.locator("#task")).to_contain_text(passage)
        page.keyboard.press("0")
    expect(page.locator("#task")).to_contain_text("There is nothing to judge yet")
    settle(page)
    assert events_of(shared_app, judge) == []


def test_two_tabs_of_one_annotator_do_not_ask_twice(
    page: Page, judge: str, context: BrowserContext, shared_app: App
) -> None:
    other = open_page(context, shared_app)
    expect(box(other, "annotator")).to_have_value(judge)
    choose_strategy(other, "oldest")
    expect(other.locator("#task")).to_contain_text(PASSAGES[0])
    page.keyboard.press("1")
    expect(page.locator("#task")).to_contain_text(PASSAGES[1])
    expect(other.locator("#task")).to_contain_text(PASSAGES[1])
    other.keyboard.press("0")
    expect(page.locator("#task")).to_contain_text(PASSAGES[2])
    eventually(lambda: len(events_of(shared_app, judge)) == 2, "both are stored")
    settle(page)
    assert events_of(shared_app, judge) == [("label", PASSAGES[0], 1), ("label", PASSAGES[1], 0)]


def test_a_list_is_sent_again_too(page: Page, judge: str, shared_app: App) -> None:
    open_tab(page, "Query")
    rows = page.locator("#query-view [data-row]")
    expect(rows).to_have_count(4)
    shown = rows.locator(".passage").all_text_contents()
    page.route("**/judging/judge", lambda route: route.abort("connectionreset"), times=1)
    page.keyboard.press("1")
    page.keyboard.press("r")
    expect(page.locator("#mine")).to_have_text("4")
    settle(page)
    events = events_of(shared_app, judge)
    assert events == [("label", shown[0], 1), *(("label", passage, 0) for passage in shown[1:])]
