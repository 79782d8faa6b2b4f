"""The Label tab: the ways to judge, what was judged, and how far it can be trusted, each as a tab of its own."""

from __future__ import annotations

from typing import Any

import gradio as gr

from labeling.guidelines_tab import build_guidelines
from labeling.list_tab import build_mine_tab, build_query_tab
from labeling.pair_tab import build_pair_tab
from labeling.progress_tab import build_progress_tab
from labeling.queue import DEFAULT_STRATEGY, STRATEGIES
from labeling.review_tab import build_agreement_tab, build_disputes_tab
from page.events import QUIET
from page.render import render, script
from services import Services

LABEL_TAB_JS = script("label_tab.js")


class LabelTab:
    """What the Label tab holds, and how it is brought up to date."""

    def __init__(self, services: Services, annotator: gr.Textbox, token: gr.Textbox) -> None:
        with gr.Column(elem_id="label-tab-body"):
            head = gr.HTML(render("saving.html"), elem_id="label-progress", js_on_load=LABEL_TAB_JS)
            with gr.Row(elem_classes="quiet-row"):
                self.strategy = gr.Dropdown(
                    [(f"{name}: {strategy.meaning}", name) for name, strategy in STRATEGIES.items()],
                    value=DEFAULT_STRATEGY,
                    label="Which pair next",
                    elem_id="strategy",
                    scale=2,
                    min_width=300,
                )
                connect_guidelines = build_guidelines(services, annotator, token)
            with gr.Tabs(elem_id="judging-tabs", overflow_behavior="wrap"):
                with gr.Tab("Pair", id="pair"):
                    build_pair_tab(services)
                with gr.Tab("Query", id="query"):
                    build_query_tab(services)
                with gr.Tab("Mine", id="mine"):
                    build_mine_tab(services)
                with gr.Tab("Disputed", id="disputed") as disputed_tab:
                    show_disputes = build_disputes_tab(services, annotator, token)
                with gr.Tab("Agreement", id="agreement") as agreement_tab:
                    show_agreement = build_agreement_tab(services, token)
                with gr.Tab("Progress", id="progress") as progress_tab:
                    show_progress = build_progress_tab(services, annotator)
        self.read_guidelines = connect_guidelines
        choose = f"(strategy) => workbench.choose(strategy, '{self.strategy.value}')"
        self.strategy.input(None, self.strategy, None, js=choose, **QUIET)
        for show, opened, shown_anew in (
            (show_disputes, disputed_tab.select, head.disputed),
            (show_agreement, agreement_tab.select, head.agreement),
            (show_progress, progress_tab.select, head.progress),
        ):
            show(opened)
            show(shown_anew)

    def connect(self, opened: Any, loaded: Any) -> None:
        """Make an event, the tab's `select`, read what is not fetched by the page itself; and another one, the page's
        `load`, show the strategy that was chosen before."""
        self.read_guidelines(opened)
        loaded(None, None, self.strategy, js="() => workbench.kept('strategy', 1)[0]", **QUIET)

    def connect_name(self, changed: list) -> None:
        """Make these events show the work of whoever has typed their name."""
        gr.on(changed, None, None, None, js="() => workbench.named()", **QUIET)
