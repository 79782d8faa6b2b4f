"""Measure a model: correlation with the teacher, and nDCG@10 of reranking a first stage's list."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from math import log2
from pathlib import Path

import numpy as np

from distillation.pairs import read_jsonl

Score = Callable[[list[tuple[str, str]]], Sequence[float]]


def correlation(scores: Sequence[float], teacher: Sequence[float]) -> float:
    """Return Pearson's correlation."""
    return float(np.corrcoef(scores, teacher)[0, 1])


def ndcg(ranked: Sequence[int], ideal: Sequence[int], k: int = 10) -> float:
    """Return nDCG@k with linear gain, as trec_eval's ndcg_cut: sum of grade / log2(rank + 1) over the ideal order's.

    `ranked` are the grades in the order of the ranking, `ideal` all judged grades of the query in any order.
    """

    def dcg(grades: Sequence[int]) -> float:
        return sum(grade / log2(rank + 1) for rank, grade in enumerate(grades[:k], start=1))

    best = dcg(sorted(ideal, reverse=True))
    return dcg(ranked) / best if best else 0.0


def read_table(path: Path) -> list[list[str]]:
    """Return the fields of each line of a tab-separated file."""
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def rerank_ndcg(folder: Path, score: Score | None = None) -> float:
    """Return the mean nDCG@10 of `folder`'s bm25_top100.tsv, in its own order or reranked by `score`.

    Passages without a judgment count as grade 0; the ideal is that of qrels_full.tsv, where there is one.
    """
    queries = {row["id"]: row["text"] for row in read_jsonl(folder / "queries.jsonl")}
    passages = {row["id"]: row["text"] for row in read_jsonl(folder / "corpus.jsonl")}
    full = folder / "qrels_full.tsv"
    grades: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for query_id, passage_id, grade in read_table(full if full.exists() else folder / "qrels.tsv"):
        grades[query_id][passage_id] = int(grade)
    listed: defaultdict[str, list[str]] = defaultdict(list)
    for query_id, passage_id, _, _ in sorted(read_table(folder / "bm25_top100.tsv"), key=lambda row: int(row[2])):
        listed[query_id].append(passage_id)
    values = []
    for query_id, judged in grades.items():
        candidates = listed[query_id]
        if score is not None:
            scores = score([(queries[query_id], passages[passage_id]) for passage_id in candidates])
            candidates = [candidates[at] for at in np.argsort(-np.asarray(scores), kind="stable")]
        values.append(ndcg([judged.get(passage_id, 0) for passage_id in candidates], list(judged.values())))
    return float(np.mean(values))
