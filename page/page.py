"""The page: a head with the model and the name of whoever judges, and the five tabs below."""

from __future__ import annotations

import functools
from pathlib import Path

import gradio as gr

from labeling.browse_tab import build_browser
from labeling.data_tab import build_data_tab
from labeling.hub_tab import build_hub_form
from page.client_api import add_client_api
from page.events import QUIET, Page
from page.label_tab import LabelTab
from page.render import render
from page.rights import user_of
from reranker.models_tab import build_models_tab
from reranker.rerank_tab import build_rerank_tab
from reranker.results_tab import build_results
from reranker.train_tab import build_train_tab
from services import Services

HERE = Path(__file__).parent
CSS = (HERE / "style.css").read_text(encoding="utf-8")
SCRIPTS = ("stream.js", "conversation.js", "keyboard.js", "keys.js", "tabs.js", "typed.js")
HEAD = "".join(f"<script>{(HERE / name).read_text(encoding='utf-8')}</script>" for name in SCRIPTS)
# Fonts that the machine has: the page asks nobody else for anything.
THEME = gr.themes.Default(
    primary_hue="indigo",
    neutral_hue="slate",
    font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
    font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    radius_size="md",
).set(
    # The theme's own are too pale to read: at least 4.5 to 1 is asked for (WCAG 2.1, 1.4.3).
    body_text_color_subdued="*neutral_500",
    body_text_color_subdued_dark="*neutral_400",
    block_info_text_color="*neutral_500",
    block_info_text_color_dark="*neutral_400",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
    button_primary_background_fill="*primary_600",
    button_cancel_background_fill=gr.themes.colors.red.c600,
    button_cancel_background_fill_hover=gr.themes.colors.red.c700,
    # And 3 to 1 for what shows where a box is, and where the focus (1.4.11).
    checkbox_border_color="*neutral_500",
    checkbox_border_color_dark="*neutral_400",
    checkbox_border_color_hover="*neutral_500",
    checkbox_border_color_hover_dark="*neutral_400",
    input_border_color_focus="*primary_500",
    input_border_color_focus_dark="*primary_400",
    input_shadow_focus="0 0 0 1px *primary_500",
    input_shadow_focus_dark="0 0 0 1px *primary_400",
)
SECONDS_BETWEEN_STATUS = 2.0
# Requests that are answered side by side; scoring takes its turns below them.
CONCURRENT_EVENTS = 16
DAY = 24 * 3600


def _account(profile: gr.OAuthProfile | None) -> str:
    """The name under which whoever is signed in labels, where labelling is for those who are."""
    return user_of(profile) or ""


def build_page(services: Services) -> gr.Blocks:
    """Build the whole page."""
    with Page(title="Rerank Workbench", analytics_enabled=False, fill_width=True, delete_cache=(DAY, DAY)) as page:
        with gr.Row(elem_id="head"):
            with gr.Column(scale=4, min_width=320):
                gr.HTML(
                    '<h1>Rerank Workbench</h1><p class="loop">rerank → label → fine-tune → evaluate → promote</p>',
                    elem_id="title",
                )
                status = gr.HTML(elem_id="model-status")
            with gr.Column(scale=1, min_width=220):
                by_account = services.settings.labeling == "signed-in"
                annotator = gr.Textbox(
                    label="Your name",
                    placeholder="sign in to label" if by_account else "for the labels you give",
                    elem_id="annotator",
                    max_length=100,
                    interactive=not by_account,
                )
                token = gr.Textbox(
                    label="API token",
                    type="password",
                    placeholder="to train, promote, import and export",
                    elem_id="api-token",
                    visible=services.settings.api_token is not None,
                )
                if services.settings.sign_in:
                    gr.LoginButton(size="sm")
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap"):
            with gr.Tab("Rerank", id="rerank") as rerank_tab:
                typed, connect_rerank = build_rerank_tab(services, annotator, token)
            with gr.Tab("Label", id="label") as label_tab:
                labelling = LabelTab(services, annotator, token)
            with gr.Tab("Data", id="data") as data_tab:
                import_form = build_data_tab(
                    services, annotator, token, functools.partial(build_hub_form, services, token)
                )
                connect_data, bring_search_back = build_browser(services, annotator, token)
                import_form.connect(connect_data)
            with gr.Tab("Train", id="train") as train_tab:
                connect_train, shown_run = build_train_tab(services, token)
                build_results(services, annotator, token, shown_run)
            with gr.Tab("Models", id="models") as models_tab:
                connect_models, switched = build_models_tab(services, token)

        labelling.connect(label_tab.select, page.load)
        if by_account:
            known = page.load(_account, None, annotator, **QUIET)
        else:
            # The browser remembers the name by itself: an answer of the server might come after the next key.
            known = page.load(None, annotator, annotator, js="(typed) => workbench.remembered(typed)", **QUIET)
        known.then(None, None, None, js="() => workbench.named()", **QUIET)
        page.load(None, typed, typed, js="(...typed) => workbench.typed(...typed)", **QUIET)
        # Also where labelling is closed to those without the token.
        labelling.connect_name([annotator.blur, annotator.submit, token.blur, token.submit])
        connect_data(data_tab.select)
        bring_search_back(page.load)
        # What was refused without the token is there with it.
        known_token = gr.State("")
        gr.on([token.blur, token.submit], lambda typed: typed, token, known_token, **QUIET)
        connect_data(known_token.change)

        def show_status(shown: str) -> tuple:
            state, run = services.registry.status(), services.jobs.current()
            html = render(
                "status.html",
                loading=state.loading,
                version=state.version,
                notices=[state.message, services.backup.notice if services.backup else ""],
                run=run,
            )
            names = f"{state.version and state.version.version} {run and run.id}"
            return (gr.skip(),) * 3 if html == shown else (html, html, names)

        # Which version answers and which run is under way: when that changes there may be other versions than before.
        shown_status, shown_names = gr.State(""), gr.State("")
        connect_rerank(page.load, rerank_tab.select, shown_status.change)
        connect_train(train_tab.select, shown_status.change, page.load)
        connect_models(models_tab.select, shown_names.change)
        for news in (page.load, gr.Timer(SECONDS_BETWEEN_STATUS).tick, *switched):
            news(show_status, shown_status, [shown_status, status, shown_names], **QUIET)
        add_client_api(services)
    page.queue(default_concurrency_limit=CONCURRENT_EVENTS, max_size=500)
    return page
