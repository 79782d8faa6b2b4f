"""Judging pair by pair: one is shown, judged with a key or a button, and the next one is there at once.

The next pair is on the page before it is needed (page/pairs.js shows it when a key is pressed), so a press is always
about the pair whose ids it carries, not about the one that the server believes to be shown.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr

from errors import InvalidInput, WorkbenchError
from labeling.session import LabelSession
from page.notices import SECONDS_TO_READ, shown_to_people
from page.render import render
from services import Services
from storage.records import Judgment, SkipReason, Task

PRESS_JS = """(session, strategy, annotator, note, pressed) =>
  [session, strategy, annotator, note, workbench.press(%s)]"""
MOST_SECONDS = 24 * 3600.0
# One after the other, so that each event finds the session as the one before left it.
ONE_BY_ONE: dict[str, Any] = {
    "show_progress": "hidden",
    "concurrency_limit": 1,
    "concurrency_id": "judging",
    "api_visibility": "private",
}


class LabelTab:
    """The tab's components and what its buttons do. Every handler returns what `outputs` shows."""

    def __init__(self, services: Services, annotator: gr.Textbox, strategy: gr.Dropdown, progress: gr.HTML) -> None:
        self.labeling = services.labeling
        self.registry = services.registry
        self.annotator = annotator
        self.strategy = strategy
        self.session = gr.State(LabelSession())
        self.answers = itertools.count()
        self.task = gr.HTML(
            elem_id="task", min_height=220, js_on_load="watch('value', () => window.workbench.rendered());"
        )
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
        self.note = gr.Textbox(
            label="Note [n]",
            placeholder="Goes with your judgment; enter leaves the box",
            max_length=2_000,
            elem_id="note",
        )
        gr.HTML(render("keys.html", kind="pair"))
        self.pressed = gr.Textbox(visible=False)
        self.outputs = [self.session, self.task, progress, self.note]
        self._connect()

    def _connect(self) -> None:
        inputs = [self.session, self.strategy, self.annotator, self.note, self.pressed]
        # A press of the same key does not wait for the answer to the one before.
        one_by_one: dict[str, Any] = {**ONE_BY_ONE, "trigger_mode": "multiple"}
        for press, act, judges, about_task in (
            (self.relevant.click, lambda *said: self._judge(*said, 1), True, True),
            (self.not_relevant.click, lambda *said: self._judge(*said, 0), True, True),
            (self.cannot_tell.click, lambda *said: self._skip(*said, "cannot_tell"), True, True),
            (self.later.click, lambda *said: self._skip(*said, "later"), True, True),
            (self.flag.click, self._flag, False, True),
            (self.back.click, lambda *said: self._move(*said, -1), False, False),
            (self.forward.click, lambda *said: self._move(*said, +1), False, False),
            (self.undo.click, self._undo, False, False),
            (self.note.submit, self._keep_note, False, True),
        ):
            press(
                self._press(act, about_task, judges),
                inputs,
                self.outputs,
                js=PRESS_JS % ("true" if judges else "false"),
                **one_by_one,
            )
        self.strategy.input(
            shown_to_people(self._choose), [self.session, self.annotator, self.strategy], self.outputs, **one_by_one
        )

    def _press(self, act: Callable, about_task: bool, judges: bool) -> Callable:
        """The handler of a button: a press counts for the pair that it carries and for the annotator on the screen.

        Whatever happens the pair is drawn anew: the page has already gone on to the next one.
        """

        def press(session: LabelSession, strategy: str, annotator: str, note: str, pressed: str) -> tuple:
            if annotator.strip() != session.annotator:
                return self.open(session, annotator, strategy)
            *key, seconds = pressed.split() if pressed else ("", "", "0")
            before = session
            try:
                if about_task:
                    if not session.annotator:
                        raise InvalidInput("Who is judging? Type your name at the top of the page first.")
                    if not pressed:
                        if session.task is None:
                            raise InvalidInput("There is no pair to judge just now.")
                        return self._show(session, strategy)
                    session = session.show_again(self.labeling.task(*key, session.annotator))
                session = act(session, strategy, note.strip() or None, min(float(seconds), MOST_SECONDS))
                if about_task and not judges and before.task is not None and before.task.key != tuple(key):
                    # A press that came later has overtaken this one: what it says is kept, and the page stays ahead.
                    session = before
            except WorkbenchError as error:
                gr.Warning(str(error), title="That did not work", duration=SECONDS_TO_READ)
            return self._show(session, strategy, " ".join(key) if judges else "")

        return press

    def open(self, session: LabelSession, annotator: str, strategy: str) -> tuple:
        """What the tab shows when it is opened, or when somebody else says that they judge now."""
        annotator = annotator.strip()
        if annotator != session.annotator:
            session = LabelSession(annotator=annotator)
        if annotator:
            session = self._refresh(session, strategy)
        return self._show(session, strategy)

    def _refresh(self, session: LabelSession, strategy: str) -> LabelSession:
        """The session with its pair as it is now; on to the next when it was judged elsewhere in the meantime."""
        before = session.task
        if before is not None:
            task = self.labeling.find_task(*before.key, session.annotator)
            if task is not None and (task.label, task.skip) == (before.label, before.skip):
                return replace(session, task=task)
        return session.show_next(self.labeling.next_task(session.annotator, strategy))

    def _choose(self, session: LabelSession, annotator: str, strategy: str) -> tuple:
        """Another strategy was chosen: it says which pair comes in the place of one that is not judged yet."""
        if annotator.strip() != session.annotator:
            return self.open(session, annotator, strategy)
        if session.annotator:
            task = session.task
            if task is not None and task.label is None and task.skip is None:
                session = session.without(task.key)
            if session.task is None:
                session = session.show_next(self.labeling.next_task(session.annotator, strategy))
        return self._show(session, strategy)

    def _judge(
        self, session: LabelSession, strategy: str, note: str | None, seconds: float, label: int
    ) -> LabelSession:
        self._label(session, note, seconds, label)
        return self._advance(session, strategy)

    def _label(self, session: LabelSession, note: str | None, seconds: float | None, label: int) -> None:
        task = _task_of(session)
        version = self.registry.status().version
        self.labeling.judge(
            [
                Judgment(
                    task.query,
                    task.passage,
                    label,
                    session.annotator,
                    note=note,
                    seconds=seconds,
                    model_version=version.version if version else None,
                    score_visible=False,
                    source=task.source,
                )
            ]
        )

    def _skip(
        self, session: LabelSession, strategy: str, note: str | None, seconds: float, reason: SkipReason
    ) -> LabelSession:
        self.labeling.skip(_task_of(session), session.annotator, reason, seconds)
        return self._advance(session, strategy)

    def _keep_note(self, session: LabelSession, strategy: str, note: str | None, seconds: float) -> LabelSession:
        """Enter in the box of the note: one on a pair that is judged already is kept, else it waits for the key."""
        task = _task_of(session)
        if task.label is None:
            gr.Info("The note goes with your judgment: press 1 or 0.")
            return replace(session, task=replace(task, note=note))
        self._label(session, note, None, task.label)
        return session.show_again(self.labeling.task(*task.key, session.annotator))

    def _move(self, session: LabelSession, strategy: str, note: str | None, seconds: float, step: int) -> LabelSession:
        place = session.place + step
        if place < 0:
            gr.Info("This is the first pair that you saw since the page was opened.")
            return session
        if place >= len(session.seen):
            if session.task is not None and session.task.label is None and session.task.skip is None:
                gr.Info("This is the newest pair: judge it, or press l to see it later.")
                return session
            task = self.labeling.next_task(session.annotator, strategy) if session.annotator else None
            return session.show_next(task)
        return session.show_at(place, self.labeling.task(*session.seen[place], session.annotator))

    def _undo(self, session: LabelSession, strategy: str, note: str | None, seconds: float) -> LabelSession:
        tasks = self.labeling.undo(session.annotator) if session.annotator else []
        if not tasks:
            gr.Info("There is nothing to undo.")
            return session
        return session.show_again(tasks[0])

    def _flag(self, session: LabelSession, strategy: str, note: str | None, seconds: float) -> LabelSession:
        task = _task_of(session)
        flagged = self.labeling.toggle_flag(task, session.annotator)
        return replace(session, task=replace(task, flagged=flagged, note=note))

    def _advance(self, session: LabelSession, strategy: str) -> LabelSession:
        """On to the pair that was seen after this one, or to a new one."""
        if session.key_after:
            task = self.labeling.find_task(*session.key_after, session.annotator)
            if task is not None:
                return session.show_at(session.place + 1, task)
        return session.show_next(self.labeling.next_task(session.annotator, strategy))

    def _following(self, session: LabelSession, strategy: str) -> Task | None:
        """The pair that `_advance` will come to, so that the page has it already."""
        if session.task is None:
            return None
        if session.key_after:
            return self.labeling.find_task(*session.key_after, session.annotator)
        return self.labeling.next_task(session.annotator, strategy, beside=[session.task.key])

    def _show(self, session: LabelSession, strategy: str, answered: str = "") -> tuple[Any, ...]:
        progress = self.labeling.progress(session.annotator)
        # Differs from answer to answer, so that the page draws each.
        answer = next(self.answers)
        if session.annotator and session.task is not None:
            task = render(
                "task.html",
                task=session.task,
                following=self._following(session, strategy),
                answered=answered,
                answer=answer,
            )
        else:
            title, what_to_do = _why_empty(session.annotator, progress.candidates)
            task = render("empty.html", title=title, what_to_do=what_to_do, answered=answered, answer=answer)
        note = session.task.note if session.task and session.task.note else ""
        return session, task, render("progress.html", progress=progress), note


def _why_empty(annotator: str, candidates: int) -> tuple[str, str]:
    """A title and what to do, where no pair is shown."""
    if not annotator:
        return (
            "Who is judging?",
            "Type your name into the box at the top of the page. It is asked once and remembered.",
        )
    if candidates:
        return (
            "Nothing is left for you to judge",
            "Thank you. Go back with ← to look at a pair again, or bring in more on the Data tab.",
        )
    return (
        "There is nothing to judge yet",
        "Import a file of pairs on the Data tab, or rerank something and add it to the queue.",
    )


def _button(text: str, key: str, elem_id: str, kind: str = "") -> gr.Button:
    return gr.Button(
        f"{text}  [{key}]",
        elem_id=elem_id,
        elem_classes=["judge-button", kind] if kind else "judge-button",
        min_width=120,
    )


def _task_of(session: LabelSession) -> Task:
    if session.task is None:
        raise InvalidInput("There is no pair to judge just now.")
    return session.task
