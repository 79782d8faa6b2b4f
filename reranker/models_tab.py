"""The Models tab: the versions with their numbers, promote one, roll back."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from page.notices import check_may_change, shown_to_people
from page.render import render
from server.archive import zip_directory
from services import Services

MODELS_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-promote], button[data-download]');
  if (!button) return;
  if (button.dataset.download) {
    trigger('download', { version: button.dataset.download });
    return;
  }
  button.disabled = true;
  button.textContent = 'Loading…';
  trigger('promote', { version: button.dataset.promote });
});
"""
LATEST_EVENTS = 20


def build_models_tab(services: Services, token: gr.Textbox) -> Callable:
    """Build the tab. Returns a function that makes an event bring it up to date."""
    gr.Markdown(
        "The active version answers every request. A promoted one is loaded and tried out first: nothing fails."
    )
    table = gr.HTML(js_on_load=MODELS_JS, elem_id="models")
    roll_back = gr.Button("Roll back", elem_id="roll-back", interactive=False, scale=0, min_width=260)
    archive = gr.File(label="The version as a zip", interactive=False, visible=False, elem_id="model-archive")
    written = gr.State(None)
    registry = services.registry
    outputs = [table, roll_back]

    def show() -> tuple:
        status = registry.status()
        active = status.version
        previous = registry.can_roll_back_to()
        versions = services.model_store.versions()
        html = render(
            "models.html",
            versions=versions,
            before={
                version.version: services.model_store.run(version.run_id).metrics["champion"]
                for version in versions
                if version.run_id
            },
            active=active.version if active else None,
            engine=status.engine,
            engine_reason=status.engine_reason,
            events=services.model_store.model_events()[: -LATEST_EVENTS - 1 : -1],
        )
        text = f"Roll back to {previous}" if previous else "Nothing to roll back to"
        return html, gr.update(value=text, interactive=previous is not None)

    def promote(token: str, event: gr.EventData, request: gr.Request, profile: gr.OAuthProfile | None) -> tuple:
        try:
            _promote(token, event, request, profile)
        except gr.Error as error:
            # The table is drawn anew whatever happened, or its button would say "Loading" for ever.
            gr.Warning(error.message, title=error.title, duration=error.duration)
        return show()

    @shown_to_people
    def _promote(token: str, event: gr.EventData, request: gr.Request, profile: gr.OAuthProfile | None) -> None:
        check_may_change(services, token, request, profile)
        version = registry.promote(event.version, "asked for on the page")
        gr.Info(f"{version.version} answers now.")

    @shown_to_people
    def download(token: str, event: gr.EventData, request: gr.Request, profile: gr.OAuthProfile | None) -> tuple:
        check_may_change(services, token, request, profile)
        version = services.model_store.version(event.version)
        path = Path(tempfile.mkdtemp()) / f"{version.version}.zip"
        with path.open("wb") as file:
            file.writelines(zip_directory(registry.directory(version)))
        return gr.update(value=str(path), visible=True), path.parent

    @shown_to_people
    def go_back(token: str, request: gr.Request, profile: gr.OAuthProfile | None) -> tuple:
        check_may_change(services, token, request, profile)
        version = registry.roll_back("asked for on the page")
        gr.Info(f"{version.version} answers again.")
        return show()

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    table.promote(promote, token, outputs, **quiet)
    # The page keeps a copy of its own to download, so that what was written for it can go.
    table.download(download, token, [archive, written], show_progress_on=archive, api_visibility="private").success(
        shutil.rmtree, written, None, **quiet
    )
    roll_back.click(go_back, token, outputs, show_progress="minimal", api_visibility="private")

    def connect(opened: Callable) -> None:
        opened(show, None, outputs, **quiet)

    return connect
