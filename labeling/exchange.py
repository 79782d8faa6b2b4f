"""Labels as files to take out: JSONL, CSV, Parquet, and the files of TREC."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, fields
from typing import IO, Any, Literal

from labeling.trec import write_zip
from storage.records import ConsensusLabel, ScoredPair, StoredLabel

ExportFormat = Literal["jsonl", "csv", "qrels", "parquet", "trec"]
MEDIA_TYPES: dict[ExportFormat, str] = {
    "jsonl": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "qrels": "text/plain; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "trec": "application/zip",
}
LABEL_FIELDS = [column.name for column in fields(StoredLabel)]

PARQUET_ROWS = 5_000


def export(
    kind: ExportFormat,
    labels: Callable[[], Iterator[StoredLabel]],
    consensus: Callable[[], list[ConsensusLabel]],
    scored: Callable[[], Iterable[ScoredPair]] = tuple,
) -> Iterator[bytes]:
    """Every label as a file of that kind, in pieces. qrels, which know no annotators, hold the consensus.

    `trec` is a zip of topics, collection, qrels and the run that the model makes of the pairs that it has `scored`.
    """
    if kind == "trec":
        return iter([write_zip(consensus(), scored())])
    if kind == "jsonl":
        return (json.dumps(asdict(label), ensure_ascii=False).encode() + b"\n" for label in labels())
    if kind == "csv":
        return _csv(labels())
    if kind == "qrels":
        return (f"{label.query_id} 0 {label.passage_id} {label.label}\n".encode() for label in consensus())
    return _parquet(labels())


def _csv(labels: Iterator[StoredLabel]) -> Iterator[bytes]:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, LABEL_FIELDS)
    writer.writeheader()
    for label in labels:
        writer.writerow(asdict(label))
        yield buffer.getvalue().encode()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue().encode()


def _parquet(labels: Iterator[StoredLabel]) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.int8() if name == "label" else pa.string()) for name in LABEL_FIELDS])
    # A Parquet file ends with its index, so it is written whole before the first piece goes out.
    with tempfile.TemporaryFile() as file:
        with pq.ParquetWriter(file, schema) as writer:
            rows: list[dict[str, Any]] = []
            for label in labels:
                rows.append(asdict(label))
                if len(rows) == PARQUET_ROWS:
                    writer.write_table(pa.Table.from_pylist(rows, schema))
                    rows = []
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema))
        yield from _pieces(file)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while piece := file.read(1 << 16):
        yield piece


def file_name(kind: ExportFormat) -> str:
    """What the file of an export is called."""
    return "labels-trec.zip" if kind == "trec" else f"labels.{kind}"
