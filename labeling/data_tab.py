"""The Data tab: bring pairs and labels in, and take labels out.

A file is checked as soon as it is chosen: what of it is new, what is broken and where. Nothing is stored until Import
is pressed, and then all of it or nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from errors import Conflict, InvalidInput, WorkbenchError
from labeling.exchange import EXPORTS, Exportable, ExportFormat
from labeling.importing import (
    COLUMNS,
    CheckedFile,
    check_file,
    check_rows,
    guess_columns,
    is_enough,
)
from labeling.reading import IMPORT_TYPES, column_names, preview
from labeling.trec import read_trec
from page.downloads import Download, written
from page.notices import SECONDS_TO_READ, as_text
from page.render import render
from page.rights import check_may_change
from services import Services
from storage.staging import Staging

# Whose labels a file's are when it names no annotator, and nobody has typed a name.
IMPORTER = "import"
STAGED = "import-"
# To go through the loop with: questions to a made-up bicycle hire, whose old pages are not relevant any more.
SAMPLE = Path(__file__).parent / "sample_help_centre.csv"
NO_COLUMN = "(none)"
ABOUT = (
    "## Import\nA CSV, TSV, JSONL or Parquet file with a query and a passage in each row and, if you have them, label "
    "(1 or 0), annotator, source, rank and note. Rows without a label go to the Label tab to be judged. Triplets in "
    "columns such as query, positive and negative work too."
)


@dataclass
class Checked:
    """A file that was checked, and the directory in which its rows are staged; `columns` is what holds what in it, as
    the drop-downs say, and None of files of TREC."""

    file: CheckedFile
    directory: Path
    columns: dict[str, str] | None = None

    @property
    def staging(self) -> Staging:
        return Staging(self.directory / "rows.db")

    def remove(self) -> None:
        """Delete what was staged."""
        shutil.rmtree(self.directory, ignore_errors=True)


class ImportForm:
    """The part of the tab that brings files in. What was checked last waits in `checked` until Import is pressed."""

    def __init__(
        self, services: Services, annotator: gr.Textbox, token: gr.Textbox, build_source: Callable[[gr.File], None]
    ) -> None:
        """`build_source` adds another source of files, and puts what it fetches into the component that it is given."""
        self.services = services
        for left_over in services.settings.data_dir.glob(f"{STAGED}*"):
            shutil.rmtree(left_over, ignore_errors=True)
        self.who = [annotator, token]
        gr.Markdown(ABOUT)
        self.checked = gr.State(None, delete_callback=lambda checked: checked and checked.remove())
        self.file = gr.File(label="File of pairs", file_types=list(IMPORT_TYPES), elem_id="import-file", height=140)
        self.sample = gr.Button("Or try a sample: the help centre of a bicycle hire", size="sm", elem_id="sample")
        with gr.Accordion("Columns of the file", open=False, visible=False, elem_id="import-columns") as self.about:
            with gr.Row():
                self.columns = [
                    gr.Dropdown([NO_COLUMN], value=NO_COLUMN, label=name.capitalize(), min_width=140,
                                elem_id=f"column-{name}", interactive=True)
                    for name in COLUMNS
                ]  # fmt: skip
            self.rows = gr.HTML(elem_id="import-preview")
        build_source(self.file)
        with gr.Accordion("Or TREC files", open=False, elem_id="trec"):
            gr.Markdown("Topics and a collection, with qrels, a run, or both.")
            with gr.Row():
                self.trec = [
                    gr.File(label=label, height=110, min_width=140, elem_id=f"trec-{label.lower()}")
                    for label in ("Topics", "Collection", "Qrels", "Run")
                ]
            self.check_trec = gr.Button("Check these files", size="sm", elem_id="check-trec")
        self.report = gr.HTML(elem_id="import-report")
        self.button = gr.Button("Import", variant="primary", elem_id="import", interactive=False)

    def connect(self, imported: Callable) -> None:
        """Connect the events; `imported` is given the event that follows an import."""
        private: dict[str, Any] = {"api_visibility": "private"}
        outputs = [self.checked, self.report, self.button]
        self.file.change(
            self.choose, [self.file, *self.who, self.checked], [*outputs, self.about, self.rows, *self.columns],
            show_progress_on=self.report, **private,
        )  # fmt: skip
        self.sample.click(lambda: str(SAMPLE), None, self.file, show_progress_on=self.file, **private)
        # Several columns are named faster than a file is checked: what counts is how they are at last.
        gr.on(
            [column.input for column in self.columns],
            self.check_again, [self.file, *self.who, self.checked, *self.columns], outputs,
            trigger_mode="always_last", show_progress_on=self.report, **private,
        )  # fmt: skip
        self.check_trec.click(
            self.check_trec_files, [*self.trec, *self.who, self.checked], outputs,
            show_progress_on=self.report, **private,
        )  # fmt: skip
        imported(
            self.button.click(
                self.run, [*self.who, self.checked], [self.file, *outputs],
                show_progress_on=self.report, **private,
            ).success
        )  # fmt: skip

    def choose(
        self, path: str | None, annotator: str, token: str, checked: Checked | None, request: gr.Request,
        profile: gr.OAuthProfile | None, progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple:  # fmt: skip
        """Another file was chosen: guess its columns, and check it."""
        same = [gr.skip()] * len(self.columns)
        if path is None:
            return *self._taken_away(checked), gr.update(visible=False), "", *same
        shown: tuple = (gr.update(visible=False), "", *same)
        try:
            check_may_change(self.services, token, request, profile)
            names = column_names(Path(path))
            guessed = guess_columns(names)
            rows = [(number, row) for number, row in preview(Path(path)) if isinstance(row, dict)]
            columns = [gr.update(choices=[NO_COLUMN, *names], value=guessed.get(name, NO_COLUMN)) for name in COLUMNS]
            rows = [(number, {name: row.get(name) for name in names}) for number, row in rows]
            is_open = not is_enough(guessed)
            html = render("preview.html", rows=rows, columns=names)
            shown = (gr.update(visible=bool(names), open=is_open), html, *columns)
        except WorkbenchError as error:
            return *self._refused(Path(path).name, checked, error), *shown
        found, *report = self._checked(path, annotator, None, checked, progress)
        return found and replace(found, columns=guessed), *report, *shown

    def check_again(
        self, path: str | None, annotator: str, token: str, checked: Checked | None, query: str, passage: str,
        label: str, judged_by: str, source: str, rank: str, note: str, positive: str, negative: str,
        request: gr.Request, profile: gr.OAuthProfile | None, progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple:  # fmt: skip
        """Somebody said that another column holds something, or has only left one of the drop-downs."""
        columns = (query, passage, label, judged_by, source, rank, note, positive, negative)
        if path is None:
            return gr.skip(), gr.skip(), gr.skip()
        try:
            check_may_change(self.services, token, request, profile)
        except WorkbenchError as error:
            return self._refused(Path(path).name, checked, error)
        chosen = dict(zip(COLUMNS, columns, strict=True))
        mapping = {name: column for name, column in chosen.items() if column != NO_COLUMN}
        if checked and checked.columns == mapping:
            return gr.skip(), gr.skip(), gr.skip()
        found, *report = self._checked(path, annotator, mapping, checked, progress)
        return found and replace(found, columns=mapping), *report

    def _checked(
        self, path: str, annotator: str, mapping: dict[str, str] | None, before: Checked | None, progress: gr.Progress
    ) -> tuple:
        who = annotator.strip() or IMPORTER
        return self._stage(
            Path(path).name,
            before,
            lambda staging, store: check_file(
                Path(path), who, staging, store, mapping, lambda part: progress(part, desc="Checking the rows")
            ),
        )

    def check_trec_files(
        self, topics: str | None, collection: str | None, qrels: str | None, run: str | None, annotator: str,
        token: str, checked: Checked | None, request: gr.Request, profile: gr.OAuthProfile | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple:  # fmt: skip
        """Check files of TREC together."""
        check_may_change(self.services, token, request, profile)
        if topics is None or collection is None or (qrels is None and run is None):
            raise InvalidInput("Choose the topics, the collection, and qrels or a run.")
        named = [Path(path) if path else None for path in (qrels, run)]
        name = " and ".join(path.name for path in named if path)
        rows = read_trec(Path(topics), Path(collection), named[0], named[1], annotator.strip() or IMPORTER)
        return self._stage(
            name,
            checked,
            lambda staging, store: check_rows(
                name, rows, staging, store, lambda part: progress(part, desc="Checking the rows")
            ),
        )

    def _stage(self, name: str, before: Checked | None, check: Callable[[Staging, Path], CheckedFile]) -> tuple:
        if before:
            before.remove()
        directory = Path(tempfile.mkdtemp(prefix=STAGED, dir=self.services.settings.data_dir))
        try:
            found = Checked(check(Staging(directory / "rows.db"), self.services.settings.database_path), directory)
        except WorkbenchError as error:
            shutil.rmtree(directory, ignore_errors=True)
            return self._refused(name, None, error)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        return found, render("import.html", checked=found.file, stored=None), gr.update(interactive=True)

    def _refused(self, name: str, before: Checked | None, error: WorkbenchError) -> tuple:
        # Not raised: the report of the file before has to go, and the reason stays for longer than a notice does.
        if before:
            before.remove()
        gr.Warning(as_text(error), duration=SECONDS_TO_READ)
        return None, render("refused.html", name=name, reason=str(error)), gr.update(interactive=False)

    def _taken_away(self, checked: Checked | None) -> tuple:
        # An import takes the file away, too, and what was imported stays on the page. So do files of TREC, which have
        # boxes of their own.
        if checked is None or checked.columns is None:
            return gr.skip(), gr.skip(), gr.skip()
        checked.remove()
        return None, "", gr.update(interactive=False)

    def run(
        self, annotator: str, token: str, checked: Checked | None, request: gr.Request,
        profile: gr.OAuthProfile | None, progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple:  # fmt: skip
        """Store what was checked: all of it, or nothing."""
        check_may_change(self.services, token, request, profile)
        if checked is None:
            raise InvalidInput("Choose a file first.")
        if not checked.staging.path.exists():
            raise Conflict("This file was imported already, or put aside meanwhile. Choose it again.")
        store = self.services.settings.database_path
        counts = checked.staging.take_over(store, lambda what, part: progress(part, desc=f"Storing the {what}"))
        checked.remove()
        report = render("import.html", checked=checked.file, stored=counts)
        return None, None, report, gr.update(interactive=False)


def build_data_tab(
    services: Services, annotator: gr.Textbox, token: gr.Textbox, build_source: Callable[[gr.File], None]
) -> ImportForm:
    """Build the upper half of the tab, what goes in and out; its form is still to be connected."""
    with gr.Row(elem_classes="two-columns"):
        with gr.Column(min_width=320, scale=3):
            form = ImportForm(services, annotator, token, build_source)
        with gr.Column(min_width=320, scale=2):
            _build_export(services, token)
    return form


def _build_export(services: Services, token: gr.Textbox) -> None:
    gr.Markdown(
        "## Export\njsonl, csv and parquet contain every label of every annotator. The other formats have one label "
        "for each pair: the one decided on, or else the majority's."
    )
    kind = gr.Dropdown(
        [(f"{name}: {file.meaning}", name) for name, file in EXPORTS.items()],
        value="jsonl",
        label="Format",
        elem_id="export-format",
    )
    do_export = gr.Button("Export", elem_id="export")
    exported = Download("Labels", "exported")

    def run_export(kind: ExportFormat, token: str, request: gr.Request, profile: gr.OAuthProfile | None) -> tuple:
        check_may_change(services, token, request, profile)
        store = services.label_store
        judged = Exportable(store.labels, store.consensus, services.labeling.scored_pairs)
        return written(EXPORTS[kind].name, EXPORTS[kind].pieces(judged))

    exported.connect(do_export.click, run_export, [kind, token])
