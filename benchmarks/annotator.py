"""Somebody who labels a judged set: query after query, the best of the first stage, as the set's judges graded them.

The queries are dealt out once: those that are measured on give no label, whatever the seed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from distillation.judged import first_stage, passage_text, read_grades
from distillation.pairs import read_jsonl
from reranker.dataset import LabelledPair

# So many passages of a query are judged before the next: labels on many queries teach more than as many on few.
DEPTH = 5
# Of large sets no more queries are read than these, since to search for each takes time.
MOST_QUERIES = 400


@dataclass(frozen=True)
class Listed:
    """A query with the first stage's passages, best first, their grades (None: not judged), and all of its grades."""

    text: str
    passages: list[str]
    grades: list[int | None]
    judged: list[int]


@dataclass(frozen=True)
class JudgedSet:
    """A set in two parts. A passage of grade `least` and up is relevant."""

    name: str
    least: int
    measured: list[Listed]
    labelled: list[Listed]

    def label(self, count: int, seed: int, depth: int = DEPTH) -> list[LabelledPair]:
        """So many labelled pairs: `depth` of each query, and deeper only when there are no more queries."""
        queries = random.Random(seed).sample(self.labelled, len(self.labelled))
        deepest = max(len(listed.passages) for listed in queries)
        found: list[LabelledPair] = []
        for first in range(0, deepest, depth):
            for listed in queries:
                judged = [pair for pair in zip(listed.passages, listed.grades, strict=True) if pair[1] is not None]
                found += [
                    LabelledPair(listed.text, listed.text, passage, int(grade >= self.least))
                    for passage, grade in judged[first : first + depth]
                ]
                if len(found) >= count:
                    return found[:count]
        return found

    def label_relevant(
        self, count: int, seed: int, waiting: int = 20
    ) -> tuple[list[LabelledPair], dict[str, list[str]]]:
        """So many relevant passages, one of each query, and nothing else; and up to `waiting` others of each query, by
        the query's text."""
        queries = random.Random(seed).sample(self.labelled, len(self.labelled))
        found: list[LabelledPair] = []
        others: dict[str, list[str]] = {}
        for listed in queries:
            graded = list(zip(listed.passages, listed.grades, strict=True))
            relevant = [passage for passage, grade in graded if grade is not None and grade >= self.least]
            if relevant and len(found) < count:
                found.append(LabelledPair(listed.text, listed.text, relevant[0], 1))
                others[listed.text] = [passage for passage in listed.passages[:waiting] if passage != relevant[0]]
        return found, others


def read_set(folder: Path, measured: int, candidates: int, words: int, seed: int = 42) -> JudgedSet:
    """Read a set; at most `measured` queries are to be measured on, `candidates` passages of each.

    Passages are cut after so many words, as a search box cuts its documents into chunks. Only queries are measured on
    whose candidates can be in a better or a worse order.
    """
    queries = {row["id"]: row["text"] for row in read_jsonl(folder / "queries.jsonl")}
    passages = {row["id"]: passage_text(row) for row in read_jsonl(folder / "corpus.jsonl")}
    passages = {key: " ".join(text.split()[:words]) for key, text in passages.items()}
    grades = read_grades(folder / "qrels.tsv")
    full = folder / "qrels_full.tsv"
    everything = read_grades(full) if full.exists() else grades
    graded = max(grade for of_query in everything.values() for grade in of_query.values()) > 1
    ids = sorted(key for key in grades if key in queries and any(grades[key].values()))
    ids = random.Random(seed).sample(ids, min(len(ids), MOST_QUERIES))
    found = first_stage(folder, ids, queries)
    # Where only what is relevant was noted down, the rest of what a first stage finds is nearly always not.
    otherwise = None if graded else 0
    listed = {
        key: Listed(
            queries[key],
            [passages[passage] for passage in found[key]],
            [grades[key].get(passage, otherwise) for passage in found[key]],
            list(everything[key].values()),
        )
        for key in ids
        if found[key]
    }
    tells = [key for key, query in listed.items() if len({grade or 0 for grade in query.grades[:candidates]}) > 1]
    # No more than two fifths of the queries, so that enough of a small set can be labelled.
    apart = set(tells[: min(measured, len(listed) * 2 // 5)])
    return JudgedSet(
        folder.name,
        2 if graded else 1,
        [
            Listed(query.text, query.passages[:candidates], query.grades[:candidates], query.judged)
            for key, query in listed.items()
            if key in apart
        ],
        [query for key, query in listed.items() if key not in apart],
    )
