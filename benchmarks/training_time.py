"""How long a run takes from its start to its last figure: classic, and the default with its models trained one after
the other or side by side.

usage: python -m benchmarks.training_time --data DIR [--model DIR] [--set NAME] [--labels N ...] [--rounds N]

Each run is a process of its own, as in the app, by the rules of the app. The labels are somebody's who judges five
passages of each query; passages are cut after so many words.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.annotator import read_set
from benchmarks.training_run import files_of, split
from reranker.process import PROJECT_DIR, memory
from reranker.recipe import TrainingConfig
from reranker.run_files import RunFiles
from reranker.sources import STARTER_DIR

# The recipe of each way, and what its process does before it trains.
WAYS = {
    "classic": ("classic", ""),
    "one after the other": ("default", "from reranker import side_by_side; side_by_side.how_many = lambda *_: 1; "),
    "side by side": ("default", ""),
}


def take(files: RunFiles, before: str) -> tuple[float, float]:
    """The seconds that a run takes, and the bytes of memory that it and what it starts have at the most."""
    call = f"{before}import runpy; runpy.run_module('reranker.train', run_name='__main__', alter_sys=True)"
    command = [sys.executable, "-c", call, str(files.directory)]
    began, most = time.monotonic(), 0
    with files.log.open("wb") as log:
        child = psutil.Popen(command, cwd=PROJECT_DIR, stdout=log, stderr=log)
        while child.poll() is None:
            most = max(most, memory(child))
            time.sleep(0.2)
    if not files.manifest.is_file():
        raise SystemExit(f"The run has failed: {files.log_tail(20)}")
    return time.monotonic() - began, most


def main() -> None:
    """Read the command line, take each run in turn, and print the table."""
    parser = argparse.ArgumentParser(description="Time whole runs: classic, and the default in two ways.")
    parser.add_argument("--data", type=Path, required=True, help="the directory of the judged sets")
    parser.add_argument("--set", default="medquad_liveqa", help="where the labels come from")
    parser.add_argument("--model", type=Path, default=STARTER_DIR)
    parser.add_argument("--labels", type=int, nargs="+", default=[50, 100])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--words", type=int, default=200)
    given = parser.parse_args()
    judged = read_set(given.data / given.set, 10, 20, given.words)
    print(f"\n### A run on labels of {given.set}: median seconds and most memory in {given.rounds} rounds\n")
    print("| labels | " + " | ".join(WAYS) + " | side by side, times as fast |\n| ---: |" + " ---: |" * (len(WAYS) + 1))
    for count in given.labels:
        sets = split(judged.label(count, seed=0))
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for _ in range(given.rounds):
            for way, (recipe, before) in WAYS.items():
                with tempfile.TemporaryDirectory() as scratch:
                    files = files_of(Path(scratch) / "run", TrainingConfig.of(recipe), sets, given.model.absolute())
                    found[way].append(take(files, before))
        cells = [_cell(taken) for taken in found.values()]
        pairs = zip(found["one after the other"], found["side by side"], strict=True)
        ratios = [one / other for (one, _), (other, _) in pairs]
        times = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {count} | " + " | ".join(cells) + f" | {times} |", flush=True)


def _cell(taken: list[tuple[float, float]]) -> str:
    seconds, most = (statistics.median(values) for values in zip(*taken, strict=True))
    return f"{seconds:.0f} s, {most / 1e9:.1f} GB"


if __name__ == "__main__":
    main()
