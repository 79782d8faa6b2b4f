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
from dataclasses import asdict, fields
from itertools import groupby, islice
from typing import IO, Any, Literal

from labeling.trec import write_zip
from storage.records import ConsensusLabel, ScoredPair, StoredLabel

ExportFormat = Literal["jsonl", "csv", "qrels", "parquet", "trec", "pairs", "quepid", "cohere"]
MEDIA_TYPES: dict[ExportFormat, str] = {
    "jsonl": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "qrels": "text/plain; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "trec": "application/zip",
    "pairs": "application/vnd.apache.parquet",
    "quepid": "text/csv; charset=utf-8",
    "cohere": "application/x-ndjson",
}
FILE_NAMES: dict[ExportFormat, str] = {
    "jsonl": "labels.jsonl",
    "csv": "labels.csv",
    "qrels": "labels.qrels",
    "parquet": "labels.parquet",
    "trec": "labels-trec.zip",
    "pairs": "pairs.parquet",
    "quepid": "quepid.csv",
    "cohere": "cohere.jsonl",
}
MEANINGS: dict[ExportFormat, str] = {
    "jsonl": "every label of every annotator, to be imported again",
    "csv": "every label of every annotator, for a spreadsheet",
    "parquet": "every label of every annotator, for pandas and its like",
    "pairs": "query, passage and label, for datasets and sentence-transformers",
    "qrels": "TREC's judgments alone",
    "trec": "a zip of topics, collection, qrels and the model's run",
    "quepid": "query, docid and rating; the docid is the one that qrels have",
    "cohere": "relevant passages and hard negatives of each query that has a relevant one",
}
LABEL_FIELDS = [column.name for column in fields(StoredLabel)]
# In the order in which sentence-transformers takes columns: the two texts of a pair, then the label.
PAIR_FIELDS = ("query", "passage", "label")

PARQUET_ROWS = 5_000


def export(
    kind: ExportFormat,
    labels: Callable[[], Iterator[StoredLabel]],
    consensus: Callable[[], list[ConsensusLabel]],
    scored: Callable[[], Iterable[ScoredPair]] = tuple,
) -> Iterator[bytes]:
    """Every label as a file of that kind, in pieces; or what each pair counts as, in the formats that know no
    annotators (see MEANINGS).

    `trec` is a zip of topics, collection, qrels and the run that the model makes of the pairs that it has `scored`.
    """
    if kind == "trec":
        return iter([write_zip(consensus(), scored())])
    if kind == "jsonl":
        return (_json_line(asdict(label)) for label in labels())
    if kind == "csv":
        return _csv(LABEL_FIELDS, (asdict(label) for label in labels()))
    if kind == "parquet":
        return _parquet(LABEL_FIELDS, (asdict(label) for label in labels()))
    if kind == "pairs":
        return _parquet(PAIR_FIELDS, (_pair(label) for label in consensus()))
    if kind == "quepid":
        return _csv(("query", "docid", "rating"), (_rating(label) for label in consensus()))
    if kind == "cohere":
        return _cohere(consensus())
    return (f"{label.query_id} 0 {label.passage_id} {label.label}\n".encode() for label in consensus())


def _json_line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _pair(label: ConsensusLabel) -> dict[str, Any]:
    return {"query": label.query, "passage": label.passage, "label": label.label}


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
    while piece := file.read(1 << 16):
        yield piece


def file_name(kind: ExportFormat) -> str:
    """What the file of an export is called."""
    return FILE_NAMES[kind]
