"""What is said of how long a run still takes."""

from __future__ import annotations

import io
import json
from collections import Counter

import pytest

from reranker import reporter as module
from reranker.reporter import PhaseReporter, Reporter


class Clock:
    """Stands in for the time of day; a test moves it on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


def left(stream: io.StringIO) -> float | None:
    return json.loads(stream.getvalue().splitlines()[-1])["seconds_left"]


def test_the_time_left_follows_a_run_that_becomes_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    reporter = Reporter(stream, 100)
    reporter.progress("Loading", 0)
    assert left(stream) is None
    reporter.start_clock()
    reporter.progress("Training", 0)
    for work in range(1, 51):
        clock.now += 1
        reporter.progress("Training", work)
    assert left(stream) == pytest.approx(50)
    reporter.finish_phase(50)
    for work in range(1, 26):
        clock.now += 2
        reporter.progress("Cross-checking", work)
    assert left(stream) == pytest.approx(50, abs=2)  # by the mean since the beginning it would be 33


def test_no_time_is_told_before_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    reporter = Reporter(stream, 100)
    reporter.start_clock()
    for work in range(8):
        reporter.progress("Training", work)
        assert left(stream) == (None if work < module.SECONDS_TO_JUDGE_BY else pytest.approx(100 - work))
        clock.now += 1


def test_to_load_programs_and_models_is_not_to_be_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    reporter = Reporter(stream, 100)
    clock.now += 30
    reporter.progress("Measuring the active model", 10)
    assert left(stream) is None
    reporter.finish_phase(10)
    clock.now += 10
    reporter.start_clock()
    for work in range(41):
        reporter.progress("Training", work)
        clock.now += 1
    # 80 s since the beginning, of which the latter half are steps.
    assert left(stream) == pytest.approx(50)
    # A fold begins with a training, too.
    PhaseReporter(reporter, "Cross-checking").start_clock()
    reporter.finish_phase(40)
    reporter.progress("Cross-checking", 1)
    assert left(stream) == pytest.approx(49)


def test_what_may_come_is_counted_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    phase = PhaseReporter(Reporter(stream, 100), "Again", 0.5)
    phase.progress("Training", 100)
    phase.finish_phase(100)
    clock.now += 1
    phase.progress("Measuring", 20)
    assert [json.loads(line)["progress"] for line in stream.getvalue().splitlines()] == [0.5, 0.6]


def test_what_somebody_did_before_does_not_count_for_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    reporter = Reporter(stream, 100)
    reporter.skip(60)
    reporter.finish_phase(60)
    reporter.start_clock()
    reporter.progress("Training", 0)
    clock.now += 10
    reporter.progress("Training", 20)
    assert left(stream) == pytest.approx(10)


def test_a_long_phase_is_told_of_once_a_second_and_each_step_with_its_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    reporter = Reporter(stream, 1_000)
    for call in range(100):  # ten a second, as while pairs are scored
        reporter.progress("Measuring the active model", call)
        clock.now += 0.1
    reporter.progress("Looking for doubtful labels", 100)
    for step in range(30):
        reporter.progress("Training", 100 + step, step=step, loss=0.5)
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    phases = Counter(event["phase"] for event in told)
    assert 9 <= phases["Measuring the active model"] <= 11
    assert (phases["Looking for doubtful labels"], phases["Training"]) == (1, 30)
