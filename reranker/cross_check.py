"""Models that were each trained without some of the labelled queries: to judge the training by, and to average.

Of some dozen labelled queries a handful is held back, and a handful says little. So the queries to train on are dealt
out to a few folds, and as many models are trained, each without one of the folds, which it then ranks (Stone, 1974,
"Cross-validatory choice and assessment of statistical predictions"). So each labelled query tells what this training
does for a query that it has not seen. That is said of models with fewer labels than the run's own, so it is rather too
low than too high.

The models are not thrown away: the run's own becomes the mean of them and itself (averaging.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from reranker.averaging import average
from reranker.dataset import JudgedQuery, LabelledPair, count_passages, groups_of, make_sets, queries_that_tell
from reranker.evaluation import Evaluation, evaluate
from reranker.measuring import Stopped, load, measure
from reranker.recipe import MOST_CROSS_CHECKED
from reranker.reporter import PhaseReporter, Reporter
from reranker.run_files import RunFiles, read_json, write_json
from reranker.training import part_work, train_part


@dataclass(frozen=True)
class Fold:
    """The pairs to train on without one part of the queries; those queries, and those of them to judge by."""

    number: int
    train: list[LabelledPair]
    held_out: list[JudgedQuery]
    judged: list[JudgedQuery]


def make_folds(pairs: list[LabelledPair], count: int, learned: Collection[str] | None) -> list[Fold]:
    """Deal the queries of these pairs out to `count` folds; none where a fold would leave too little to learn from.

    Queries that ask the same or share a relevant passage stay together. No query is judged by that the models compared
    have learned from, or one that belongs with such a query: `learned` has the ids of those, None where nobody knows.
    """
    if count < 2 or len(pairs) > MOST_CROSS_CHECKED:
        return []
    group = groups_of(pairs)
    known = None if learned is None else {group[query_id] for query_id in learned if query_id in group}
    place = _places({pair.query_id: pair.query for pair in pairs}, group)
    folds = []
    for number in range(count):
        splits = {query_id: "dev" if place[of] % count == number else "train" for query_id, of in group.items()}
        sets = make_sets(pairs, splits)
        fresh = [] if known is None else [pair for pair in sets.dev if group[pair.query_id] not in known]
        folds.append(Fold(number, sets.train, queries_that_tell(sets.dev), queries_that_tell(fresh)))
    return folds if all(len({pair.label for pair in fold.train}) == 2 for fold in folds) else []


def _places(queries: dict[str, str], group: dict[str, int]) -> dict[int, int]:
    """The place of each group in an order that is the same each time, and no matter when it was labelled."""
    first: dict[int, bytes] = {}
    for query_id, text in queries.items():
        key = hashlib.sha256(text.encode()).digest()
        first[group[query_id]] = min(key, first.get(group[query_id], key))
    return {of: place for place, of in enumerate(sorted(first, key=first.__getitem__))}


def judged_queries(folds: list[Fold]) -> list[JudgedQuery]:
    """The queries that are cross-checked."""
    return [judged for fold in folds for judged in fold.judged]


def fold_work(config: dict[str, Any], fold: Fold, dev: list[JudgedQuery]) -> float:
    """The cost of a fold, in pairs that go forward once."""
    return part_work(config, fold.train, dev) + count_passages(fold.held_out)


def train_folds(
    files: RunFiles, config: dict[str, Any], folds: list[Fold], dev: list[JudgedQuery], reporter: Reporter
) -> None:
    """Train each fold's model, as far as it is not there yet, and keep how it ranks the queries that it has not seen.

    Raises Stopped when the run is asked to stop.
    """
    for fold in folds:
        own = _files(files, fold)
        words = f"Cross-checking: training {fold.number + 1} of {len(folds)}, without a part of the queries"
        quiet = PhaseReporter(reporter, words)
        if not own.manifest.is_file():
            seed = (config["seed"] + fold.number + 1) % 2**32
            train_part({**config, "seed": seed}, fold.train, own, quiet, dev)
            if files.stop.is_file():
                raise Stopped
            found = measure(load(own.model), {"fold": fold.held_out}, quiet, "", files)
            write_json(own.manifest, asdict(found["fold"]) if found else {"per_query": {}})
        reporter.finish_phase(fold_work(config, fold, dev))


def average_folds(files: RunFiles, folds: list[Fold]) -> None:
    """Put the mean of the run's own model and those of its folds in its place. May be broken off and done again."""
    if files.alone.is_dir() and files.model.is_dir():
        return
    if not files.alone.is_dir():
        files.model.rename(files.alone)
    average([files.alone, *(_files(files, fold).model for fold in folds)], files.model)


def cross_checked(files: RunFiles, folds: list[Fold]) -> Evaluation:
    """The figures of the queries that are cross-checked, each ranked by the model that has not seen it."""
    found = [(judged, read_json(_files(files, fold).manifest)) for fold in folds for judged in fold.judged]
    queries = [judged for judged, _ in found]
    return evaluate(queries, [fold["per_query"][judged.query_id]["scores"] for judged, fold in found])


def _files(files: RunFiles, fold: Fold) -> RunFiles:
    """Where a fold is trained."""
    return files.part(files.folds.name, str(fold.number))
