"""Reading the files that people bring: text, tables, JSON lines and Parquet, with errors that say what to change.

A row comes as what its file says it is, with the number that a person finds it by; what is wrong with it is found by
whoever reads it. What is wrong with the file as a whole is raised before its first row.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from errors import InvalidInput, TooLarge, first_line

# What a column may be called, in the order in which they are looked for; the first is the one that messages use.
QUERY_COLUMNS = ("query", "question", "anchor", "sentence_0")
PASSAGE_COLUMNS = ("passage", "text", "document", "answer", "content", "contents", "body", "sentence_1")
PIECE = 1 << 20
ROWS_AT_ONCE = 2_000
_QUOTED = re.compile(r'"[^"]*"?')


def check_file(path: Path, max_bytes: int, kinds: Sequence[str]) -> None:
    """Raise InvalidInput unless the name of a file ends in one of `kinds` and what it holds is text in UTF-8 (or
    Parquet, which is looked at as it is read); TooLarge past `max_bytes`."""
    kind = path.suffix.lower()
    if kind not in kinds:
        raise InvalidInput(f"{path.name} is of a kind that is not read. Choose a {', '.join(kinds)} file.")
    size = path.stat().st_size
    if size > max_bytes:
        raise TooLarge(
            f"{path.name} has {size / 1e6:,.0f} MB; at most {max_bytes / 1e6:,.0f} MB can be read at once. Split it."
        )
    if kind != ".parquet":
        _check_is_text(path, kinds)


def read_text_file(path: Path, max_bytes: int, kinds: Sequence[str]) -> str:
    """The text of a file, each line ended by a line feed. Raises what `check_file` raises."""
    check_file(path, max_bytes, kinds)
    return path.read_text(encoding="utf-8-sig")


def read_rows(path: Path, max_bytes: int, kinds: Sequence[str]) -> Iterator[tuple[int, Any, float]]:
    """The rows of a file with their number (of the line, or of the row in Parquet) and how much of the file is read,
    from 0 to 1.

    A row of a table is a dict, one of JSONL its text, for `parse_json`. Raises what `check_file` raises, and
    InvalidInput where a table or a Parquet file is damaged.
    """
    check_file(path, max_bytes, kinds)
    if is_table(path):
        return _table_rows(path)
    return _parquet_rows(path) if path.suffix.lower() == ".parquet" else _json_lines(path)


def is_table(path: Path) -> bool:
    """Whether a file is a CSV or TSV file, whose first line names its columns."""
    return path.suffix.lower() in (".csv", ".tsv")


def table_columns(path: Path) -> list[str]:
    """The names of the columns of a table that was checked, in lower case. Raises InvalidInput."""
    with _opened_table(path) as (_, reader):
        return [name for name in reader.fieldnames or [] if name]


def missing_column(path: Path, known: Sequence[str], names: Sequence[str], what_to_do: str) -> InvalidInput:
    """What is said where none of the columns of a file has one of the `known` names, or where it has no columns."""
    if not names:
        return InvalidInput(f"{path.name} is empty, or its first line is: that has to name the columns.")
    return InvalidInput(
        f"{path.name} has no column named {known[0]} (or {', '.join(known[1:])}). Its columns are: "
        f"{', '.join(names)}. {what_to_do}"
    )


def lower_names(row: dict[Any, Any]) -> dict[str, Any]:
    """The row with its column names in lower case."""
    return {str(name).strip().lower(): value for name, value in row.items() if name is not None}


def is_blank(value: Any) -> bool:
    """Whether a cell holds nothing, or nothing but spaces; tables keep a number that is missing as one that is none."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def parse_json(line: str) -> Any:
    """The value that a line of JSON holds. Raises InvalidInput."""
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"This is not JSON: {error.msg} at character {error.pos + 1}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput("This is not JSON that can be read: a number is too long, or lists are too deep.") from error


def check_cells(row: dict[Any, Any]) -> None:
    """Raise InvalidInput where a row of a table has cells that belong to no column: what was meant is not known."""
    if any(cell.strip() for cell in row.get(None) or []):
        raise InvalidInput(
            "There are more cells than the first line names columns. Put text that holds the separator into quotes."
        )


def _check_is_text(path: Path, kinds: Sequence[str]) -> None:
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
                raise InvalidInput(f"{path.name} is a binary file, not text. Choose a {', '.join(kinds)} file.")
            if not piece:
                return
            read += len(piece)


def _json_lines(path: Path) -> Iterator[tuple[int, str, float]]:
    # Bytes are split at line feeds only: a JSON string may hold the other line ends of Unicode as they are.
    read, size = 0, path.stat().st_size
    with path.open("rb") as opened:
        for number, line in enumerate(opened, start=1):
            read += len(line)
            text = line.decode().removeprefix("\ufeff") if number == 1 else line.decode()
            if text.strip():
                yield number, text.rstrip("\r\n"), read / size


def _table_rows(path: Path) -> Iterator[tuple[int, dict[str, Any], float]]:
    size = path.stat().st_size
    with _opened_table(path) as (opened, reader):
        for row in reader:
            yield reader.line_num, row, opened.buffer.tell() / size


def _separator(first_line: str, usual: str) -> str:
    """What parts the names of the columns: a table program writes semicolons into a CSV file where people write 1,5."""
    names = _QUOTED.sub("", first_line)
    if usual == "\t" and usual in names:
        return usual
    return max((usual, ",", ";", "\t"), key=names.count)


@contextmanager
def _opened_table(path: Path) -> Iterator[tuple[TextIO, csv.DictReader]]:
    csv.field_size_limit(sys.maxsize if sys.maxsize < 2**32 else 2**31 - 1)
    # Without a newline of its own, so that the reader sees line ends within cells as they are.
    with path.open(encoding="utf-8-sig", newline="") as opened:
        separator = _separator(opened.readline(), "\t" if path.suffix.lower() == ".tsv" else ",")
        opened.seek(0)
        reader = csv.DictReader(opened, delimiter=separator, strict=True)
        try:
            reader.fieldnames = [(name or "").strip().lower() for name in reader.fieldnames or []]
            yield opened, reader
        except csv.Error as error:
            raise InvalidInput(
                f"Line {reader.line_num + 1} of {path.name} cannot be read: {error}. A cell that begins with a quote "
                'has to end with one, and quotes within it are doubled: "so ""quoted"" here".'
            ) from error


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
    # Of a value that Python has no like for: a moment in the year 292278, a time zone that nobody knows, broken UTF-8.
    except (pa.ArrowException, OSError, ValueError, ArithmeticError, LookupError) as error:
        raise InvalidInput(f"{path.name} cannot be read as Parquet: {first_line(error)}") from error
