"""How good and how fast the starter is, beside BM25, a bi-encoder and its teacher, in one run.

usage: python -m benchmarks.starter_report --teacher DIR --data DIR [--starter DIR] [--pairs N] [--dtype NAME]

Reranks BM25's top 100 of judged sets none of which the starter was trained on. All models run in --dtype, as plain
sentence-transformers on the CPU. Their scores are kept in --work, because those of the teacher take most of the time;
the speeds are measured anew in every run.
"""

import argparse
import logging
from pathlib import Path

import torch

from distillation.evaluate import SETS, compare_starter

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Read the command line and print the report."""
    parser = argparse.ArgumentParser(description="Measure the starter beside BM25, a bi-encoder and its teacher.")
    parser.add_argument("--teacher", required=True, help="the cross-encoder that the starter learned from")
    parser.add_argument("--data", type=Path, required=True, help="the directory of the judged sets")
    parser.add_argument("--starter", type=Path, default=ROOT / "reranker" / "starter")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--pairs", type=int, default=2000, help="at most so many of each set, by whole queries; 0: all")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--work", type=Path, default=ROOT / "data" / "starter-report", help="where scores are kept")
    given = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("distillation").setLevel(logging.INFO)
    folders = [given.data / name for name in given.sets]
    dtype = getattr(torch, given.dtype)
    report = compare_starter(str(given.starter), given.teacher, folders, given.pairs or None, dtype, given.work)
    print(report.markdown())
    print()
    print(report.summary("starter", "teacher"))
    print(f"All models in {given.dtype}, as plain sentence-transformers, on {torch.get_num_threads()} threads.")


if __name__ == "__main__":
    main()
