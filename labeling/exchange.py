"""Labels and pairs as files: what is imported and exported. CSV, TSV and JSONL in; also qrels and Parquet out."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any, Literal

from errors import InvalidInput, WorkbenchError
from files import json_lines, parse_json, read_text_file, table_rows
from storage.records import Candidate, ConsensusLabel, Judgment, StoredLabel
from texts import check_name, check_text

ExportFormat = Literal["jsonl", "csv", "qrels", "parquet"]
MEDIA_TYPES: dict[ExportFormat, str] = {
    "jsonl": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "qrels": "text/plain; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
LABEL_FIELDS = [column.name for column in fields(StoredLabel)]

IMPORT_TYPES = (".csv", ".tsv", ".jsonl")
MAX_IMPORT_BYTES = 200_000_000
# What a column may be called; the first name is the one that messages use.
QUERY_COLUMNS = ("query", "question", "sentence_0")
PASSAGE_COLUMNS = ("passage", "document", "text", "answer", "sentence_1")
LABEL_WORDS = {
    "1": 1,
    "1.0": 1,
    "true": 1,
    "yes": 1,
    "relevant": 1,
    "0": 0,
    "0.0": 0,
    "false": 0,
    "no": 0,
    "not relevant": 0,
    "not_relevant": 0,
    "irrelevant": 0,
}
PARQUET_ROWS = 5_000
EXAMPLES_OF_BROKEN_ROWS = 20


@dataclass
class ImportedPairs:
    """What a file holds: pairs to be judged, judgments, and what is wrong with the rows that cannot be used."""

    candidates: list[Candidate] = field(default_factory=list)
    judgments: list[Judgment] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def read_pairs(path: Path, annotator: str) -> ImportedPairs:
    """Read the pairs in a CSV, TSV or JSONL file: `query` and `passage`, and where there are any `label`, `annotator`,
    `source` and `note`. Judgments that name no annotator count as `annotator`'s.

    A row that cannot be used is reported with its line number; the others are read all the same. Raises InvalidInput
    when the file as a whole cannot be used, TooLarge past MAX_IMPORT_BYTES.
    """
    text = read_text_file(path, MAX_IMPORT_BYTES, IMPORT_TYPES)
    is_jsonl = path.suffix.lower() == ".jsonl"
    rows = json_lines(text) if is_jsonl else table_rows(text, path.name, [QUERY_COLUMNS, PASSAGE_COLUMNS])
    pairs = ImportedPairs()
    for line, row in rows:
        try:
            _take_row(parse_json(row) if is_jsonl else row, annotator, pairs)
        except WorkbenchError as error:
            pairs.broken.append(f"Line {line}: {error}")
    if not (pairs.candidates or pairs.judgments):
        reason = pairs.broken[0] if pairs.broken else "It has no rows."
        raise InvalidInput(f"There is nothing to import in {path.name}. {reason}")
    return pairs


def _take_row(row: Any, annotator: str, pairs: ImportedPairs) -> None:
    if not isinstance(row, dict):
        raise InvalidInput("This is not an object with a query and a passage.")
    # Column names in any case, as in tables; a cell with nothing but spaces is an empty one.
    row = {
        str(name).strip().lower(): None if isinstance(value, str) and not value.strip() else value
        for name, value in row.items()
    }
    query = check_text(_value(row, QUERY_COLUMNS), "The query")
    passage = check_text(_value(row, PASSAGE_COLUMNS), "The passage")
    source = check_name(str(row.get("source") or "import"), "The source")
    label = row.get("label")
    if label is None or str(label).strip() == "":
        pairs.candidates.append(Candidate(query, passage, source))
        return
    word = str(label).strip().lower()
    if word not in LABEL_WORDS:
        raise InvalidInput(f"The label is {str(label)!r}; it has to be 1 (relevant), 0 (not relevant) or empty.")
    who = check_name(str(row.get("annotator") or annotator))
    note = check_text(str(row["note"]), "The note") if row.get("note") else None
    pairs.judgments.append(Judgment(query, passage, LABEL_WORDS[word], who, note=note, source=source))


def _value(row: dict[str, Any], columns: Iterable[str]) -> str:
    value = next((row[column] for column in columns if row.get(column) is not None), "")
    if not isinstance(value, str):
        raise InvalidInput(f"The {next(iter(columns))} is not text.")
    return value


def export(
    kind: ExportFormat, labels: Callable[[], Iterator[StoredLabel]], consensus: Callable[[], list[ConsensusLabel]]
) -> Iterator[bytes]:
    """Every label as a file of that kind, in pieces. qrels, which know no annotators, hold the consensus."""
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
