"""The ways to judge beside pair by pair: query by query, the list of one's own judgments, notes."""

from __future__ import annotations

import itertools
import json
import sqlite3

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.browser.conftest import box, choose_strategy, empty_queue, open_page, open_tab, say_name, settle
from tests.serving import App, eventually
from tests.serving import label as store_labels

pytestmark = pytest.mark.browser

QUERY = "why do bridges sway"
PASSAGES = ["Bridges sway in the wind", "Rain falls", "A swaying bridge <b>moves</b>", "Cheese is made of milk"]
people = (f"person {number}" for number in itertools.count())


@pytest.fixture
def queue(page: Page, shared_app: App) -> None:
    """One query with four passages, and nothing else, in the queue."""
    empty_queue(shared_app)
    pairs = [{"query": QUERY, "passage": passage} for passage in PASSAGES]
    shared_app.client.post("/v1/candidates", json={"pairs": pairs}).raise_for_status()


@pytest.fixture
def judge(page: Page, queue: None) -> str:
    """Somebody new, who has the query before them."""
    name = next(people)
    say_name(page, name)
    open_tab(page, "Label")
    open_tab(page, "Query")
    expect(rows(page)).to_have_count(4)
    expect(page.locator('.row[aria-current="true"]')).to_have_count(1)
    return name


def rows(page: Page) -> Locator:
    return page.locator("#query-view [data-row]")


def stored(app: App, annotator: str) -> dict[str, int]:
    labels = [json.loads(line) for line in app.client.get("/v1/labels").text.split("\n") if line]
    return {row["passage"]: row["label"] for row in labels if row["annotator"] == annotator}


def held_by(app: App, annotator: str) -> dict[str, int]:
    """How many pairs of each query this annotator holds."""
    sql = """
        SELECT q.text, count(*) FROM leases l JOIN queries q ON q.id = l.query_id
        WHERE l.annotator = ? GROUP BY q.text
    """
    with sqlite3.connect(app.data_dir / "workbench.db", timeout=30) as db:
        held = dict(db.execute(sql, [annotator]).fetchall())
    db.close()
    return held


def order(page: Page) -> list[str]:
    return rows(page).locator(".passage").all_text_contents()


def on_to_another_query(page: Page, app: App) -> None:
    """Say that all of this query is not relevant, and go on to the next one."""
    pairs = [{"query": "another query", "passage": "another passage"}]
    app.client.post("/v1/candidates", json={"pairs": pairs}).raise_for_status()
    page.keyboard.press("r")
    page.keyboard.press("Enter")
    expect(page.locator("#query-view .query")).to_have_text("another query")


def test_keys_judge_the_selected_passage_and_go_on(page: Page, judge: str, shared_app: App) -> None:
    shown = order(page)
    assert sorted(shown) == sorted(PASSAGES)
    page.keyboard.press("1")
    # Who does not see the next one hears it.
    expect(page.get_by_role("listitem", name="Passage 2 of 4")).to_be_focused()
    expect(rows(page).nth(1)).to_have_accessible_description(f"not judged yet {shown[1]}")
    page.keyboard.press("0")
    page.keyboard.press(" ")
    page.keyboard.press("l")
    expect(rows(page).nth(0)).to_have_attribute("data-state", "relevant")
    expect(rows(page).nth(3)).to_have_attribute("data-state", "later")
    expect(page.locator("#mine")).to_have_text("2")
    eventually(lambda: stored(shared_app, judge) == {shown[0]: 1, shown[1]: 0}, "both are stored")
    # What is shown is what is stored.
    open_tab(page, "Pair")
    open_tab(page, "Query")
    expect(rows(page).nth(1)).to_have_attribute("data-state", "not-relevant")
    expect(rows(page).nth(2)).to_have_attribute("data-state", "cannot-tell")
    assert order(page) == shown


