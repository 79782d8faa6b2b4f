"""A dataset or a model of the Hub comes in on the page; and what is labelled goes out for other tools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import box, expect_error, exported, open_page, open_tab
from tests.integration import hub_server
from tests.integration.hub_files import Dataset
from tests.integration.hub_server import HubServer
from tests.integration.test_hub_datasets import parquet
from tests.serving import App, app_in_process, label

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def hub(other_model_dir: Path) -> Iterator[HubServer]:
    with hub_server.serve({"owner/ranker": other_model_dir}) as server:
        server.datasets["owner/pairs"] = Dataset("public")
        server.datasets["owner/pairs"].commit(**{
            "data/train-0.parquet": parquet(query=["q"] * 3, passage=["a", "b", "c"], label=[1, 0, 7]),
            "data/test-0.parquet": parquet(query=["t"], passage=["x"], label=[1]),
        })  # fmt: skip
        yield server


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, hub: HubServer) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("hub")
    asks = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(folder / "home"), "HF_TOKEN": ""}
    with app_in_process(folder / "app", model_dir, **asks) as running:
        yield running


@pytest.fixture
def data(context: BrowserContext, app: App) -> Page:
    page = open_page(context, app)
    open_tab(page, "Data")
    return page


def look_up(page: Page, name: str) -> None:
    box(page, "hub-name").fill(name)
    page.locator("#hub-ask").click()


def test_a_dataset_is_looked_up_fetched_checked_and_imported(data: Page, app: App) -> None:
    data.get_by_role("button", name="Or a dataset on the Hub").click()
    look_up(data, "owner/none")
    expect(data.locator("#hub-status")).to_have_text("Asking the Hub …")
    expect_error(data, "There is no dataset owner/none on the Hub")
    expect(data.locator("#hub-status")).to_have_text("")
    look_up(data, "https://huggingface.co/datasets/owner/pairs")
    expect(box(data, "hub-split")).to_have_value("train")
    expect(box(data, "hub-name")).to_have_value("owner/pairs")
    # To leave a drop-down is not to choose in it.
    box(data, "hub-split").click()
    data.get_by_role("option", name="test").click()
    box(data, "hub-subset").focus()
    data.keyboard.press("Tab")
    data.locator("#hub-fetch").click()
    expect(data.locator("#hub-status")).to_contain_text("1 row fetched and checked below.")
    expect(box(data, "hub-split")).to_have_value("test")
    box(data, "hub-split").click()
    data.get_by_role("option", name="train").click()
    box(data, "hub-rows").fill("2")
    data.locator("#hub-fetch").click()
    expect(data.locator("#hub-status")).to_contain_text("2 rows fetched and checked below. There are more")
    expect(data.locator("#import-report")).to_contain_text("holds 2 labels")
    box(data, "hub-rows").fill("10")
    asked: list[str] = []
    data.on("request", lambda sent: asked.append(sent.post_data or "") if "/queue/join" in sent.url else None)
    data.locator("#hub-fetch").click()
    report = data.locator("#import-report")
    expect(report).to_contain_text("owner-pairs-default-train.jsonl holds 2 labels")
    expect(report).to_contain_text("Line 3: The label is '7'")
    expect(data.locator("#hub-status")).to_have_text("3 rows fetched and checked below.")
    # Large files take a while: it is checked once.
    data.wait_for_timeout(500)
    names = {event["id"]: event["api_name"] for event in app.client.get("/config").json()["dependencies"]}
    assert [names[json.loads(event)["fn_index"]] for event in asked].count("choose") == 1
    data.locator("button#import").click()
    expect(report).to_contain_text("Imported: 2 labels")
    stored = [json.loads(line) for line in app.client.get("/v1/labels").text.splitlines()]
    assert {(row["query"], row["passage"], row["label"]) for row in stored} == {("q", "a", 1), ("q", "b", 0)}


def test_a_fetch_can_be_stopped(data: Page, hub: HubServer) -> None:
    data.get_by_role("button", name="Or a dataset on the Hub").click()
    look_up(data, "owner/pairs")
    expect(box(data, "hub-split")).to_have_value("train")
    hub.behaviour = "silent"
    try:
        data.locator("#hub-fetch").click()
        data.locator("#hub-stop").click()
        expect(data.locator("#hub-stop")).to_be_hidden()
        expect(data.locator("#hub-status")).to_have_text("")
    finally:
        hub.behaviour = "found"


def test_the_format_for_other_tools_is_chosen_by_what_it_is_for(data: Page, app: App) -> None:
    label(app.client, ("how", "so", 1), ("how", "not so", 0))
    file = exported(data, "cohere")
    assert file.suggested_filename == "cohere.jsonl"
    lines = [json.loads(line) for line in Path(file.path()).read_text().splitlines()]
    assert {"query": "how", "relevant_passages": ["so"], "hard_negatives": ["not so"]} in lines


def test_a_model_is_added_and_taken_out_again(context: BrowserContext, app: App) -> None:
    page = open_page(context, app)
    open_tab(page, "Models")
    page.get_by_role("button", name="Add a model from the Hugging Face Hub").click()
    page.locator("#add").click()
    expect_error(page, "Type which model first: owner/name.")
    box(page, "add-name").fill("owner/none")
    box(page, "add-name").press("Enter")
    expect_error(page, "There is no model owner/none on the Hub")
    box(page, "add-name").fill("https://huggingface.co/owner/ranker/tree/main")
    page.locator("#add").click()
    expect(page.locator("#added")).to_contain_text("owner--ranker is a version now")
    row = page.locator('tr[data-version="owner--ranker"]')
    expect(row).to_contain_text("owner/ranker")
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.accept()))
    row.get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    assert asked == ["Delete owner--ranker? Its files stay in the Hub's cache on the machine of the app."]
