"""The Label tab by keyboard."""

from __future__ import annotations

import itertools
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import box, choose_strategy, empty_queue, open_tab, rerank, say_name, settle
from tests.serving import App

pytestmark = pytest.mark.browser

people = (f"judge {number}" for number in itertools.count())


@pytest.fixture
def judge(page: Page, shared_app: App) -> str:
    """Somebody new with three pairs to judge, and nothing else in the queue, on the Label tab."""
    empty_queue(shared_app)
    passages = ["First passage", "Second passage", "Third passage"]
    pairs = [{"query": "the query", "passage": passage} for passage in passages]
    shared_app.client.post("/v1/candidates", json={"pairs": pairs}).raise_for_status()
    name = next(people)
    say_name(page, name)
    choose_strategy(page, "oldest")
    expect(page.locator("#task")).to_contain_text("First passage")
    return name


def labels_of(app: App, annotator: str) -> dict[str, int]:
    lines = [line for line in app.client.get("/v1/labels", params={"format": "csv"}).text.splitlines()[1:] if line]
    rows = [line.split(",") for line in lines]
    return {row[3]: int(row[4]) for row in rows if row[5] == annotator}


def test_after_the_name_the_keys_judge(page: Page, judge: str, shared_app: App) -> None:
    name = next(people)
    box(page, "annotator").fill(name)
    box(page, "annotator").press("Enter")
    expect(page.locator("#annotator :focus")).to_have_count(0)
    settle(page)
    expect(page.locator("#task")).to_contain_text("passage")
    page.keyboard.press("1")
    expect(page.locator("#mine")).to_have_text("1")
    settle(page)
    expect(box(page, "annotator")).to_have_value(name)
    assert list(labels_of(shared_app, name).values()) == [1]
    box(page, "annotator").press("Escape")
    expect(page.locator("#annotator :focus")).to_have_count(0)


def test_keys_judge_and_go_on_to_the_next(page: Page, judge: str, shared_app: App) -> None:
    page.keyboard.press("1")
    expect(page.locator("#task")).to_contain_text("Second passage")
    page.keyboard.press("0")
    expect(page.locator("#task")).to_contain_text("Third passage")
    page.keyboard.press("1")
    expect(page.locator("#task")).to_contain_text("Nothing is left for you to judge")
    expect(page.locator("#mine")).to_have_text("3")
    settle(page)
    assert labels_of(shared_app, judge) == {"First passage": 1, "Second passage": 0, "Third passage": 1}


def test_the_buttons_do_what_the_keys_do_and_carry_them(page: Page, judge: str, shared_app: App) -> None:
    page.get_by_role("button", name="✗ Not relevant 0").click()
    expect(page.locator("#task")).to_contain_text("Second passage")
    # The button that was pressed with the mouse must not take the space bar.
    page.keyboard.press(" ")
    expect(page.locator("#task")).to_contain_text("Third passage")
    settle(page)
    assert labels_of(shared_app, judge) == {"First passage": 0}


def test_cannot_tell_is_no_label_and_never_comes_back(page: Page, judge: str, shared_app: App) -> None:
    for passage in ("Second passage", "Third passage", "Nothing is left"):
        page.keyboard.press(" ")
        expect(page.locator("#task")).to_contain_text(passage)
    settle(page)
    assert labels_of(shared_app, judge) == {}


def test_later_comes_back_when_nothing_else_is_left(page: Page, judge: str) -> None:
    page.keyboard.press("l")
    expect(page.locator("#task")).to_contain_text("Second passage")
    page.keyboard.press("1")
    expect(page.locator("#task")).to_contain_text("Third passage")
    page.keyboard.press("1")
    expect(page.locator("#task")).to_contain_text("First passage")
    expect(page.locator("#task")).to_contain_text("put off until now")


@pytest.mark.parametrize("key", ["u", "Control+z"])
def test_undo_shows_the_pair_again_without_its_label(page: Page, judge: str, shared_app: App, key: str) -> None:
    page.keyboard.press("1")
    expect(page.locator("#task")).to_contain_text("Second passage")
    page.keyboard.press(key)
    expect(page.locator("#task")).to_contain_text("First passage")
    expect(page.locator("#mine")).to_have_text("0")
    settle(page)
    assert labels_of(shared_app, judge) == {}