def test_arrows_move_and_a_judgment_can_be_changed(page: Page, judge: str, shared_app: App) -> None:
    shown = order(page)
    page.keyboard.press("1")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("0")
    expect(rows(page).nth(0)).to_have_attribute("data-state", "not-relevant")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("f")
    eventually(lambda: stored(shared_app, judge) == {shown[0]: 0}, "the change is stored")
    expect(page.locator("#query-view .flagged:visible")).to_have_count(1)


def test_the_rest_is_not_relevant_and_undone_in_one_step(page: Page, judge: str, shared_app: App) -> None:
    shown = order(page)
    page.keyboard.press("1")
    page.keyboard.press("r")
    everything = {shown[0]: 1, **dict.fromkeys(shown[1:], 0)}
    eventually(lambda: stored(shared_app, judge) == everything, "the rest is stored")
    expect(page.get_by_role("button", name="The rest is not relevant")).to_be_disabled()
    page.keyboard.press("u")
    expect(page.locator('[data-row][data-state="open"]')).to_have_count(3)
    settle(page)
    assert stored(shared_app, judge) == {shown[0]: 1}
    page.keyboard.press("Control+z")
    expect(page.locator('[data-row][data-state="open"]')).to_have_count(4)
    settle(page)
    assert stored(shared_app, judge) == {}


def test_words_of_the_query_are_marked_and_nothing_becomes_html(page: Page, judge: str) -> None:
    row = rows(page).filter(has_text="A swaying bridge")
    assert row.locator("mark").all_text_contents() == ["swaying", "bridge"]
    assert row.locator(".passage b").count() == 0


def test_a_note_goes_with_the_judgment(page: Page, judge: str, shared_app: App) -> None:
    page.keyboard.press("n")
    page.keyboard.type("10 reasons, see page 1")
    page.keyboard.press("Enter")
    page.keyboard.press("0")
    expect(rows(page).nth(0)).to_contain_text("10 reasons, see page 1")
    eventually(lambda: len(stored(shared_app, judge)) == 1, "it is stored")
    assert '"note": "10 reasons, see page 1"' in shared_app.client.get("/v1/labels").text


def test_a_note_in_a_list_is_as_long_as_one_on_a_pair_at_most(page: Page, judge: str) -> None:
    page.keyboard.press("n")
    page.evaluate("navigator.clipboard.writeText('x'.repeat(3_000))")
    page.keyboard.press("Control+v")
    expect(rows(page).locator(".note-box")).to_have_value("x" * 2_000)
    assert page.locator("#note-box").get_attribute("maxlength") == "2000"


def test_a_note_goes_with_the_rest_too_and_stays_after_an_undo(page: Page, judge: str, shared_app: App) -> None:
    page.keyboard.press("n")
    page.keyboard.type("of another town")
    page.keyboard.press("Enter")
    page.keyboard.press("r")
    eventually(lambda: len(stored(shared_app, judge)) == 4, "the rest is stored")
    assert shared_app.client.get("/v1/labels").text.count('"note": "of another town"') == 1
    expect(rows(page).nth(0)).to_contain_text("of another town")
    page.keyboard.press("u")
    expect(page.locator('[data-row][data-state="open"]')).to_have_count(4)
    settle(page)
    expect(rows(page).nth(0)).to_contain_text("of another town")


