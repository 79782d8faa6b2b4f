"""What a run did, below it on the Train tab: queries before and after side by side, and labels to look at again."""

from __future__ import annotations

from typing import Any, Literal

import gradio as gr
import pandas as pd

from errors import InvalidInput
from page.events import QUIET, Press, Text
from page.hidden import HIDDEN
from page.render import render
from page.rights import annotator_of, check_may_change, why_hidden
from reranker.dataset import Suspect
from reranker.figures import SETS
from reranker.recipe import MOST_CROSS_CHECKED
from reranker.results import RunResults, read_results
from services import Services
from storage.records import Judgment, PairVotes

SHOWN_QUERIES = 200
SHOWN_SUSPECTS = 50
NONE_MEASURED = {
    "dev": "No labelled query with both relevant and not relevant passages was held out.",
    "cross": "The default recipe cross-checks the queries to learn from, with up to "
    f"{MOST_CROSS_CHECKED:,} labels, and counts those that neither model had learned from before.",
    "general": "The run ended before the general set was measured.",
}

SUSPECTS_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-label]');
  if (!button) return;
  trigger('judge', {
    run: button.closest('[data-run]').dataset.run,
    index: Number(button.dataset.index),
    label: Number(button.dataset.label),
  });
});
"""


class SuspectPress(Press):
    """A press of a label button: of which run, the place of the doubtful label in its list (from 0), and the label."""

    run: Text
    index: int
    label: Literal[0, 1]


def build_results(services: Services, annotator: gr.Textbox, token: gr.Textbox, shown: gr.State) -> None:
    """Build the part of the tab; it is drawn when `shown`, whose first element is the id of a run, changes."""
    # Nothing that is empty until a run has finished.
    with gr.Column(visible=HIDDEN, elem_id="results") as boxes:
        with gr.Accordion("What the labels did to held-out queries", open=False, elem_id="changes-box"):
            changes = gr.HTML(elem_id="changes")
        with gr.Accordion("What they did to cross-checked queries", open=False, elem_id="cross-box"):
            cross = gr.HTML(elem_id="cross-changes")
        with gr.Accordion("What they did to the general set", open=False, elem_id="general-box"):
            general = gr.HTML(elem_id="general-changes")
        with gr.Accordion("What more labels would bring", open=False, elem_id="learning-curve-box"):
            curve_plot = gr.LinePlot(
                x="labels",
                y="nDCG@10",
                title="Held-out nDCG@10 by the number of labels",
                height=240,
                visible=False,
                elem_id="learning-curve-plot",
                show_label=False,
            )
            curve = gr.HTML(elem_id="learning-curve")
        with gr.Accordion("Labels to look at again", open=False, elem_id="suspects-box"):
            suspects = gr.HTML(js_on_load=SUSPECTS_JS, elem_id="suspects")
    outputs = [boxes, changes, cross, general, curve_plot, curve, suspects]

    def read(
        shown: tuple | None, name: str, token: str, request: gr.Request, profile: gr.OAuthProfile | None
    ) -> tuple:
        results = read_results(services.jobs.files(shown[0])) if shown else None
        if shown is None or results is None:
            return gr.update(visible=HIDDEN), *[gr.skip()] * 6
        seen = gr.update(visible=True)
        if hidden := why_hidden(services, "Labels are not shown to everyone", token, request, profile):
            return seen, hidden, hidden, hidden, gr.update(visible=HIDDEN), hidden, hidden
        return (
            seen,
            _changes(results, "dev"),
            _changes(results, "cross"),
            _changes(results, "general"),
            _curve_points(results),
            _curve(results),
            _suspects(services, results, shown[0], name),
        )

    def read_suspects(
        shown: tuple | None, name: str, token: str, request: gr.Request, profile: gr.OAuthProfile | None
    ) -> str | dict[str, Any]:
        """What somebody with another name has said of these labels."""
        results = read_results(services.jobs.files(shown[0])) if shown else None
        if not shown or results is None or why_hidden(services, "", token, request, profile):
            return gr.skip()
        return _suspects(services, results, shown[0], name)

    def judge(
        name: str,
        token: str,
        event: SuspectPress,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
    ) -> str:
        check_may_change(services, token, request, profile)
        name = annotator_of(services, name, token, request, profile)
        # What comes from a browser may be anything: only a run that the store knows has a directory.
        results = read_results(services.jobs.files(services.model_store.run(event.run).id))
        if results is None or not 0 <= event.index < len(results.suspects):
            raise InvalidInput("This run is no longer there. Open the tab again.")
        suspect = results.suspects[event.index]
        judgment = Judgment(
            suspect.query, suspect.passage, event.label, name, score_visible=True, source="doubtful labels"
        )
        services.labeling.judge([judgment])
        return _suspects(services, results, event.run, name)

    shown.change(read, [shown, annotator, token], outputs, **QUIET)
    token.change(read, [shown, annotator, token], outputs, **QUIET)
    # While the name is typed, not when its box is left: the press that leaves it may be on a button drawn anew by then.
    annotator.change(read_suspects, [shown, annotator, token], suspects, trigger_mode="always_last", **QUIET)
    suspects.judge(judge, [annotator, token], suspects, trigger_mode="multiple", concurrency_limit=1, **QUIET)


def _changes(results: RunResults, split: str) -> str:
    changes = results.changes.get(split, [])
    if not changes:
        return render(
            "empty.html",
            title="Nothing could be measured",
            what_to_do=NONE_MEASURED[split],
        )
    verdicts = [change.verdict for change in changes]
    return render(
        "changes.html",
        changes=changes[:SHOWN_QUERIES],
        total=len(changes),
        what=SETS[split].query,
        titles=("Before", "After"),
        **{verdict: verdicts.count(verdict) for verdict in ("better", "equal", "worse")},
    )


def _curve_points(results: RunResults) -> dict[str, Any]:
    points = results.learning_curve.points if results.learning_curve else []
    if not points:
        return gr.update(visible=HIDDEN)
    frame = pd.DataFrame([(point.labels, point.ndcg) for point in points], columns=["labels", "nDCG@10"])
    return gr.update(value=frame, visible=True)


def _curve(results: RunResults) -> str:
    if results.learning_curve is None:
        return render(
            "empty.html",
            title="No learning curve was drawn",
            what_to_do="Tick Learning curve before you start a run. With too few held-out queries there is none.",
        )
    return render("learning_curve.html", curve=results.learning_curve, models=results.models)


def _suspects(services: Services, results: RunResults, run_id: str, name: str) -> str:
    if not results.suspects:
        return render(
            "empty.html",
            title="No label stands out",
            what_to_do="Either the labels agree with each other, or they are too few to say.",
        )
    suspects = results.suspects[:SHOWN_SUSPECTS]
    votes = services.review_store.votes_on((suspect.query, suspect.passage) for suspect in suspects)
    return render(
        "suspects.html",
        suspects=[
            (suspect, *look_again(suspect, pair, name.strip())) for suspect, pair in zip(suspects, votes, strict=True)
        ],
        found=len(results.suspects),
        run_id=run_id,
    )


def look_again(suspect: Suspect, pair: PairVotes, name: str) -> tuple[list[str], int | None, str]:
    """Who gave the label in doubt, what `name` says of the pair by now, and what came of it, for people to read."""
    authors = [vote.annotator for vote in pair.votes if vote.label == suspect.label]
    own = next((vote.label for vote in pair.votes if vote.annotator == name), None)
    # Each by itself, in whichever direction it is written.
    others = " and ".join(f"\u2068{vote.annotator}\u2069" for vote in pair.votes if vote.label != own)
    if pair.disputed:
        beside = "The labels differ" if own is None else f"Your label stands beside that of {others}"
        until_then = "the pair is left out of training" if pair.majority is None else "what most say counts"
        return authors, own, f"{beside}: until that is decided (Label, Disputed) {until_then}."
    if pair.decided and len({vote.label for vote in pair.votes}) > 1:
        return authors, own, "The labels differ, and it was decided: the decision counts."
    return authors, own, "Corrected." if own is not None and own != suspect.label else ""
