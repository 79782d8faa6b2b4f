"""What the Train tab shows of the labels there are to learn from, and of a run: as HTML, and as points of a plot."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pandas as pd

from page.hidden import HIDDEN
from page.render import duration, render
from reranker.dataset import (
    MIN_QUERIES_TO_MEASURE,
    MIN_QUERIES_TO_SPLIT,
    TrainingSets,
    count_labels,
    only_relevant_known,
    queries_that_tell,
)
from reranker.figures import METRICS, SETS
from reranker.recipe import Recipe
from reranker.reporter import TRAINING
from storage.records import TrainingRun

PURPOSES = {
    "train": "trained on, and cross-checked",
    "dev": "held out: decides which model is better",
    "test": "held out: decides nothing",
}
# The box on the Train tab that holds what few people change.
MORE = "More settings"
# An axis of fewer steps than this would be marked at fractions, too: at 1.1 and 1.2.
FEWEST_STEPS = 20
# A plot is drawn anew each second while a run goes, and shows no more points than this, however many steps there are.
MOST_POINTS = 500


def render_sets(sets: TrainingSets) -> str:
    """The sets with what each is for, and what can be measured with them."""
    rows = [
        {"name": name, "purpose": purpose, **count_labels(getattr(sets, name))} for name, purpose in PURPOSES.items()
    ]
    if sets.measurable():
        measuring = (
            "The new model and the active one are measured on held-out queries, which neither was trained on here. The "
            "default recipe also cross-checks: it ranks each training query with a model trained without it."
        )
    elif sets.measurable_by_folds():
        labelled = len({pair.query_id for name in PURPOSES for pair in getattr(sets, name)})
        why = (
            f"some are from {MIN_QUERIES_TO_SPLIT} labelled queries on"
            if labelled < MIN_QUERIES_TO_SPLIT
            else "those that were trained on stay there, but of new ones some will be held out"
        )
        measuring = (
            f"Too few queries are held out to measure on: {why}. It takes {MIN_QUERIES_TO_MEASURE} with both relevant "
            "and not relevant passages. The default recipe cross-checks instead: it ranks each training query with a "
            "model trained without it. The classic recipe cannot say yet whether the new model is better."
        )
    elif len(queries_that_tell([*sets.train, *sets.dev])) >= MIN_QUERIES_TO_MEASURE:
        measuring = (
            "Nothing can be measured: the labelled queries share most of their relevant passages, so none of them can "
            "be held out that training would not see in another guise. A run will not promote its model automatically: "
            "look for yourself and promote it on the Models tab, or choose Always; or label queries about something "
            "else."
        )
    else:
        measuring = (
            f"Nothing can be measured yet: at least {MIN_QUERIES_TO_MEASURE} labelled queries need both relevant and "
            "not relevant passages. Until then a run cannot say whether the new model is better, and will not promote "
            "it automatically: look for yourself and promote it on the Models tab, or choose Always."
        )
    labelled = [pair for name in PURPOSES for pair in getattr(sets, name)]
    assumed = sum(pair.assumed for pair in labelled)
    return render(
        "sets.html",
        rows=rows,
        problem=sets.why_not_trainable(),
        measuring=measuring,
        left_out=len(sets.left_out),
        shared=sets.shared,
        assumed=assumed,
        one_sided=0 if assumed else len(only_relevant_known(labelled)),
        more=MORE,
    )


def more_settings(
    recipe: Recipe,
    *,
    epochs: float | None,
    batch_size: float | None,
    learning_rate: float | str,
    seed: float | None,
    patience: float | None,
    loss: str | None,
    assume: bool,
) -> str:
    """What the box with more settings is called: it says what differs from the recipe. An empty field does not."""
    changed = [
        f"{name} {_plain(value)}"
        for name, value, own in (
            ("epochs", epochs, recipe.epochs),
            ("batch size", batch_size, recipe.batch_size),
            ("learning rate", learning_rate, recipe.learning_rate),
            ("seed", seed, recipe.seed),
            ("patience", patience, 0),
            ("loss", loss, recipe.loss),
        )
        if value is not None and value != own
    ]
    if assume:
        changed.append("unjudged passages as not relevant")
    return f"{MORE}: {', '.join(changed)}" if changed else MORE


def _plain(value: float | str) -> str:
    """A number with all digits of a large seed; or what was typed where a number is wanted."""
    return value.strip() or "empty" if isinstance(value, str) else f"{value:.10g}"


def render_run(run: TrainingRun | None) -> str:
    """A run, with the figures of the active model and of the new one beside them on each set that was measured."""
    metrics = run.metrics if run else {}
    before, after = metrics.get("champion", {}), metrics.get("challenger", {})
    measured = [measured_on for measured_on in SETS.values() if f"{measured_on.prefix}ndcg@10" in before | after]
    sets = [f"{words} ({(before | after).get(f'{prefix}queries', 0):.0f})" for prefix, words, *_ in measured]
    rows = {
        words: [
            [_figure(figures, prefix + metric) for figures in (before, after) if prefix + metric in figures]
            for prefix, *_ in measured
        ]
        for metric, words in METRICS.items()
    }
    return render(
        "run.html",
        run=run,
        left=duration(run.seconds_left) if run else "",
        # What follows has steps of its own, of which nothing is told: the last one would stand as if it were stuck.
        at_step=run is not None and (run.phase == TRAINING or not run.under_way),
        sets=sets,
        rows=rows,
    )


def _figure(figures: dict[str, float], name: str) -> dict[str, str]:
    """A figure and its interval, as text."""
    low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")
    interval = "" if low is None or high is None else f"{low:.2f}–{high:.2f}"
    return {"value": f"{figures[name]:.3f}", "interval": interval.replace("0.", ".")}


def run_name(run: TrainingRun) -> str:
    """What a run is called in a list of runs."""
    when = run.created_at[:16].replace("T", " ")
    return f"{when} UTC, {run.status}{f', {run.model_version}' if run.model_version else ''}"


def fingerprint(run: TrainingRun | None, under_way: bool) -> tuple:
    """What a run looks like on the page; while it is the same, nothing is drawn anew. Its id comes first."""
    if run is None:
        return ("none",)
    left = duration(run.seconds_left)
    stopping = is_stopping(run)
    return (run.id, run.status, run.phase, run.progress, run.step, left, run.promoted, run.note, under_way, stopping)


def points(curve: list[tuple[int, float]], y: str) -> dict[str, Any]:
    """What a plot is to show; a single point is no curve. Of a long one, each point is the mean of a few steps."""
    if len(curve) < 2:
        return gr.update(visible=HIDDEN)
    together = -(-len(curve) // MOST_POINTS)
    parts = (curve[start : start + together] for start in range(0, len(curve), together))
    shown = [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]
    return gr.update(value=pd.DataFrame(shown, columns=["step", y]), visible=True)


def steps_of(run: TrainingRun | None) -> list[int] | None:
    """From which step to which the axis of a run's curves goes; None while that is not known.

    It is for an event of its own, after that of the curves: of a plot that is given values and limits at once, gradio
    draws the values of before within the new limits.
    """
    return [1, max(run.total_steps, 1 + FEWEST_STEPS)] if run and run.total_steps else None


def is_stopping(run: TrainingRun | None) -> bool:
    """Whether a run that is under way was cancelled."""
    return run is not None and run.under_way and run.outcome is not None


