"""How far the judging has come: the team and you, by day, the balance of labels, and how many more are worth it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from labeling.worth import WORTH_SEEING, outlook
from page.render import render
from services import Services
from storage.progress_store import ProgressStore

DAYS = 30
RUNS = 6
COLUMNS = ["day", "labels", "whose"]


def build_progress_tab(services: Services, annotator: gr.Textbox) -> Callable:
    """Build the page of how far the judging has come. Returns a function that makes an event read it anew."""
    store = ProgressStore(services.settings.database_path)
    head = gr.HTML(elem_id="progress-head")
    chart = gr.BarPlot(
        x="day", y="labels", color="whose", title="Labels by day (UTC)", height=260, visible=False,
        x_title="", y_title="labels", elem_id="progress-chart", show_label=False,
    )  # fmt: skip
    foot = gr.HTML(elem_id="progress-foot")

    def show(name: str) -> tuple:
        import pandas as pd

        name = name.strip()
        days = store.labels_by_day(name, DAYS)
        rows = [(day, mine, "you") for day, _, mine in days if mine]
        rows += [(day, total - mine, "others" if name else "everyone") for day, total, mine in days if total > mine]
        runs = store.measured_runs(RUNS)
        queries = store.judged_queries()
        progress = services.labeling.progress(name)
        foot = render(
            "worth.html",
            days=days,
            runs=[(run.labels, sum(run.differences) / len(run.differences)) for run in runs if run.differences],
            outlook=outlook(runs[-1].differences, progress.judged / max(queries, 1)) if runs else None,
            measured=bool(runs),
            per_query=progress.judged / max(queries, 1),
            worth_seeing=WORTH_SEEING,
        )
        head = render("balance.html", progress=progress, queries=queries, name=name)
        return head, gr.update(value=pd.DataFrame(sorted(rows), columns=COLUMNS), visible=bool(rows)), foot

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    return lambda opened: opened(show, annotator, [head, chart, foot], **quiet)
