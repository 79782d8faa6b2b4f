"""What a finished run has done: how each held-out query is ranked before and after, and which labels are doubtful.

Read from the run's directory, which keeps the labels as they were and the scores of both models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reranker.curve import CurvePoint, LearningCurve, Outlook
from reranker.dataset import SPLITS, JudgedQuery, Suspect, count_given_in, queries_that_tell, read_pairs
from reranker.figures import SAME
from reranker.general import general_queries
from reranker.recipe import recipe_of
from reranker.run_files import RunFiles, read_json
from storage.records import TrainingRun
from texts import counted

CHIEF = "ndcg@10"


@dataclass(frozen=True)
class Placed:
    """A passage in a ranking: its place from 1, that before the run, and its label."""

    place: int
    before: int
    passage: str
    label: int
    score: float


@dataclass(frozen=True)
class QueryChange:
    """A query with its nDCG@10 and its passages, best first, before and after a run."""

    query: str
    before: float
    after: float
    ranking_before: list[Placed]
    ranking_after: list[Placed]

    @property
    def gain(self) -> float:
        return self.after - self.before

    @property
    def verdict(self) -> str:
        """better, equal or worse."""
        return "equal" if abs(self.gain) <= SAME else "better" if self.gain > 0 else "worse"

    @property
    def moved(self) -> int:
        """By how many places its passages moved, all together."""
        return sum(abs(passage.place - passage.before) for passage in self.ranking_after)


@dataclass(frozen=True)
class RunResults:
    """What a run did to each query, those that changed most first, by set; the doubtful labels; the learning curve
    where one was drawn; and of how many models what it kept is the mean."""

    changes: dict[str, list[QueryChange]]
    suspects: list[Suspect]
    learning_curve: LearningCurve | None = None
    models: int = 1


def read_results(files: RunFiles) -> RunResults | None:
    """The results of the run with these files; None where it has none, or they are no longer there."""
    try:
        manifest = read_json(files.manifest)
        changes = {
            split: changes_of(_queries(files, split), manifest["champion"][split], manifest["challenger"][split])
            for split in manifest["champion"]
        }
    except (OSError, ValueError, KeyError):  # a run from before these were kept has no scores in its manifest
        return None
    suspects = [Suspect(**row) for row in manifest.get("suspects", [])]
    return RunResults(changes, suspects, _learning_curve(manifest.get("learning_curve")), _models_in_mean(manifest))


def models_in_mean(files: RunFiles) -> int:
    """Of how many models the mean is what the run with these files kept: its own, and one for each fold."""
    try:
        return _models_in_mean(read_json(files.manifest))
    except (OSError, ValueError):
        return 1


def _models_in_mean(manifest: dict[str, Any]) -> int:
    return 1 + manifest.get("training", {}).get("folds", 0)


def _learning_curve(found: dict[str, Any] | None) -> LearningCurve | None:
    if found is None:
        return None
    return LearningCurve([CurvePoint(**point) for point in found["points"]], Outlook(**found["outlook"]))


def how_made(run: TrainingRun, files: RunFiles) -> dict[str, str]:
    """What the version of this run was made from and on, in words, as far as its files are still there."""
    words = {"Run": run.id, "Configuration": ", ".join(_chosen(run.config))}
    try:
        sizes = {split: count_given_in(files.pairs(split)) for split in SPLITS}
        environment = read_json(files.manifest)["environment"]
    except (OSError, ValueError, KeyError):
        return words
    libraries = ", ".join(f"{name} {version}" for name, version in environment["libraries"].items())
    threads = counted(environment["threads"], "thread")
    return words | {
        "Labels": ", ".join(f"{count} {split}" for split, count in sizes.items()),
        "Environment": f"Python {environment['python']}, {libraries}",
        "Machine": f"{environment['device']}, {threads}, {environment['system']}",
    }


def _chosen(config: dict[str, Any]) -> Iterator[str]:
    """What a person chose of a run's configuration, in words, and what the recipe does besides; not what is off."""
    yield f"from {config['base']}"
    yield f"{config['recipe']} recipe"
    yield counted(config["epochs"], "epoch")
    yield f"learning rate {config['learning_rate']:g}"
    yield f"batches of {config['batch_size']}"
    yield f"seed {config['seed']}"
    recipe = recipe_of(config)
    yield f"loss {config.get('loss') or recipe.loss}"
    if config.get("patience"):
        yield f"patience of {counted(config['patience'], 'measurement')}"
    if recipe.warmup:
        yield f"the learning rate rises during the first {recipe.warmup * 100:g} % of the steps"
    if recipe.anchor:
        yield f"held to what the model knew with weight {recipe.anchor:g}"
    if recipe.folds:
        yield f"cross-checked with up to {counted(recipe.folds, 'fold')}"
    if config.get("learning_curve"):
        yield "with a learning curve"
    if config.get("assume_not_relevant"):
        yield "passages that nobody judged taken as not relevant"


def changes_of(queries: list[JudgedQuery], champion: dict[str, Any], challenger: dict[str, Any]) -> list[QueryChange]:
    """The queries, those whose nDCG@10 changed most first, and among equals those whose passages moved most."""
    changes = [
        _change(judged, champion["per_query"][judged.query_id], challenger["per_query"][judged.query_id])
        for judged in queries
        if judged.query_id in challenger["per_query"]
    ]
    return sorted(changes, key=lambda change: (-round(abs(change.gain), 9), -change.moved, change.query))


def _queries(files: RunFiles, split: str) -> list[JudgedQuery]:
    if split == "general":
        return general_queries()
    # Those to train on were cross-checked, as far as no model compared had learned from them before.
    return queries_that_tell(read_pairs(files.pairs("train" if split == "cross" else split)))


def _change(judged: JudgedQuery, before: dict[str, Any], after: dict[str, Any]) -> QueryChange:
    place_before, place_after = _places(before["scores"]), _places(after["scores"])

    def ranking(places: list[int], scores: list[float]) -> list[Placed]:
        passages = [
            Placed(places[index], place_before[index], passage, judged.labels[index], scores[index])
            for index, passage in enumerate(judged.passages)
        ]
        return sorted(passages, key=lambda passage: passage.place)

    return QueryChange(
        judged.query,
        before[CHIEF],
        after[CHIEF],
        ranking(place_before, before["scores"]),
        ranking(place_after, after["scores"]),
    )


def _places(scores: list[float]) -> list[int]:
    """The place of each passage, from 1; equal scores keep the order of the input."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    places = [0] * len(scores)
    for place, index in enumerate(order, start=1):
        places[index] = place
    return places
