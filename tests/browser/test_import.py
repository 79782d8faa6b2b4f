"""Files are checked on the page before they are stored: columns, broken rows, what is new; also Parquet and TREC."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import box, expect_error, give, stored
from tests.serving import App

pytestmark = pytest.mark.browser


def test_a_broken_row_is_named_and_what_is_new_is_counted(data: Page, tmp_path: Path, shared_app: App) -> None:
    path = tmp_path / "some.csv"
    path.write_text("query,passage,label\nq,one,1\nq,,1\nq,two,\nq,one,1\nq,three,perhaps\n")
    give(data, path)
    report = data.locator("#import-report")
    expect(report).to_contain_text("holds 2 labels and 1 pair to be judged, and 2 rows that cannot be used")
    expect(report).to_contain_text("New: 2 pairs and 1 label")
    expect(report).to_contain_text("Line 3: The passage is empty")
    expect(report).to_contain_text("Line 6: The label is 'perhaps'")
    assert stored(shared_app) == []
    data.locator("button#import").click()
    expect(report).to_contain_text("Imported: 1 label and 2 new pairs")
    assert len(stored(shared_app)) == 1
    # The same file again: nothing of it is new.
    give(data, path)
    expect(report).to_contain_text("None of its pairs and labels is new")


def test_a_file_that_is_taken_away_is_not_waiting_any_more(data: Page, tmp_path: Path, shared_app: App) -> None:
    path = tmp_path / "some.csv"
    path.write_text("query,passage,label\nq,one,1\n")
    others = {*shared_app.data_dir.glob("import-*")}
    give(data, path)
    report = data.locator("#import-report")
    expect(report).to_contain_text("Nothing is stored yet: press Import.")
    staged = {*shared_app.data_dir.glob("import-*")} - others
    data.locator("#import-file").get_by_role("button", name="Clear").click()
    expect(report).to_have_text("")
    expect(data.locator("button#import")).to_be_disabled()
    assert staged and not any(directory.exists() for directory in staged)
    # An import takes the file away by itself.
    give(data, path)
    data.locator("button#import").click()
    expect(report).to_contain_text("Imported: 1 label and 1 new pair")
    expect(data.locator("#import-file").get_by_role("button", name="Clear")).to_have_count(0)
    data.wait_for_timeout(500)
    expect(report).to_contain_text("Imported: 1 label and 1 new pair")


def test_the_sample_is_imported_like_any_file(data: Page, shared_app: App) -> None:
    data.locator("#sample").click()
    expect(data.locator("#import-report")).to_contain_text("holds 125 labels and 15 pairs to be judged.")
    assert stored(shared_app) == []
    data.locator("button#import").click()
    expect(data.locator("#import-report")).to_contain_text("Imported: 125 labels")
    assert {json.loads(line)["annotator"] for line in stored(shared_app)} == {"sample"}


def test_columns_of_other_names_are_said(data: Page, tmp_path: Path, shared_app: App) -> None:
    path = tmp_path / "german.csv"
    path.write_text("frage,antwort,urteil\nwo,hier,1\n")
    give(data, path)
    expect_error(data, "has no column named query")
    expect(data.locator("#import-preview")).to_contain_text("hier")
    report = data.locator("#import-report")
    expect(data.locator("button#import")).to_be_disabled()
    for field, column, said in (
        ("query", "frage", "has no column named passage"), ("passage", "antwort", "holds 1 pair to be judged"),
        ("label", "urteil", "holds 1 label."),
    ):  # fmt: skip
        box(data, f"column-{field}").fill(column)
        box(data, f"column-{field}").press("Enter")
        expect(report).to_contain_text(said)
    expect_error(data, "has no column named passage")
    data.locator("button#import").click()
    expect(data.locator("#import-report")).to_contain_text("Imported: 1 label and")
    assert len(stored(shared_app)) == 1


def test_to_leave_the_list_of_columns_reads_nothing_anew(data: Page, tmp_path: Path) -> None:
    # Lines of JSON say by themselves what they hold; once a column is chosen, it is that of all of them.
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"query": "q", "passage": "one", "label": 1}\n{"question": "q", "text": "two", "label": 0}\n')
    give(data, path)
    report = data.locator("#import-report")
    expect(report).to_contain_text("holds 2 labels.")
    data.get_by_role("button", name="Columns of the file").click()
    box(data, "column-note").focus()
    data.keyboard.press("Tab")
    data.wait_for_timeout(500)
    expect(report).to_contain_text("holds 2 labels.")


def test_parquet_comes_in(data: Page, tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.table({"query": ["q", "q"], "passage": ["one", "two"], "label": [1, None]}), path)
    give(data, path)
    expect(data.locator("#import-report")).to_contain_text("holds 1 label and 1 pair to be judged")
    data.locator("button#import").click()
    expect(data.locator("#import-report")).to_contain_text("Imported: 1 label and")


def test_the_files_of_trec_come_in(data: Page, tmp_path: Path, shared_app: App) -> None:
    files = {
        "topics": "1\tthe query\n", "collection": "d1\tone\nd2\ttwo\n", "qrels": "1 0 d1 1\n1 0 d9 1\n",
        "run": "1 Q0 d2 1 9.5 bm25\n",
    }  # fmt: skip
    data.locator("#trec").get_by_role("button", name="Or TREC files").click()
    for name, content in files.items():
        path = tmp_path / f"{name}.txt"
        path.write_text(content)
        give(data, path, f"trec-{name}")
    for name in files:
        # Its row is there once it has come; what is shown until then is soon gone.
        expect(data.locator(f"#trec-{name}").get_by_role("row", name=f"{name}.txt")).to_be_visible()
    data.locator("#check-trec").click()
    expect(data.locator("#import-report")).to_contain_text("holds 1 label and 1 pair to be judged, and 1 row")
    expect(data.locator("#import-report")).to_contain_text("Line 2: The collection has no passage d9")
    data.locator("button#import").click()
    expect(data.locator("#import-report")).to_contain_text("Imported: 1 label and")
    assert len(stored(shared_app)) == 1
