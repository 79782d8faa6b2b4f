"""The Train and Models tabs in less usual situations."""

from __future__ import annotations

import os
import re
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.browser.conftest import (
    box,
    expect_error,
    know_only_relevant,
    more_settings,
    open_page,
    open_tab,
    store_of,
)
from tests.serving import App, app_in_thread, ended, eventually, label

pytestmark = pytest.mark.browser

# Whether so many steps are the points of the loss's curve.
DRAWN = """steps => {
    const line = document.querySelector('#loss-curve svg .mark-line path[d]');
    return line && line.getAttribute('d').split(/[ML]/).length - 1 === steps;
}"""


def start_long_run(page: Page) -> None:
    open_tab(page, "Train")
    more_settings(page)
    box(page, "epochs").fill("100")
    box(page, "batch-size").fill("1")
    expect(box(page, "patience")).to_have_value("0")
    page.locator("#start-training").click()
    expect(page.locator(".run-status")).to_contain_text("Running")
    # What a run did is there once it has ended.
    expect(page.locator("#results")).to_be_hidden()


def test_a_run_goes_on_while_the_page_is_loaded_anew_and_is_cancelled(
    labelled_app: App, context: BrowserContext
) -> None:
    page = open_page(context, labelled_app)
    start_long_run(page)
    expect(page.locator("#start-training")).to_be_disabled()
    page.reload()
    open_tab(page, "Train")
    expect(page.locator(".run-status")).to_contain_text("Running")
    expect(page.locator("#run-percent")).to_be_visible()
    expect(page.locator("#start-training")).to_be_disabled()
    expect(page.locator("#training-run")).to_contain_text("loss")
    page.locator("#cancel-training").click()
    expect(page.locator(".run-status")).to_contain_text("Cancelled")
    expect(page.locator("#start-training")).to_be_enabled()
    version = store_of(labelled_app).runs()[0].model_version
    expect(page.locator("#training-run")).to_contain_text(f"kept as {version}, unmeasured")
    assert labelled_app.client.get("/v1/models").json()[0]["version"] == version


def test_the_log_has_a_name(page: Page) -> None:
    open_tab(page, "Train")
    page.get_by_role("button", name="Log").click()
    expect(page.get_by_role("textbox", name="Log of the run")).to_be_visible()


def test_the_curve_is_that_of_the_run_that_is_looked_at(labelled_app: App, context: BrowserContext) -> None:
    client = labelled_app.client
    steps = []
    for epochs in (30, 2, 20):
        asked = {"recipe": "classic", "epochs": epochs, "batch_size": 4, "promote": "never"}
        run = ended(client, client.post("/v1/training-runs", json=asked).raise_for_status().json()["id"])
        steps.insert(0, run["total_steps"])
    page = open_page(context, labelled_app)
    open_tab(page, "Train")
    for place in (0, 1, 2, 1, 0):
        page.locator("#pick-run input").click()
        page.get_by_role("option").nth(place).click()
        expect(page.locator("#training-run")).to_contain_text(f"step {steps[place]} of {steps[place]}")
        page.wait_for_function(DRAWN, arg=steps[place])
        # What is drawn late must not be the curve of before.
        page.wait_for_timeout(700)
        page.wait_for_function(DRAWN, arg=steps[place])


def test_others_are_taken_as_not_relevant_where_only_relevant_ones_are_known(
    empty_app: App, context: BrowserContext
) -> None:
    page = open_page(context, empty_app)
    open_tab(page, "Train")
    expect(page.locator("#assume")).to_be_hidden()
    know_only_relevant(empty_app)
    page.reload()
    open_tab(page, "Train")
    expect(page.get_by_text("Or have passages that nobody judged taken as not relevant")).to_be_visible()
    # The way there is in the hint.
    page.locator("#one-sided").get_by_role("button", name="More settings").click()
    expect(page.locator("#assume input")).to_be_focused()
    assume = page.get_by_label("Treat unjudged passages as not relevant")
    assume.check()
    expect(page.locator("#assumed")).to_contain_text("24 of the pairs above are taken as not relevant")
    expect(page.locator("#training-sets")).not_to_contain_text("Nothing can be measured yet")
    expect(page.locator("#one-sided")).to_be_hidden()
    head = page.locator("#more-settings > button")
    expect(head).to_contain_text("More settings: unjudged passages as not relevant")
    assume.uncheck()
    expect(page.locator("#training-sets")).to_contain_text("Nothing can be measured yet")
    assume.check()
    box(page, "epochs").fill("1")
    page.locator("#start-training").click()
    expect(page.locator(".run-note")).to_contain_text("24 pairs that nobody has judged", timeout=120_000)