def test_a_pair_that_is_judged_again_after_an_undo_is_where_it_was_with_what_was_typed(
    page: Page, judge: str, shared_app: App
) -> None:
    page.keyboard.press("1")
    expect(page.locator("#task")).to_contain_text("Second passage")
    page.keyboard.press("n")
    page.keyboard.type("which is it")
    page.keyboard.press("Enter")
    page.keyboard.press("0")
    expect(page.locator("#task")).to_contain_text("Third passage")
    page.keyboard.press("u")
    expect(page.locator("#task")).to_contain_text("Second passage")
    expect(box(page, "note")).to_have_value("which is it")
    page.keyboard.press("1")
    expect(page.locator("#task")).to_contain_text("Third passage")
    settle(page)
    assert '"which is it"' in shared_app.client.get("/v1/labels").text
    for passage in ("Second passage", "First passage"):
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#task")).to_contain_text(passage)
    assert labels_of(shared_app, judge) == {"First passage": 1, "Second passage": 1}


def test_arrows_go_back_to_change_a_label_and_forward_again(page: Page, judge: str, shared_app: App) -> None:
    page.keyboard.press("1")
    expect(page.locator("#task")).to_contain_text("Second passage")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#task")).to_contain_text("you said relevant")
    page.keyboard.press("0")
    expect(page.locator("#task")).to_contain_text("Second passage")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#task")).to_contain_text("you said not relevant")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#task")).to_contain_text("Second passage")
    settle(page)
    assert labels_of(shared_app, judge) == {"First passage": 0}


