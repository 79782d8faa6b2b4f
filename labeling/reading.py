"""The files that can be imported, however long they are: their rows, one after the other, and their columns."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from errors import InvalidInput
from files import is_table, lower_names, parse_json, read_rows, table_columns

IMPORT_TYPES = (".csv", ".tsv", ".jsonl", ".parquet")
MAX_IMPORT_BYTES = 2_000_000_000
PREVIEW_ROWS = 5
# Lines of JSON need not have the same names: so many are looked at for them.
ROWS_FOR_NAMES = 1_000


def rows(path: Path) -> Iterator[tuple[int, Any, float]]:
    """What `read_rows` gives of a file that can be imported. Raises InvalidInput, TooLarge."""
    return read_rows(path, MAX_IMPORT_BYTES, IMPORT_TYPES)


def column_names(path: Path) -> list[str]:
    """The names of a file's columns, also of a table without rows; of JSONL, those of its first ROWS_FOR_NAMES."""
    if is_table(path):
        preview(path)  # which says what is wrong with the first rows
        return table_columns(path)
    objects = (row for _, row in preview(path, ROWS_FOR_NAMES) if isinstance(row, dict))
    return list(dict.fromkeys(name for row in objects for name in row))


def preview(path: Path, count: int = PREVIEW_ROWS) -> list[tuple[int, Any]]:
    """The first rows with their numbers, parsed as far as they can be."""
    found = []
    for number, row, _ in islice(rows(path), count):
        if isinstance(row, str):
            try:
                row = parse_json(row)
            except InvalidInput:
                continue
        found.append((number, lower_names(row) if isinstance(row, dict) else row))
    return found
