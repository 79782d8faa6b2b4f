"""The Label tab: the ways to judge, what was judged, and how far it can be trusted, each as a tab of its own."""

from __future__ import annotations

from typing import Any

import gradio as gr

from labeling.guidelines_tab import build_guidelines
from labeling.label_tab import ONE_BY_ONE, LabelTab
from labeling.list_tab import build_mine_tab, build_query_tab
from labeling.progress_tab import build_progress_tab
from labeling.queue import DEFAULT_STRATEGY, STRATEGIES
from labeling.review_tab import build_agreement_tab, build_disputes_tab
from services import Services


class JudgingTab:
    """What the Label tab holds, and how it is brought up to date."""

    def __init__(self, services: Services, annotator: gr.Textbox, token: gr.Textbox) -> None:
        self.annotator = annotator
        with gr.Column(elem_id="label-tab-body"):
            progress = gr.HTML(elem_id="label-progress")
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
            with gr.Tabs(elem_id="judging-tabs"):
                with gr.Tab("Pair", id="pair") as pair_tab:
                    self.pairs = LabelTab(services, annotator, self.strategy, progress)
                with gr.Tab("Query", id="query") as query_tab:
                    show_query = build_query_tab(services, annotator, self.strategy)
                with gr.Tab("Mine", id="mine") as mine_tab:
                    show_mine = build_mine_tab(services, annotator)
                with gr.Tab("Disputed", id="disputed") as disputed_tab:
                    show_disputes = build_disputes_tab(services, annotator, token)
                with gr.Tab("Agreement", id="agreement") as agreement_tab:
                    show_agreement = build_agreement_tab(services, token)
                with gr.Tab("Progress", id="progress") as progress_tab:
                    show_progress = build_progress_tab(services, annotator)
        self.read_guidelines = connect_guidelines
        # What a change of the name may have to show anew, whichever of them is on the screen.
        self.lists = [lambda opened: show_query(opened, only_on_screen=True), show_mine]
        pair_tab.select(*self.opening, **ONE_BY_ONE)
        show_query(query_tab.select)
        show_mine(mine_tab.select)
        show_disputes(disputed_tab.select)
        show_agreement(agreement_tab.select)
        show_progress(progress_tab.select)

    @property
    def opening(self) -> tuple:
        """The event handler that shows where the annotator is, with its inputs and outputs."""
        pairs = self.pairs
        return pairs.open, [pairs.session, self.annotator, self.strategy], pairs.outputs

    def connect(self, opened: Any) -> None:
        """Make an event, the tab's `select`, show how things stand now."""
        opened(*self.opening, **ONE_BY_ONE)
        self.read_guidelines(opened)

    def connect_name(self, changed: list) -> None:
        """Make these events show the work of whoever has typed their name."""
        gr.on(changed, *self.opening, **ONE_BY_ONE)
        for show in self.lists:
            show(lambda *handler, **options: gr.on(changed, *handler, **options))
