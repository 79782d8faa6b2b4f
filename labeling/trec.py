"""The files of TREC and of those who took its formats over: topics, collection, qrels and runs, in and out.

In: topics and a collection say what the ids in qrels and runs stand for. Each line of a qrels file is a judgment (a
grade of 1 or more is relevant), each line of a run a pair to be judged with its rank; pairs are all that either names.
Out: a zip of the four, with the run that the champion makes of all candidates that it has scored.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from errors import InvalidInput, WorkbenchError
from files import PASSAGE_COLUMNS
from labeling.importing import Row
from storage.records import Candidate, ConsensusLabel, Judgment, ScoredPair
from texts import check_name, check_text

_TOPIC = re.compile(r"<top>(.*?)</top>", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"<num>\s*(?:Number:)?\s*([^\s<]+)", re.IGNORECASE)
# Up to the next tag: a title may hold a "<" of its own.
_TITLE = re.compile(r"<title>\s*(?:Topic:)?\s*(.*?)\s*(?=</?[a-z]+>|\Z)", re.DOTALL | re.IGNORECASE)
IDS = ("id", "_id", "docid", "docno")
LINE_BREAKS = re.compile(r"[\t\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")
ZIP_FILES = ("topics.tsv", "collection.tsv", "qrels.txt", "run.txt")


def read_trec(
    topics: Path, collection: Path, qrels: Path | None, run: Path | None, annotator: str
) -> Iterator[tuple[int, Row, float]]:
    """The pairs and judgments of these files as rows, with the line of the qrels or the run that each is from.

    Raises InvalidInput where a file cannot be used as a whole, or where there is neither a qrels file nor a run.
    """
    named = [*_named_pairs(qrels, 4), *_named_pairs(run, 6)]
    if not named:
        raise InvalidInput("There is neither a qrels file nor a run with lines in it. Choose one of them, or both.")
    annotator = check_name(annotator)
    queries = read_topics(topics)
    passages = dict(read_collection(collection, {fields[2] for _, _, fields in named if len(fields) > 3}))
    for place, (line, wanted, fields) in enumerate(named, start=1):
        try:
            row: Row = _row(fields, wanted, queries, passages, annotator)
        except WorkbenchError as error:
            row = str(error)
        yield line, row, place / len(named)


def read_topics(path: Path) -> dict[str, str]:
    """The queries by id: of lines of an id, a tab and a text, or of TREC's own <top> blocks."""
    text = _read(path)
    if blocks := _TOPIC.findall(text):
        found = {}
        for block in blocks:
            number, title = _NUMBER.search(block), _TITLE.search(block)
            if number and title:
                found[number[1]] = " ".join(title[1].split())
    else:
        found = dict(_id_and_text(path, text))
    if not found:
        raise InvalidInput(f"{path.name} holds no topics: neither lines of an id, a tab and a text, nor <top> blocks.")
    return found


def read_collection(path: Path, wanted: set[str]) -> Iterator[tuple[str, str]]:
    """The passages with the ids that are `wanted`: of lines of an id, a tab and a text, or of JSON lines."""
    lines = path.open(encoding="utf-8-sig", newline="\n")
    with lines:
        try:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                passage_id, text = _passage(path, number, line.rstrip("\r\n"))
                if passage_id in wanted:
                    yield passage_id, text
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{path.name} is not a text file in UTF-8. Save it as UTF-8 and try again.") from error


def write_zip(consensus: Iterable[ConsensusLabel], scored: Iterable[ScoredPair]) -> bytes:
    """Topics, collection, qrels and run as a zip. Line breaks and tabs in texts become spaces."""
    topics: dict[str, str] = {}
    collection: dict[str, str] = {}
    qrels, run = [], []
    for label in consensus:
        topics[label.query_id] = label.query
        collection[label.passage_id] = label.passage
        qrels.append(f"{label.query_id} 0 {label.passage_id} {label.label}")
    rank, last = 0, None
    for pair in scored:
        topics[pair.query_id] = pair.query
        collection[pair.passage_id] = pair.passage
        rank, last = (rank + 1 if pair.query_id == last else 1), pair.query_id
        run.append(f"{pair.query_id} Q0 {pair.passage_id} {rank} {pair.score:.6f} {pair.model_version}")
    parts = (
        [f"{key}\t{LINE_BREAKS.sub(' ', text)}" for key, text in topics.items()],
        [f"{key}\t{LINE_BREAKS.sub(' ', text)}" for key, text in collection.items()],
        qrels,
        run,
    )
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, lines in zip(ZIP_FILES, parts, strict=True):
            archive.writestr(name, "".join(f"{line}\n" for line in lines))
    return written.getvalue()


def _named_pairs(path: Path | None, wanted: int) -> list[tuple[int, int, list[str]]]:
    """The lines of a qrels file (4 fields) or a run (6) with their numbers, split."""
    if path is None:
        return []
    lines = enumerate(_read(path).split("\n"), start=1)
    return [(number, wanted, line.split()) for number, line in lines if line.strip()]


def _row(
    fields: list[str], wanted: int, queries: dict[str, str], passages: dict[str, str], annotator: str
) -> Candidate | Judgment:
    if len(fields) != wanted:
        kind = "query 0 passage grade" if wanted == 4 else "query Q0 passage rank score tag"
        raise InvalidInput(f"This has {len(fields)} fields, not the {wanted} of `{kind}`.")
    query_id, _, passage_id, value = fields[:4]
    if query_id not in queries:
        raise InvalidInput(f"The topics have no query {query_id}.")
    if passage_id not in passages:
        raise InvalidInput(f"The collection has no passage {passage_id}.")
    query = check_text(queries[query_id], "The query")
    passage = check_text(passages[passage_id], "The passage")
    try:
        number = int(value)
    except ValueError as error:
        raise InvalidInput(f"{value!r} is not a whole number.") from error
    if wanted == 4:
        return Judgment(query, passage, int(number > 0), annotator, source="qrels")
    rank = max(number, 0) if len(value) < 10 else None
    return Candidate(query, passage, check_name(fields[5], "The tag of the run"), rank)


def _passage(path: Path, number: int, line: str) -> tuple[str, str]:
    if line.startswith("{"):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InvalidInput(f"Line {number} of {path.name} is not JSON: {error}") from error
        passage_id = next((str(row[name]) for name in IDS if row.get(name) is not None), None)
        text = next((row[name] for name in PASSAGE_COLUMNS if isinstance(row.get(name), str)), None)
        if passage_id is None or text is None:
            raise InvalidInput(f"Line {number} of {path.name} has no id or no text.")
        title = row.get("title")
        return passage_id, f"{title} {text}" if isinstance(title, str) and title.strip() else text
    passage_id, tab, text = line.partition("\t")
    if not tab:
        raise InvalidInput(f"Line {number} of {path.name} has no tab between an id and a text.")
    return passage_id.strip(), text


def _id_and_text(path: Path, text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _passage(path, number, line.rstrip("\r"))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path.name} is not a text file in UTF-8. Save it as UTF-8 and try again.") from error
