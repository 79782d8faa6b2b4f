"""Sample (query, passage) pairs for the teacher to score.

Nothing here is a label: the teacher's score is the only target, so the kinds of a pair only decide what the student
gets to see. Passages are first cut into chunks of whole sentences, most of them as short as a web search result's.
Every query comes with PAIRS_PER_QUERY pairs that stand next to each other in the list that is returned:

    relevant   the best chunk of a passage that the qrels name, or what is left of the chunk that the query is made of
    bm25       chunks that BM25 ranks high, from anywhere in the top 3, 10, 30 and 100
    group      another chunk of the same passage, article or page
    random     any chunk

Most queries keep their text; others are turned into what people type into a search box (`SEARCH_FORMS`), and
`MADE_SHARE` of them are made from a chunk: a sentence taken out of it, or some of its rarer words.
"""

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import bm25s
import numpy as np

BM25_DEPTHS = (3, 10, 30, 100, 100)
KINDS = ("relevant", *("bm25" for _ in BM25_DEPTHS), "group", "random")
PAIRS_PER_QUERY = len(KINDS)
SEARCH_FORMS = {"question": 0.65, "keywords": 0.2, "title and keywords": 0.1, "title": 0.05}
MADE_SHARE = 0.2
MADE_SENTENCE_WORDS = range(5, 26)
MADE_KEYWORDS = range(2, 6)
# Target length of a chunk in words: (smallest, largest, share of the passages cut so).
CHUNK_WORDS = ((12, 25, 0.15), (25, 50, 0.4), (50, 80, 0.3), (80, 150, 0.1), (150, 320, 0.05))
TITLE_SHARE = 0.25
MAX_QUERY_WORDS = 40
SENTENCE_END = r"(?<=[.!?])\s+"
NO_KEYWORDS = (
    "a an and are as at be been by can could did do does for from had has have how if in is it its of on or that the"
    " their there this to was were what when where which who whom whose why will with would you your"
)
STOP_WORDS = frozenset(NO_KEYWORDS.split())


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
    for sentence in re.split(SENTENCE_END, text):
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
    keywords = [word for word in words_of(question) if word not in STOP_WORDS]
    if form == "title" and title:
        return title.lower()
    if form != "question" and len(keywords) > 2:
        kept = [word for word in keywords if rng.random() < 0.8] or keywords
        with_title = form == "title and keywords" and not set(words_of(title)) & set(kept)
        return " ".join([*(words_of(title) if with_title else ()), *kept])
    return " ".join(question.split()[:MAX_QUERY_WORDS])


def made_query(chunk: Chunk, document_counts: Counter[str], rng: random.Random) -> tuple[str, str] | None:
    """Make a query from a chunk; return it with the text that is left as its passage, or None from too short a chunk.

    Half are a sentence taken out, half are words of the chunk that few chunks have.
    """
    if rng.random() < 0.5:
        sentences = re.split(SENTENCE_END, chunk.text)
        at = rng.randrange(len(sentences))
        if len(sentences) < 2 or len(sentences[at].split()) not in MADE_SENTENCE_WORDS:
            return None
        return sentences[at].rstrip("."), " ".join(sentences[:at] + sentences[at + 1 :])
    words = [word for word in dict.fromkeys(words_of(chunk.text)) if word not in STOP_WORDS]
    rare = sorted(words, key=lambda word: document_counts[word])[: 2 * max(MADE_KEYWORDS)]
    if len(rare) < max(MADE_KEYWORDS):
        return None
    kept = rng.sample(rare, rng.choice(MADE_KEYWORDS))
    return " ".join(word for word in words if word in kept), chunk.text


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
        [tokens] = bm25s.tokenize([query], stopwords="en", return_ids=False, show_progress=False)
        scores = self.index.get_scores(tokens) if tokens else np.zeros(0)
        # Most chunks have no word of the query, and to sort through so many equal scores takes a hundred times longer.
        found = np.flatnonzero(scores > 0)
        return found[np.argsort(-scores[found], kind="stable")[:k]].tolist()


class PairSampler:
    """Draws the pairs of one query after the other from dataset folders."""

    def __init__(self, folders: Sequence[Path], seed: int) -> None:
        self.chunks, self.queries = load_folders(folders, seed)
        self.by_passage, self.by_group = defaultdict(list), defaultdict(list)
        for chunk in self.chunks:
            self.by_passage[chunk.passage_id].append(chunk)
            self.by_group[chunk.group].append(chunk)
        self.document_counts = Counter(word for chunk in self.chunks for word in set(words_of(chunk.text)))
        self.bm25 = BM25(self.chunks)
        self.rng = random.Random(seed)
        self.rng.shuffle(self.queries)

    def pairs(self) -> Iterator[list[Pair]]:
        """Yield the PAIRS_PER_QUERY pairs of each query of the folders, made ones mixed in."""
        for number, query in enumerate(self.queries):
            if self.rng.random() < MADE_SHARE / (1 - MADE_SHARE):
                yield from self._of_made_query(f"made/{number}")
            yield from self._of_query(query)

    def _of_query(self, query: Query) -> Iterator[list[Pair]]:
        candidates = [chunk for passage in sorted(query.relevant) for chunk in self.by_passage[passage]]
        if candidates:
            relevant = best_chunk(query, candidates)
            text = search_form(query.text, relevant.title, self.rng)
            yield self._with_others(query.id, text, relevant, query.relevant)

    def _of_made_query(self, query_id: str) -> Iterator[list[Pair]]:
        chunk = self.rng.choice(self.chunks)
        made = made_query(chunk, self.document_counts, self.rng)
        if made is not None:
            text, rest = made
            yield self._with_others(query_id, text, replace(chunk, text=rest), {chunk.passage_id})

    def _with_others(self, query_id: str, text: str, relevant: Chunk, known: Set[str]) -> list[Pair]:
        """Return the relevant chunk and others; no chunk of the `known` relevant passages counts as one of BM25's."""
        rng, chunks = self.rng, self.chunks
        ranked = [chunks[number] for number in self.bm25.search(text, min(max(BM25_DEPTHS), len(chunks)))]
        ranked = [chunk for chunk in ranked if chunk.passage_id not in known]
        chosen = [relevant]
        for depth in BM25_DEPTHS:
            chosen.append(rng.choice([chunk for chunk in ranked[:depth] if chunk not in chosen] or chunks))
        chosen.append(rng.choice([chunk for chunk in self.by_group[relevant.group] if chunk not in chosen] or chunks))
        chosen.append(rng.choice(chunks))
        return [Pair(query_id, text, self._passage(chunk), kind) for kind, chunk in zip(KINDS, chosen, strict=True)]

    def _passage(self, chunk: Chunk) -> str:
        titled = chunk.title and self.rng.random() < TITLE_SHARE
        return f"{chunk.title}. {chunk.text}" if titled else chunk.text


def sample_pairs(folders: Sequence[Path], count: int, seed: int) -> list[Pair]:
    """Sample about `count` pairs, PAIRS_PER_QUERY for each query. A larger count extends a smaller one's list."""
    queries = PairSampler(folders, seed).pairs()
    return list(chain.from_iterable(islice(queries, count // PAIRS_PER_QUERY)))