def test_notes_that_are_not_stored_yet_are_back_after_another_tab_and_a_reload(
    page: Page, judge: str, shared_app: App
) -> None:
    judged, noted, typed = (rows(page).filter(has_text=passage) for passage in order(page)[:3])
    page.keyboard.press("1")
    judged.get_by_role("button", name="Note").click()
    page.keyboard.type("half writ")
    noted.get_by_role("button", name="Note").click()
    page.keyboard.type("kept")
    page.keyboard.press("Enter")
    typed.get_by_role("button", name="Note").click()
    page.keyboard.type("half")
    settle(page)
    open_tab(page, "Mine")
    mine = page.locator("#mine-view [data-row]")
    expect(mine.locator(".note-box")).to_have_value("half writ")
    open_tab(page, "Query")
    for at_last in (False, True):
        expect(judged.locator(".note-box")).to_have_value("half writ")
        expect(noted.locator(".note-text")).to_have_text("kept")
        expect(typed.locator(".note-text")).to_have_text("half")
        if not at_last:
            page.reload()
    noted.get_by_role("button", name="Flag").click()
    settle(page)
    noted.get_by_role("button", name="✓ Relevant").click()
    judged.locator(".note-box").press("Escape")
    open_tab(page, "Mine")
    expect(mine).to_have_count(2)
    expect(mine.locator(".note-text")).to_have_text(["kept", ""])
    expect(mine.locator(".note-box")).to_have_count(0)
    assert page.evaluate("workbench.kept('notes', 1)[0].map(([, note]) => note)") == ["half"]


def test_on_to_the_next_query_and_to_the_end(page: Page, judge: str, shared_app: App) -> None:
    on_to_another_query(page, shared_app)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#query-view")).to_contain_text("No query is left for you")
    settle(page)
    assert len(stored(shared_app, judge)) == 5


@pytest.mark.parametrize("strategy", ["oldest", "gain"])
def test_all_queries_come_before_one_that_was_passed(page: Page, judge: str, shared_app: App, strategy: str) -> None:
    pairs = [{"query": f"query {number}", "passage": "its passage"} for number in range(4)]
    shared_app.client.post("/v1/candidates", json={"pairs": pairs}).raise_for_status()
    choose_strategy(page, strategy)
    open_tab(page, "Query")
    expect(rows(page)).not_to_have_count(0)
    seen = []
    for _ in range(6):
        settle(page)
        seen.append(page.locator("#query-view .query").inner_text())
        rows(page).first.focus()
        page.locator("#query-view .next").click()
        expect(page.locator("#query-view .query")).not_to_have_text(seen[-1])
    assert len(set(seen[:5])) == 5


def test_the_next_query_is_there_before_it_is_wanted(
    page: Page, judge: str, shared_app: App, expected_errors: list[str]
) -> None:
    expected_errors.append("Failed to load resource")
    pairs = [{"query": f"query {number}", "passage": "its passage"} for number in (1, 2)]
    shared_app.client.post("/v1/candidates", json={"pairs": pairs}).raise_for_status()
    page.get_by_role("tab", name="Mine").click()
    open_tab(page, "Query")
    expect(rows(page)).to_have_count(4)
    settle(page)
    # From now on the server cannot be reached.
    page.route("**/judging/*", lambda route: route.abort("connectionfailed"))
    for key in ("1", "0", "0", "0", "Enter", "1"):
        page.keyboard.press(key)
    expect(page.locator("#query-view .query")).to_contain_text("query ")
    second = page.locator("#query-view .query").inner_text()
    expect(page.locator("[data-count]")).to_have_text("1 of 1 judged")
    page.unroute("**/judging/*")
    # What was pressed is sent again, and the query after that is asked for.
    settle(page)
    page.keyboard.press("Enter")
    expect(page.locator("#query-view .query")).not_to_have_text(second)
    expect(page.locator("[data-count]")).to_have_text("0 of 1 judged")
    settle(page)
    assert len(stored(shared_app, judge)) == 5


def test_whoever_leaves_the_list_gives_the_next_query_back(page: Page, judge: str, shared_app: App) -> None:
    pairs = [{"query": "another query", "passage": "another passage"}]
    shared_app.client.post("/v1/candidates", json={"pairs": pairs}).raise_for_status()
    page.get_by_role("tab", name="Mine").click()
    open_tab(page, "Query")
    expect(rows(page)).to_have_count(4)
    settle(page)
    assert held_by(shared_app, judge) == {QUERY: 4, "another query": 1}
    page.get_by_role("tab", name="Mine").click()
    eventually(lambda: held_by(shared_app, judge) == {QUERY: 4}, "what was not looked at is given back")
    # Coming back, the annotator is where they were.
    open_tab(page, "Query")
    expect(page.locator("#query-view .query")).to_have_text(QUERY)


