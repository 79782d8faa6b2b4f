"""The rows of files that people bring, one after the other: CSV, TSV, JSONL and Parquet, however long they are.

A row comes as what its file says it is, with the number that a person finds it by; what is wrong with it is found later
(labeling/importing.py). What is wrong with the file as a whole is raised before its first row.
"""

from __future__ import annotations

import codecs
import csv
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from errors import InvalidInput, TooLarge, first_line
from files import parse_json, telling_the_line

IMPORT_TYPES = (".csv", ".tsv", ".jsonl", ".parquet")
MAX_IMPORT_BYTES = 2_000_000_000
ROWS_AT_ONCE = 2_000
PREVIEW_ROWS = 5
PIECE = 1 << 20


def rows(path: Path) -> Iterator[tuple[int, Any, float]]:
    """The rows of a file with their number (of the line, or of the row in Parquet) and how much of the file is read,
    from 0 to 1.

    A row of a table is a dict, one of JSONL its text, still to be parsed. Raises InvalidInput when the file is of
    another kind or damaged, TooLarge past MAX_IMPORT_BYTES.
    """
    kind = path.suffix.lower()
    if kind not in IMPORT_TYPES:
        raise InvalidInput(f"{path.name} is of a kind that is not read. Choose a {', '.join(IMPORT_TYPES)} file.")
    size = path.stat().st_size
    if size > MAX_IMPORT_BYTES:
        raise TooLarge(
            f"{path.name} has {size / 1e6:,.0f} MB; at most {MAX_IMPORT_BYTES / 1e6:,.0f} MB can be read at once. "
            "Split it."
        )
    if kind == ".parquet":
        return _parquet_rows(path)
    _check_is_text(path)
    return _json_lines(path, size) if kind == ".jsonl" else _table_rows(path, size)


def columns(path: Path) -> list[str]:
    """The names of a file's columns; of JSONL, those of its first rows. Raises what `rows` raises."""
    first = [row for _, row in preview(path)]
    return list(dict.fromkeys(name for row in first if isinstance(row, dict) for name in row))


def preview(path: Path) -> list[tuple[int, Any]]:
    """The first rows with their numbers, parsed as far as they can be."""
    found = []
    for number, row, _ in islice(rows(path), PREVIEW_ROWS):
        if isinstance(row, str):
            try:
                row = parse_json(row)
            except InvalidInput:
                continue
        found.append((number, lower_names(row) if isinstance(row, dict) else row))
    return found


def lower_names(row: dict[Any, Any]) -> dict[str, Any]:
    """The row with its column names in lower case, and with None for cells that hold nothing but spaces."""
    return {
        str(name).strip().lower(): None if isinstance(value, str) and not value.strip() else value
        for name, value in row.items()
        if name is not None
    }


def _check_is_text(path: Path) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = 0
    with path.open("rb") as opened:
        while True:
            piece = opened.read(PIECE)
            try:
                waiting = len(decoder.getstate()[0])
                decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                raise InvalidInput(
                    f"{path.name} is not a text file in UTF-8 (byte {read - waiting + error.start + 1} is not). "
                    "Save it as UTF-8 and try again."
                ) from error
            if b"\x00" in piece:
                raise InvalidInput(f"{path.name} is a binary file, not text. Choose a {', '.join(IMPORT_TYPES)} file.")
            if not piece:
                return
            read += len(piece)


def _json_lines(path: Path, size: int) -> Iterator[tuple[int, str, float]]:
    # Bytes are split at line feeds only: a JSON string may hold the other line ends of Unicode as they are.
    read = 0
    with path.open("rb") as opened:
        for number, line in enumerate(opened, start=1):
            read += len(line)
            text = line.decode().removeprefix("\ufeff") if number == 1 else line.decode()
            if text.strip():
                yield number, text.rstrip("\r\n"), read / size


def _table_rows(path: Path, size: int) -> Iterator[tuple[int, dict[str, Any], float]]:
    csv.field_size_limit(sys.maxsize if sys.maxsize < 2**32 else 2**31 - 1)
    with path.open(encoding="utf-8-sig", newline="") as opened:
        reader = csv.DictReader(opened, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        with telling_the_line(reader, path.name):
            reader.fieldnames = [(name or "").strip().lower() for name in reader.fieldnames or []]
            for row in reader:
                yield reader.line_num, row, opened.buffer.tell() / size


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any], float]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            total, number = file.metadata.num_rows, 0
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row, number / total
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(f"{path.name} cannot be read as Parquet: {first_line(error)}") from error
