"""Sets of queries with human judgments, and the lists of passages that a reranker gets for them.

A set is a folder: corpus.jsonl, queries.jsonl, qrels.tsv, and where there is one bm25_top100.tsv, the published first
stage. Where there is none, it is made here with the same settings as Anserini's default: BM25 with k1 0.9 and b 0.4
over the English stems of title and text. A passage is its title and its text, as in BEIR.
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import bm25s
import numpy as np
import Stemmer

from distillation.pairs import read_jsonl

LIST_LENGTH = 100
# Their queries were written about one page each, and say nothing of which: they are ranked within its passages.
WITHIN_GROUP = frozenset({"tatqa_dev", "wikiqa_dev", "trecqa_dev"})


@dataclass(frozen=True)
class JudgedQuery:
    """A query, its first stage's passages with their grades, best first, and all grades that its judges gave."""

    text: str
    passages: tuple[str, ...]
    grades: tuple[int, ...]
    judged: tuple[int, ...]


class BM25:
    """BM25 with k1 0.9 and b 0.4 over English stems, without stop words."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.stemmer = Stemmer.Stemmer("english")
        self.index = bm25s.BM25(k1=0.9, b=0.4)
        self.index.index(self._tokens(texts), show_progress=False)

    def scores(self, query: str) -> np.ndarray:
        """Return the (N,) score of each text."""
        [tokens] = self._tokens([query])
        return self.index.get_scores(tokens) if tokens else np.zeros(self.index.scores["num_docs"])

    def _tokens(self, texts: Sequence[str]) -> list[list[str]]:
        return bm25s.tokenize(texts, stopwords="en", stemmer=self.stemmer, return_ids=False, show_progress=False)


def read_table(path: Path) -> list[list[str]]:
    """Return the fields of each line of a tab-separated file."""
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def read_grades(path: Path) -> dict[str, dict[str, int]]:
    """Return the grade of each judged passage of each query of a qrels file."""
    grades: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for query_id, passage_id, grade in read_table(path):
        grades[query_id][passage_id] = int(grade)
    return grades


def first_stage(folder: Path, query_ids: Sequence[str], queries: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the ids of each query's top passages, from the published list, or by BM25 where there is none."""
    listed: defaultdict[str, list[str]] = defaultdict(list)
    if (folder / "bm25_top100.tsv").exists():
        for query_id, passage_id, _, _ in sorted(read_table(folder / "bm25_top100.tsv"), key=lambda row: int(row[2])):
            listed[query_id].append(passage_id)
        return listed
    rows = list(read_jsonl(folder / "corpus.jsonl"))
    bm25 = BM25([passage_text(row) for row in rows])
    groups = defaultdict(list)
    for number, row in enumerate(rows):
        groups[row.get("group")].append(number)
    group_of = {row["id"]: row.get("group") for row in rows}
    relevant = read_grades(folder / "qrels.tsv")
    for query_id in query_ids:
        scores = bm25.scores(queries[query_id])
        found = np.flatnonzero(scores > 0)
        if folder.name in WITHIN_GROUP:
            found = np.array(groups[group_of[next(iter(relevant[query_id]))]])
        best = found[np.argsort(-scores[found], kind="stable")[:LIST_LENGTH]]
        listed[query_id] = [rows[number]["id"] for number in best]
    return listed


def passage_text(row: Mapping[str, str]) -> str:
    """Return what a reranker reads of a passage."""
    return f"{row['title']} {row['text']}".strip()


def read_judged(folder: Path, most_pairs: int | None = None, seed: int = 42) -> list[JudgedQuery]:
    """Read a judged set in a shuffled order of its queries, the same in every run.

    With `most_pairs` only as many of the first queries as have so many passages in their lists, but at least one.
    """
    queries = {row["id"]: row["text"] for row in read_jsonl(folder / "queries.jsonl")}
    passages = {row["id"]: passage_text(row) for row in read_jsonl(folder / "corpus.jsonl")}
    # The ideal ranking is that of all judgments, also of passages whose text is absent.
    full = folder / "qrels_full.tsv"
    grades = read_grades(full if full.exists() else folder / "qrels.tsv")
    query_ids = sorted(query_id for query_id in grades if query_id in queries and any(grades[query_id].values()))
    random.Random(seed).shuffle(query_ids)
    # No more queries than pairs are needed, and to search for each of ten thousand would take minutes.
    listed = first_stage(folder, query_ids[:most_pairs], queries)
    judged, pairs = [], 0
    for query_id in query_ids:
        pairs += len(listed[query_id])
        if judged and most_pairs is not None and pairs > most_pairs:
            break
        judged.append(
            JudgedQuery(
                queries[query_id],
                tuple(passages[passage_id] for passage_id in listed[query_id]),
                tuple(grades[query_id].get(passage_id, 0) for passage_id in listed[query_id]),
                tuple(grades[query_id].values()),
            )
        )
    return judged
