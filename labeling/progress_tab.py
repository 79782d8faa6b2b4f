"""How far the judging has come: the team and you, by day, the balance of labels, and how many more are worth it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import gradio as gr

from labeling.worth import WORTH_SEEING, outlook
from page.events import QUIET
from page.render import render
from services import Services

# At least so many days are shown, also those without labels.
LEAST_DAYS, DAYS = 14, 30
COLOURS = {"you": "#6366f1", "others": "#94a3b8", "everyone": "#6366f1"}
RUNS = 6
COLUMNS = ["day", "labels", "whose"]


def build_progress_tab(services: Services, annotator: gr.Textbox) -> Callable:
    """Build the page of how far the judging has come. Returns a function that makes an event read it anew."""
    store = services.progress_store
    head = gr.HTML(elem_id="progress-head")
    chart = gr.BarPlot(
        x="day", y="labels", color="whose", color_title=" ", title="Labels by day (UTC)", height=300, visible=False,
        x_title=" ", y_title="labels", x_label_angle=-90, color_map=COLOURS, elem_id="progress-chart", show_label=False,
    )  # fmt: skip
    foot = gr.HTML(elem_id="progress-foot")

    def show(name: str) -> tuple:
        import pandas as pd

        name = name.strip()
        days = store.labels_by_day(name, DAYS)
        whose = ("you", "others") if name else ("everyone",)
        rows = [
            (day, labels, who)
            for day, total, mine in each_day(days)
            for labels, who in zip((mine, total - mine) if name else (total,), whose, strict=True)
        ]
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
        head = render("balance.html", progress=progress, balance=store.balance(), queries=queries, name=name)
        return head, gr.update(value=pd.DataFrame(rows, columns=COLUMNS), visible=bool(rows)), foot

    return lambda opened: opened(show, annotator, [head, chart, foot], **QUIET)


def each_day(days: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """The last days up to the last one that is counted, at most DAYS, those between without labels too."""
    if not days:
        return []
    counted = {day: (total, mine) for day, total, mine in days}
    last = date.fromisoformat(days[-1][0])
    shown = min(max((last - date.fromisoformat(days[0][0])).days + 1, LEAST_DAYS), DAYS)
    wanted = [(last - timedelta(days=back)).isoformat() for back in range(shown - 1, -1, -1)]
    return [(day, *counted.get(day, (0, 0))) for day in wanted]
