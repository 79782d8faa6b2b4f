"""The Rerank tab: type a query, paste passages, see them ranked, and say which are relevant."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from errors import InvalidInput, WorkbenchError
from page.choices import offer
from page.events import QUIET, Press
from page.render import duration, render, script
from page.rights import annotator_of, labels_as, user_of
from reranker.model import RankedPassage
from reranker.passages import FILE_TYPES, join_passages, read_passages, split_pasted
from reranker.ranking_view import PageRankings, RankingView
from reranker.registry import ActiveModel
from reranker.scoring_queue import Cancelled
from services import Services
from storage.records import Candidate, Judgment
from texts import check_passages, check_text, counted

EXAMPLES = json.loads((Path(__file__).parent / "examples.json").read_text(encoding="utf-8"))

# A ranking that takes longer than this shows how far it has come, and is asked again as often.
SECONDS_BETWEEN_LOOKS = 0.3

NO_OTHER = "no other version"

RANKING_JS = script("ranking.js")


class RankingPress(Press):
    """A press of a label button: which ranking, the place of the passage in the input (from 0), and the label."""

    ranking: str
    index: int
    label: Literal[0, 1]


def build_rerank_tab(
    services: Services, annotator: gr.Textbox, token: gr.Textbox
) -> tuple[list[gr.Textbox], Callable[..., None]]:
    """Build the tab; `annotator` is the box that holds the name of whoever judges, `token` that for the API token.

    Returns the boxes whose text outlives a reload of the page, which `typed.js` knows by their ids, and a function that
    makes events bring up to date which versions there are: that of the page being loaded, and any others.
    """
    state = gr.State(PageRankings())
    with gr.Row(elem_classes="two-columns"):
        with gr.Column(scale=2, min_width=320):
            query = gr.Textbox(
                label="Query", placeholder="What are you searching for?", elem_id="query", autofocus=True
            )
            passages = gr.Textbox(
                label="Passages",
                info="One per line. Passages of several lines: put an empty line between them.",
                lines=10,
                max_lines=18,
                elem_id="passages",
            )
            with gr.Row():
                rerank = gr.Button("Rerank", variant="primary", elem_id="rerank", scale=2)
                stop = gr.Button("Stop", variant="stop", elem_id="stop-rerank", scale=1, visible=False)
                upload = gr.UploadButton(
                    "Open a file", file_types=list(FILE_TYPES), elem_id="open-passages", size="lg", scale=1
                )
            beside = gr.Dropdown(
                [NO_OTHER],
                label="Compare with",
                info="Another version ranks the same passages, side by side.",
                visible=False,
                elem_id="beside",
            )
            gr.Markdown("Or try an example:", elem_classes="hint")
            with gr.Row(elem_classes="examples"):
                buttons = [
                    gr.Button(example["name"], size="sm", min_width=100, elem_id=f"example-{number}")
                    for number, example in enumerate(EXAMPLES, start=1)
                ]
        with gr.Column(scale=3, min_width=340):
            # Above the results, of which there may be hundreds.
            queue = gr.Button("Add these to the label queue", size="sm", visible=False, elem_id="queue-ranking")
            results = gr.HTML(_empty(), js_on_load=RANKING_JS, elem_id="ranking")

    def rank(
        query: str,
        passages: str,
        beside: str,
        name: str,
        token: str,
        rankings: PageRankings,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
    ) -> Iterator[dict]:
        query = check_text(query.strip(), "The query")
        texts = check_passages(split_pasted(passages))
        asked = rankings.ask(_other(beside))
        try:
            view = yield from _ranked(rankings, asked, query, texts)
        except (WorkbenchError, Cancelled) as error:
            if rankings.asked is not asked:
                yield _overtaken(rankings)
                return
            rankings.give_up()
            yield _shown(rankings.view)
            if isinstance(error, Cancelled):
                gr.Info("Stopped. The scores so far are kept: press Rerank to go on from there.")
                return
            raise
        except BaseException:  # a fault, or a page that is left
            if rankings.asked is asked:
                rankings.give_up()
            raise
        try:
            name = labels_as(services, name, token, request, user_of(profile))
            view = view.with_labels(services.labeling.labels_of(query, name))
        except WorkbenchError as error:
            view = replace(view, closed=str(error))
        if rankings.asked is asked:
            rankings.show(view)
            yield _shown(view)
        else:
            yield _overtaken(rankings)

    def _overtaken(rankings: PageRankings) -> dict:
        """What to answer where another ranking was asked for meanwhile: it says itself how it goes, and if it has ended
        already, what this one said of its own progress may have come later."""
        return {results: gr.skip()} if rankings.asked else _shown(rankings.view)

    def _shown(view: RankingView | None) -> dict:
        return {
            results: render("ranking.html", view=view) if view else _empty(),
            queue: gr.update(visible=view is not None and not view.closed),
            stop: gr.update(visible=False),
        }

    def _waiting_for(what: str) -> dict:
        waiting = render("scoring.html", what=f"Waiting for {what}", done=0, total=0, left="")
        # Loading a model cannot be stopped.
        return {results: waiting, queue: gr.update(visible=False), stop: gr.update(visible=False)}

    def _ranked(
        rankings: PageRankings, asked: object, query: str, texts: list[str]
    ) -> Generator[dict, None, RankingView]:
        """The ranking that was asked for. Raises Cancelled where it is stopped, or another takes its place."""
        if services.registry.status().loading:
            yield _waiting_for("the model")
        active = services.registry.active()
        ranked, seconds = yield from _ranked_by(active, rankings, asked, query, texts)
        view = RankingView(query, ranked, active.version.version, active.reranker.max_tokens, seconds)
        beside = rankings.beside
        rankings.check(asked)
        if not beside:
            return view
        if not services.registry.is_loaded(beside):
            yield _waiting_for(beside)
        other = services.registry.get(beside)
        ranked, _ = yield from _ranked_by(other, rankings, asked, query, texts)
        return view.with_other(other.version.version, ranked)

    def _ranked_by(
        model: ActiveModel, rankings: PageRankings, asked: object, query: str, texts: list[str]
    ) -> Generator[dict, None, tuple[list[RankedPassage], float | None]]:
        """The passages as a version ranks them, and how many seconds that took; None where it was all remembered.

        Shows how far it has come meanwhile. A page that is left gives it up.
        """
        rankings.check(asked)
        started = time.perf_counter()
        ranking = model.reranker.start(query, texts)
        try:
            rankings.check(asked, ranking)
            while not ranking.wait(SECONDS_BETWEEN_LOOKS):
                rankings.check(asked, ranking)
                elapsed = time.perf_counter() - started
                left = elapsed / ranking.done * (ranking.total - ranking.done) if ranking.done else None
                yield {
                    results: render(
                        "scoring.html",
                        what=f"Scoring by {model.version.version}",
                        done=ranking.done,
                        total=ranking.total,
                        left=duration(left),
                    ),
                    queue: gr.update(visible=False),
                    stop: gr.update(visible=True),
                }
        finally:
            ranking.cancel()
        ranked = ranking.ranked()
        return ranked, None if ranking.remembered else time.perf_counter() - started

    @functools.wraps(rank)
    def rank_again(*given: Any) -> Iterator[dict]:
        _, _, beside, *_, rankings, _request, _profile = given
        # A drop-down says what was chosen twice, and again when it is left.
        if _other(beside) != rankings.beside and (rankings.view or rankings.asked):
            yield from rank(*given)
        else:
            yield {results: gr.skip()}  # of nothing at all, gradio would make an empty page

    def offer_versions(chosen: str) -> dict[str, Any]:
        active = services.registry.status().version
        names = [version.version for version in services.model_store.versions()]
        if active and active.version in names:
            names.remove(active.version)
        return {**offer([NO_OTHER, *names], chosen, NO_OTHER), "visible": bool(names)}

    def stop_ranking(rankings: PageRankings) -> None:
        rankings.stop()

    def judge(
        rankings: PageRankings,
        name: str,
        token: str,
        event: RankingPress,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
    ) -> Any:
        name = annotator_of(services, name, token, request, profile)
        view = rankings.find(event.ranking)
        passage = view.passage(event.index)
        services.labeling.judge(
            [
                Judgment(
                    view.query,
                    passage.text,
                    event.label,
                    name,
                    model_version=view.version,
                    score_visible=True,
                    source="rerank",
                    rank=passage.index + 1,
                )
            ]
        )
        rankings.label(view.query, services.labeling.labels_of(view.query, name))
        # What is being worked out is not hidden behind what was shown before.
        return gr.skip() if rankings.asked else render("ranking.html", view=rankings.view)

    def add_to_queue(
        rankings: PageRankings, name: str, token: str, request: gr.Request, profile: gr.OAuthProfile | None
    ) -> None:
        labels_as(services, name, token, request, user_of(profile))
        view = rankings.view
        if view is None:
            raise InvalidInput("There is no ranking to add. Rerank first.")
        in_input_order = sorted(view.ranked, key=lambda passage: passage.index)
        added = services.labeling.add_candidates(
            Candidate(view.query, passage.text, "rerank", passage.index + 1) for passage in in_input_order
        )
        gr.Info(f"Added to the Label tab: {counted(added.candidates, 'pair')}. Already there: {added.duplicates:,}.")

    def open_file(path: str) -> str:
        return join_passages(read_passages(Path(path)))

    ranks: dict[str, Any] = {
        "fn": rank,
        "inputs": [query, passages, beside, annotator, token, state],
        "outputs": [results, queue, stop],
        # Who presses again, perhaps with another text, does not wait for what was asked before.
        "trigger_mode": "multiple",
        **QUIET,
    }
    gr.on([rerank.click, query.submit], **ranks)
    beside.input(**{**ranks, "fn": rank_again})
    beside.input(None, beside, None, js="(chosen) => workbench.keep('beside', chosen)", **QUIET)
    stop.click(stop_ranking, state, None, **QUIET)
    results.judge(
        judge,
        [state, annotator, token],
        results,
        trigger_mode="multiple",
        concurrency_limit=1,
        **QUIET,
    )
    queue.click(add_to_queue, [state, annotator, token], None, api_visibility="private")
    upload.upload(open_file, upload, passages, api_visibility="private")
    for button, example in zip(buttons, EXAMPLES, strict=True):
        button.click(
            lambda example=example: (example["query"], join_passages(example["passages"])),
            None,
            [query, passages],
            **QUIET,
        ).then(**ranks)

    def connect(loaded: Callable, *news: Callable) -> None:
        kept = loaded(None, None, beside, js="() => workbench.kept('beside', 1)[0]", **QUIET)
        for event in (kept.then, *news):
            event(offer_versions, beside, beside, preprocess=False, **QUIET)

    return [query, passages], connect


def _other(chosen: str) -> str:
    """The version that was chosen to compare with; empty where there is none."""
    return "" if chosen == NO_OTHER else chosen


def _empty() -> str:
    return render("first_steps.html")
