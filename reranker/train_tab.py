"""The Train tab: what there is to learn from, the hyperparameters, and the run as it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from errors import Conflict
from page.choices import offer
from page.events import QUIET
from page.render import render
from page.rights import check_may_change, why_hidden
from page.training_view import (
    MORE,
    fingerprint,
    is_stopping,
    more_settings,
    points,
    render_run,
    render_sets,
    run_name,
    steps_of,
)
from reranker.dataset import only_relevant_known
from reranker.follow import curves_of
from reranker.gate import RULE
from reranker.losses import LOSSES
from reranker.recipe import DEFAULT, RECIPES, TrainingConfig
from reranker.results import models_in_mean
from services import Services
from settings import Settings

ACTIVE = "the active model"
LATEST = "the latest run"
PROMOTE_CHOICES = [
    ("If better or as good", "auto"),
    ("Always", "always"),
    ("No, only keep it", "never"),
]
PATIENCE = "Stop early after so many measurements without a better one, and keep the best; 0: never"
OWN_LOSS = "the recipe's own"
KEEP_JS = "(...chosen) => { workbench.keep('training', ...chosen); }"
# What the page says is under More settings leads there.
OPEN_MORE_JS = """
element.addEventListener('click', (event) => {
  if (!event.target.closest('[data-open-more]')) return;
  const head = document.querySelector('#more-settings > button');
  if (!head.classList.contains('open')) head.click();
  setTimeout(() => document.querySelector('#assume input')?.focus(), 100);
});
"""
# How often the page asks how the run is doing, while one is under way.
SECONDS_BETWEEN_LOOKS = 1.0
SHOWN_QUERIES = 300
SCROLL_LOG = """() => setTimeout(() => {
  const log = document.querySelector('#training-log textarea');
  if (log) log.scrollTop = log.scrollHeight;
}, 100)"""


def build_train_tab(services: Services, token: gr.Textbox) -> tuple[Callable, gr.State]:
    """Build the tab.

    Returns a function that makes an event (the tab's `select`) bring it up to date, another one, which comes with news
    about the model or a run, show that run where the tab was opened, and a third one (the page's `load`) bring back the
    settings of before; and the state whose first element is the id of the run that is looked at.
    """
    sets = gr.HTML(elem_id="training-sets", js_on_load=OPEN_MORE_JS)
    with gr.Accordion("Which query is in which set, and why", open=False, elem_id="set-queries-box") as set_queries_box:
        set_queries = gr.HTML(elem_id="set-queries")
    set_queries_open = gr.State(False)
    with gr.Row(elem_classes="two-columns"):
        with gr.Column(scale=2, min_width=320):
            with gr.Row():
                # A drop-down that is left says that something was chosen, and what was typed below would be reset.
                recipe = gr.Radio(
                    list(RECIPES), value=DEFAULT.name, label="Recipe", info=DEFAULT.description, elem_id="recipe"
                )
                base = gr.Dropdown(
                    [ACTIVE],
                    value=ACTIVE,
                    label="Start from",
                    info="Training begins with its weights",
                    elem_id="base",
                )
            promote = gr.Radio(PROMOTE_CHOICES, value="auto", label="Use the new model?", info=RULE, elem_id="promote")
            curve = gr.Checkbox(
                False,
                label="Learning curve",
                info="Shows what more labels would bring, on held-out queries. Adds the work of about two trainings",
                elem_id="draw-curve",
            )
            with gr.Accordion(MORE, open=False, elem_id="more-settings") as more:
                with gr.Row():
                    epochs = gr.Number(DEFAULT.epochs, label="Epochs", precision=0, min_width=90, elem_id="epochs")
                    batch_size = gr.Number(
                        DEFAULT.batch_size, label="Batch size", precision=0, min_width=90, elem_id="batch-size"
                    )
                    learning_rate = gr.Textbox(
                        f"{DEFAULT.learning_rate:g}", label="Learning rate", min_width=120, elem_id="learning-rate"
                    )
                    seed = gr.Number(DEFAULT.seed, label="Seed", precision=0, min_width=90, elem_id="seed")
                    patience = gr.Number(
                        0, label="Patience", info=PATIENCE, precision=0, min_width=190, elem_id="patience"
                    )
                loss = gr.Dropdown(
                    [OWN_LOSS, *LOSSES],
                    value=OWN_LOSS,
                    label="Loss",
                    info="Losses that compare passages use only queries with both labels, in batches of whole queries",
                    elem_id="loss",
                )
                assume = gr.Checkbox(
                    False,
                    label="Treat unjudged passages as not relevant",
                    info="For queries with only relevant labels: four of their candidates, or else of other queries' "
                    "passages. For this run only; no label is stored",
                    elem_id="assume",
                    visible=False,
                )
            with gr.Row():
                start = gr.Button(_start_words(services.settings), variant="primary", elem_id="start-training")
                cancel = gr.Button("Cancel the run", variant="stop", elem_id="cancel-training", visible=False)
                resume = gr.Button("Resume the run", elem_id="resume-training", visible=False)
        with gr.Column(scale=3, min_width=340):
            picked = gr.Dropdown(
                [LATEST], value=LATEST, label="Run", elem_id="pick-run", show_label=False, visible=False
            )
            run_view = gr.HTML(elem_id="training-run")
            with gr.Row():
                loss_plot = _plot("loss", "Loss", "loss-curve")
                dev_plot = _plot("nDCG@10", "Held-out nDCG@10", "dev-curve")
            curves_note = gr.HTML(elem_id="curves-note", visible=False)
            with gr.Accordion("Log", open=False, elem_id="log-box") as log_box:
                log = gr.Textbox(
                    label="Log of the run",
                    lines=10,
                    max_lines=10,
                    show_label=False,
                    interactive=False,
                    autoscroll=True,
                    elem_id="training-log",
                )
    shown, steps = gr.State(None), gr.State(None)
    timer = gr.Timer(SECONDS_BETWEEN_LOOKS, active=False)
    hyperparameters = [epochs, learning_rate, batch_size, seed]
    settings = [recipe, base, promote, *hyperparameters, loss, patience, curve, assume]
    asked_for = [*settings, token]
    in_more = [recipe, *hyperparameters, loss, patience, assume]
    run_outputs = [shown, run_view, loss_plot, dev_plot, steps, curves_note, log, cancel, resume, start, timer, picked]

    def look(shown: tuple | None, picked: str) -> tuple:
        """What has changed about the run that is looked at since it was `shown`."""
        latest = services.jobs.current() or next(iter(services.model_store.runs(limit=1)), None)
        run = latest if picked == LATEST else services.model_store.run(picked)
        under_way = latest is not None and latest.under_way
        state = fingerprint(run, under_way)
        if state == shown:
            return (gr.skip(),) * len(run_outputs)
        files = services.jobs.files(run.id if run else "none")
        curves = curves_of(services.model_store.events(run.id) if run else [])
        models = models_in_mean(files)
        runs = services.model_store.runs()
        can_resume = run is not None and not under_way and services.jobs.can_resume(run)
        return (
            state,
            render_run(run),
            points(curves.loss, "loss"),
            points(curves.dev, "nDCG@10"),
            steps_of(run),
            gr.update(value=render("curves_note.html", models=models), visible=models > 1 and len(curves.loss) > 1),
            files.log_tail(),
            gr.update(visible=under_way, value="Stop it at once" if is_stopping(latest) else "Cancel the run"),
            gr.update(visible=can_resume, interactive=can_resume),
            gr.update(interactive=not under_way),
            gr.Timer(active=under_way),
            gr.update(choices=[LATEST, *((run_name(run), run.id) for run in runs[1:])], visible=len(runs) > 1),
        )

    def open_tab(base: str, assume: bool) -> tuple:
        sets = services.label_sets.sets()
        one_sided = bool(only_relevant_known([*sets.train, *sets.dev, *sets.test]))
        # What is not shown is not to be asked for.
        assuming = gr.update(visible=True) if one_sided else gr.update(visible=False, value=False)
        shown = services.label_sets.sets(assume_not_relevant=True) if assume and one_sided else sets
        return render_sets(shown), offer_versions(base), assuming

    def describe_sets(assume: bool) -> str:
        return render_sets(services.label_sets.sets(assume))

    def refresh_set_queries(
        is_open: bool, token: str, request: gr.Request, profile: gr.OAuthProfile | None
    ) -> str | dict[str, Any]:
        return read_set_queries(token, request, profile) if is_open else gr.skip()

    def read_set_queries(token: str, request: gr.Request, profile: gr.OAuthProfile | None) -> str:
        if hidden := why_hidden(services, "Labelled queries are not shown to everyone", token, request, profile):
            return hidden
        placed = services.label_sets.placed_queries()
        if not placed:
            return render("empty.html", title="There are no labelled queries yet", what_to_do="Label pairs first.")
        return render("set_queries.html", rows=placed[:SHOWN_QUERIES], total=len(placed))

    def start_run(
        recipe: str,
        base: str,
        promote: str,
        epochs: float | None,
        learning_rate: str,
        batch_size: float | None,
        seed: float | None,
        loss: str,
        patience: float | None,
        curve: bool,
        assume: bool,
        token: str,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
    ) -> tuple:
        check_may_change(services, token, request, profile)
        services.jobs.start(
            TrainingConfig.of(
                recipe,
                promote,
                base=None if base == ACTIVE else base,
                epochs=epochs,
                learning_rate=_number(learning_rate),
                batch_size=batch_size,
                seed=seed,
                loss=None if loss == OWN_LOSS else loss,
                patience=patience,
                learning_curve=curve,
                assume_not_relevant=assume,
            )
        )
        return look_at_latest()

    def resume_run(shown: tuple | None, token: str, request: gr.Request, profile: gr.OAuthProfile | None) -> tuple:
        check_may_change(services, token, request, profile)
        services.jobs.resume(shown[0] if shown else "none")
        return look_at_latest()

    def look_at_latest() -> tuple:
        return look(None, LATEST)[:-1] + (gr.update(value=LATEST),)

    def look_what_is_in_the_way() -> tuple:
        """After a refusal: the run that somebody else has started since the page was drawn, where there is one."""
        return look_at_latest() if services.jobs.current() else (gr.skip(),) * len(run_outputs)

    def look_if_open(shown: tuple | None, picked: str) -> tuple:
        return look(shown, picked) if shown else (gr.skip(),) * len(run_outputs)

    def cancel_run(token: str, request: gr.Request, profile: gr.OAuthProfile | None) -> None:
        check_may_change(services, token, request, profile)
        run = services.jobs.current()
        if run is None:
            raise Conflict("The run has ended already.")
        services.jobs.cancel(run.id)
        if is_stopping(run):
            gr.Info("The run stops at once and keeps nothing.")
        else:
            kept = "and keeps the best weights so far" if run.step else "before it has trained, so it keeps nothing"
            gr.Info(f"The run is stopping {kept}. Press again to stop at once.")

    def reset(recipe: str) -> tuple:
        chosen = RECIPES[recipe]
        return (
            gr.update(info=chosen.description),
            chosen.epochs,
            f"{chosen.learning_rate:g}",
            chosen.batch_size,
            chosen.seed,
        )

    def describe_more(
        recipe: str,
        epochs: float | None,
        learning_rate: str,
        batch_size: float | None,
        seed: float | None,
        loss: str,
        patience: float | None,
        assume: bool,
    ) -> dict[str, Any]:
        """What differs from the recipe stands on the closed box."""
        changed = more_settings(
            RECIPES[recipe],
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=_number(learning_rate),
            seed=seed,
            patience=patience,
            loss=None if loss == OWN_LOSS else loss,
            assume=assume,
        )
        return gr.update(label=changed)

    def check_kept(recipe: str, base: str, assume: bool) -> tuple:
        """What was chosen before the page was loaded anew may be gone, and what is shown follows what is not."""
        # The sets take a moment, and were drawn without what is assumed, if they were.
        drawn = open_tab(base, assume) if assume else (gr.skip(), offer_versions(base), gr.skip())
        return gr.update(info=RECIPES.get(recipe, DEFAULT).description), *drawn

    def offer_versions(base: str) -> dict[str, Any]:
        versions = [version.version for version in services.model_store.versions()]
        return offer([ACTIVE, *versions], base, ACTIVE)

    # What is chosen while an answer is awaited is answered, too.
    newest: dict[str, Any] = {"trigger_mode": "always_last", **QUIET}
    keep: dict[str, Any] = {"fn": None, "inputs": settings, "js": KEEP_JS, "trigger_mode": "multiple", **QUIET}
    # One at a time, in the order they are asked for in: an answer that came late would undo a newer one.
    describe: dict[str, Any] = {"fn": describe_more, "inputs": in_more, "outputs": more}
    describe |= {"concurrency_limit": 1, **newest}
    in_turn: dict[str, Any] = {"concurrency_id": "training-sets", "concurrency_limit": 1}
    recipe.input(reset, recipe, [recipe, *hyperparameters], **newest).then(**keep).then(**describe)
    # What is pasted into a text box is no input to gradio: it is seen when the box is left. Nor would `change` do. It
    # comes while what was kept is put back, when some of the fields are still as they were.
    edited = [*(field.input for field in settings), learning_rate.blur]
    gr.on(edited, **keep)
    gr.on(edited, **describe)
    start.click(start_run, asked_for, run_outputs, **QUIET).failure(look_what_is_in_the_way, None, run_outputs, **QUIET)
    cancel.click(cancel_run, token, None, **QUIET)
    resume.click(resume_run, [shown, token], run_outputs, **QUIET)
    steps.change(lambda steps: [gr.update(x_lim=steps)] * 2, steps, [loss_plot, dev_plot], **QUIET)
    timer.tick(look, [shown, picked], run_outputs, **QUIET)
    picked.input(look, [shown, picked], run_outputs, **newest).then(None, None, None, js=SCROLL_LOG, **QUIET)
    # Text that comes while the box is closed does not scroll it.
    log_box.expand(None, None, None, js=SCROLL_LOG, **QUIET)
    assume.input(describe_sets, assume, sets, **in_turn, **newest)
    set_queries_box.expand(lambda: True, None, set_queries_open, **QUIET)
    set_queries_box.expand(read_set_queries, token, set_queries, **QUIET)
    set_queries_box.collapse(lambda: False, None, set_queries_open, **QUIET)

    def connect(opened: Callable, news: Callable, loaded: Callable) -> None:
        places = [settings.index(base), settings.index(assume)]
        as_kept = f"(...shown) => workbench.fields('training', {len(settings)}, {places}, ...shown)"
        drawn: dict[str, Any] = {"preprocess": False, **in_turn, **QUIET}
        seen = opened(open_tab, [base, assume], [sets, base, assume], js=as_kept, **drawn)
        seen.then(**describe)
        opened(refresh_set_queries, [set_queries_open, token], set_queries, **QUIET)
        opened(look, [shown, picked], run_outputs, **QUIET)
        # A run that somebody else starts; the timer of the tab goes only while a run is known to be under way.
        news(look_if_open, [shown, picked], run_outputs, **QUIET)
        back = loaded(None, None, settings, js=f"() => workbench.kept('training', {len(settings)})", **QUIET)
        kept = [recipe, base, assume]
        back = back.then(check_kept, kept, [recipe, sets, base, assume], **drawn)
        back.then(**describe)
        back.then(None, None, None, js="() => workbench.isBack('training')", **QUIET)

    return connect, shown


def _start_words(settings: Settings) -> str:
    """What the button that starts a run says: whoever presses it is to know where it costs money."""
    on_hub = settings.train_launcher == "hf_job"
    return f"Start training on the Hub ({settings.train_flavor})" if on_hub else "Start training"


def _plot(y: str, title: str, name: str) -> gr.LinePlot:
    return gr.LinePlot(
        x="step", y=y, title=title, height=220, min_width=240, visible=False, elem_id=name, show_label=False
    )


def _number(text: str) -> float | str:
    """The number in a text box; the text itself where there is none, for the check that names what is wrong with it."""
    try:
        return float(text)
    except ValueError:
        return text
