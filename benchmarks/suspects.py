"""Whether wrong labels are found: a tenth of the labels is turned on purpose, and the most doubtful tenth looked at.

usage: python -m benchmarks.suspects --data DIR [--model DIR] [--sets ...] [--labels N] [--depth N] [--draw N]
    [--seeds N]

Beside it, what comes of going by the model's score alone: relevant passages with the least, others with the greatest.
"""

import argparse
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.annotator import read_set
from reranker.dataset import LabelledPair
from reranker.model import Reranker
from reranker.sources import STARTER_DIR
from reranker.suspects import find_suspects

SETS = (
    "squad_dev",
    "wikiqa_dev",
    "trecqa_dev",
    "trec_dl21",
    "medquad_liveqa",
    "tatqa_dev",
    "obliqa_test",
    "stackfaq",
    "quepid_haystack_products",
)
TURNED, WORDS, DEPTH = 0.1, 150, 8


def turn_some(pairs: Sequence[LabelledPair], seed: int) -> tuple[list[LabelledPair], set[int]]:
    """The pairs with a tenth of their labels turned, and the places of those."""
    places = set(random.Random(seed).sample(range(len(pairs)), round(TURNED * len(pairs))))
    return [replace(pair, label=1 - pair.label) if at in places else pair for at, pair in enumerate(pairs)], places


def found_by_list(pairs: Sequence[LabelledPair], logits: Sequence[float], wrong: set[int]) -> float:
    """The share of the wrong labels that is in the app's list of doubtful ones, a tenth of all labels at most."""
    texts = {(pairs[place].query, pairs[place].passage) for place in wrong}
    listed = find_suspects(pairs, logits)[: len(pairs) // 10]
    return len(texts & {(suspect.query, suspect.passage) for suspect in listed}) / len(wrong)


def found_by_score(pairs: Sequence[LabelledPair], logits: Sequence[float], wrong: set[int]) -> float:
    """The same for the tenth of the labels that the score alone contradicts most."""
    contradicted = np.where([pair.label for pair in pairs], -np.asarray(logits), np.asarray(logits))
    return len(wrong & set(np.argsort(-contradicted)[: len(pairs) // 10].tolist())) / len(wrong)


def main() -> None:
    """Read the command line and print a row for each set."""
    parser = argparse.ArgumentParser(description="Measure how many wrong labels the list of doubtful ones holds.")
    parser.add_argument("--data", type=Path, required=True, help="the directory of the judged sets")
    parser.add_argument("--model", type=Path, default=STARTER_DIR)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--labels", type=int, default=500)
    parser.add_argument("--depth", type=int, default=DEPTH, help="passages of a query that are judged before the next")
    parser.add_argument("--draw", type=int, default=0, help="which queries are judged: another number, others")
    parser.add_argument("--seeds", type=int, default=10, help="how often other labels are turned")
    given = parser.parse_args()
    reranker = Reranker(given.model)
    print("| set | labels | relevant | wrong labels found in the first tenth | by the score alone |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in given.sets:
        pairs = read_set(given.data / name, 0, 1, WORDS).label(given.labels, given.draw, given.depth)
        logits = reranker.scores([(pair.query, pair.passage) for pair in pairs])
        shares = []
        for seed in range(given.seeds):
            turned, wrong = turn_some(pairs, seed)
            shares.append((found_by_list(turned, logits, wrong), found_by_score(turned, logits, wrong)))
        by_list, by_score = np.mean(shares, axis=0)
        relevant = np.mean([pair.label for pair in pairs])
        print(f"| {name} | {len(pairs)} | {relevant:.0%} | {by_list:.2f} | {by_score:.2f} |", flush=True)


if __name__ == "__main__":
    main()
