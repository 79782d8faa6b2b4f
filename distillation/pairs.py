"""Sample (query, passage) pairs for the teacher to score.

Nothing here is a label: the teacher's score is the only target, so the kinds of a pair only decide what the student
gets to see. Passages are first cut into chunks of whole sentences, most of them as short as a web search result's.
Every query comes with PAIRS_PER_QUERY pairs that stand next to each other in the list that is returned:

    relevant   the best chunk of a passage that the qrels name
    bm25       chunks that BM25 ranks high, from anywhere in the top 5, 30 and 100
    group      another chunk of the same passage, article or page
    random     any chunk

Most queries keep their text; others are turned into what people type into a search box (`SEARCH_FORMS`).
"""

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import bm25s

KINDS = ("relevant", "bm25", "bm25", "bm25", "group", "random")
BM25_DEPTHS = (5, 30, 100)
PAIRS_PER_QUERY = len(KINDS)
SEARCH_FORMS = {"question": 0.65, "keywords": 0.2, "title and keywords": 0.1, "title": 0.05}
# Target length of a chunk in words: (smallest, largest, share of the passages cut so).
CHUNK_WORDS = ((25, 50, 0.4), (50, 80, 0.4), (80, 150, 0.15), (150, 320, 0.05))
TITLE_SHARE = 0.25
MAX_QUERY_WORDS = 40
QUESTION_WORDS = (
    "a an and are as at be been by can could did do does for from had has have how if in is it its of on or that the"
    " their there this to was were what when where which who whom whose why will with would you your"
)


@dataclass(frozen=True)
class Chunk:
    """Some whole sentences of a passage."""

    text: str
    title: str
    passage_id: str
    group: str


@dataclass(frozen=True)
class Query:
    """A query with the ids of its relevant passages; `answers` are strings that a relevant chunk should contain."""

    id: str
    text: str
    relevant: frozenset[str]
    answers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pair:
    """What the teacher scores. Pairs of one query share its `query_id`."""

    query_id: str
    query: str
    passage: str
    kind: str


def read_jsonl(path: Path) -> Iterator[dict]:
    """Yield the object on each line."""
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def chunk_passage(text: str, rng: random.Random) -> list[str]:
    """Cut a passage into runs of whole sentences of about one target length, drawn from CHUNK_WORDS."""
    smallest, largest, _ = rng.choices(CHUNK_WORDS, [share for *_, share in CHUNK_WORDS])[0]
    target = rng.randint(smallest, largest)
    chunks: list[list[str]] = [[]]
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        words = sentence.split()[: 2 * largest]
        if chunks[-1] and len(chunks[-1]) + len(words) / 2 > target:
            chunks.append([])
        chunks[-1] += words
    return [" ".join(words) for words in chunks if words]


def load_folders(folders: Sequence[Path], seed: int) -> tuple[list[Chunk], list[Query]]:
    """Read dataset folders (corpus.jsonl, queries.jsonl, qrels.tsv). Ids get the folder's name as a prefix."""
    rng = random.Random(seed)
    chunks, queries = [], []
    for folder in folders:
        for row in read_jsonl(folder / "corpus.jsonl"):
            passage_id = f"{folder.name}/{row['id']}"
            group = f"{folder.name}/{row['group']}" if row.get("group") else passage_id
            chunks += [Chunk(text, row["title"], passage_id, group) for text in chunk_passage(row["text"], rng)]
        relevant: defaultdict[str, set[str]] = defaultdict(set)
        for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines():
            query_id, passage_id, grade = line.split("\t")
            if int(grade) > 0:
                relevant[query_id].add(f"{folder.name}/{passage_id}")
        for row in read_jsonl(folder / "queries.jsonl"):
            if row["id"] in relevant:
                ids = frozenset(relevant[row["id"]])
                queries.append(Query(f"{folder.name}/{row['id']}", row["text"], ids, tuple(row.get("answers", ()))))
    return chunks, queries


def words_of(text: str) -> list[str]:
    """Return the lower-cased words and numbers of a text."""
    return re.findall(r"[^\W_]+", text.lower())


def search_form(question: str, title: str, rng: random.Random) -> str:
    """Return the question, or what somebody might type instead of it (see SEARCH_FORMS)."""
    form = rng.choices(list(SEARCH_FORMS), list(SEARCH_FORMS.values()))[0]
    keywords = [word for word in words_of(question) if word not in QUESTION_WORDS.split()]
    if form == "title" and title:
        return title.lower()
    if form != "question" and len(keywords) > 2:
        kept = [word for word in keywords if rng.random() < 0.8] or keywords
        with_title = form == "title and keywords" and not set(words_of(title)) & set(kept)
        return " ".join([*(words_of(title) if with_title else ()), *kept])
    return " ".join(question.split()[:MAX_QUERY_WORDS])


def best_chunk(query: Query, candidates: Sequence[Chunk]) -> Chunk:
    """Return the chunk that holds an answer, and among equals shares most words with the query."""
    words = set(words_of(query.text))

    def quality(chunk: Chunk) -> tuple[bool, int]:
        return any(answer in chunk.text for answer in query.answers), len(words & set(words_of(chunk.text)))

    return max(candidates, key=quality)


class BM25:
    """BM25 (k1 0.9, b 0.4, as Anserini's default) over the chunks and their titles."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.index = bm25s.BM25(k1=0.9, b=0.4)
        texts = [f"{chunk.title} {chunk.text}" for chunk in chunks]
        self.index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)

    def search(self, query: str, k: int) -> list[int]:
        """Return the numbers of the top `k` chunks, best first."""
        tokens = bm25s.tokenize([query], stopwords="en", show_progress=False)
        found, scores = self.index.retrieve(tokens, k=k, show_progress=False)
        return [int(number) for number, score in zip(found[0], scores[0], strict=True) if score > 0]


def sample_pairs(folders: Sequence[Path], count: int, seed: int) -> list[Pair]:
    """Sample about `count` pairs, PAIRS_PER_QUERY for each query. A larger count extends a smaller one's list."""
    chunks, queries = load_folders(folders, seed)
    by_passage, by_group = defaultdict(list), defaultdict(list)
    for chunk in chunks:
        by_passage[chunk.passage_id].append(chunk)
        by_group[chunk.group].append(chunk)
    bm25 = BM25(chunks)
    rng = random.Random(seed)
    rng.shuffle(queries)
    pairs: list[Pair] = []
    for query in queries:
        if len(pairs) + PAIRS_PER_QUERY > count:
            break
        candidates = [chunk for passage in sorted(query.relevant) for chunk in by_passage[passage]]
        if not candidates:
            continue
        relevant = best_chunk(query, candidates)
        text = search_form(query.text, relevant.title, rng)
        ranked = [chunks[number] for number in bm25.search(text, min(max(BM25_DEPTHS), len(chunks)))]
        ranked = [chunk for chunk in ranked if chunk.passage_id not in query.relevant]
        chosen = [relevant]
        for depth in BM25_DEPTHS:
            unused = [chunk for chunk in ranked[:depth] if chunk not in chosen]
            chosen.append(rng.choice(unused or chunks))
        chosen.append(rng.choice([chunk for chunk in by_group[relevant.group] if chunk not in chosen] or chunks))
        chosen.append(rng.choice(chunks))
        for kind, chunk in zip(KINDS, chosen, strict=True):
            titled = chunk.title and rng.random() < TITLE_SHARE
            pairs.append(Pair(query.id, text, f"{chunk.title}. {chunk.text}" if titled else chunk.text, kind))
    return pairs
