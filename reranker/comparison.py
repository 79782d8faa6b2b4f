"""Any two versions on the queries that are held out now, side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from errors import InvalidInput
from reranker.dataset import MIN_QUERIES_TO_SPLIT, SPLITS, JudgedQuery, part_by_query, queries_that_tell, texts_of
from reranker.jobs import TrainingJobs
from reranker.learned import leave_out, queries_learned
from reranker.registry import ModelRegistry
from reranker.results import QueryChange, changes_of

NOTHING_HELD_OUT = (
    "There is no held-out query with relevant and not relevant passages to compare them on. Some queries are held out "
    f"from {MIN_QUERIES_TO_SPLIT} labelled ones on; until then, compare them on passages of yours on the Rerank tab."
)


@dataclass(frozen=True)
class VersionComparison:
    """Two versions with their figures, how the second differs from the first, and each query's rankings."""

    versions: tuple[str, str]
    metrics: tuple[dict[str, float], dict[str, float]]
    intervals: tuple[dict[str, tuple[float, float]], dict[str, tuple[float, float]]]
    difference: dict[str, Any]
    changes: list[QueryChange]


def queries_to_compare(jobs: TrainingJobs, *names: str) -> list[JudgedQuery]:
    """The queries that are held out now and can tell versions apart, without those that one of these has learned from,
    maybe in other words. Raises NotFound where there is no such version."""
    now = jobs.label_sets.sets()
    sets = {split: getattr(now, split) for split in SPLITS}
    versions = [jobs.models.version(name) for name in names]
    learned = queries_learned(versions, sets, jobs.models, jobs.files, jobs.labels)
    return queries_that_tell(leave_out(sets, learned or ())[0]["dev"])


def compare_versions(
    registry: ModelRegistry,
    queries: list[JudgedQuery],
    first: str,
    second: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> VersionComparison:
    """Rank the queries with both versions. Raises InvalidInput where that can tell nothing, NotFound for no version."""
    # Here, so that the page need not wait for them.
    from reranker.evaluation import compare, evaluate

    if first == second:
        raise InvalidInput("These are the same version. Choose two different ones.")
    if not queries:
        raise InvalidInput(NOTHING_HELD_OUT)
    pairs = texts_of(queries)
    evaluations = []
    for place, name in enumerate((first, second)):

        def report(done: int, _: int, place: int = place) -> None:
            if on_progress:
                on_progress(place * len(pairs) + done, 2 * len(pairs))

        scores = registry.get(name).reranker.scores(pairs, report)
        evaluations.append(evaluate(queries, part_by_query(queries, scores)))
    one, other = evaluations
    return VersionComparison(
        (first, second),
        (one.metrics, other.metrics),
        (one.intervals, other.intervals),
        asdict(compare(one, other)),
        changes_of(queries, asdict(one), asdict(other)),
    )
