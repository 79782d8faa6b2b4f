"""The Label tab: one pair at a time, judged with a key or a button, and on to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr

from errors import InvalidInput
from labeling.queue import DEFAULT_STRATEGY, STRATEGIES
from labeling.session import LabelSession
from page.notices import shown_to_people
from page.render import render
from services import Services
from storage.records import Judgment, SkipReason, Task

# What is on the screen when a button is pressed goes along with the press: while the answer to the press before is
# still on its way, the pair that is shown is not the one that comes next.
SHOWN_JS = """(session, strategy, annotator, shown) => {
  const task = document.querySelector('#task [data-query]');
  return [session, strategy, annotator, task ? `${task.dataset.query} ${task.dataset.passage}` : ''];
}"""
# A pair is judged once: two presses within one round trip may reach the server in either order, so the second is sent
# as one that is about no pair. After a second the pair can be judged again, in case the first press got lost.
SHOWN_ONCE_JS = """(session, strategy, annotator, shown) => {
  const task = document.querySelector('#task [data-query]');
  if (!task || Date.now() - Number(task.dataset.judged || 0) < 1000) return [session, strategy, annotator, ''];
  task.dataset.judged = Date.now();
  return [session, strategy, annotator, `${task.dataset.query} ${task.dataset.passage}`];
}"""


class LabelTab:
    """The tab's components and what its buttons do. Every handler returns what `outputs` shows."""

    def __init__(self, services: Services, annotator: gr.Textbox) -> None:
        self.labeling = services.labeling
        self.registry = services.registry
        self.annotator = annotator
        self.session = gr.State(LabelSession())
        with gr.Column(elem_id="label-tab-body"):
            self.progress = gr.HTML(elem_id="label-progress")
            self.task = gr.HTML(elem_id="task", min_height=220)
            with gr.Row(elem_id="judge-buttons"):
                self.relevant = _button("✓ Relevant", "1", "judge-relevant", "yes")
                self.not_relevant = _button("✗ Not relevant", "0", "judge-not-relevant", "no")
                self.cannot_tell = _button("? Can't tell", "space", "judge-cannot-tell")
                self.later = _button("↷ Later", "l", "judge-later")
            with gr.Row(elem_id="move-buttons"):
                self.back = _button("Back", "←", "judge-back")
                self.forward = _button("Forward", "→", "judge-forward")
                self.undo = _button("↶ Undo", "u", "judge-undo")
                self.flag = _button("⚑ Flag", "f", "judge-flag")
            with gr.Row(elem_classes="quiet-row"):
                self.strategy = gr.Dropdown(
                    [(f"{name}: {strategy.meaning}", name) for name, strategy in STRATEGIES.items()],
                    value=DEFAULT_STRATEGY,
                    label="Which pair next",
                    elem_id="strategy",
                )
                gr.HTML(render("keys.html"))
        self.shown = gr.Textbox(visible=False)
        self.outputs = [self.session, self.task, self.progress]
        self._connect()

    def _connect(self) -> None:
        inputs = [self.session, self.strategy, self.annotator, self.shown]
        for button, act, about in (
            (self.relevant, lambda session, strategy: self._judge(session, strategy, 1), "once"),
            (self.not_relevant, lambda session, strategy: self._judge(session, strategy, 0), "once"),
            (self.cannot_tell, lambda session, strategy: self._skip(session, strategy, "cannot_tell"), "once"),
            (self.later, lambda session, strategy: self._skip(session, strategy, "later"), "once"),
            (self.flag, lambda session, strategy: self._flag(session), "shown"),
            (self.back, lambda session, strategy: self._move(session, strategy, -1), "any"),
            (self.forward, lambda session, strategy: self._move(session, strategy, +1), "any"),
            (self.undo, lambda session, strategy: self._undo(session), "any"),
        ):
            button.click(
                shown_to_people(self._press(act, about_task=about != "any")),
                inputs,
                self.outputs,
                js=SHOWN_ONCE_JS if about == "once" else SHOWN_JS,
                show_progress="hidden",
                # One after the other, so that each finds the session as the one before left it.
                concurrency_limit=1,
                concurrency_id="judging",
                api_visibility="private",
            )

    def _press(self, act: Callable, about_task: bool) -> Callable:
        """The handler of a button: a press counts for the pair and the annotator on the screen, or for nothing."""

        def press(session: LabelSession, strategy: str, annotator: str, shown: str) -> tuple:
            if annotator.strip() != session.annotator:
                return self.open(session, annotator, strategy)
            task = session.task
            if about_task and task is not None and shown != f"{task.query_id} {task.passage_id}":
                return self._show(session)
            return act(session, strategy)

        return press

    def open(self, session: LabelSession, annotator: str, strategy: str) -> tuple:
        """What the tab shows when it is opened, or when somebody else says that they judge now."""
        annotator = annotator.strip()
        if annotator != session.annotator:
            session = LabelSession(annotator=annotator)
        if annotator:
            session = self._refresh(session, strategy)
        return self._show(session)

    def _refresh(self, session: LabelSession, strategy: str) -> LabelSession:
        """The session with its pair as it is now; on to the next when it was judged elsewhere in the meantime."""
        before = session.task
        if before is not None:
            task = self.labeling.task(before.query_id, before.passage_id, session.annotator)
            if (task.label, task.skip) == (before.label, before.skip):
                return replace(session, task=task)
        return session.show_next(self.labeling.next_task(session.annotator, strategy))

    def _judge(self, session: LabelSession, strategy: str, label: int) -> tuple:
        task = _task_of(session)
        version = self.registry.status().version
        self.labeling.judge(
            [
                Judgment(
                    task.query,
                    task.passage,
                    label,
                    session.annotator,
                    seconds=session.seconds,
                    model_version=version.version if version else None,
                    score_visible=False,
                    source=task.source,
                )
            ]
        )
        return self._show(self._advance(session, strategy))

    def _skip(self, session: LabelSession, strategy: str, reason: SkipReason) -> tuple:
        self.labeling.skip(_task_of(session), session.annotator, reason, session.seconds)
        return self._show(self._advance(session, strategy))

    def _move(self, session: LabelSession, strategy: str, step: int) -> tuple:
        place = session.place + step
        if place < 0:
            gr.Info("This is the first pair that you saw since the page was opened.")
            return self._show(session)
        if place >= len(session.seen):
            if session.task is not None and session.task.label is None and session.task.skip is None:
                gr.Info("This is the newest pair: judge it, or press l to see it later.")
                return self._show(session)
            return self._show(session.show_next(self.labeling.next_task(session.annotator, strategy)))
        return self._show(session.show_at(place, self.labeling.task(*session.seen[place], session.annotator)))

    def _undo(self, session: LabelSession) -> tuple:
        tasks = self.labeling.undo(session.annotator) if session.annotator else []
        if not tasks:
            gr.Info("There is nothing to undo.")
            return self._show(session)
        return self._show(session.show_undone(tasks[0]))

    def _flag(self, session: LabelSession) -> tuple:
        task = _task_of(session)
        flagged = self.labeling.toggle_flag(task, session.annotator)
        return self._show(replace(session, task=replace(task, flagged=flagged)))

    def _advance(self, session: LabelSession, strategy: str) -> LabelSession:
        """On to the pair that was seen after this one, or to a new one."""
        place = session.place + 1
        if place < len(session.seen):
            return session.show_at(place, self.labeling.task(*session.seen[place], session.annotator))
        return session.show_next(self.labeling.next_task(session.annotator, strategy))

    def _show(self, session: LabelSession) -> tuple[Any, ...]:
        progress = self.labeling.progress(session.annotator)
        if not session.annotator:
            task = render(
                "empty.html",
                title="Who is judging?",
                what_to_do="Type your name into the box at the top of the page. It is asked once and remembered.",
            )
        elif session.task is not None:
            task = render("task.html", task=session.task)
        elif progress.candidates:
            task = render(
                "empty.html",
                title="Nothing is left for you to judge",
                what_to_do="Thank you. Go back with ← to look at a pair again, or bring in more on the Data tab.",
            )
        else:
            task = render(
                "empty.html",
                title="There is nothing to judge yet",
                what_to_do="Import a file of pairs on the Data tab, or rerank something and add it to the queue.",
            )
        return session, task, render("progress.html", progress=progress)


def _button(text: str, key: str, elem_id: str, kind: str = "") -> gr.Button:
    return gr.Button(
        f"{text}  [{key}]",
        elem_id=elem_id,
        elem_classes=["judge-button", kind] if kind else "judge-button",
        min_width=120,
    )


def _task_of(session: LabelSession) -> Task:
    if not session.annotator:
        raise InvalidInput("Who is judging? Type your name at the top of the page first.")
    if session.task is None:
        raise InvalidInput("There is no pair to judge just now.")
    return session.task
