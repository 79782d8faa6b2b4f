"""What the page says to input that it cannot use, and that nothing typed is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import (
    box,
    empty_queue,
    expect_error,
    exported,
    more_settings,
    open_page,
    open_tab,
    rerank,
    say_name,
)
from tests.serving import App

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("query", "passages", "message"),
    [
        ("", "a passage", "The query is empty"),
        ("   ", "a passage", "The query is empty"),
        ("a query", "", "There are no passages"),
        ("a query", " \n\n ", "There are no passages"),
        ("a query", "\n".join(f"passage {number}" for number in range(5_000)), "5,000 passages; at most 1,000"),
        ("a query", "fine\none\x00two", "Passage 2 has a NUL character at position 4"),
        ("a query", "x" * 2_000_000, "Passage 1 has 2,000,000 characters; at most 100,000"),
    ],
    ids=["empty query", "blank query", "no passages", "blank passages", "5,000 passages", "NUL", "2 MB passage"],
)
def test_bad_text_is_named_and_kept(page: Page, query: str, passages: str, message: str) -> None:
    rerank(page, query, passages)
    expect_error(page, message)
    assert box(page, "query").input_value() == query
    assert box(page, "passages").input_value() == passages


# Types into a box when the page has looked up what was typed before, and has not shown it yet.
TYPE_MEANWHILE = """
const boxes = { typed: 'passages', remembered: 'annotator' };
const meanwhile = (ask, name) => async (...now) => {
  const answer = ask(...now);
  await new Promise((done) => setTimeout(done, 500)); // until gradio has drawn the boxes
  const box = document.querySelector(`#${boxes[name]} :is(input, textarea)`);
  box.value = 'typed meanwhile';
  box.dispatchEvent(new Event('input', { bubbles: true }));
  return answer;
};
let workbench;
Object.defineProperty(window, 'workbench', {
  get: () => workbench,
  set: (made) => {
    workbench = new Proxy(made, { get: (_, name) => boxes[name] ? meanwhile(made[name], name) : made[name] });
  },
});
"""


def test_what_is_typed_while_the_page_loads_stays(page: Page) -> None:
    page.add_init_script(TYPE_MEANWHILE)
    page.reload()
    expect(box(page, "passages")).to_have_value("typed meanwhile")
    # What is ranked is shown after all that the page does by itself.
    box(page, "query").fill("a query")
    page.get_by_role("button", name="Rerank", exact=True).click()
    expect(page.locator(".result")).to_have_count(1)
    assert box(page, "passages").input_value() == "typed meanwhile"
    assert box(page, "annotator").input_value() == "typed meanwhile"


def test_what_was_typed_outlives_a_reload(page: Page, context: BrowserContext, shared_app: App) -> None:
    box(page, "query").fill("typed before")
    box(page, "passages").fill("one\ntwo")
    page.reload()
    expect(box(page, "query")).to_have_value("typed before")
    page.locator("#rerank").click()
    expect(page.locator(".result")).to_have_count(2)
    # Another tab of the browser begins with nothing, and takes nothing from the first.
    other = open_page(context, shared_app)
    assert [box(other, name).input_value() for name in ("query", "passages")] == ["", ""]
    other.close()
    box(page, "query").fill("")
    page.reload()
    expect(box(page, "passages")).to_have_value("one\ntwo")
    assert box(page, "query").input_value() == ""


def test_every_script_and_direction_is_shown_as_text(page: Page) -> None:
    lines = [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "שלום עולם",
        "👩‍🚀 emoji",
        "{{value}} ${1 + 1}",
    ]
    rerank(page, "what is <b>this</b>", "\n".join(lines))
    expect(page.locator(".result")).to_have_count(len(lines))
    assert sorted(page.locator(".result .text").all_inner_texts()) == sorted(lines)
    assert page.locator("#ranking :is(script, img)").count() == 0


def test_enter_in_the_query_ranks(page: Page) -> None:
    box(page, "passages").fill("one\ntwo")
    box(page, "query").fill("a query")
    box(page, "query").press("Enter")
    expect(page.locator(".result")).to_have_count(2)


def test_blocks_with_empty_lines_are_passages_of_several_lines(page: Page) -> None:
    rerank(page, "a query", "first line\nsecond line\n\nanother passage")
    expect(page.locator(".result")).to_have_count(2)


def test_a_long_passage_shows_what_is_cut_off(page: Page) -> None:
    rerank(page, "a query", "word " * 2_000)
    expect(page.locator(".result .cut")).to_contain_text("cut off")
    assert "word" in page.locator(".result .unread").inner_text()
    page.get_by_role("button", name="Show all").click()
    expect(page.get_by_role("button", name="Show less")).to_be_visible()


def test_a_query_that_is_cut_off_is_said_to_be(page: Page) -> None:
    rerank(page, "word " * 700, "short passage\nother")
    expect(page.locator("#ranking")).to_contain_text("The query is too long")
    expect(page.locator(".result .cut")).to_have_count(2)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("picture.txt", b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe", "not a text file in UTF-8"),
        ("nul.txt", b"some\x00text", "binary file"),
        ("table.csv", b"id,title\n1,hello\n", "has no column named passage"),
        ("rows.jsonl", b'{"title": "x"}\n', "Line 1 of rows.jsonl: There is no passage"),
        ("rows.jsonl", b"{nonsense\n", "Line 1 of rows.jsonl: This is not JSON"),
        ("empty.txt", b"\n\n", "There are no passages in empty.txt"),
    ],
)
def test_a_file_that_cannot_be_opened_is_explained(
    page: Page, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    box(page, "passages").fill("what was there")
    path = tmp_path / name
    path.write_bytes(content)
    page.set_input_files("#open-passages input[type=file], input[type=file]", path)
    expect_error(page, message)
    assert box(page, "passages").input_value() == "what was there"


def test_a_file_of_passages_is_opened_into_the_box(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('"one"\n{"text": "two"}\n')
    page.set_input_files("#open-passages input[type=file], input[type=file]", path)
    expect(box(page, "passages")).to_have_value("one\ntwo")


def test_an_import_without_the_columns_is_explained(page: Page, tmp_path: Path) -> None:
    open_tab(page, "Data")
    path = tmp_path / "wrong.csv"
    path.write_text("id,title\n1,hello\n")
    page.set_input_files("#import-file input[type=file]", path)
    expect_error(page, "has no column named query")
    # The notice goes; what was wrong stays until another file is chosen.
    expect(page.locator("#import-report .bad")).to_contain_text("wrong.csv was not imported: wrong.csv has no column")


def test_broken_rows_are_named_and_the_others_imported(page: Page, tmp_path: Path) -> None:
    open_tab(page, "Data")
    path = tmp_path / "some.csv"
    path.write_text("query,passage,label\nq,p,1\nq,,1\nq,r,perhaps\n")
    page.set_input_files("#import-file input[type=file]", path)
    expect(page.locator("#import-report")).to_contain_text("Line 3: The passage is empty")
    expect(page.locator("#import-report")).to_contain_text("Line 4: The label is 'perhaps'")
    page.locator("button#import").click()
    expect(page.locator("#import-report")).to_contain_text("Imported: 1 label and")


def test_training_says_what_is_missing(page: Page, shared_app: App) -> None:
    empty_queue(shared_app)
    open_tab(page, "Train")
    page.locator("#start-training").click()
    expect_error(page, "There are no labels to learn from yet")
    shared_app.client.post("/v1/labels", json={"query": "q", "passage": "p", "label": 1}).raise_for_status()
    page.locator("#start-training").click()
    expect_error(page, "label some pairs the other way")


def test_training_names_the_value_that_is_wrong(page: Page) -> None:
    open_tab(page, "Train")
    more_settings(page)
    box(page, "learning-rate").fill("fast")
    page.locator("#start-training").click()
    expect_error(page, "The learning rate has to be a number")
    assert box(page, "learning-rate").input_value() == "fast"


def test_a_result_is_not_judged_without_a_name(page: Page) -> None:
    rerank(page, "a query", "one\ntwo")
    page.get_by_role("button", name="✓ Relevant").first.click()
    expect_error(page, "Type your name")
    say_name(page, "Ada")
    page.get_by_role("button", name="✓ Relevant").first.click()
    expect(page.get_by_role("button", name="✓ Relevant").first).to_have_attribute("aria-pressed", "true")


def test_labels_are_exported_as_a_file(page: Page, shared_app: App) -> None:
    shared_app.client.post("/v1/labels", json={"query": "q, é", "passage": "p\n2", "label": 1}).raise_for_status()
    open_tab(page, "Data")
    file = exported(page, "csv")
    assert file.suggested_filename == "labels.csv"
    assert Path(file.path()).read_bytes() == shared_app.client.get("/v1/labels", params={"format": "csv"}).content
