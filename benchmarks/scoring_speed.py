"""How fast pairs are scored, beside every peer, in one run; and whether the ranks are still those of float32.

usage: python -m benchmarks.scoring_speed --data DIR --teacher DIR [--models NAME ...] [--sizes N ...] [--rounds N]

The peers take turns, round after round, on the same query and passages; what counts is the ratio of medians. Passages
are those of real queries' first stages: "mixed" as they are, "long" strung together until each pair is cut off at 512.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from transformers import AutoConfig, AutoTokenizer

from benchmarks.chart import bar_chart
from benchmarks.rerankers import Timed, all_rerankers, ours, plain, six_layers_of
from distillation.evaluate import mean_ndcg
from distillation.judged import read_judged
from reranker.model import Reranker
from reranker.sources import STARTER_DIR

USERS, PASSAGES_EACH, REQUESTS_EACH = 8, 20, 4


@dataclass(frozen=True)
class Workload:
    """A query and its passages."""

    name: str
    query: str
    passages: list[str]


def workloads(folder: Path, sizes: Sequence[int], long_sizes: Sequence[int]) -> list[Workload]:
    """Mixed and long passages, so many of each."""
    judged = read_judged(folder)
    passages = list(dict.fromkeys(passage for query in judged for passage in query.passages))
    mixed = [Workload(f"{size} mixed", judged[0].text, passages[:size]) for size in sizes]
    text = " ".join(passages)
    words, long = text.split(), 600
    return mixed + [
        Workload(f"{size} of 512", judged[0].text, [" ".join(words[n * long : (n + 1) * long]) for n in range(size)])
        for size in long_sizes
    ]


def flops(path: Path, load: Workload, shortened: bool) -> float:
    """The floating point operations in the matrix products of scoring a workload without any padding.

    `shortened`: with a last layer that works for the first token only (see reranker/first_token.py).
    """
    config, tokenizer = AutoConfig.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    encoded = tokenizer([load.query] * len(load.passages), load.passages, truncation=True, max_length=512)
    lengths = np.array([len(ids) for ids in encoded["input_ids"]], np.float64)
    width, inner = config.hidden_size, config.intermediate_size
    linear = 2 * (4 * width * width + 2 * width * inner) * lengths.sum()
    attention = 4 * width * (lengths**2).sum()
    if not shortened:
        return config.num_hidden_layers * (linear + attention)
    keys_and_values = 2 * 2 * width * width * lengths.sum()
    return (config.num_hidden_layers - 1) * (linear + attention) + keys_and_values


def peak_flops(dtype: torch.dtype) -> float:
    """The most operations a second that a product of two large matrices reaches here."""
    a, b = torch.rand(1536, 1536, dtype=dtype), torch.rand(1536, 1536, dtype=dtype)
    seconds = []
    for _ in range(12):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return 2 * 1536**3 / min(seconds)


def measure(rerankers: Sequence[Timed], load: Workload, rounds: int) -> dict[str, tuple[float, np.ndarray]]:
    """The median seconds and the scores of each."""
    seconds: dict[str, list[float]] = {reranker.name: [] for reranker in rerankers}
    scores: dict[str, np.ndarray] = {}
    for round_number in range(rounds + 1):
        for reranker in rerankers:
            taken, scores[reranker.name] = reranker.rank(load.query, load.passages)
            if round_number:  # the first warms up
                seconds[reranker.name].append(taken)
    return {name: (statistics.median(times), scores[name]) for name, times in seconds.items()}


def agreement(right: np.ndarray, given: np.ndarray) -> str:
    """Spearman's correlation, and how many of the first ten are the same."""
    count = min(10, len(right))
    same = len(set(np.argsort(-right)[:count]) & set(np.argsort(-given)[:count]))
    return f"{spearmanr(right, given).statistic:.4f}; {same} of {count}"


