"""The Models tab: the versions with their numbers, promote one, roll back."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import Any

import gradio as gr

from errors import InvalidInput, WorkbenchError
from page.choices import offer
from page.downloads import Download, written
from page.events import QUIET, Press, Text
from page.notices import REFUSED, SECONDS_TO_READ, as_text
from page.render import render
from page.rights import check_may_change
from reranker.comparison import compare_versions, queries_to_compare
from reranker.figures import METRICS
from reranker.publish import push_to_hub, zip_directory
from reranker.registry import ModelRegistry
from reranker.results import how_made
from services import Services
from storage.records import ModelVersion
from texts import counted

# Sends a press to the server. The table is drawn anew after it, so the focus is put back: on the same button of the
# same version, or another one of it, or where the version is gone, of the one that took its place.
MODELS_JS = """
const rows = () => [...element.querySelectorAll('tr[data-version]')];
let pressed = null;
element.addEventListener('click', (event) => {
  const button = event.target.closest('.buttons button');
  if (!button) return;
  const { promote, download, again, delete: gone } = button.dataset;
  if (download) return trigger('download', { version: download });
  const row = button.closest('tr');
  const lost = row.dataset.source === 'hub'
    ? "Its files stay in the Hub's cache on the machine of the app."
    : 'Its weights are gone then; its labels and figures are kept.';
  if (gone && !confirm(`Delete ${gone}? ${lost}`)) return;
  const [action] = Object.keys(button.dataset);
  pressed = { action, version: row.dataset.version, place: rows().indexOf(row) };
  button.disabled = true;
  button.textContent = promote ? 'Loading…' : gone ? 'Deleting…' : 'Starting…';
  if (promote) trigger('promote', { version: promote });
  if (again) trigger('again', { version: again });
  if (gone) trigger('delete', { version: gone });
});
watch('value', () => {
  if (!pressed) return;
  const { action, version, place } = pressed;
  pressed = null;
  if (document.activeElement !== document.body) return;
  const row = rows().find((row) => row.dataset.version === version) ?? rows()[place] ?? rows().at(-1);
  const button = row?.querySelector(`button[data-${action}]`) ?? row?.querySelector('button');
  button?.focus({ preventScroll: true });
});
"""
LATEST_EVENTS = 20
ROLL_BACK_TO = "Roll back to "
SHOWN_QUERIES = 200
SECONDS_BETWEEN_LOOKS = 0.5


class VersionPress(Press):
    """A press of a button of this version."""

    version: Text


def build_models_tab(services: Services, token: gr.Textbox) -> tuple[Callable, list[Callable]]:
    """Build the tab. Returns a function that makes an event (the tab's `select`) bring it up to date, and another one,
    which comes with news about versions, the table; and what makes an event of its own follow once another version may
    answer."""
    gr.Markdown(
        "The active version answers every request. A promoted one is loaded and tried out first: nothing fails. To see "
        "how another ranks passages of yours, choose it under *Compare with* on the Rerank tab."
    )
    # Above the versions, of which there may be dozens.
    roll_back = gr.Button("Roll back", elem_id="roll-back", interactive=False, scale=0, min_width=260)
    table = gr.HTML(js_on_load=MODELS_JS, elem_id="models")
    archive = Download("The version as a zip", "model-archive")
    with gr.Accordion("Compare two versions", open=False, elem_id="compare-box"):
        gr.Markdown(
            "Both versions rank the labelled queries that are held out now, without those that one of them has learned "
            "from before in other words."
        )
        with gr.Row():
            first = gr.Dropdown([], label="Version", elem_id="compare-first")
            second = gr.Dropdown([], label="Beside", elem_id="compare-second")
            compare = gr.Button("Compare", elem_id="compare", scale=0, min_width=140)
        compared = gr.HTML(elem_id="compared")
    with gr.Accordion("Add a model from the Hugging Face Hub", open=False, elem_id="add-box"):
        gr.Markdown(
            "Any cross-encoder with one output becomes a version, also one that was pushed from here: compare it, "
            "train from it, promote it. It is downloaded and tried out first, which goes on if you close this page."
        )
        with gr.Row():
            wanted = gr.Textbox(label="Model", placeholder="owner/name", elem_id="add-name")
            add = gr.Button("Add", elem_id="add", scale=0, min_width=140)
        added = gr.HTML(elem_id="added")
    with gr.Accordion("Push a version to the Hugging Face Hub", open=False, elem_id="push-box"):
        gr.Markdown(
            "It goes to a model repository, made as a private one where it is missing, with the token in `HF_TOKEN`. "
            "Its model card quotes some of the labels."
        )
        with gr.Row():
            pushed = gr.Dropdown([], label="Version", elem_id="push-version")
            repo = gr.Textbox(label="Repository", placeholder="owner/name", elem_id="push-repo")
            push = gr.Button("Push", elem_id="push", scale=0, min_width=140)
        push_outcome = gr.HTML(elem_id="push-outcome")
    registry = services.registry
    choosers = [first, second, pushed]
    shown = gr.State(None)
    outputs = [table, roll_back, shown]

    def show() -> tuple:
        status = registry.status()
        active = status.version
        previous = registry.can_roll_back_to()
        versions = services.model_store.versions()
        runs = {version.version: services.model_store.run(version.run_id) for version in versions if version.run_id}
        html = render(
            "models.html",
            drawn=time.monotonic_ns(),
            versions=versions,
            before={name: run.metrics["champion"] for name, run in runs.items()},
            made={name: how_made(run, services.jobs.files(run.id)) for name, run in runs.items()},
            active=active.version if active else None,
            wanted=registry.wanted,
            engine=status.engine,
            engine_reason=status.engine_reason,
            room=_room(registry, versions),
            events=services.model_store.model_events()[: -LATEST_EVENTS - 1 : -1],
        )
        text = f"{ROLL_BACK_TO}{previous}" if previous else "Nothing to roll back to"
        known = (active, previous, versions)
        return html, gr.update(value=text, interactive=previous is not None), known

    def show_news(shown: tuple | None) -> tuple:
        # Where the tab was opened, and what it shows differs: what is drawn anew loses the focus.
        if shown and (news := show())[-1] != shown:
            return news
        return (gr.skip(),) * len(outputs)

    def offer_versions(*chosen: str | None) -> list[dict[str, Any]]:
        names = [version.version for version in services.model_store.versions()]
        instead = _worth_comparing(registry, names) if not any(chosen[:2]) else (None, None)
        return [offer(names, *pair) for pair in zip(chosen, (*instead, None), strict=True)]

    def drawn_anew(action: Callable) -> Callable:
        """Wrap an event handler: the table is shown after it, whatever happened, or its button would say "Loading" for
        ever."""

        @functools.wraps(action)
        def wrapped(*args: Any, **kwargs: Any) -> tuple:
            try:
                action(*args, **kwargs)
            except WorkbenchError as error:
                gr.Warning(as_text(error), title=REFUSED, duration=SECONDS_TO_READ)
            return show()

        return wrapped

    # Not "promote": that is the name under which gradio's own client finds the call for programs.
    @drawn_anew
    def promote_chosen(token: str, event: VersionPress, request: gr.Request, profile: gr.OAuthProfile | None) -> None:
        check_may_change(services, token, request, profile)
        version = registry.promote(event.version, "asked for on the page")
        gr.Info(f"{version.version} is active now.")

    @drawn_anew
    def delete(token: str, event: VersionPress, request: gr.Request, profile: gr.OAuthProfile | None) -> None:
        check_may_change(services, token, request, profile)
        gr.Info(f"{registry.delete(event.version).version} is deleted.")

    @drawn_anew
    def again(token: str, event: VersionPress, request: gr.Request, profile: gr.OAuthProfile | None) -> None:
        check_may_change(services, token, request, profile)
        services.jobs.make_again(event.version)
        gr.Info(f"{event.version} is being made again: see the Train tab. It is kept as a new version, not promoted.")

    @drawn_anew
    def go_back(words: str, token: str, request: gr.Request, profile: gr.OAuthProfile | None) -> None:
        check_may_change(services, token, request, profile)
        # Somebody else may have promoted another version since the button was drawn: it is to do what it says.
        version = registry.roll_back("asked for on the page", to=words.removeprefix(ROLL_BACK_TO))
        gr.Info(f"{version.version} is active again.")

    def run_comparison(
        one: str | None,
        other: str | None,
        token: str,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> str:
        check_may_change(services, token, request, profile)
        if not one or not other:
            raise InvalidInput("Choose two versions first.")
        progress(0, desc="Loading the versions")
        queries = queries_to_compare(services.jobs, one, other)
        found = compare_versions(
            registry, queries, one, other, lambda done, total: progress((done, total), desc="Ranking", unit="passages")
        )
        verdicts = [change.verdict for change in found.changes]
        counts = {verdict: verdicts.count(verdict) for verdict in ("better", "equal", "worse")}
        return render("comparison.html", comparison=found, names=METRICS) + render(
            "changes.html",
            changes=found.changes[:SHOWN_QUERIES],
            total=len(verdicts),
            what="held-out query",
            titles=found.versions,
            **counts,
        )

    def run_add(
        wanted: str, token: str, request: gr.Request, profile: gr.OAuthProfile | None
    ) -> Iterator[str]:
        check_may_change(services, token, request, profile)
        if not wanted.strip():
            raise InvalidInput("Type which model first: owner/name.")
        said: list[str] = []
        # In a thread of its own: who closes the page need not ask again.
        adding = _begin(lambda: registry.add(wanted, said.append))
        while not wait_for([adding], SECONDS_BETWEEN_LOOKS).done:
            yield render("added.html", said=said[-1] if said else "", version=None)
        yield render("added.html", version=adding.result().version)

    def run_push(
        version: str | None, repo: str, token: str, request: gr.Request, profile: gr.OAuthProfile | None
    ) -> str:
        check_may_change(services, token, request, profile)
        if not version or not repo.strip():
            raise InvalidInput("Choose a version and type where it goes: owner/name.")
        found = services.model_store.version(version)
        url = push_to_hub(registry.directory(found), found.version, repo.strip())
        return render("pushed.html", version=version, url=url)

    def download(token: str, event: VersionPress, request: gr.Request, profile: gr.OAuthProfile | None) -> tuple:
        check_may_change(services, token, request, profile)
        version = services.model_store.version(event.version)
        return written(f"{version.version}.zip", zip_directory(registry.directory(version)))

    fill: dict[str, Any] = {"inputs": choosers, "outputs": choosers, "preprocess": False, **QUIET}
    promoted = table.promote(promote_chosen, token, outputs, **QUIET)
    promoted.then(offer_versions, **fill)
    table.delete(delete, token, outputs, **QUIET).then(offer_versions, **fill)
    table.again(again, token, outputs, **QUIET)
    compare.click(run_comparison, [first, second, token], compared, show_progress_on=compared, api_visibility="private")
    adding = gr.on([add.click, wanted.submit], run_add, [wanted, token], added, concurrency_limit=2, **QUIET)
    adding.success(show, None, outputs, **QUIET).then(offer_versions, **fill)
    adding.failure(lambda: "", None, added, **QUIET)
    push.click(run_push, [pushed, repo, token], push_outcome, show_progress_on=push_outcome, api_visibility="private")
    archive.connect(table.download, download, token, show_progress_on=archive.box)
    went_back = roll_back.click(go_back, [roll_back, token], outputs, show_progress="minimal", api_visibility="private")

    def connect(opened: Callable, news: Callable) -> None:
        opened(show, None, outputs, **QUIET)
        opened(offer_versions, **fill)
        news(show_news, shown, outputs, **QUIET)

    return connect, [promoted.then, went_back.then]


def _begin(work: Callable[[], ModelVersion]) -> Future[ModelVersion]:
    """Do this in a thread that the end of the app does not wait for."""
    outcome: Future[ModelVersion] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except Exception as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name="add-model", daemon=True).start()
    return outcome


def _worth_comparing(registry: ModelRegistry, names: list[str]) -> tuple[str, str] | tuple[None, None]:
    """The version before the active one, or else the newest other one, and the active one; Nones without two."""
    active = registry.status().version
    others = [name for name in names if active and name != active.version]
    if active is None or not others:
        return None, None
    previous = registry.can_roll_back_to()
    return previous if previous in others else others[0], active.version


def _room(registry: ModelRegistry, versions: list[ModelVersion]) -> str:
    trained = [version for version in versions if version.source == "trained"]
    taken = sum(map(registry.size, trained))
    return (
        f"{counted(len(trained), 'trained version')} with {taken / 1e9:.2f} GB, of at most "
        f"{registry.max_bytes / 1e9:g} GB (MAX_MODELS_GB). Past that, the oldest that was never promoted goes first."
    )