def test_a_flag_is_set_and_taken_away(page: Page, judge: str) -> None:
    page.keyboard.press("f")
    expect(page.locator("#task .flagged")).to_be_visible()
    expect(page.locator("#judge-flag")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("f")
    expect(page.locator("#task .flagged")).to_be_hidden()


def test_keys_do_nothing_while_someone_types(page: Page, judge: str, shared_app: App) -> None:
    box(page, "annotator").press_sequentially("10 ul")
    expect(box(page, "annotator")).to_have_value(f"{judge}10 ul")
    expect(page.locator("#task")).to_contain_text("First passage")
    settle(page)
    assert labels_of(shared_app, judge) == {}


def test_the_question_mark_shows_the_keys(page: Page, judge: str) -> None:
    expect(page.locator("#keys-pair dl")).to_be_hidden()
    page.keyboard.press("?")
    expect(page.locator("#keys-pair dl")).to_be_visible()


def test_the_tab_key_reaches_every_button_and_presses_it(page: Page, judge: str, shared_app: App) -> None:
    page.locator("#judge-relevant").focus()
    for button in ("not-relevant", "cannot-tell", "later", "back", "forward", "undo", "flag"):
        page.keyboard.press("Tab")
        expect(page.locator(f"#judge-{button}")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#task .flagged")).to_be_visible()
    # The space bar presses what is focused then, and says nothing of the pair.
    page.keyboard.press(" ")
    expect(page.locator("#task .flagged")).to_be_hidden()
    page.keyboard.press("Tab")
    expect(box(page, "note")).to_be_focused()
    page.keyboard.type("1 0")
    page.keyboard.press("Enter")
    expect(page.locator("#judge-message")).to_contain_text("The note goes with your judgment")
    page.keyboard.press("0")
    expect(page.locator("#task")).to_contain_text("Second passage")
    expect(page.locator("#mine")).to_have_text("1")
    settle(page)
    assert labels_of(shared_app, judge) == {"First passage": 0}


def test_a_long_passage_is_read_to_its_end_by_keys(page: Page, judge: str) -> None:
    page.evaluate("document.querySelector('#task .passage').textContent = 'many words '.repeat(800)")
    read = "document.querySelector('#task .passage').scrollTop"
    page.keyboard.press("PageDown")
    page_down = page.evaluate(read)
    page.keyboard.press("ArrowDown")
    assert page.evaluate(read) > page_down > 0
    for _ in range(3):
        page.keyboard.press("PageUp")
    assert page.evaluate(read) == 0
    # With more to read nothing else has moved; and the next pair begins at its beginning.
    assert page.evaluate("scrollY") == 0
    page.keyboard.press("PageDown")
    page.keyboard.press("1")
    expect(page.locator("#task")).to_contain_text("Second passage")
    assert page.evaluate(read) == 0


def test_nobody_judges_without_a_name(page: Page, shared_app: App) -> None:
    empty_queue(shared_app)
    pairs = [{"query": "q", "passage": passage} for passage in ("one", "two")]
    shared_app.client.post("/v1/candidates", json={"pairs": pairs}).raise_for_status()
    open_tab(page, "Label")
    expect(page.locator("#task")).to_contain_text("Who is judging?")
    # How far the others have come is there to be seen, and nothing of one's own.
    expect(page.locator("#label-progress")).to_contain_text("Team: 0 of 2 pairs judged")
    expect(page.locator("#mine")).to_have_count(0)
    page.keyboard.press("1")
    expect(page.locator("#judge-message")).to_contain_text("Type your name")


def test_a_press_counts_for_the_pair_on_the_screen_or_for_nothing(
    page: Page, judge: str, shared_app: App
) -> None:
    """Two keys of which the second was pressed before the next pair came up, as when a slip is corrected."""
    page.evaluate("""
        const press = (key) => new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true });
        [press('1'), press('0')].forEach((event) => document.body.dispatchEvent(event));
    """)
    expect(page.locator("#task")).to_contain_text("Second passage")
    # Until an event that was sent after both has been answered, both have been.
    page.keyboard.press("f")
    expect(page.locator("#task .flagged")).to_be_visible()
    expect(page.locator("#task")).to_contain_text("Second passage")
    settle(page)
    assert labels_of(shared_app, judge) == {"First passage": 1}


def test_what_i_said_on_one_tab_stands_on_the_other(page: Page, judge: str) -> None:
    page.keyboard.press("0")
    expect(page.locator("#task")).to_contain_text("Second passage")
    open_tab(page, "Rerank")
    rerank(page, "the query", "First passage\nSecond passage")
    judged = page.locator(".result", has_text="First passage")
    expect(judged.get_by_role("button", name="✗ Not relevant")).to_have_attribute("aria-pressed", "true")
    expect(page.locator('.judge button[aria-pressed="true"]')).to_have_count(1)


def test_a_pair_that_was_judged_elsewhere_is_not_asked_again(page: Page, judge: str, shared_app: App) -> None:
    label = {"query": "the query", "passage": "First passage", "label": 0, "annotator": judge}
    shared_app.client.post("/v1/labels", json=label).raise_for_status()
    open_tab(page, "Rerank")
    open_tab(page, "Label")
    expect(page.locator("#task")).to_contain_text("Second passage")


def test_which_pair_comes_next_outlives_a_reload(page: Page, judge: str) -> None:
    page.evaluate("document.addEventListener('strategy-chosen', () => { window.chosen = workbench.strategy(); })")
    box(page, "strategy").focus()
    page.keyboard.press("Tab")
    page.wait_for_timeout(200)
    assert page.evaluate("window.chosen") is None  # to leave the drop-down is not to choose in it
    page.reload()
    expect(box(page, "strategy")).to_have_value(re.compile("^oldest:"))
    expect(page.locator("#task")).to_contain_text("First passage")
    assert page.evaluate("workbench.strategy()") == "oldest"
    # The server hears of it with the first pairs that are asked for; and also where the tab is opened later.
    open_tab(page, "Rerank")
    page.reload()
    with page.expect_request("**/judging/pairs") as asked:
        open_tab(page, "Label")
    assert asked.value.post_data_json["strategy"] == "oldest"
    expect(box(page, "strategy")).to_have_value(re.compile("^oldest:"))


def test_what_one_judges_with_stays_on_a_phones_screen(
    page: Page, judge: str, shared_app: App, expected_errors: list[str]
) -> None:
    expected_errors.append("Failed to load resource")
    page.set_viewport_size({"width": 390, "height": 760})
    try:
        # Some lines of the passage are there at once, above the buttons.
        page.wait_for_function(
            "document.querySelector('#task .passage').getBoundingClientRect().top + 100 < "
            "document.querySelector('#judge-buttons').getBoundingClientRect().top",
            timeout=20_000,
        )
        page.evaluate("document.querySelector('#task .passage').textContent = 'many words '.repeat(800)")
        page.evaluate("scrollTo(0, 1500)")
        expect(page.locator("#judge-relevant")).to_be_in_viewport(ratio=1)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        # And so does the word that nothing is stored.
        page.route("**/judging/*", lambda route: route.abort())
        page.keyboard.press("1")
        page.evaluate("scrollTo(0, 1500)")
        expect(page.locator("#saving")).to_contain_text("does not answer")
        expect(page.locator("#saving button")).to_be_in_viewport(ratio=1)
        page.unroute("**/judging/*")
        settle(page)
    finally:
        page.set_viewport_size({"width": 1360, "height": 900})
