"""What labels bring: an annotator labels N pairs, a run trains on them, and other queries tell what was gained.

usage: python -m benchmarks.learning --data DIR [--model DIR ...] [--sets ...] [--labels ...] [--seeds ...] [--work DIR]

Each cell is a model, a set, a number of labels, a seed and a recipe. The labels are split, trained on and judged by the
gate just as in the app; the gain is in nDCG@10 on queries that gave no label. Without the gate every new model would
be used; with it, one that is not promoted gains nothing. A gain measured on some dozen queries is itself uncertain:
beside the promoted cells that lost more than LIMIT it is said how many would seem to if each of them gained what all
cells of the row gain in the mean. With --relevant-only the annotator says of one passage of each
query that it is relevant and of none that it is not, and runs assume the rest (reranker/assumed.py). Cells that are in
--work already are not computed again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import norm, sem

from benchmarks.annotator import DEPTH, JudgedSet, read_set
from benchmarks.training_run import split, train_as_the_app
from distillation.evaluate import ndcg
from reranker.assumed import with_assumed
from reranker.gate import decide
from reranker.measuring import load
from reranker.model import Reranker
from reranker.recipe import RECIPES, TrainingConfig
from reranker.run_files import read_json
from reranker.sources import STARTER_DIR

SETS = ("trec_dl21", "medquad_liveqa", "tatqa_dev", "obliqa_test", "stackfaq", "quepid_haystack_products")
LABELS = (20, 50, 100, 300)
# No promoted model is to lose more nDCG@10 than this.
LIMIT = 0.005


@dataclass(frozen=True)
class Cell:
    """What one run brought. `gain` is in mean nDCG@10 on the measured queries, `before` the champion's.

    `error` is the gain's standard error over these queries, None in cells that were computed before it was kept;
    `setting` says what was measured and labelled.
    """

    model: str
    set: str
    labels: int
    seed: int
    recipe: str
    before: float
    gain: float
    promoted: bool
    why: str
    error: float | None = None
    setting: str = ""

    @property
    def gated(self) -> float:
        """The gain that somebody gets who leaves the decision to the gate."""
        return self.gain if self.promoted else 0.0

    @property
    def key(self) -> tuple:
        return self.setting, self.model, self.set, self.labels, self.seed, self.recipe


class Bench:
    """Runs the cells of one model in one setting. What the champion scores is computed once for each set."""

    def __init__(self, model: Path, setting: str = "") -> None:
        self.model = model
        self.setting = setting
        self.champion = load(model)
        self._before: dict[str, np.ndarray] = {}

    def cell(self, judged: JudgedSet, count: int, seed: int, recipe: str, relevant_only: bool = False) -> Cell | None:
        """Label, train and judge as the app does, then measure; None where these labels cannot be trained on."""
        if relevant_only:
            pairs, not_judged = judged.label_relevant(count, seed)
        else:
            pairs, not_judged = judged.label(count, seed), {}
        sets = split(pairs)
        if relevant_only:
            sets = with_assumed(sets, lambda _: not_judged)
        if sets.why_not_trainable():
            return None
        with tempfile.TemporaryDirectory() as scratch:
            config = TrainingConfig.of(recipe, seed=seed)
            files = train_as_the_app(Path(scratch) / "run", config, sets, self.model)
            promoted, why = decide("auto", read_json(files.manifest)["comparison"])
            after = ndcg_of(load(files.model), judged)
        before = self.before(judged)
        gains = after - before
        return Cell(
            model=self.model.name,
            set=judged.name,
            labels=count,
            seed=seed,
            recipe=recipe,
            before=float(before.mean()),
            gain=float(gains.mean()),
            promoted=promoted,
            why=why,
            error=float(sem(gains)),
            setting=self.setting,
        )

    def before(self, judged: JudgedSet) -> np.ndarray:
        """The champion's nDCG@10 of each measured query of a set."""
        if judged.name not in self._before:
            self._before[judged.name] = ndcg_of(self.champion, judged)
        return self._before[judged.name]


def ndcg_of(reranker: Reranker, judged: JudgedSet) -> np.ndarray:
    """nDCG@10 of each measured query, as `distillation.evaluate.ndcg`; what was not judged counts as not relevant."""
    pairs = [(query.text, passage) for query in judged.measured for passage in query.passages]
    scores = iter(reranker.scores(pairs))
    found = []
    for query in judged.measured:
        of_query = np.array([next(scores) for _ in query.passages])
        ranked = [query.grades[place] or 0 for place in np.argsort(-of_query, kind="stable")]
        found.append(ndcg(ranked, query.judged))
    return np.array(found)