def test_a_query_that_is_left_unfinished_comes_again(page: Page, judge: str, shared_app: App) -> None:
    page.keyboard.press("1")
    page.keyboard.press("ArrowDown")
    page.get_by_role("button", name="Next query").click()
    expect(page.locator("[data-count]")).to_have_text("1 of 4 judged")


def test_what_the_server_refuses_goes_back(page: Page, judge: str, shared_app: App) -> None:
    box(page, "annotator").fill("")
    # At once: when the server has heard that nobody judges any more, the list is gone.
    rows(page).nth(0).get_by_role("button", name="✓ Relevant").click()
    expect(page.locator("#query-view")).to_contain_text("Who is judging?")
    settle(page)
    assert stored(shared_app, judge) == {}


def test_the_rest_pressed_twice_is_one_step(page: Page, judge: str, shared_app: App) -> None:
    page.evaluate("[1, 2].forEach(() => document.querySelector('#query-view [data-say=rest]').click())")
    page.keyboard.press("r")
    eventually(lambda: len(stored(shared_app, judge)) == 4, "all are stored")
    page.keyboard.press("u")
    expect(page.locator('#query-view [data-row][data-state="open"]')).to_have_count(4)
    settle(page)
    assert stored(shared_app, judge) == {}
    page.keyboard.press("u")
    expect(page.locator("#query-view .list-status")).to_contain_text("nothing to undo")


def test_a_press_on_somebody_elses_list_counts_for_nobody(page: Page, judge: str, shared_app: App) -> None:
    page.keyboard.press("1")
    expect(page.locator("#mine")).to_have_text("1")
    name = next(people)
    box(page, "annotator").fill(name)
    rows(page).nth(1).get_by_role("button", name="✓ Relevant").click()
    # The list is that of the other one now, in another order and with nothing judged.
    expect(page.locator('#query-view [data-row][data-state="open"]')).to_have_count(4)
    expect(page.locator("#mine")).to_have_text("0")
    settle(page)
    assert stored(shared_app, name) == {}
    settle(page)
    assert len(stored(shared_app, judge)) == 1


def test_undo_opens_the_query_that_it_is_about(page: Page, judge: str, shared_app: App) -> None:
    on_to_another_query(page, shared_app)
    page.keyboard.press("u")
    expect(page.locator("#query-view .query")).to_have_text(QUERY)
    expect(page.locator('#query-view [data-row][data-state="open"]')).to_have_count(4)
    settle(page)
    assert stored(shared_app, judge) == {}


def test_two_annotators_at_once_do_not_see_each_other(
    page: Page, judge: str, browser: Browser, context: BrowserContext, shared_app: App
) -> None:
    second = browser.new_context()
    try:
        other = open_page(second, shared_app)
        name = next(people)
        say_name(other, name)
        open_tab(other, "Label")
        open_tab(other, "Query")
        expect(rows(other)).to_have_count(4)
        page.keyboard.press("r")
        eventually(lambda: len(stored(shared_app, judge)) == 4, "the first is done")
        expect(other.locator('[data-row][data-state="open"]')).to_have_count(4)
        other.keyboard.press("1")
        eventually(lambda: len(stored(shared_app, name)) == 1, "the second has judged too")
        open_tab(other, "Mine")
        expect(other.locator("#mine-view [data-row]")).to_have_count(1)
        assert len(stored(shared_app, judge)) == 4
    finally:
        second.close()


