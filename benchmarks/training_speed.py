"""How fast a run learns: the plain trainer beside the default recipe's, on the same pairs of mixed lengths.

usage: python -m benchmarks.training_speed --data DIR [--model DIR] [--pairs N] [--rounds N]

Each run is a process of its own, as in the app, so that its peak memory is its own. Dropout is off here: so both see
the same numbers, and the losses can be compared step by step.
"""

import argparse
import io
import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from distillation.judged import read_judged
from reranker.dataset import LabelledPair, read_pairs, write_pairs
from reranker.sources import STARTER_DIR

RECIPES = ("classic", "default")


def labelled_pairs(folder: Path, count: int) -> list[LabelledPair]:
    """Pairs of real queries with what their first stage found; 2 and up counts as relevant where grades go up to 3."""
    judged = read_judged(folder)
    least = 2 if max(grade for query in judged for grade in query.grades) > 1 else 1
    pairs = [
        LabelledPair(query.text, query.text, passage, int(grade >= least))
        for query in judged
        for passage, grade in zip(query.passages, query.grades, strict=True)
    ]
    return random.Random(42).sample(pairs, count)


def without_dropout(model: Path, out: Path) -> Path:
    """A copy of a model that computes the same in training as it does otherwise."""
    shutil.copytree(model, out)
    config = json.loads((out / "config.json").read_text())
    names = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout")
    (out / "config.json").write_text(json.dumps(config | dict.fromkeys(names, 0.0)))
    return out


def run_one(recipe: str, model: str, pairs: str, out: str) -> None:
    """Train one epoch in this process, and print the figures as JSON."""
    from reranker.recipe import CLASSIC, RECIPES
    from reranker.reporter import Reporter
    from reranker.run_files import RunFiles
    from reranker.training import train

    # How batches are worked through is what is compared: with the same steps, so that the losses can be held together.
    RECIPES["default"] = replace(CLASSIC, fast=True)
    config = {"recipe": recipe, "base_path": model, "base_name": "model", "base_on_hub": False}
    config |= {"batch_size": 16, "epochs": 1, "learning_rate": 2e-5, "seed": 42}
    stream = io.StringIO()
    Path(out).mkdir()
    train(config, read_pairs(Path(pairs)), RunFiles(Path(out)), Reporter(stream, 1))
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    steps = [event for event in events if "loss" in event]
    begun = next(event["time"] for event in events if event.get("phase") == "Training")
    figures = {
        "seconds": steps[-1]["time"] - begun,
        "losses": [event["loss"] for event in steps],
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(figures))


def main() -> None:
    """Read the command line, run both recipes in turn and print how they compare."""
    parser = argparse.ArgumentParser(description="Time the default recipe beside the plain trainer.")
    parser.add_argument("--data", type=Path, required=True, help="the directory of the judged sets")
    parser.add_argument("--set", default="medquad_liveqa", help="where the pairs come from")
    parser.add_argument("--model", type=Path, default=STARTER_DIR)
    parser.add_argument("--pairs", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found: dict[str, list[dict]] = {recipe: [] for recipe in RECIPES}
    with tempfile.TemporaryDirectory() as scratch:
        model = without_dropout(given.model, Path(scratch) / "model")
        pairs = Path(scratch) / "pairs.jsonl"
        write_pairs(pairs, labelled_pairs(given.data / given.set, given.pairs))
        for number in range(given.rounds):
            for recipe in RECIPES:
                out = Path(scratch) / f"{recipe}-{number}"
                call = (
                    f"from benchmarks.training_speed import run_one; run_one({recipe!r}, *__import__('sys').argv[1:])"
                )
                command = [sys.executable, "-c", call, str(model), str(pairs), str(out)]
                answer = subprocess.run(
                    command, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
                )
                found[recipe].append(json.loads(answer.stdout.splitlines()[-1]))
    plain, fast = (
        {name: statistics.median(run[name] for run in found[recipe]) for name in ("seconds", "megabytes")}
        for recipe in RECIPES
    )
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(found["classic"], found["default"], strict=True)]
    apart = max(abs(a - b) for a, b in zip(found["classic"][0]["losses"], found["default"][0]["losses"], strict=True))
    print(f"\n### An epoch of {given.pairs} pairs of mixed lengths from {given.set}, batches of 16\n")
    print(
        f"The default recipe is {statistics.median(ratios):.2f} times as fast as the plain trainer "
        f"({min(ratios):.2f} to {max(ratios):.2f} in {given.rounds} rounds), in "
        f"{fast['megabytes'] / plain['megabytes']:.0%} of its memory ({fast['megabytes']:,.0f} of "
        f"{plain['megabytes']:,.0f} MB at the peak). Losses of the {len(found['default'][0]['losses'])} steps differ "
        f"by at most {apart:.4f}; the last is {found['default'][0]['losses'][-1]:.4f} beside "
        f"{found['classic'][0]['losses'][-1]:.4f}."
    )


if __name__ == "__main__":
    main()
