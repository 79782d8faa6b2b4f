"""What the page says of a run that has finished, and what can be done with the versions that runs have made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from page.page import CSS
from page.training_view import render_run
from reranker.figures import METRICS, SETS
from reranker.recipe import TrainingConfig
from storage.records import TrainingRun
from tests.browser.conftest import expect_error, open_page, open_tab, say_name
from tests.serving import App, app_in_thread, ended

pytestmark = pytest.mark.browser

# The least room that the figures have as a table: half of the least window in which they are no cards.
ROOM = 640

NOISE = ["music in the city", "rain in winter", "a garden in the south"]
# Labelled the wrong way round, on purpose.
WRONG = ("what is bridge number 3 for", "what is bridge number 3 for it answers this")


@pytest.fixture(scope="module")
def finished_app(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[App]:
    """An app with labels of 40 queries, one of them wrong, and the run that made v1 of them."""
    with app_in_thread(tmp_path_factory.mktemp("finished") / "app", model_dir) as app:
        labels = []
        for number in range(40):
            query = f"what is bridge number {number} for"
            labels.append({"query": query, "passage": f"{query} it answers this", "label": int(query != WRONG[0])})
            labels += [{"query": query, "passage": f"{noise} {number}", "label": 0} for noise in NOISE]
        labels.append({"query": WRONG[0], "passage": "rain in winter 3", "label": 1})
        app.client.post("/v1/labels", json={"labels": labels}).raise_for_status()
        run = app.client.post("/v1/training-runs", json={"epochs": 1, "promote": "never"}).raise_for_status().json()
        assert ended(app.client, run["id"])["model_version"] == "v1"
        yield app


def open_box(page: Page, title: str) -> None:
    """Open a part of the page that is closed at first."""
    page.get_by_role("button", name=title).click()


def choose(page: Page, elem_id: str, option: str) -> None:
    """Choose from a drop-down list."""
    page.locator(f"#{elem_id} input").click()
    page.locator(f"#{elem_id}").get_by_role("option", name=option, exact=True).click()


def test_each_held_out_query_is_shown_before_and_after(finished_app: App, context: BrowserContext) -> None:
    page = open_page(context, finished_app)
    open_tab(page, "Train")
    expect(page.locator(".figures-table")).to_contain_text("Held-out queries")
    expect(page.locator(".figures-table")).to_contain_text("General set (24)")
    expect(page.locator("#training-run")).to_contain_text("GB")
    open_box(page, "What the labels did")
    changes = page.locator("#changes .change")
    expect(changes.first).to_be_visible()
    count = changes.count()
    expect(page.locator("#changes .tally")).to_contain_text(f"{count} held-out queries")
    gains = []
    for place in range(count):
        before, after = changes.nth(place).locator("summary .hint").inner_text().removeprefix("nDCG@10 ").split(" → ")
        gains.append(abs(float(after) - float(before)))
    assert gains == sorted(gains, reverse=True)
    changes.first.locator("summary").click()
    lists = changes.first.locator("ol")
    expect(lists.nth(0)).to_be_visible()
    assert lists.nth(0).locator("li").count() == lists.nth(1).locator("li").count() == 4
    passages = [sorted(lists.nth(side).locator("li p").all_inner_texts()) for side in (0, 1)]
    assert passages[0] == passages[1]
    open_box(page, "What more labels would bring")
    expect(page.locator("#learning-curve")).to_contain_text("Tick Learning curve before you start a run.")
    expect(page.locator("#learning-curve-plot")).to_be_hidden()
    open_box(page, "What they did to the general set")
    expect(page.locator("#general-changes .change")).to_have_count(24)


def test_a_doubtful_label_is_judged_again(finished_app: App, context: BrowserContext) -> None:
    page = open_page(context, finished_app)
    open_tab(page, "Train")
    open_box(page, "Labels to look at again")
    suspect = page.locator("#suspects li").filter(has_text=WRONG[1])
    expect(suspect).to_contain_text("labelled ✗ not relevant")
    suspect.get_by_role("button", name="✓ Relevant").click()
    expect_error(page, "Who is judging?")
    say_name(page, "Ada")
    suspect.get_by_role("button", name="✓ Relevant").click()
    expect(suspect.get_by_role("button", name="✓ Relevant")).to_have_attribute("aria-pressed", "true")
    expect(suspect.get_by_role("button", name="✗ Not relevant")).to_have_attribute("aria-pressed", "false")
    stored = map(json.loads, finished_app.client.get("/v1/labels").text.splitlines())
    author = next(line["annotator"] for line in stored if line["passage"] == WRONG[1] and line["annotator"] != "Ada")
    expect(suspect).to_contain_text(f"by {author};")
    expect(suspect).to_contain_text("Your label stands beside that of")
    page.reload()
    open_tab(page, "Train")
    open_box(page, "Labels to look at again")
    expect(suspect.get_by_role("button", name="✓ Relevant")).to_have_attribute("aria-pressed", "true")
    # Somebody else has not said so.
    say_name(page, "Eve")
    expect(suspect.get_by_role("button", name="✓ Relevant")).to_have_attribute("aria-pressed", "false")
    say_name(page, "Ada")
    expect(suspect.get_by_role("button", name="✓ Relevant")).to_have_attribute("aria-pressed", "true")
    lines = [line for line in finished_app.client.get("/v1/labels").text.splitlines() if "Ada" in line]
    (line,) = lines
    assert WRONG[1] in line and '"label": 1' in line


def test_versions_are_made_again_compared_and_deleted(finished_app: App, context: BrowserContext) -> None:
    page = open_page(context, finished_app)
    base = page.locator("#active-version").inner_text()
    open_tab(page, "Models")
    first = page.locator('tr[data-version="v1"]')
    again = first.get_by_role("button", name="Make again")
    again.click()
    expect(page.get_by_test_id("toast-body").filter(has_text="v1 is being made again")).to_be_visible()
    again.click()
    expect_error(page, "Another training run is under way")
    # Nothing has changed in the table, but the button may be pressed again.
    expect(again).to_be_enabled()
    open_tab(page, "Train")
    expect(page.locator(".outcome")).to_contain_text("v2", timeout=180_000)
    open_tab(page, "Models")
    page.get_by_text("How v2 was made").click()
    expect(page.locator("#models")).to_contain_text("sentence-transformers")

    open_box(page, "Compare two versions")
    choose(page, "compare-first", "v1")
    choose(page, "compare-second", "v1")
    page.locator("#compare").click()
    expect_error(page, "These are the same version")
    choose(page, "compare-second", "v2")
    page.locator("#compare").click()
    # It has the same weights, so it ranks the same.
    expect(page.locator("#compared .difference")).to_contain_text("No query changed")
    expect(page.locator("#compared .change").first).to_be_visible()

    second = page.locator('tr[data-version="v2"]')
    page.once("dialog", lambda dialog: dialog.dismiss())
    second.get_by_role("button", name="Delete").click()
    expect(second.get_by_role("button", name="Delete")).to_be_enabled()
    second.get_by_role("button", name="Promote").click()
    expect(page.locator("tr.active")).to_contain_text("v2")
    expect(second.get_by_role("button", name="Download")).to_be_visible()
    expect(second.get_by_role("button", name="Delete")).to_have_count(0)
    page.get_by_role("button", name=f"Roll back to {base}").click()
    expect(page.locator("tr.active")).to_contain_text(base)
    page.once("dialog", lambda dialog: dialog.accept())
    second.get_by_role("button", name="Delete").click()
    expect(second).to_have_count(0)
    assert "v2" not in [version["version"] for version in finished_app.client.get("/v1/models").json()]

    # An earlier run can still be looked at.
    open_tab(page, "Train")
    expect(page.locator(".outcome")).to_contain_text("v2")
    page.locator("#pick-run input").click()
    page.get_by_role("option").filter(has_text="v1").click()
    expect(page.locator(".outcome")).to_contain_text("v1")


def test_a_push_without_a_token_says_so(finished_app: App, context: BrowserContext) -> None:
    page = open_page(context, finished_app)
    open_tab(page, "Models")
    open_box(page, "Push a version")
    page.locator("#push").click()
    expect_error(page, "Choose a version and type where it goes")
    choose(page, "push-version", "v1")
    page.locator("#push-repo input, #push-repo textarea").first.fill("ada/reranker")
    page.locator("#push").click()
    expect_error(page, "HF_TOKEN is not set")


def test_the_names_of_the_figures_are_not_broken_within_a_word(context: BrowserContext) -> None:
    figures = {f"{measured.prefix}{name}": 0.75 for measured in SETS.values() for name in (*METRICS, "queries")}
    figures |= {f"{name}_{end}": 0.25 for name in figures for end in ("low", "high")}
    run = TrainingRun("1", "succeeded", asdict(TrainingConfig.of()), "2026-01-01")
    run.metrics.update(champion=figures, challenger=figures)
    page = context.new_page()
    page.set_viewport_size({"width": 1400, "height": 900})
    room = f"width: {ROOM}px; font-family: sans-serif"
    page.set_content(f'<style>{CSS}</style><div style="{room}">{render_run(run)}</div>')
    names = page.locator("tbody th")
    expect(names).to_have_count(len(METRICS))
    lines = names.evaluate_all(
        "cells => cells.map((cell) => { const range = document.createRange(); range.selectNodeContents(cell);"
        " return range.getClientRects().length; })"
    )
    page.close()
    assert lines == [1] * len(METRICS)
