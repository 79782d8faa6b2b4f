"""Models that were each trained without some of the labelled queries: to judge the training by, and to average.

Of some dozen labelled queries a handful is held out, and a handful says little. So the queries to train on are dealt
out to a few folds, and as many models are trained, each without one of the folds, which it then ranks (Stone, 1974,
"Cross-validatory choice and assessment of statistical predictions"). So each labelled query tells what this training
does for a query that it has not seen. That is said of models with fewer labels than the run's own, so it is rather too
low than too high.

The models are not thrown away: the run's own becomes the mean of them and itself (averaging.py).

They also choose. What a model knew before is worth holding on to where labels are few, and where they say the same; it
is in the way where they say something new, and are enough to say it (anchor.py). So out of many labels the folds are
trained both with and without the anchor, and it is left out where the queries that they have not seen are then ranked
better. A query that had a say in that would be ranked too well by what it chose: each is judged by the way that the
other folds chose (Varma and Simon, 2006, "Bias in error estimation when using cross-validation for model selection").
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import sem

from reranker.averaging import average
from reranker.dataset import JudgedQuery, LabelledPair, count_passages, groups_of, make_sets, queries_that_tell
from reranker.evaluation import Evaluation, evaluate
from reranker.losses import can_learn
from reranker.measuring import LOADING, Stopped, load, measure
from reranker.recipe import DEFAULT, recipe_of
from reranker.reporter import PhaseReporter, Reporter
from reranker.run_files import RunFiles, read_json, write_json
from reranker.side_by_side import Part
from reranker.training import is_anchored, part_work, train_part

FREE = "free"
# Whether the run is trained again on all pairs is known when all folds are: until then half of that is counted.
AGAIN = 0.5


@dataclass(frozen=True)
class Fold:
    """The pairs to train on without one part of the queries; those queries, and those of them to judge by."""

    number: int
    train: list[LabelledPair]
    held_out: list[JudgedQuery]
    judged: list[JudgedQuery]


def make_folds(
    pairs: list[LabelledPair], count: int, learned: Collection[str] | None, loss: str = DEFAULT.loss
) -> list[Fold]:
    """Deal the queries of these pairs out to `count` folds; none where a fold would leave too little to learn from,
    with the loss of this name.

    Queries that ask the same or share a relevant passage stay together. No query is judged by that the models compared
    have learned from, or one that belongs with such a query: `learned` has the ids of those, None where nobody knows.
    """
    if count < 2:
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
    return folds if all(can_learn(loss, fold.train) for fold in folds) else []


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


@dataclass(frozen=True)
class Way:
    """A way to train what a run trains: how, and where it is done."""

    config: dict[str, Any]
    files: RunFiles


def ways_of(config: dict[str, Any], files: RunFiles, pairs: list[LabelledPair]) -> list[Way]:
    """How the run is configured; with many labels and an anchor, the same without that beside it."""
    asked, choice_above = Way(config, files), recipe_of(config).choice_above
    if not is_anchored(config) or not choice_above or len(pairs) <= choice_above:
        return [asked]
    return [asked, Way({**config, "anchor": 0.0}, files.part(files.folds.name, FREE))]


def work(ways: list[Way], folds: list[Fold], pairs: list[LabelledPair], dev: list[JudgedQuery]) -> float:
    """The cost of the folds and of the choice, in pairs that are scored."""
    if not folds:
        return 0
    again = sum(_again_work(way, pairs, dev) for way in ways[1:])
    return again + sum(_fold_work(way, fold, dev) for way in ways for fold in folds)


def work_done(ways: list[Way], folds: list[Fold], pairs: list[LabelledPair], dev: list[JudgedQuery]) -> float:
    """How much of that is done already."""
    again = sum(_again_work(way, pairs, dev) for way in ways[1:] if way.files.is_whole())
    trained = sum(part.work for part in parts_of(ways, folds, dev) if part.is_done)
    measured = (fold for way in ways for fold in folds if _files(way, fold).manifest.is_file())
    return again + trained + sum(LOADING + count_passages(fold.held_out) for fold in measured)


def _again_work(way: Way, pairs: list[LabelledPair], dev: list[JudgedQuery]) -> float:
    return AGAIN * part_work(way.config, pairs, dev)


def _fold_work(way: Way, fold: Fold, dev: list[JudgedQuery]) -> float:
    return _part(way, fold, dev).work + LOADING + count_passages(fold.held_out)


def parts_of(ways: list[Way], folds: list[Fold], dev: list[JudgedQuery]) -> list[Part]:
    """The trainings of each fold's model in each way."""
    return [_part(way, fold, dev) for way in ways for fold in folds]


