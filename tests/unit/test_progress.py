"""How far the judging has come, and what can be told of more labels."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from statistics import stdev

import pytest

from labeling.progress_tab import DAYS, each_day
from labeling.worth import WORTH_SEEING, Z, outlook
from storage import database
from storage.label_store import LabelStore
from storage.model_store import ModelStore
from storage.progress_store import Balance, ProgressStore
from storage.records import Judgment, ModelVersion, TrainingRun, text_id
from storage.review_store import ReviewStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    database.create(tmp_path / "workbench.db")
    return tmp_path / "workbench.db"


def test_labels_are_counted_by_day_for_all_and_for_one(path: Path) -> None:
    store = ProgressStore(path)
    assert store.labels_by_day("anna", 30) == []
    LabelStore(path).save(
        Judgment("q", passage, 1, who) for passage, who in [("a", "anna"), ("b", "anna"), ("c", "bo"), ("d", "bo")]
    )
    with database.write(path) as db:
        for place, day in enumerate(("2026-01-01", "2026-01-02", "2026-01-02", "2026-01-04"), start=1):
            db.conn.execute("UPDATE labels SET updated_at = ? WHERE rowid = ?", (f"{day}T10:00:00+00:00", place))
    assert store.labels_by_day("anna", 30) == [("2026-01-01", 1, 1), ("2026-01-02", 2, 1), ("2026-01-04", 1, 0)]
    assert store.labels_by_day("nobody", 2) == [("2026-01-02", 2, 0), ("2026-01-04", 1, 0)]
    assert store.judged_queries() == 1


def test_the_balance_is_that_of_what_pairs_count_as(path: Path) -> None:
    said = {"outvoted": (0, 0, 1), "even": (0, 1), "relevant": (1, 1, 0), "decided": (1, 1), "alone": (0,)}
    for passage, labels in said.items():
        LabelStore(path).save(Judgment("q", passage, label, f"ann{who}") for who, label in enumerate(labels))
    ReviewStore(path).decide(text_id("q"), text_id("decided"), 0, "ed", None)
    assert ProgressStore(path).balance() == Balance(relevant=1, not_relevant=3, undecided=1)
    counts = Counter(pair.label for pair in LabelStore(path).consensus())
    assert counts == {1: 1, 0: 3}


def test_there_is_no_balance_of_nothing(path: Path) -> None:
    assert ProgressStore(path).balance() == Balance(0, 0, 0)


def test_what_runs_measured_is_read_oldest_first(path: Path) -> None:
    models = ModelStore(path)
    figures = {"q1": {"ndcg@10": 0.5}, "q2": {"ndcg@10": 0.75}}
    better = {"q1": {"ndcg@10": 0.75}, "q2": {"ndcg@10": 0.5}, "q3": {"ndcg@10": 1.0}}
    for number, (run, new) in enumerate({"r1": better, "r2": figures}.items()):
        models.add_run(TrainingRun(run, "succeeded", {}, f"2026-01-0{number + 1}"))
        version = ModelVersion(
            f"v{number}", "name", "trained", None, None, run, 100 * number, {}, f"2026-01-0{number + 1}"
        )
        models.add_version(version)
        models.add_evaluation(run, "base", "dev", {}, figures)
        models.add_evaluation(run, f"v{number}", "dev", {}, new)
    runs = ProgressStore(path).measured_runs(5)
    assert [(run.labels, run.differences) for run in runs] == [(0, [0.25, -0.25]), (100, [0.0, 0.0])]
    assert [run.labels for run in ProgressStore(path).measured_runs(1)] == [100]


def test_the_outlook_follows_the_formula() -> None:
    differences = [0.1, -0.1, 0.05, 0.0, 0.02, -0.03]
    found = outlook(differences, labels_per_query=8)
    assert found is not None
    needed = math.ceil((Z * stdev(differences) / WORTH_SEEING) ** 2)
    assert found.visible_gain == pytest.approx(Z * stdev(differences) / math.sqrt(6))
    assert found.queries_needed == needed > 6
    assert found.more_labels == math.ceil((needed - 6) / 0.2 * 8)


def test_enough_queries_need_no_more_labels() -> None:
    found = outlook([0.01, -0.01] * 30, labels_per_query=5)
    assert found is not None and found.more_labels == 0 and found.visible_gain < WORTH_SEEING


@pytest.mark.parametrize("differences", [[], [0.1], [0.1, 0.2, 0.3], [0.0] * 50])
def test_too_few_or_unchanged_queries_tell_nothing(differences: list[float]) -> None:
    assert outlook(differences, 5) is None


def test_days_without_labels_are_shown_between_and_before() -> None:
    assert each_day([]) == []
    shown = each_day([("2026-02-27", 3, 1), ("2026-03-02", 5, 0)])
    assert shown[0] == ("2026-02-17", 0, 0)
    assert shown[-4:] == [("2026-02-27", 3, 1), ("2026-02-28", 0, 0), ("2026-03-01", 0, 0), ("2026-03-02", 5, 0)]
    long_ago = each_day([("2025-01-01", 3, 1), ("2026-03-02", 5, 0)])
    assert len(long_ago) == DAYS and long_ago[-1] == ("2026-03-02", 5, 0)
