"""Labels as files to take out: JSONL, CSV, Parquet, the files of TREC, and those of tools that train or judge.

The first three hold every label of every annotator and come back as they were. The others know no annotators: they hold
what each pair counts as.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby, islice
from typing import IO, Any, Literal

from labeling.trec import write_zip
from storage.records import ConsensusLabel, ScoredPair, StoredLabel

ExportFormat = Literal["jsonl", "csv", "qrels", "parquet", "trec", "pairs", "quepid", "cohere"]
LABEL_FIELDS = [column.name for column in fields(StoredLabel)]
# In the order in which sentence-transformers takes columns: the two texts of a pair, then the label.
PAIR_FIELDS = ("query", "passage", "label")
RATING_FIELDS = ("query", "docid", "rating")

PARQUET_ROWS = 5_000
PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class Exportable:
    """What files are made of, each asked for only by the formats that need it; `scored` is for the run of TREC."""

    labels: Callable[[], Iterator[StoredLabel]]
    consensus: Callable[[], list[ConsensusLabel]]
    scored: Callable[[], Iterable[ScoredPair]] = tuple


@dataclass(frozen=True)
class ExportFile:
    """A file that labels can be taken out as: its name, what is in it for a person, and how its bytes are made."""

    name: str
    media_type: str
    meaning: str
    pieces: Callable[[Exportable], Iterator[bytes]]


def _json_line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _pair(label: ConsensusLabel) -> dict[str, Any]:
    return {"query": label.query, "passage": label.passage, "label": label.label}


def _qrel(label: ConsensusLabel) -> bytes:
    return f"{label.query_id} 0 {label.passage_id} {label.label}\n".encode()


def _rating(label: ConsensusLabel) -> dict[str, Any]:
    return {"query": label.query, "docid": label.passage_id, "rating": label.label}


def _cohere(consensus: list[ConsensusLabel]) -> Iterator[bytes]:
    """A line for each query. There has to be a relevant passage in it, so queries without one are left out:
    docs.cohere.com/docs/rerank-preparing-the-data."""
    for _, labels in groupby(sorted(consensus, key=_query_of), key=_query_of):
        judged = list(labels)
        relevant = [label.passage for label in judged if label.label]
        negatives = [label.passage for label in judged if not label.label]
        if relevant:
            yield _json_line({"query": judged[0].query, "relevant_passages": relevant, "hard_negatives": negatives})


def _query_of(label: ConsensusLabel) -> str:
    return label.query_id


def _csv(names: Sequence[str], rows: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names)
    writer.writeheader()
    for row in rows:
        writer.writerow(row)
        yield buffer.getvalue().encode()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue().encode()


def _parquet(names: Sequence[str], rows: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.int8() if name == "label" else pa.string()) for name in names])
    # A Parquet file ends with its index, so it is written whole before the first piece goes out.
    with tempfile.TemporaryFile() as file:
        with pq.ParquetWriter(file, schema) as writer:
            while some := list(islice(rows, PARQUET_ROWS)):
                writer.write_table(pa.Table.from_pylist(some, schema))
        yield from _pieces(file)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while piece := file.read(PIECE_BYTES):
        yield piece


def gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of PIECE_BYTES or more, but for the last: each piece that is sent over HTTP waits for a
    turn of a thread, and a line by itself would wait longer than it takes to make."""
    waiting, size = [], 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


PARQUET, CSV, JSON_LINES = "application/vnd.apache.parquet", "text/csv; charset=utf-8", "application/x-ndjson"
EXPORTS: dict[ExportFormat, ExportFile] = {
    "jsonl": ExportFile(
        "labels.jsonl", JSON_LINES, "every label of every annotator, to be imported again",
        lambda judged: map(_json_line, map(asdict, judged.labels())),
    ),
    "csv": ExportFile(
        "labels.csv", CSV, "every label of every annotator, for a spreadsheet",
        lambda judged: _csv(LABEL_FIELDS, map(asdict, judged.labels())),
    ),
    "parquet": ExportFile(
        "labels.parquet", PARQUET, "every label of every annotator, for pandas and its like",
        lambda judged: _parquet(LABEL_FIELDS, map(asdict, judged.labels())),
    ),
    "pairs": ExportFile(
        "pairs.parquet", PARQUET, "query, passage and label, for datasets and sentence-transformers",
        lambda judged: _parquet(PAIR_FIELDS, map(_pair, judged.consensus())),
    ),
    "qrels": ExportFile(
        "labels.qrels", "text/plain; charset=utf-8", "TREC's judgments alone",
        lambda judged: map(_qrel, judged.consensus()),
    ),
    "trec": ExportFile(
        "labels-trec.zip", "application/zip", "a zip of topics, collection, qrels and the model's run",
        lambda judged: iter([write_zip(judged.consensus(), judged.scored())]),
    ),
    "quepid": ExportFile(
        "quepid.csv", CSV, "query, docid and rating; the docid is the one that qrels have",
        lambda judged: _csv(RATING_FIELDS, map(_rating, judged.consensus())),
    ),
    "cohere": ExportFile(
        "cohere.jsonl", JSON_LINES, "relevant passages and hard negatives of each query that has a relevant one",
        lambda judged: _cohere(judged.consensus()),
    ),
}  # fmt: skip