def test_the_loss_that_is_chosen_is_the_one_that_is_trained_with(
    labelled_app: App, context: BrowserContext
) -> None:
    store = store_of(labelled_app)
    before = len(store.runs())
    page = open_page(context, labelled_app)
    open_tab(page, "Train")
    more_settings(page)
    box(page, "loss").click()
    page.get_by_role("option", name="MSELoss", exact=True).click()
    box(page, "epochs").fill("1")
    # The second time with the curves of the first on the page.
    for number in (1, 2):
        page.locator("#start-training").click()
        eventually(lambda number=number: len(store.runs()) == before + number, "the run is there")
        run = store.runs()[0]
        assert run.config["loss"] == "MSELoss"
        assert ended(labelled_app.client, run.id)["status"] == "succeeded"
        expect(page.locator("#start-training")).to_be_enabled()
        expect(page.locator("#loss-curve svg")).to_be_visible()
    # From one run to the other and back, and away from a plot that was drawn several times.
    for place in (1, 0):
        box(page, "pick-run").click()
        page.get_by_role("option").nth(place).click()
        expect(page.locator("#loss-curve svg")).to_be_visible()
    page.locator("#start-training").click()
    expect(page.locator("#loss-curve")).to_be_hidden()


def test_a_run_that_was_killed_is_resumed_on_the_page(
    labelled_app: App, context: BrowserContext
) -> None:
    page = open_page(context, labelled_app)
    open_tab(page, "Train")
    expect(page.locator("#resume-training")).to_be_hidden()
    start_long_run(page)
    expect(page.locator("#training-run")).to_contain_text("loss")
    expect(page.locator("#resume-training")).to_be_hidden()
    run = store_of(labelled_app).runs()[0]
    os.kill(run.pid, signal.SIGKILL)
    expect(page.locator(".run-status")).to_contain_text("Failed")
    expect(page.locator("#training-run")).to_contain_text("The training process was killed")
    expect(page.locator("#training-run")).to_contain_text("It can be resumed")
    page.locator("#resume-training").click()
    expect(page.locator(".run-status")).to_contain_text("Running")
    went_on = re.compile("Started again from its beginning|Resumed from step")
    expect(page.locator("#training-run")).to_contain_text(went_on)
    expect(page.locator("#resume-training")).to_be_hidden()
    page.locator("#cancel-training").click()
    expect(page.locator(".run-status")).to_contain_text("Cancelled")


def test_a_second_person_sees_the_run_and_cancels_it(labelled_app: App, context: BrowserContext) -> None:
    second = open_page(context, labelled_app)
    open_tab(second, "Train")
    expect(second.locator("#start-training")).to_be_enabled()
    start_long_run(open_page(context, labelled_app))
    expect(second.locator("#model-status")).to_contain_text("Training")
    expect(second.locator(".run-status")).to_contain_text("Running")
    expect(second.locator("#start-training")).to_be_disabled()
    second.locator("#cancel-training").click()
    expect(second.locator(".run-status")).to_contain_text("Cancelled")


def test_who_cannot_start_a_run_sees_which_one_is_in_the_way(labelled_app: App, context: BrowserContext) -> None:
    page = open_page(context, labelled_app)
    open_tab(page, "Train")
    expect(page.locator("#start-training")).to_be_enabled()
    pressed = False

    def hold_until_pressed(route: Route) -> None:
        """The page hears nothing new before somebody presses Start."""
        nonlocal pressed
        pressed = pressed or '"default"' in (route.request.post_data or "")
        if pressed:
            route.continue_()

    page.route("**/queue/join*", hold_until_pressed)
    run = labelled_app.client.post("/v1/training-runs", json={"epochs": 100, "batch_size": 1}).json()
    page.locator("#start-training").click()
    expect_error(page, "Another training run is under way")
    expect(page.locator(".run-status")).to_contain_text("Running")
    expect(page.locator("#cancel-training")).to_be_visible()
    labelled_app.client.delete(f"/v1/training-runs/{run['id']}").raise_for_status()
    expect(page.locator(".run-status")).to_contain_text("Cancelled")


