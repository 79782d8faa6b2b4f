"""The Data tab: bring pairs and labels in, take labels out, look at the latest."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import gradio as gr

from errors import InvalidInput, WorkbenchError
from labeling.exchange import IMPORT_TYPES, MEDIA_TYPES, ExportFormat, ImportedPairs, export, read_pairs
from page.notices import SECONDS_TO_READ, check_may_change, shown_to_people
from page.render import render
from services import Services

LATEST = 100
# Whose labels a file's are when it names no annotator, and nobody has typed a name.
IMPORTER = "import"


def build_data_tab(services: Services, annotator: gr.Textbox, token: gr.Textbox) -> Callable:
    """Build the tab. Returns a function that makes an event (the tab's `select`) read the latest labels."""
    with gr.Row(elem_classes="two-columns"):
        with gr.Column(min_width=320):
            gr.Markdown(
                "### Import\nA CSV, TSV or JSONL file with `query` and `passage`; where there are any, also `label` "
                "(1 or 0), `annotator`, `source`, `note`. Rows without a label wait on the Label tab."
            )
            file = gr.File(label="File of pairs", file_types=list(IMPORT_TYPES), elem_id="import-file", height=140)
            report = gr.HTML(elem_id="import-report")
            do_import = gr.Button("Import", variant="primary", elem_id="import", interactive=False)
        with gr.Column(min_width=320):
            gr.Markdown("### Export\nEvery label. qrels hold what each pair counts as when annotators differ.")
            kind = gr.Radio(list(MEDIA_TYPES), value="jsonl", label="Format", elem_id="export-format")
            do_export = gr.Button("Make the file", elem_id="export")
            exported = gr.File(label="Labels", interactive=False, visible=False, elem_id="exported")
    written = gr.State(None)
    gr.Markdown("### Latest labels")
    latest = gr.HTML(elem_id="latest-labels")

    def preview(
        path: str | None, annotator: str, token: str, request: gr.Request, profile: gr.OAuthProfile | None
    ) -> tuple:
        if path is None:
            return gr.skip(), gr.update(interactive=False)
        try:
            check_may_change(services, token, request, profile)
            pairs = read_pairs(Path(path), annotator.strip() or IMPORTER)
        except WorkbenchError as error:
            # Not raised: the report of the file before has to go.
            gr.Warning(str(error), duration=SECONDS_TO_READ)
            return "", gr.update(interactive=False)
        return _report(path, pairs, "Nothing is stored yet: press Import."), gr.update(interactive=True)

    @shown_to_people
    def run_import(
        path: str | None, annotator: str, token: str, request: gr.Request, profile: gr.OAuthProfile | None
    ) -> tuple:
        check_may_change(services, token, request, profile)
        if path is None:
            raise InvalidInput("Choose a file first.")
        pairs = read_pairs(Path(path), annotator.strip() or IMPORTER)
        added, (saved, changed) = services.labeling.import_pairs(pairs.candidates, pairs.judgments)
        done = (
            f"Imported: {saved} labels, of which {changed} changed an earlier one; {added.candidates} new pairs to be "
            f"judged, and {added.duplicates} that were there already."
        )
        return None, _report(path, pairs, done), gr.update(interactive=False)

    @shown_to_people
    def run_export(kind: ExportFormat, token: str, request: gr.Request, profile: gr.OAuthProfile | None) -> tuple:
        check_may_change(services, token, request, profile)
        path = Path(tempfile.mkdtemp()) / f"labels.{kind}"
        with path.open("wb") as out:
            out.writelines(export(kind, services.label_store.labels, services.label_store.consensus))
        return gr.update(value=str(path), visible=True), path.parent

    def read_latest(token: str, request: gr.Request, profile: gr.OAuthProfile | None) -> str:
        try:
            check_may_change(services, token, request, profile)
        except WorkbenchError as error:
            return render("empty.html", title="Labels are not shown to everyone", what_to_do=str(error))
        return render("labels.html", labels=services.label_store.latest_labels(LATEST))

    file.change(preview, [file, annotator, token], [report, do_import], api_visibility="private")
    do_import.click(run_import, [file, annotator, token], [file, report, do_import], api_visibility="private").success(
        read_latest, token, latest, show_progress="hidden", api_visibility="private"
    )
    # The page keeps a copy of its own to download, so that what was written for it can go.
    do_export.click(run_export, [kind, token], [exported, written], api_visibility="private").success(
        shutil.rmtree, written, None, show_progress="hidden", api_visibility="private"
    )
    return lambda opened: opened(read_latest, token, latest, show_progress="hidden", api_visibility="private")


def _report(path: str, pairs: ImportedPairs, what_to_do: str) -> str:
    return render(
        "import.html",
        name=Path(path).name,
        labels=len(pairs.judgments),
        candidates=len(pairs.candidates),
        broken=pairs.broken,
        what_to_do=what_to_do,
    )