def test_my_judgments_are_listed_corrected_and_undone_in_any_order(
    page: Page, queue: None, shared_app: App
) -> None:
    name = next(people)
    store_labels(shared_app.client, *((QUERY, passage, 1) for passage in PASSAGES[:3]), annotator=name)
    say_name(page, name)
    open_tab(page, "Label")
    open_tab(page, "Mine")
    mine = page.locator("#mine-view [data-row]")
    expect(mine).to_have_count(3)
    assert mine.locator(".passage").all_text_contents() == [*reversed(PASSAGES[:3])]
    mine.nth(2).get_by_role("button", name="✗ Not relevant").click()
    expect(mine.nth(2)).to_have_attribute("data-state", "not-relevant")
    expect(page.locator("#mine-view").get_by_role("status")).to_have_text("Passage 3 of 3: ✗ not relevant")
    mine.nth(1).get_by_role("button", name="Undo").click()
    expect(mine).to_have_count(2)
    eventually(lambda: stored(shared_app, name) == {PASSAGES[0]: 0, PASSAGES[2]: 1}, "both are stored")


def test_undoing_a_correction_brings_back_what_was_said_before(
    page: Page, queue: None, shared_app: App
) -> None:
    name = next(people)
    store_labels(shared_app.client, (QUERY, PASSAGES[0], 1), annotator=name)
    say_name(page, name)
    open_tab(page, "Label")
    open_tab(page, "Mine")
    row = page.locator("#mine-view [data-row]")
    row.get_by_role("button", name="✗ Not relevant").click()
    expect(row).to_have_attribute("data-state", "not-relevant")
    row.get_by_role("button", name="Undo").click()
    expect(row).to_have_attribute("data-state", "relevant")
    settle(page)
    assert stored(shared_app, name) == {PASSAGES[0]: 1}
    row.get_by_role("button", name="Undo").click()
    expect(page.locator("#mine-view [data-row]")).to_have_count(0)
    settle(page)
    assert stored(shared_app, name) == {}


def test_a_note_on_a_pair(page: Page, queue: None, shared_app: App) -> None:
    name = next(people)
    say_name(page, name)
    choose_strategy(page, "oldest")
    expect(page.locator("#task")).to_contain_text(PASSAGES[0])
    page.keyboard.press("n")
    page.keyboard.type("not 1 of them")
    page.keyboard.press("Enter")
    page.keyboard.press("0")
    expect(page.locator("#task")).to_contain_text(PASSAGES[1])
    eventually(lambda: stored(shared_app, name) == {PASSAGES[0]: 0}, "it is stored")
    expect(box(page, "note")).to_have_value("")
    page.keyboard.press("ArrowLeft")
    expect(box(page, "note")).to_have_value("not 1 of them")
    page.keyboard.press("n")
    page.keyboard.press("Control+a")
    page.keyboard.type("another note")
    page.keyboard.press("Enter")
    eventually(lambda: '"another note"' in shared_app.client.get("/v1/labels").text, "the other note is stored")
    settle(page)
    assert stored(shared_app, name) == {PASSAGES[0]: 0}


def test_a_note_on_a_pair_outlives_a_reload_and_goes_with_the_judgment_in_a_list_too(
    page: Page, queue: None, shared_app: App
) -> None:
    name = next(people)
    say_name(page, name)
    choose_strategy(page, "oldest")
    expect(page.locator("#task")).to_contain_text(PASSAGES[0])
    box(page, "note").fill("half")
    page.reload()
    expect(page.locator("#task")).to_contain_text(PASSAGES[0])
    expect(box(page, "note")).to_have_value("half")
    open_tab(page, "Query")
    row = rows(page).filter(has_text=PASSAGES[0])
    expect(row.locator(".note-text")).to_have_text("half")
    row.get_by_role("button", name="Note").click()
    page.keyboard.type(" and all")
    page.keyboard.press("Enter")
    open_tab(page, "Pair")
    expect(box(page, "note")).to_have_value("half and all")
    page.keyboard.press("1")
    expect(page.locator("#task")).to_contain_text(PASSAGES[1])
    expect(box(page, "note")).to_have_value("")
    settle(page)
    assert '"note": "half and all"' in shared_app.client.get("/v1/labels").text
    assert page.evaluate("workbench.kept('notes', 1)[0]") == []