def speed_table(path: Path, loads: Sequence[Workload], rounds: int, most_for_peers: int) -> dict[str, dict[str, float]]:
    """Print one row for each reranker, one column for each workload; returns the factors by workload and name."""
    with ExitStack() as stack:
        rerankers = all_rerankers(path, stack)
        peaks = {reranker.dtype: peak_flops(reranker.dtype) for reranker in rerankers if reranker.dtype}
        columns = []
        for load in loads:
            few = len(load.passages) <= most_for_peers
            columns.append(measure(rerankers if few else [rerankers[0], rerankers[-1]], load, rounds if few else 1))
    print(f"| times CrossEncoder.predict's speed | {' | '.join(load.name for load in loads)} |")
    print("| --- |" + " --- |" * len(loads))
    base = rerankers[0].name
    for reranker in rerankers:
        cells = []
        for load, column in zip(loads, columns, strict=True):
            if reranker.name not in column:
                cells.append("")
                continue
            seconds, scores = column[reranker.name]
            facts = agreement(column[base][1], scores)
            if peak := peaks.get(reranker.dtype):
                share = flops(path, load, shortened=reranker is rerankers[-1]) / seconds / peak
                facts += f"; {share:.0%} of peak"
            cells.append(f"**{column[base][0] / seconds:.2f}** ({facts})")
        print(f"| {reranker.name} | {' | '.join(cells)} |")
    factors = {
        load.name: {name: column[base][0] / seconds for name, (seconds, _) in column.items()}
        for load, column in zip(loads, columns, strict=True)
    }
    reached = " and ".join(f"{peak / 1e9:,.0f} in {str(dtype)[6:]}" for dtype, peak in peaks.items())
    print(
        "\nIn brackets: Spearman against it and the same among the first ten; the operations that it needs as a share "
        f"of what a product of large matrices in its precision reaches here, in GFLOP/s {reached}.\n"
    )
    return factors


def quality_table(path: Path, folder: Path, queries: int) -> None:
    """Print nDCG@10 of the app's engine beside the library's own in float32."""
    judged = read_judged(folder)[:queries]
    library, engine = plain(path, 8), ours(path, "auto")
    for reranker in (library, engine):
        scores = [reranker.rank(query.text, list(query.passages))[1] for query in judged]
        print(f"nDCG@10 on {len(judged)} queries of {folder.name}: {mean_ndcg(judged, scores):.4f}  {reranker.name}")
    print()


def users_table(path: Path, passages: Sequence[str]) -> None:
    """Print what several users at once get: eight threads on `predict`, and eight on the app's queue."""
    library, own = plain(path, 32), Reranker(path)

    def by_queue(query: str, texts: list[str]) -> None:
        own._known.clear()
        own.rank(query, texts)

    results = {}
    for name, rank in ((library.name, library.rank), ("Rerank Workbench", by_queue)):
        rank("warm up", list(passages[:PASSAGES_EACH]))
        seconds: list[float] = []

        def user(number: int, rank=rank, seconds=seconds) -> None:  # noqa: ANN001
            for request in range(REQUESTS_EACH):
                start = (number * REQUESTS_EACH + request) * PASSAGES_EACH
                started = time.perf_counter()
                rank(f"query {number} {request}", list(passages[start : start + PASSAGES_EACH]))
                seconds.append(time.perf_counter() - started)

        threads = [threading.Thread(target=user, args=(number,)) for number in range(USERS)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        results[name] = len(seconds) / (time.perf_counter() - started), float(np.percentile(seconds, 95))
    base = results[library.name]
    print(f"{USERS} users at once, {PASSAGES_EACH} passages each:")
    for name, (throughput, p95) in results.items():
        print(f"- {name}: {throughput / base[0]:.2f} times the throughput, {p95 / base[1]:.2f} times the p95")
    print()


def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(description="Time the app's scoring beside its peers.")
    parser.add_argument("--data", type=Path, required=True, help="the directory of the judged sets")
    parser.add_argument("--teacher", type=Path, required=True, help="a twelve-layer MiniLM cross-encoder")
    parser.add_argument("--set", default="medquad_liveqa", help="where the passages come from")
    parser.add_argument("--models", nargs="+", default=["starter", "L6", "teacher"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--long-sizes", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--most-for-peers", type=int, default=100, help="larger workloads: only the first and ours")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=10, help="of trec_dl21, to measure nDCG@10 with; 0: not at all")
    parser.add_argument("--chart", type=Path, help="where a chart of the first model goes, as SVG")
    given = parser.parse_args()
    loads = workloads(given.data / given.set, given.sizes, given.long_sizes)
    with tempfile.TemporaryDirectory() as scratch:
        paths = {"starter": STARTER_DIR, "teacher": given.teacher}
        if "L6" in given.models:
            paths["L6"] = six_layers_of(given.teacher, Path(scratch) / "L6")
        for name in given.models:
            print(f"\n### {name}\n")
            factors = speed_table(paths[name], loads, given.rounds, given.most_for_peers)
            if given.chart and "100 mixed" in factors:
                title = f"100 passages of mixed length, {name}: times as fast as CrossEncoder.predict"
                given.chart.write_text(bar_chart(title, factors["100 mixed"]), encoding="utf-8")
                given.chart = None
            if name != "L6" and given.queries:  # L6 is a shape and no trained model
                quality_table(paths[name], given.data / "trec_dl21", given.queries)
            users_table(paths[name], max((load.passages for load in loads if "mixed" in load.name), key=len))


if __name__ == "__main__":
    main()