def table(cells: Iterable[Cell]) -> str:
    """Mean gains by number of labels and recipe, without and with the gate, and how classic and default compare."""
    cells = list(cells)
    lines = [
        "| model | labels | recipe | cells | mean gain | worst | gate: mean | worst | promoted | gains thrown away | "
        f"lost over {LIMIT} | by chance |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for model in dict.fromkeys(cell.model for cell in cells):
        for count in sorted({cell.labels for cell in cells if cell.model == model}):
            for recipe in RECIPES:
                rows = [cell for cell in cells if (cell.model, cell.labels, cell.recipe) == (model, count, recipe)]
                if rows:
                    lines.append(f"| {model} | {count} | {recipe} | {_figures(rows)} |")
    lines.append("")
    lines += [ratio(cells, model) for model in dict.fromkeys(cell.model for cell in cells)]
    return "\n".join(lines)


def _figures(rows: list[Cell]) -> str:
    gains, gated = [cell.gain for cell in rows], [cell.gated for cell in rows]
    true = sum(gain for gain in gains if gain > 0)
    lost = sum(cell.gain for cell in rows if cell.gain > 0 and not cell.promoted)
    return (
        f"{len(rows)} | {np.mean(gains):+.4f} | {min(gains):+.4f} | {np.mean(gated):+.4f} | {min(gated):+.4f} | "
        f"{sum(cell.promoted for cell in rows)} | {f'{lost / true:.0%}' if true else '-'} | "
        f"{sum(cell.gated < -LIMIT for cell in rows)} | {_by_chance(rows)}"
    )


def _by_chance(rows: list[Cell]) -> str:
    """How many promoted cells would seem to lose more than LIMIT, were the true gain of each the mean of the row."""
    promoted = [cell for cell in rows if cell.promoted]
    if any(cell.error is None for cell in promoted):
        return "-"
    mean = np.mean([cell.gain for cell in rows])
    # Where no query changed there is no error, and nothing seems to be lost.
    chances = [norm.cdf((-LIMIT - mean) / cell.error) for cell in promoted if cell.error]
    return f"{sum(chances):.1f}"


def ratio(cells: list[Cell], model: str) -> str:
    """How the mean gains of both recipes compare at each number of labels, over the cells that both have."""
    by_key = {cell.key: cell for cell in cells if cell.model == model}
    both = [(cell, by_key.get((*key[:-1], "classic"))) for key, cell in by_key.items() if cell.recipe == "default"]
    words = []
    for count in sorted({cell.labels for cell, other in both if other}):
        pairs = [(cell.gain, other.gain) for cell, other in both if other and cell.labels == count]
        ours, theirs = np.mean(pairs, axis=0)
        times = f"{ours / theirs:.1f} times" if theirs > 0 else "which lost,"
        words.append(f"at {count} labels {ours:+.4f}, {times} classic's {theirs:+.4f}")
    return f"From {model}, default gains {'; '.join(words)}."


def read_cells(path: Path) -> list[Cell]:
    """The cells that were computed before."""
    if not path.exists():
        return []
    return [Cell(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Read the command line, compute the cells that are missing, and print the table."""
    parser = argparse.ArgumentParser(description="Measure what labels bring, with each recipe.")
    parser.add_argument("--data", type=Path, required=True, help="the directory of the judged sets")
    parser.add_argument("--model", type=Path, nargs="+", default=[STARTER_DIR], help="where to start from")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--labels", type=int, nargs="+", default=list(LABELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument(
        "--relevant-only", action="store_true", help="label one relevant passage a query, assume others"
    )
    parser.add_argument("--queries", type=int, default=40, help="measured queries of each set")
    parser.add_argument("--candidates", type=int, default=30, help="of each measured query")
    parser.add_argument("--words", type=int, default=200, help="passages are cut after so many")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--work", type=Path, help="a file where cells are kept from one run to the next")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    work = given.work or Path(tempfile.mkdtemp()) / "cells.jsonl"
    setting = f"{given.queries} queries of {given.candidates} candidates, {given.words} words"
    setting += ", only relevant ones labelled" if given.relevant_only else ""
    cells = {cell.key: cell for cell in read_cells(work) if cell.setting == setting}
    sets = [read_set(given.data / name, given.queries, given.candidates, given.words) for name in given.sets]
    for model in given.model:
        bench = Bench(model, setting)
        for seed in given.seeds:
            for count in given.labels:
                for judged in sets:
                    for recipe in given.recipes:
                        if (setting, model.name, judged.name, count, seed, recipe) in cells:
                            continue
                        cell = bench.cell(judged, count, seed, recipe, given.relevant_only)
                        if cell is None:
                            continue
                        cells[cell.key] = cell
                        with work.open("a", encoding="utf-8") as lines:
                            lines.write(json.dumps(asdict(cell)) + "\n")
                        print(f"{' '.join(map(str, cell.key))}: {cell.gain:+.4f}. {cell.why}", flush=True)
    print(f"\n### What labels bring: nDCG@10 on queries that gave none, {DEPTH} passages judged of each query\n")
    print(table(cells.values()))


if __name__ == "__main__":
    main()
