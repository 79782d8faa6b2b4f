"""Where annotators differ: the queue of disputes for whoever decides them, and how far everyone agrees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import gradio as gr

from errors import Conflict, NotFound
from labeling.agreement import agreement, agreement_by_annotator, agreement_by_week, in_words
from page.events import QUIET, Press, Text
from page.render import render, script
from page.rights import annotator_of, check_may_change, name_of, why_hidden
from services import Services

DISPUTES_JS = script("disputes.js")
SHOWN = 50
WEEKS = 12


class Decision(Press):
    """What is decided of a pair; a decision without a label takes back the one before."""

    query: Text
    passage: Text
    label: Literal[0, 1] | None = None
    note: Text | None = None


def build_disputes_tab(services: Services, annotator: gr.Textbox, token: gr.Textbox) -> Callable:
    """Build the queue of disputes. Returns a function that makes an event read it anew."""
    view = gr.HTML(js_on_load=DISPUTES_JS, elem_id="disputes")

    def show() -> str:
        review = services.review_store
        return render(
            "disputes.html",
            disputes=review.disputes(SHOWN),
            total=review.count_disputes(),
            decisions=review.decisions(SHOWN),
        )

    def read(token: str, request: gr.Request, profile: gr.OAuthProfile | None) -> str:
        return why_hidden(services, "Disputes are for those who may decide them", token, request, profile) or show()

    def decide(
        annotator: str, token: str, request: gr.Request, profile: gr.OAuthProfile | None, event: Decision
    ) -> Iterator[str]:
        check_may_change(services, token, request, profile)
        who = annotator_of(services, name_of(annotator, profile), token, request, profile)
        try:
            if event.label is None:
                services.review_store.withdraw(event.query, event.passage)
            else:
                services.labeling.decide(event.query, event.passage, event.label, who, event.note)
        except (Conflict, NotFound):
            # The list on the screen is an old one.
            yield show()
            raise
        yield show()

    view.decide(decide, [annotator, token], view, trigger_mode="multiple", concurrency_limit=1, **QUIET)
    return lambda opened: opened(read, token, view, **QUIET)


def build_agreement_tab(services: Services, token: gr.Textbox) -> Callable:
    """Build the page of how far annotators agree. Returns a function that makes an event read it anew."""
    view = gr.HTML(elem_id="agreement")

    def read(token: str, request: gr.Request, profile: gr.OAuthProfile | None) -> str:
        if hidden := why_hidden(services, "Agreement is not shown to everyone", token, request, profile):
            return hidden
        votes = services.review_store.vote_counts()
        together = agreement(votes)
        return render(
            "agreement.html",
            agreement=together,
            in_words=in_words(together.krippendorff_alpha),
            disputes=services.review_store.count_disputes(),
            weeks=agreement_by_week(votes)[-WEEKS:],
            annotators=services.review_store.annotators(),
            by_annotator={item.annotator: item for item in agreement_by_annotator(votes)},
        )

    return lambda opened: opened(read, token, view, api_visibility="private")