def test_the_page_says_why_a_query_is_in_its_set(empty_app: App, context: BrowserContext) -> None:
    shared = "The bridge was closed for repairs in spring and opened again when summer began, as had been promised."
    labels = [{"query": f"query {number}", "passage": f"about {number}", "label": number % 2} for number in range(30)]
    labels += [{"query": query, "passage": shared, "label": 1} for query in ("when did it open", "why was it closed")]
    empty_app.client.post("/v1/labels", json={"labels": labels}).raise_for_status()
    page = open_page(context, empty_app)
    open_tab(page, "Train")
    page.get_by_role("button", name="Which query is in which set, and why").click()
    rows = page.locator("#set-queries tbody tr")
    expect(rows).to_have_count(32)
    together = rows.filter(has_text="together with another query")
    expect(together).to_have_count(2)
    expect(together.nth(0)).to_contain_text("when did it open")
    assert len({together.nth(place).locator("td").nth(1).inner_text() for place in (0, 1)}) == 1
    expect(rows.filter(has_text="by the hash of its text")).to_have_count(30)
    expect(rows.filter(has_text="from the next run on")).to_have_count(32)
    label(empty_app.client, ("one more", "about another thing", 1))
    open_tab(page, "Data")
    open_tab(page, "Train")
    expect(rows).to_have_count(33)


@pytest.fixture
def guarded_app(tmp_path: Path, model_dir: Path) -> Iterator[App]:
    """An app whose owner has set an API token."""
    with app_in_thread(tmp_path / "app", model_dir, API_TOKEN="s3cret") as app:
        yield app


def test_with_a_token_set_training_and_labels_need_it(guarded_app: App, context: BrowserContext) -> None:
    page = open_page(context, guarded_app)
    open_tab(page, "Data")
    expect(page.locator("#latest-labels")).to_contain_text("Labels are not shown to everyone")
    open_tab(page, "Train")
    page.get_by_role("button", name="Which query is in which set, and why").click()
    expect(page.locator("#set-queries")).to_contain_text("Labelled queries are not shown to everyone")
    page.locator("#start-training").click()
    expect_error(page, "This needs the API token")
    box(page, "api-token").fill("wrong")
    page.locator("#start-training").click()
    expect_error(page, "This needs the API token")
    box(page, "api-token").fill("s3cret")
    page.locator("#start-training").click()
    expect_error(page, "There are no labels to learn from yet")
    open_tab(page, "Data")
    expect(page.locator("#latest-labels")).to_contain_text("Nothing is stored yet")


def test_where_nothing_is_held_back_a_version_shows_its_cross_checked_figures(
    empty_app: App, context: BrowserContext
) -> None:
    for number in range(8):
        query = f"query {number} bridge"
        label(empty_app.client, (query, f"{query} answer", 1), (query, f"rain {number}", 0))
    run = empty_app.client.post("/v1/training-runs", json={"epochs": 1, "promote": "never"}).json()
    run = ended(empty_app.client, run["id"])
    metrics = run["metrics"]["challenger"]
    assert "ndcg@10" not in metrics
    page = open_page(context, empty_app)
    open_tab(page, "Models")
    figure = page.locator(f'tr[data-version="{run["model_version"]}"] td[data-label="nDCG@10"]')
    expect(figure).to_contain_text(f"{metrics['cross_ndcg@10']:.3f}")
    expect(figure).to_contain_text("cross-checked")
    open_tab(page, "Train")
    expect(page.locator(".figures-table thead")).to_contain_text("Cross-checked queries (8)")
    row = page.locator(".figures-table tbody tr", has_text="nDCG@10")
    low, high = (metrics[f"cross_ndcg@10_{end}"] for end in ("low", "high"))
    expect(row).to_contain_text(f"→ {low:.2f}–{high:.2f}".replace("0.", "."))


def test_a_version_is_downloaded_as_a_zip(labelled_page: Page) -> None:
    page = labelled_page
    open_tab(page, "Models")
    with page.expect_download() as download:
        page.locator("tr.active").get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == f"{page.locator('#active-version').inner_text()}.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        assert {"config.json", "README.md"} & set(archive.namelist())
        assert any(name.endswith(".safetensors") for name in archive.namelist())