def _part(way: Way, fold: Fold, dev: list[JudgedQuery]) -> Part:
    seed = (way.config["seed"] + fold.number + 1) % 2**32
    return Part({**way.config, "seed": seed}, fold.train, _files(way, fold), dev)


def train_folds(ways: list[Way], folds: list[Fold], dev: list[JudgedQuery], reporter: Reporter) -> None:
    """Train each fold's model in each way, as far as it is not there yet, and keep how it ranks what it has not seen.

    Raises Stopped when the run is asked to stop.
    """
    trainings = [(way, fold) for way in ways for fold in folds]
    for number, (way, fold) in enumerate(trainings, start=1):
        part = _part(way, fold, dev)
        quiet = PhaseReporter(reporter, f"Cross-checking: measuring model {number} of {len(trainings)}")
        if not part.is_done:
            _check(way.files)
            anchor = "" if way is ways[0] else ", not holding on to what it knew"
            words = f"Cross-checking: training {number} of {len(trainings)}, without a part of the queries{anchor}"
            quiet = PhaseReporter(reporter, words)
            part.train(quiet)
            _check(way.files)
        if not part.files.manifest.is_file():
            found = measure(load(part.files.model, quiet), {"fold": fold.held_out}, quiet, "", way.files)
            write_json(part.files.manifest, asdict(found["fold"]) if found else {"per_query": {}})
        reporter.finish_phase(_fold_work(way, fold, dev))


def _check(files: RunFiles) -> None:
    """Raise Stopped where the run is asked to stop."""
    if files.stop.is_file():
        raise Stopped


def choose(ways: Sequence[Way], folds: Sequence[Fold]) -> Way:
    """The way that these folds speak for: the first, unless the other is better by more than a standard error."""
    if len(ways) == 1:
        return ways[0]
    gains = gains_of_other(ways, folds)
    return ways[1] if gains.size > 1 and gains.mean() > sem(gains) else ways[0]


def gains_of_other(ways: Sequence[Way], folds: Sequence[Fold]) -> np.ndarray:
    """How much more nDCG@10 each query of these folds has by the second way than by the first, (Q,)."""
    first, other = (
        np.array([figures["ndcg@10"] for fold in folds for figures in _kept_figures(way, fold).values()])
        for way in ways
    )
    return other - first


def train_chosen(
    ways: list[Way], chosen: Way, pairs: list[LabelledPair], dev: list[JudgedQuery], reporter: Reporter
) -> None:
    """Train on all pairs in the chosen way, where the run has not done that. Raises Stopped."""
    for way in ways[1:]:
        cost = _again_work(way, pairs, dev)
        if way is not chosen:
            reporter.skip(cost)
        elif not way.files.is_whole():
            quiet = PhaseReporter(reporter, "Training on all labels again, not holding on to what it knew", AGAIN)
            train_part(way.config, pairs, way.files, quiet, dev)
            _check(way.files)
        reporter.finish_phase(cost)


def average_folds(files: RunFiles, chosen: Way, folds: list[Fold]) -> None:
    """Put the mean of the models that were trained in the chosen way, on all pairs and on the folds', in the place of
    the run's own. May be broken off and done again.
    """
    if files.alone.is_dir() and files.model.is_dir():
        return
    if not files.alone.is_dir():
        files.model.rename(files.alone)
    whole = files.alone if chosen.files is files else chosen.files.model
    average([whole, *(_files(chosen, fold).model for fold in folds)], files.model)


def cross_checked(ways: Sequence[Way], folds: list[Fold]) -> Evaluation:
    """The figures of the queries that are cross-checked, each ranked by the model that has not seen it.

    Of two ways, it is that which the other folds speak for.
    """
    queries, scores = [], []
    for fold in folds:
        kept = _kept_figures(choose(ways, [other for other in folds if other is not fold]), fold)
        queries += fold.judged
        scores += [kept[judged.query_id]["scores"] for judged in fold.judged]
    return evaluate(queries, scores)


def _kept_figures(way: Way, fold: Fold) -> dict[str, dict[str, Any]]:
    """The figures of the queries that the fold's model has not seen, by their ids."""
    return read_json(_files(way, fold).manifest)["per_query"]


def _files(way: Way, fold: Fold) -> RunFiles:
    """Where a fold is trained."""
    return way.files.part(way.files.folds.name, str(fold.number))
