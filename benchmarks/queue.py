"""How many labels a strategy needs: pairs chosen by *gain*, or another one, beside pairs chosen at random.

    python -m benchmarks.queue --data DIR --work DIR

Of each set some queries are held out to measure on; the candidates of the others wait in a store of their own. A
simulated annotator asks the queue for the next pair, as the page does, and labels it as the set's judges did. At each
number of labels the built-in model is trained on all of them by the app's own training code, and measured. The next
pairs are then chosen by what the new model thinks, as after a promotion.

First it is counted, on a made-up queue of many queries, how many of them tell two models apart by the labels that each
strategy hands out: only those can be measured on.

Curves are means over the seeds. "The same nDCG@10" is the highest that both reach after the first labels; how many it
takes is read off the curves, between two points along a straight line. Each step is kept in --work, so that a run that
was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import labeling.queue
from distillation.judged import LIST_LENGTH, read_judged
from labeling.queue import Queue
from reranker.dataset import LabelledPair, TrainingSets, queries_that_tell
from reranker.evaluation import evaluate
from reranker.model import Reranker
from reranker.recipe import DEFAULT_RECIPE, RECIPES, TrainingConfig
from reranker.sources import STARTER_DIR
from storage import database
from storage.label_store import LabelStore
from storage.queue_store import QueueStore
from storage.records import Candidate, Judgment, text_id
from storage.score_store import ScoreStore

# Parameters of the strategies are chosen on others than these.
SETS = ("quepid_haystack_products", "wikiqa_dev", "tatqa_dev", "financial_qa_10k")
COUNTS = (20, 40, 80)
SEEDS = (1, 2, 3)
# Pairs to measure on and pairs that wait to be labelled: those of whole queries, up to so many.
MEASURED = 400
QUEUED = 600
PASSAGES = 20
ANNOTATOR = "simulated"
STARTER = "starter"
# The made-up queue: so many queries, passages of each, and every so many of them relevant.
MANY_QUERIES, MANY_PASSAGES, EVERY = 1_000, 20, 4
COUNTED = (20, 50, 100)


@dataclass(frozen=True)
class Pool:
    """What a set is used for: pairs to measure on, and pairs to label, with what an annotator would say of each."""

    measured: list[LabelledPair]
    queued: list[LabelledPair]


def read_pool(folder: Path) -> Pool:
    """The first passages of each query's first stage; 2 and up counts as relevant where grades go up to 3."""
    judged = read_judged(folder, (MEASURED + QUEUED) * LIST_LENGTH // PASSAGES)
    least = 2 if max(grade for query in judged for grade in query.judged) > 1 else 1
    pool = Pool([], [])
    for query in judged:
        graded = list(zip(query.passages, query.grades, strict=True))[:PASSAGES]
        pairs = [
            LabelledPair(text_id(query.text), query.text, passage, int(grade >= least)) for passage, grade in graded
        ]
        if len(pool.measured) + len(pairs) <= MEASURED:
            pool.measured.extend(pairs)
        elif len(pool.queued) + len(pairs) <= QUEUED:
            pool.queued.extend(pairs)
    return pool


def measure(reranker: Reranker, pairs: list[LabelledPair]) -> float:
    """The mean nDCG@10, as the app measures it."""
    queries = queries_that_tell(pairs)
    scores = [reranker.scores([(judged.query, passage) for passage in judged.passages]) for judged in queries]
    return evaluate(queries, scores).metrics["ndcg@10"]


class Simulation:
    """One annotator who labels the pairs of a set as one strategy hands them out."""

    def __init__(self, pool: Pool, strategy: str, config: TrainingConfig, work: Path) -> None:
        self.pool, self.strategy, self.config = pool, strategy, config
        path = work / "workbench.db"
        database.create(path)
        self.labels, self.queue_store = LabelStore(path), QueueStore(path)
        self.labels.add_candidates(Candidate(pair.query, pair.passage) for pair in pool.queued)
        self.answers = {(pair.query, pair.passage): pair.label for pair in pool.queued}
        self.version = STARTER
        self.queue = Queue(
            self.queue_store, lambda: (self.version,), self.labels.anything_judged, random.Random(config.seed)
        )

    def look(self, version: str, reranker: Reranker) -> None:
        """Have a model score all that waits, as the app does behind everything else."""
        scores = reranker.scores([(pair.query, pair.passage) for pair in self.pool.queued])
        keys = [(text_id(pair.query), text_id(pair.passage)) for pair in self.pool.queued]
        rows = [(*key, score) for key, score in zip(keys, scores, strict=True)]
        ScoreStore(self.queue_store.path).save_scores(version, rows)
        self.version = version

    def label(self, count: int) -> None:
        """Go on until so many pairs are labelled."""
        while self.labels.progress(ANNOTATOR).mine < count:
            task = self.queue.next_task(ANNOTATOR, self.strategy)
            if task is None:
                raise SystemExit(f"The set has fewer than {count} pairs to label.")
            label = self.answers[task.query, task.passage]
            self.labels.save([Judgment(task.query, task.passage, label, ANNOTATOR)])

    def train(self, out: Path) -> Reranker | None:
        """The built-in model, trained on what is labelled; None while all labels are the same."""
        from benchmarks.training_run import train_as_the_app

        pairs = self.labelled()
        if len({pair.label for pair in pairs}) < 2:
            return None
        files = train_as_the_app(out, self.config, TrainingSets(train=pairs), STARTER_DIR)
        return Reranker(files.model, engine="torch")

    def labelled(self) -> list[LabelledPair]:
        """What is labelled so far."""
        return [LabelledPair(item.query_id, item.query, item.passage, item.label) for item in self.labels.labels()]

    def relevant(self) -> int:
        """How many of the labelled pairs are relevant."""
        return self.labels.progress(ANNOTATOR).relevant


def telling(strategy: str, seed: int) -> list[int]:
    """How many queries of the made-up queue tell two models apart after each number of labels in COUNTED."""
    rng = random.Random(seed)
    pairs = [
        LabelledPair(text_id(query), query, f"passage {number} of {query}", int(number % EVERY == 0))
        for query in (f"query {number}" for number in range(MANY_QUERIES))
        for number in range(MANY_PASSAGES)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        simulation = Simulation(Pool([], pairs), strategy, TrainingConfig.of(seed=seed), Path(scratch))
        # A model that is right more often than not.
        scores = [(pair.query_id, text_id(pair.passage), pair.label + rng.gauss(0, 1)) for pair in pairs]
        ScoreStore(simulation.queue_store.path).save_scores(STARTER, scores)
        found = []
        for count in COUNTED:
            simulation.label(count)
            found.append(len(queries_that_tell(simulation.labelled())))
    return found


def simulate(folder: Path, strategy: str, config: TrainingConfig, starter: Reranker, work: Path) -> list[dict]:
    """The curve of one annotator: for each number of labels the nDCG@10 and how many are relevant."""
    kept = work / f"{folder.name}-{strategy}-{config.seed}-{fingerprint(config)}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    pool = read_pool(folder)
    curve = [{"labels": 0, "ndcg": measure(starter, pool.measured), "relevant": 0}]
    with tempfile.TemporaryDirectory() as scratch:
        simulation = Simulation(pool, strategy, config, Path(scratch))
        # Chance does not ask what the model thinks.
        if strategy != "random":
            simulation.look(STARTER, starter)
        for count in COUNTS:
            simulation.label(count)
            out = Path(scratch) / "run"
            reranker = simulation.train(out) or starter
            curve.append({"labels": count, "ndcg": measure(reranker, pool.measured), "relevant": simulation.relevant()})
            print(f"{folder.name}, {strategy}, seed {config.seed}: {curve[-1]}", flush=True)
            if strategy != "random" and count != COUNTS[-1]:
                simulation.look(f"after-{count}", reranker)
            shutil.rmtree(out, ignore_errors=True)
    kept.write_text(json.dumps(curve))
    return curve


def fingerprint(config: TrainingConfig) -> str:
    """What the kept results depend on: the recipe's values, the strategies, and the size of the experiment."""
    strategies = Path(labeling.queue.__file__).read_text()
    recipe = {**asdict(RECIPES[config.recipe]), **asdict(config)}
    parts = (json.dumps(recipe, sort_keys=True), strategies, str((COUNTS, MEASURED, QUEUED, PASSAGES)))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def labels_needed(labels: Sequence[int], values: Sequence[float], wanted: float) -> float:
    """The number of labels at which the curve first reaches `wanted`, between two points along a straight line.

    Raises ValueError where it never does.
    """
    if values[0] >= wanted:
        return labels[0]
    for at in range(1, len(labels)):
        if values[at] >= wanted:
            share = (wanted - values[at - 1]) / (values[at] - values[at - 1])
            return labels[at - 1] + share * (labels[at] - labels[at - 1])
    raise ValueError(f"the curve never reaches {wanted}")


def compare(curves: dict[str, list[list[dict]]]) -> list[str]:
    """Rows of a table, one for each strategy. The last figure is how many times as many labels random pairs take for
    the same nDCG@10; "-" where one of the two never does better than without labels, so that there is nothing to
    reach."""
    means = {
        name: np.mean([[point["ndcg"] for point in curve] for curve in runs], axis=0).tolist()
        for name, runs in curves.items()
    }
    at_random = means["random"]
    rows = []
    for name, values in means.items():
        relevant = np.mean([curve[-1]["relevant"] / curve[-1]["labels"] for curve in curves[name]])
        figures = " | ".join(f"{value:.4f}" for value in values)
        wanted, times = min(max(values[1:]), max(at_random[1:])), "-"
        if name != "random" and wanted > at_random[0]:
            needed, needed_at_random = (labels_needed(COUNTS, curve[1:], wanted) for curve in (values, at_random))
            times = f"{needed_at_random / needed:.2f} ({needed_at_random:.0f} and {needed:.0f} for {wanted:.4f})"
        rows.append(f"{name} | {figures} | {relevant:.0%} | {times}")
    return rows


def main() -> None:
    """Read the command line, run what is not kept yet, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the directory of the judged sets")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--strategies", nargs="+", default=["gain"], help="what is compared with random")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--recipe", default=DEFAULT_RECIPE)
    parser.add_argument("--learning-rate", type=float, help="in place of the recipe's own")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("data") / "bench-queue", help="where steps are kept")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    given.work.mkdir(parents=True, exist_ok=True)
    # What it has scored once it remembers: the starter looks at each set only once.
    starter = Reranker(STARTER_DIR, engine="torch")
    told = [
        f"| strategy | {' | '.join(f'{count} labels' for count in COUNTED)} |",
        "| --- " * (len(COUNTED) + 1) + "|",
        *(
            f"| {strategy} | {' | '.join(map(str, telling(strategy, given.seeds[0])))} |"
            for strategy in ("random", *given.strategies)
        ),
    ]
    print(f"Queries that tell models apart, of {MANY_QUERIES:,} in the queue:", *told, sep="\n", flush=True)
    counts = " | ".join(f"{count} labels" for count in (0, *COUNTS))
    lines = [
        f"| set | strategy | {counts} | of them relevant | at random, times as many labels |",
        "| --- " * (len(COUNTS) + 5) + "|",
    ]
    for name in given.sets:
        curves: dict[str, list[list[dict]]] = {strategy: [] for strategy in ("random", *given.strategies)}
        for seed in given.seeds:
            config = TrainingConfig.of(given.recipe, seed=seed, learning_rate=given.learning_rate)
            for strategy, runs in curves.items():
                runs.append(simulate(given.data / name, strategy, config, starter, given.work))
        lines += [f"| {name} | {row} |" for row in compare(curves)]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
